//! `tradesense firm create`: the firm that an installation is for, and the first of its people.

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, ensure};
use app::identity::{Cost, Identity, Password, Registration};
use app::privacy::Vault;
use app::{Context, Role};
use clap::{Args, Subcommand};
use kernel::{Clock, Rng};
use store::{NewFirm, Store};

use crate::system::{SystemClock, SystemRng};
use crate::{demo, instruments, keys};

/// What to do about firms.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Makes a firm in a migrated database, and whoever runs it, with a password that is printed once. Again: its name and host names are
    /// what is said now, and its administrator has a new password.
    Create(Create),
}

/// A firm and its administrator.
#[derive(Debug, Clone, Args)]
pub struct Create {
    /// The database, as its owner.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    database_url: String,
    /// Where the keys of people are.
    #[arg(long, env = "TRADESENSE_KEYS_DIR")]
    keys_dir: PathBuf,
    /// Its name in addresses and settings: lower-case letters, digits and hyphens.
    #[arg(long)]
    slug: String,
    /// Its name for people.
    #[arg(long)]
    name: String,
    /// A host name that it answers to. May be said again. The only firm of an installation answers to every one.
    #[arg(long)]
    domain: Vec<String>,
    /// The address of whoever runs it.
    #[arg(long)]
    admin: String,
    /// What they are called.
    #[arg(long, default_value = "Administrator")]
    admin_name: String,
}

/// Runs the command.
pub fn run(command: &Command, out: &mut dyn Write) -> anyhow::Result<()> {
    let Command::Create(create) = command;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let password = runtime.block_on(made(create))?;
    writeln!(out, "{} is there; {} signs in with {password}", create.name, create.admin)?;
    Ok(())
}

async fn made(create: &Create) -> anyhow::Result<String> {
    let (clock, rng): (Arc<dyn Clock>, Arc<dyn Rng>) = (Arc::new(SystemClock), Arc::new(SystemRng));
    ensure!(create.keys_dir.is_dir(), "there is no directory {}", create.keys_dir.display());
    let people = keys::people_keys(&create.keys_dir)?;
    let vault = Vault::new(Arc::new(people), Arc::clone(&rng));
    let new = NewFirm {
        slug: create.slug.clone(),
        name: create.name.clone(),
        domains: create.domain.iter().map(|domain| domain.to_lowercase()).collect(),
    };
    let url = &create.database_url;
    Store::check_schema(url).await.context("looking at the database's schema")?;
    let firm = Store::ensure_firm(url, &new, clock.now()).await.context("making the firm")?;
    let settings = store::Settings::of_a_command(url.clone(), Arc::new(instruments::shipped()?), vault);
    let store = Arc::new(Store::connect(&settings).await.context("connecting to the database")?);
    let identity = Identity::new(store.clone(), Arc::clone(&clock), Arc::clone(&rng), 1, Cost::STANDARD);
    let password = demo::password(&*rng);
    let context = Context::of_platform(firm, clock.now(), &*rng);
    let registration = Registration {
        email: create.admin.clone(),
        password: Password::new(&password),
        display_name: create.admin_name.clone(),
        region: None,
    };
    let admin = identity.ensure_person(&context, registration, vec![Role::Admin]).await;
    let admin = admin.context("making the administrator")?;
    // Somebody's word on a command line must not make a trader the administrator's peer.
    ensure!(
        admin.roles.contains(&Role::Admin),
        "{} is there already and does not run the firm",
        create.admin
    );
    identity
        .set_password(&context, &create.admin, Password::new(&password))
        .await
        .context("setting the administrator's password")?;
    store.close().await;
    Ok(password)
}
