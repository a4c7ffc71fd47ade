//! What a demonstration starts with: a firm, its programs, an operator and a trader with printed passwords.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use app::Context;
use app::Role;
use app::catalogue::{Catalogue, Publication};
use app::identity::{Cost, Identity, Password, Registration};
use app::privacy::Vault;
use clap::Args;
use kernel::{Clock, Currency, FirmId, Money, Rng, Timestamp};
use rules::Program;
use serde::{Deserialize, Serialize};
use store::{NewFirm, Store};

use crate::system::{SystemClock, SystemRng};
use crate::{instruments, keys};

/// Slug, text and price in US dollars of every program on sale, in the catalogue's order.
const PROGRAMS: [(&str, &str, &str); 4] = [
    ("sprint-25k", include_str!("../../../programs/sprint-25k.toml"), "49.00"),
    ("express-25k", include_str!("../../../programs/express-25k.toml"), "99.00"),
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
/// only. What an older program did not make up is added.
pub fn logins(file: &Path, rng: &dyn Rng) -> anyhow::Result<Vec<Login>> {
    let mut logins: Vec<Login> = if file.exists() {
        let text = std::fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
        serde_json::from_str(&text).with_context(|| format!("reading {}", file.display()))?
    } else {
        Vec::new()
    };
    let known = logins.len();
    let everybody: [(&str, &str, &[Role]); 4] = [
        ("trader", "Demo Trader", &[Role::Trader]),
        ("operator", "Demo Operator", &[Role::Admin, Role::Risk, Role::Support]),
        ("support", "Demo Support", &[Role::Support]),
        ("auditor", "Demo Auditor", &[Role::Auditor]),
    ];
    for (title, display_name, roles) in everybody {
        if logins.iter().all(|login| login.title != title) {
            logins.push(Login {
                title: title.to_owned(),
                email: format!("{title}@demo.example"),
                password: password(rng),
                display_name: display_name.to_owned(),
                roles: roles.to_vec(),
            });
        }
    }
    if logins.len() > known {
        write_private(file, &serde_json::to_string_pretty(&logins).context("writing logins")?)?;
    }
    Ok(logins)
}

/// Written beside it, made durable, and given its name: whoever finds the file finds all of it.
fn write_private(file: &Path, text: &str) -> anyhow::Result<()> {
    let written = write_and_rename(file, text.as_bytes());
    written.with_context(|| format!("writing {}", file.display()))
}

fn write_and_rename(file: &Path, text: &[u8]) -> std::io::Result<()> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let unfinished = file.with_extension("new");
    // What a killed start has left; its rights may be others.
    match std::fs::remove_file(&unfinished) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut options = std::fs::OpenOptions::new();
    let mut to = options.write(true).create_new(true).mode(0o600).open(&unfinished)?;
    to.write_all(text)?;
    to.sync_all()?;
    std::fs::rename(&unfinished, file)?;
    match file.parent() {
        // The parent of a bare name is the empty path.
        Some(directory) if !directory.as_os_str().is_empty() => std::fs::File::open(directory)?.sync_all(),
        Some(_) | None => std::fs::File::open(".")?.sync_all(),
    }
}

/// Five groups of five symbols out of 32: 125 bits of chance, five a symbol. Crockford's alphabet has 0 and 1 but
/// neither o nor i and l, so that none is mistaken for another.
pub fn password(rng: &dyn Rng) -> String {
    const SYMBOLS: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
    let mut bytes = [0_u8; 25];
    rng.fill(&mut bytes);
    let mut text = String::new();
    for (number, byte) in bytes.iter().enumerate() {
        if number > 0 && number.is_multiple_of(5) {
            text.push('-');
        }
        // Five bits are always one of 32.
        text.extend(SYMBOLS.get(usize::from(byte & 31)).copied().map(char::from));
    }
    text
}

/// Settings of `tradesense demo`.
#[derive(Debug, Clone, Args)]
pub struct Demo {
    /// The database, as its owner.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    database_url: String,
    /// Where the passwords are kept.
    #[arg(long, env = "TRADESENSE_DATA_DIR", default_value = "data")]
    data_dir: PathBuf,
    /// Where the keys of people are, if not in the data directory.
    #[arg(long, env = "TRADESENSE_KEYS_DIR")]
    keys_dir: Option<PathBuf>,
}

