//! What PostgreSQL keeps of a password, made here: a password that travels in a statement ends in the server's log
//! (`log_statement`), in `pg_stat_activity` and in what a proxy keeps. What travels instead signs nobody in.
//!
//! The form is PostgreSQL's own, `SCRAM-SHA-256$<rounds>:<salt>$<StoredKey>:<ServerKey>`; the keys are RFC 5802's, section 3.

use std::num::NonZeroU32;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ring::digest::{SHA256, digest};
use ring::{hmac, pbkdf2};

/// What the server itself takes unless it is told otherwise (`scram_iterations`).
const ROUNDS: NonZeroU32 = NonZeroU32::new(4_096).unwrap();

/// What the server keeps of a password with this salt.
pub(crate) fn verifier(password: &str, salt: [u8; 16]) -> String {
    // A client prepares a password so before it proves that it knows it, and takes it as it is where that cannot be done.
    let prepared = stringprep::saslprep(password);
    let password = prepared.as_deref().unwrap_or(password);
    let mut salted = [0; 32];
    pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, ROUNDS, &salt, password.as_bytes(), &mut salted);
    let key = hmac::Key::new(hmac::HMAC_SHA256, &salted);
    let stored_key = digest(&SHA256, hmac::sign(&key, b"Client Key").as_ref());
    let server_key = hmac::sign(&key, b"Server Key");
    format!(
        "SCRAM-SHA-256${ROUNDS}:{}${}:{}",
        BASE64.encode(salt),
        BASE64.encode(stored_key),
        BASE64.encode(server_key)
    )
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
