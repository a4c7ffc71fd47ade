//! What a demonstration starts with: a firm, its programs, an operator and a trader with printed passwords.

use std::path::Path;

use anyhow::Context as _;
use app::Context;
use app::Role;
use app::catalogue::{Catalogue, Publication};
use app::identity::{Identity, Password, Registration};
use kernel::{Currency, FirmId, Money, RequestId, Rng, Timestamp};
use rules::Program;
use serde::{Deserialize, Serialize};

/// Slug, text and price in US dollars of every program on sale, in the catalogue's order.
const PROGRAMS: [(&str, &str, &str); 3] = [
    ("sprint-25k", include_str!("../../../programs/sprint-25k.toml"), "49.00"),
    ("one-step-50k", include_str!("../../../programs/one-step-50k.toml"), "299.00"),
    ("two-step-100k", include_str!("../../../programs/two-step-100k.toml"), "540.00"),
];

/// The firm's slug.
pub const FIRM: &str = "demo";
/// The firm's name.
pub const FIRM_NAME: &str = "Meridian Demo";

/// A person whose password is printed.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Login {
    /// What they are.
    pub title: String,
    /// Their address.
    pub email: String,
    /// Their password.
    pub password: String,
    /// Shown on leaderboards.
    pub display_name: String,
    /// What they are to the firm.
    pub roles: Vec<Role>,
}

/// The logins of this installation: made up at the first start, kept in its data directory, readable by its owner
/// only.
pub fn logins(file: &Path, rng: &dyn Rng) -> anyhow::Result<Vec<Login>> {
    if file.exists() {
        let text = std::fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
        return serde_json::from_str(&text).with_context(|| format!("reading {}", file.display()));
    }
    let login = |title: &str, email: &str, display_name: &str, roles: &[Role]| Login {
        title: title.to_owned(),
        email: email.to_owned(),
        password: password(rng),
        display_name: display_name.to_owned(),
        roles: roles.to_vec(),
    };
    let logins = vec![
        login("trader", "trader@demo.example", "Demo Trader", &[Role::Trader]),
        login(
            "operator",
            "operator@demo.example",
            "Demo Operator",
            &[Role::Admin, Role::Risk, Role::Support],
        ),
    ];
    write_private(file, &serde_json::to_string_pretty(&logins).context("writing logins")?)?;
    Ok(logins)
}

fn write_private(file: &Path, text: &str) -> anyhow::Result<()> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut options = std::fs::OpenOptions::new();
    let mut file_at = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(file)
        .with_context(|| format!("writing {}", file.display()))?;
    file_at.write_all(text.as_bytes()).with_context(|| format!("writing {}", file.display()))
}

/// Five groups of five letters and digits that no one mistakes for each other: 120 bits of chance, 24 by letter.
pub fn password(rng: &dyn Rng) -> String {
    const LETTERS: &[u8; 32] = b"abcdefghjkmnpqrstuvwxyz23456789x";
    let mut bytes = [0_u8; 25];
    rng.fill(&mut bytes);
    let mut text = String::new();
    for (number, byte) in bytes.iter().enumerate() {
        if number > 0 && number.is_multiple_of(5) {
            text.push('-');
        }
        let letter = LETTERS.get(usize::from(byte & 31)).copied().unwrap_or(b'x');
        text.push(char::from(letter));
    }
    text
}

/// Puts the programs on sale and makes sure that the people exist. Doing it again changes nothing.
pub async fn seed(
    firm: FirmId,
    catalogue: &Catalogue,
    identity: &Identity,
    logins: &[Login],
    at: Timestamp,
    rng: &dyn Rng,
) -> anyhow::Result<()> {
    let context = Context { firm, actor: None, request: RequestId::random(at, rng) };
    let dollars = Currency::parse("USD").context("finding the currency")?;
    for (position, (slug, text, fee)) in (1_i32..).zip(PROGRAMS) {
        let program: Program = toml::from_str(text).with_context(|| format!("reading the program {slug}"))?;
        let fee = Money::parse(fee, dollars).context("reading a price")?;
        let publication = Publication { slug: slug.to_owned(), program, fee, position };
        catalogue
            .publish_version(&context, publication)
            .await
            .with_context(|| format!("publishing {slug}"))?;
    }
    for login in logins {
        let registration = Registration {
            email: login.email.clone(),
            password: Password::new(login.password.clone()),
            display_name: login.display_name.clone(),
        };
        identity
            .ensure_person(&context, registration, login.roles.clone())
            .await
            .with_context(|| format!("making the {}", login.title))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_programs_are_sound() {
        for (slug, text, fee) in PROGRAMS {
            let program: Program = toml::from_str(text).unwrap();
            program.check().unwrap_or_else(|error| panic!("{slug}: {error}"));
            assert!(Money::parse(fee, program.currency).unwrap().minor() > 0);
        }
    }
}