/// Fills a migrated database with what a demonstration starts with, and prints the passwords.
pub fn run(demo: &Demo) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::fs::create_dir_all(&demo.data_dir).with_context(|| format!("making {}", demo.data_dir.display()))?;
    let logins = runtime.block_on(fill(demo))?;
    let mut out = std::io::stdout().lock();
    for Login { title, email, password, .. } in logins {
        writeln!(out, "{title} {email} {password}").context("writing to the standard output")?;
    }
    Ok(())
}

async fn fill(demo: &Demo) -> anyhow::Result<Vec<Login>> {
    let (clock, rng): (Arc<dyn Clock>, Arc<dyn Rng>) = (Arc::new(SystemClock), Arc::new(SystemRng));
    let firm = NewFirm { slug: FIRM.to_owned(), name: FIRM_NAME.to_owned(), domains: Vec::new() };
    let firm = Store::ensure_firm(&demo.database_url, &firm, clock.now()).await.context("making the firm")?;
    let instruments = Arc::new(instruments::shipped()?);
    let people = keys::people_keys(demo.keys_dir.as_ref().unwrap_or(&demo.data_dir))?;
    let vault = Vault::new(Arc::new(people), Arc::clone(&rng));
    let settings = store::Settings::of_a_command(demo.database_url.clone(), Arc::clone(&instruments), vault);
    let store = Arc::new(Store::connect(&settings).await.context("connecting to the database")?);
    let logins = logins(&demo.data_dir.join("logins.json"), &*rng)?;
    let identity = Identity::new(store.clone(), Arc::clone(&clock), Arc::clone(&rng), 1, Cost::STANDARD);
    let catalogue = Catalogue::new(store.clone(), instruments, Arc::clone(&clock));
    seed(firm, &catalogue, &identity, &logins, clock.now(), &*rng).await?;
    store.close().await;
    Ok(logins)
}

/// Puts the programs on sale and makes sure that the people exist and that the printed passwords are theirs, also when
/// the file of logins was lost and the database was not. Doing it again changes nothing.
pub async fn seed(
    firm: FirmId,
    catalogue: &Catalogue,
    identity: &Identity,
    logins: &[Login],
    at: Timestamp,
    rng: &dyn Rng,
) -> anyhow::Result<()> {
    let context = Context::of_platform(firm, at, rng);
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
            password: Password::new(&login.password),
            display_name: login.display_name.clone(),
            region: None,
        };
        identity
            .ensure_person(&context, registration, login.roles.clone())
            .await
            .with_context(|| format!("making the {}", login.title))?;
        identity
            .set_password(&context, &login.email, Password::new(&login.password))
            .await
            .with_context(|| format!("setting the password of the {}", login.title))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use kernel::SeededRng;

    use super::*;

    #[test]
    fn the_shipped_programs_are_sound() {
        for (slug, text, fee) in PROGRAMS {
            let program: Program = toml::from_str(text).unwrap();
            program.check().unwrap_or_else(|error| panic!("{slug}: {error}"));
            assert!(Money::parse(fee, program.currency).unwrap().minor() > 0);
        }
    }

    #[test]
    fn logins_are_made_up_once_and_readable_by_their_owner_only() {
        use std::os::unix::fs::PermissionsExt as _;
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("logins.json");
        // A start that was killed while it wrote.
        std::fs::write(file.with_extension("new"), "[{").unwrap();
        let passwords = |seed| {
            let logins = logins(&file, &SeededRng::new(seed)).unwrap();
            logins.into_iter().map(|login| login.password).collect::<Vec<_>>()
        };
        let first = passwords(1);
        assert_eq!(passwords(2), first);
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
        // Those of an older program, which made up two.
        let mut logins: Vec<Login> = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
        logins.truncate(2);
        std::fs::write(&file, serde_json::to_vec(&logins).unwrap()).unwrap();
        let added = passwords(3);
        assert_eq!((&added[..2], added.len()), (&first[..2], first.len()));
        assert_eq!(passwords(4), added);
    }

    #[test]
    fn passwords_are_made_of_32_symbols() {
        let rng = SeededRng::new(1);
        let seen: BTreeSet<char> =
            (0..100).flat_map(|_| password(&rng).chars().collect::<Vec<_>>()).collect();
        assert_eq!(seen.len(), 33, "{seen:?} and the hyphen");
        assert!(!seen.iter().any(|symbol| "ilou".contains(*symbol)));
        assert_eq!(password(&rng).len(), 29);
    }
}
