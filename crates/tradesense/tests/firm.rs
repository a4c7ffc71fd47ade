//! A firm of one's own is made by one command.
#![expect(clippy::panic, clippy::unwrap_used, reason = "tests")]

use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;

use app::Context;
use app::identity::{Cost, Identity, Password};
use app::privacy::Vault;
use kernel::{Clock, FirmId};
use store::{Settings, Store};
use testkit::TestDatabase;
use tradesense::system::{SystemClock, SystemRng};

fn create(database: &TestDatabase, keys: &Path, admin: &str) -> Output {
    let mut firm = Command::new(env!("CARGO_BIN_EXE_tradesense"));
    firm.args(["firm", "create", "--slug", "acme", "--name", "Acme Funding", "--admin", admin]);
    firm.arg("--keys-dir").arg(keys).env("DATABASE_URL", database.url()).output().unwrap()
}

fn password(made: &Output) -> String {
    let said = String::from_utf8_lossy(&made.stdout).trim().to_owned();
    assert!(made.status.success(), "{said} {}", String::from_utf8_lossy(&made.stderr));
    said.rsplit_once(' ').unwrap_or_else(|| panic!("{said}")).1.to_owned()
}

#[tokio::test]
async fn whoever_runs_a_new_firm_signs_in_with_what_was_printed_last() {
    let database = TestDatabase::new().await;
    let keys = tempfile::tempdir().unwrap();
    let first = password(&create(&database, keys.path(), "ann@acme.example"));
    let again = password(&create(&database, keys.path(), "ann@acme.example"));
    assert_ne!(first, again);
    for wrong in ["ann at acme", ""] {
        assert!(!create(&database, keys.path(), wrong).status.success(), "{wrong:?}");
    }
    assert!(!create(&database, &keys.path().join("nowhere"), "bob@acme.example").status.success());

    let people = tradesense::keys::people_keys(keys.path()).unwrap();
    let vault = Vault::new(Arc::new(people), Arc::new(SystemRng));
    let instruments = Arc::new(tradesense::instruments::shipped().unwrap());
    let store = Store::connect(&Settings::of_a_command(database.url(), instruments, vault)).await.unwrap();
    let identity =
        Identity::new(Arc::new(store), Arc::new(SystemClock), Arc::new(SystemRng), 1, Cost::STANDARD);
    let firm = FirmId::derived(&[b"firm", b"acme"]);
    let context = Context::of_platform(firm, SystemClock.now(), &SystemRng);
    let sign_in = |password: &str| {
        let (identity, context, password) = (&identity, &context, Password::new(password));
        async move { identity.sign_in(context, "ann@acme.example", password, "192.0.2.1").await }
    };
    assert!(sign_in(&first).await.is_err(), "the one before opens nothing");
    let (person, _) = sign_in(&again).await.unwrap();
    assert_eq!(person.roles, [app::Role::Admin]);
}
