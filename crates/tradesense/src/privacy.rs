//! `tradesense privacy`: erasures told to a restored database again, and archives of somebody's data checked offline. And what
//! every start does to a database before people are in it.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, ensure};
use app::privacy::{Homes, KeyStore, Region, Vault, read_archive, replay};
use audit::PublicKey;
use clap::{Args, Subcommand};
use kernel::Clock;
use store::Store;

use crate::replay::Found;
use crate::system::SystemRng;
use crate::{instruments, keys, receipt};

/// What to do about people's data.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Tells a database that came back from a backup who was erased since. Every start does the same.
    ReplayErasures {
        /// The database, under the login of the platform or as its owner.
        #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
        database_url: String,
        /// Where the keys of people are, and the ledger of erasures.
        #[arg(long, env = "TRADESENSE_KEYS_DIR")]
        keys_dir: PathBuf,
    },
    /// Makes the next key that wraps the keys of people. Running processes take it within seconds; then `rewrap`.
    NewKek {
        /// Where the keys of people are.
        #[arg(long, env = "TRADESENSE_KEYS_DIR")]
        keys_dir: PathBuf,
    },
    /// Puts every key of a person under the last key that wraps them, beside whoever uses them.
    Rewrap {
        /// Where the keys of people are.
        #[arg(long, env = "TRADESENSE_KEYS_DIR")]
        keys_dir: PathBuf,
        /// Then looks once more at all of them, and removes the wrapping keys before the last one.
        #[arg(long)]
        remove_older: bool,
    },
    /// Checks an archive of somebody's data: every file is as it was signed. Ends with 0 only if so. Asks nobody.
    Verify {
        /// The archive.
        file: PathBuf,
        /// The public key that must have signed it, from `/v1/receipt-keys` or the firm's page: 64 digits, or a file that
        /// holds them.
        #[arg(long)]
        key: Option<String>,
    },
}

/// Where people's rows may lie.
#[derive(Debug, Clone, Default, Args)]
pub struct RegionArgs {
    /// The region whose people this installation keeps, such as `eu`; said once for a database.
    #[arg(long, env = "TRADESENSE_REGION")]
    pub region: Option<Region>,
    /// Where the people of another region register, such as `us=https://us.firm.example`.
    #[arg(long, env = "TRADESENSE_REGION_ADDRESSES", value_delimiter = ',')]
    pub region_address: Vec<String>,
}

impl RegionArgs {
    /// The region of this installation, and where the others are.
    pub fn homes(&self) -> anyhow::Result<Homes> {
        let mut homes = Homes { here: self.region.clone(), ..Homes::default() };
        for text in &self.region_address {
            let (region, address) =
                text.split_once('=').with_context(|| format!("{text:?} is not REGION=ADDRESS"))?;
            let region = region.parse().with_context(|| format!("reading {text:?}"))?;
            homes.others.insert(region, address.to_owned());
        }
        Ok(homes)
    }
}

/// What a migrated database needs before people are in it: who is there in clear is sealed, and the region is said. `owner_url`
/// is the login that migrates.
pub async fn prepare(
    owner_url: &str,
    keys: Option<&Arc<dyn KeyStore>>,
    region: &RegionArgs,
) -> anyhow::Result<()> {
    if let Some(region) = &region.region {
        let pinned = Store::pin_region(owner_url, region).await.context("saying the region")?;
        ensure!(pinned, "the database keeps people of another region than {region}");
    }
    if Store::has_unsealed_people(owner_url).await.context("looking at the people")? {
        let keys = keys.context(
            "there are people in clear in the database: give the directory under whose keys they are sealed (--keys-dir)",
        )?;
        let vault = Vault::new(Arc::clone(keys), Arc::new(SystemRng));
        let sealed = Store::seal_people(owner_url, &vault).await.context("sealing who people are")?;
        tracing::info!(people = sealed, "people were sealed");
    }
    Ok(())
}

