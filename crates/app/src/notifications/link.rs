//! Links that act without signing in: what they say is signed with a secret of the firm.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use kernel::{FirmId, PersonId};
use sha2::Sha256;

use super::Group;

/// The length of a firm's secret.
pub const SECRET_BYTES: usize = 32;

/// A firm's secret. Prints as stars.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Secret(pub [u8; SECRET_BYTES]);

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("***")
    }
}

const PERSON_BYTES: usize = 16;

/// Person, place of the group, signature.
pub(super) fn token(secret: &Secret, firm: FirmId, person: PersonId, group: Group) -> String {
    let mut bytes = person.uuid().as_bytes().to_vec();
    bytes.extend_from_slice(group.word().as_bytes());
    let signature = mac(secret, firm, &bytes).finalize().into_bytes();
    let mut all = signature.to_vec();
    all.extend_from_slice(&bytes);
    URL_SAFE_NO_PAD.encode(all)
}

/// What a token says, if it was made with this secret for this firm.
pub(super) fn read(secret: &Secret, firm: FirmId, token: &str) -> Option<(PersonId, Group)> {
    let all = URL_SAFE_NO_PAD.decode(token).ok()?;
    let (signature, bytes) = all.split_at_checked(32)?;
    mac(secret, firm, bytes).verify_slice(signature).ok()?;
    let (person, group) = bytes.split_at_checked(PERSON_BYTES)?;
    let person = PersonId::from_uuid(uuid::Uuid::from_slice(person).ok()?);
    Some((person, Group::of_word(std::str::from_utf8(group).ok()?)?))
}

fn mac(secret: &Secret, firm: FirmId, bytes: &[u8]) -> Hmac<Sha256> {
    #[expect(clippy::expect_used, reason = "HMAC takes keys of any length")]
    let mut mac = Hmac::<Sha256>::new_from_slice(&secret.0).expect("a key of any length");
    mac.update(b"unsubscribe");
    mac.update(firm.uuid().as_bytes());
    mac.update(bytes);
    mac
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_holds_for_its_firm_and_secret_only() {
        let firm = FirmId::derived(&[b"one"]);
        let person = PersonId::derived(&[b"ann"]);
        let (secret, other) = (Secret([7; SECRET_BYTES]), Secret([8; SECRET_BYTES]));
        let made = token(&secret, firm, person, Group::Warnings);
        assert_eq!(read(&secret, firm, &made), Some((person, Group::Warnings)));
        assert_eq!(read(&other, firm, &made), None);
        assert_eq!(read(&secret, FirmId::derived(&[b"two"]), &made), None);
        for place in 0..made.len() {
            let mut forged = made.clone().into_bytes();
            forged[place] = if forged[place] == b'A' { b'B' } else { b'A' };
            assert_eq!(read(&secret, firm, std::str::from_utf8(&forged).unwrap()), None, "{place}");
        }
        for text in ["", "A", &made[..20], "not base64!"] {
            assert_eq!(read(&secret, firm, text), None, "{text}");
        }
        assert_eq!(format!("{secret:?}"), "***");
    }
}
