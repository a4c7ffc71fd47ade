//! What PostgreSQL keeps of a password, made here: a password that travels in a statement ends in the server's log
//! (`log_statement`), in `pg_stat_activity` and in what a proxy keeps. What travels instead signs nobody in.
//!
//! The form is PostgreSQL's own, `SCRAM-SHA-256$<rounds>:<salt>$<StoredKey>:<ServerKey>`; the keys are RFC 5802's, section 3.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};

/// What the server itself takes unless it is told otherwise (`scram_iterations`).
const ROUNDS: u32 = 4_096;

/// What the server keeps of a password with this salt.
pub(crate) fn verifier(password: &str, salt: [u8; 16]) -> String {
    // A client prepares a password so before it proves that it knows it, and takes it as it is where that cannot be done.
    let prepared = stringprep::saslprep(password);
    let password = prepared.as_deref().unwrap_or(password);
    let salted = salted(password.as_bytes(), &salt);
    let stored_key = Sha256::digest(mac(&salted, &[b"Client Key"]));
    let server_key = mac(&salted, &[b"Server Key"]);
    format!(
        "SCRAM-SHA-256${ROUNDS}:{}${}:{}",
        BASE64.encode(salt),
        BASE64.encode(stored_key),
        BASE64.encode(server_key)
    )
}

/// RFC 5802's `Hi`: the first block of PBKDF2.
fn salted(password: &[u8], salt: &[u8]) -> [u8; 32] {
    let mut last = mac(password, &[salt, &1_u32.to_be_bytes()]);
    let mut sum = last;
    for _ in 1..ROUNDS {
        last = mac(password, &[&last]);
        for (sum, last) in sum.iter_mut().zip(last) {
            *sum ^= last;
        }
    }
    sum
}

fn mac(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    #[expect(clippy::expect_used, reason = "HMAC takes keys of every length")]
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("a key of any length");
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The salt and password of RFC 7677's example; the keys are those with which its exchange comes out.
    #[test]
    fn the_example_of_the_standard() {
        let salt = BASE64.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap().try_into().unwrap();
        assert_eq!(
            verifier("pencil", salt),
            "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:\
             wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="
        );
        // A password that differs only in how it is written is the same one.
        assert_eq!(verifier("I\u{AD}X", salt), verifier("IX", salt));
    }
}