/// Runs the command.
pub fn run(command: &Command, clock: &dyn Clock, out: &mut dyn Write) -> anyhow::Result<Found> {
    match command {
        Command::ReplayErasures { database_url, keys_dir } => {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let keys: Arc<dyn KeyStore> = Arc::new(keys::people_keys(keys_dir)?);
            let (ledger, again) = runtime.block_on(replay_erasures(database_url, &keys, clock))?;
            writeln!(
                out,
                "{ledger} people in the ledger, {again} of them were still told of and are erased again"
            )?;
            Ok(Found::Equal)
        }
        Command::NewKek { keys_dir } => {
            let name = keys::new_people_kek(keys_dir)?;
            writeln!(out, "{name} is there; when every process has it, run privacy rewrap")?;
            Ok(Found::Equal)
        }
        Command::Rewrap { keys_dir, remove_older } => {
            rewrap(keys_dir, out)?;
            if *remove_older {
                // What somebody who had not taken the last key yet made meanwhile.
                rewrap(keys_dir, out)?;
                for name in keys::remove_older_people_keks(keys_dir)? {
                    writeln!(out, "{name} is removed")?;
                }
            }
            Ok(Found::Equal)
        }
        Command::Verify { file, key } => {
            let archive = std::fs::read(file).with_context(|| format!("reading {}", file.display()))?;
            let key = key.as_deref().map(receipt::public_key).transpose()?;
            verify(&archive, key.as_ref(), out)
        }
    }
}

fn rewrap(keys_dir: &Path, out: &mut dyn Write) -> anyhow::Result<()> {
    // Where there are none they would be made.
    ensure!(
        keys_dir.join(keys::PEOPLE_DIR).exists(),
        "there are no keys of people in {}",
        keys_dir.display()
    );
    let done = keys::people_keys(keys_dir)?.rewrap(&SystemRng);
    // A boxed error is no error of its own.
    let done = done.map_err(anyhow::Error::from_boxed).context("wrapping the keys of people anew")?;
    writeln!(out, "{} keys are wrapped anew, {} were already", done.anew, done.already)?;
    Ok(())
}

/// Tells a restored database who was erased: how many the ledger names, and how many of them were still told of.
pub(crate) async fn replay_erasures(
    url: &str,
    keys: &Arc<dyn KeyStore>,
    clock: &dyn Clock,
) -> anyhow::Result<(usize, u64)> {
    let vault = Vault::new(Arc::clone(keys), Arc::new(SystemRng));
    let settings = store::Settings::of_a_command(url.to_owned(), Arc::new(instruments::shipped()?), vault);
    let store = Store::connect(&settings).await.context("connecting to the database")?;
    let again = replay(&store, &**keys, clock.now()).await.context("telling the database who was erased")?;
    let ledger = keys.promised().await.context("reading the ledger of erasures")?;
    store.close().await;
    Ok((ledger.len(), again))
}

/// Says what an archive holds, or why it is not accepted.
pub fn verify(archive: &[u8], key: Option<&PublicKey>, out: &mut dyn Write) -> anyhow::Result<Found> {
    let read = match read_archive(archive, key) {
        Ok(read) => read,
        Err(refused) => {
            writeln!(out, "NOT AUTHENTIC: {refused}")?;
            return Ok(Found::Different);
        }
    };
    writeln!(out, "person      {} of the firm {}", read.person, read.firm)?;
    writeln!(out, "made at     {}", read.made_at)?;
    for (name, bytes) in &read.files {
        writeln!(out, "            {name}, {} bytes", bytes.len())?;
    }
    let whose = if key.is_some() {
        "the key that you gave".to_owned()
    } else {
        format!("the key that it names itself: compare {} with the one that the firm publishes", read.key)
    };
    writeln!(out, "AUTHENTIC: every file is as it was signed by {whose}.")?;
    Ok(Found::Equal)
}
