//! `tradesense audit`: whether the audit log is what was sealed, signed and copied; exports of it; the next key.

use std::fs::File;
use std::io::{self, BufReader, Cursor, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, bail, ensure};
use app::AppError;
use app::auditing::{self, AuditStore, Break, Copies, Exporter, LogError, NEWEST, Wanted, unpacked};
use app::privacy::{NoKeys, Vault};
use audit::checkpoint::{Keys, Unbelieved};
use audit::export::{Refused, Trust, Verified, Verifier};
use audit::note::NoteKey;
use audit::tiles::{Tile, Tiles};
use audit::tree::{Hash, prove_consistency, verify_consistency};
use clap::{Args, Subcommand};
use kernel::FirmId;
use providers::copies::{CopiedHashes, Credentials, Means, Place};
use store::Store;
use tokio::runtime::Handle;
use tokio::task::block_in_place;

use crate::replay::Found;
use crate::system::{SystemClock, SystemRng};
use crate::{instruments, keys};

/// How much of a file is read in one go.
const PART: usize = 1 << 20;
/// How a compressed file begins.
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// What to do with the audit log.
#[derive(Debug, Subcommand)]
pub enum AuditLog {
    /// Verifies the log in a database or in an export. Ends with 0 if it is what was signed, with 1 if it is not, and names the entry
    /// or the checkpoint.
    Verify(Box<Verify>),
    /// Writes the log, or a part of it, as a file that anybody verifies without the database.
    Export(Export),
    /// Makes the next key; the sealer hands over to it when it starts again.
    NewKey {
        /// Where the keys lie.
        #[arg(long, env = "TRADESENSE_KEYS_DIR")]
        keys_dir: PathBuf,
    },
    /// Prints the log's first key as others know it.
    Key {
        /// Where the keys lie.
        #[arg(long, env = "TRADESENSE_KEYS_DIR")]
        keys_dir: PathBuf,
    },
}

/// What to verify, and what to believe.
#[derive(Debug, Args)]
pub struct Verify {
    /// The database, as its owner or under the login of the platform.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    database_url: Option<String>,
    /// An export in place of the database: a file, also a compressed one, or the folder of an archive (`archive/2019-01`).
    #[arg(long)]
    export: Option<PathBuf>,
    #[command(flatten)]
    known: Known,
    /// From this entry on; 0 is the first that the database keeps.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Up to and with this entry; up to the newest checkpoint if not said.
    #[arg(long)]
    to: Option<u64>,
}

/// What the reader knows from elsewhere.
#[derive(Debug, Args)]
struct Known {
    /// The log's first key, as `tradesense audit key` prints it, or a file that holds it. Without it that of the copies counts.
    #[arg(long)]
    key: Option<String>,
    /// Copies of the log, that the database's owner cannot write: a folder, or `s3://BUCKET/PREFIX?region=..`.
    #[arg(long, env = "TRADESENSE_AUDIT_COPIES")]
    copies: Option<Place>,
    /// A checkpoint that was verified before; without it the newest of the copies counts.
    #[arg(long)]
    trusted: Option<PathBuf>,
    /// A witness's key; every checkpoint must be cosigned by it.
    #[arg(long = "witness")]
    witnesses: Vec<String>,
}

/// What to export.
#[derive(Debug, Args)]
pub struct Export {
    /// The database, as its owner or under the login of the platform.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    database_url: String,
    /// Where to write it; `-` is standard output.
    file: PathBuf,
    /// From this entry on; 0 is the first that the database keeps.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Up to and with this entry; up to the newest checkpoint if not said.
    #[arg(long)]
    to: Option<u64>,
    /// Only the entries of this firm.
    #[arg(long)]
    firm: Option<FirmId>,
    /// The size of a checkpoint that the reader trusts.
    #[arg(long)]
    trusted: Option<u64>,
}

/// Runs the command.
pub fn run(command: &AuditLog, out: &mut dyn Write) -> anyhow::Result<Found> {
    // Copies are read by one thread while another verifies.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    match command {
        AuditLog::Verify(verify) => {
            let verified = match (&verify.export, &verify.database_url) {
                (Some(file), _) => {
                    ensure!(
                        verify.from == 0 && verify.to.is_none(),
                        "an export is verified as a whole: --from and --to are for the database"
                    );
                    runtime.block_on(of_export(file, &verify.known))
                }
                (None, Some(url)) => {
                    runtime.block_on(of_database(url, verify)).map(|verified| (verified, None))
                }
                (None, None) => bail!("name a database (--database-url) or an export (--export)"),
            };
            match verified {
                Ok((verified, continued)) => {
                    let checkpoint = &verified.checkpoint;
                    writeln!(out, "{}", verified.sentence())?;
                    if let Some(newest) = continued {
                        writeln!(out, "The log of {newest} entries that you trust continues it.")?;
                    }
                    if verify.export.is_none() && verify.from == 0 && verified.header.first > 0 {
                        let last = verified.header.first.saturating_sub(1);
                        writeln!(
                            out,
                            "The entries 0 to {last} were archived and are no longer in the database: verify their archives with --export."
                        )?;
                    }
                    writeln!(
                        out,
                        "checkpoint  {} {}",
                        checkpoint.checkpoint.size,
                        checkpoint.checkpoint.root.base64()
                    )?;
                    writeln!(out, "signed by   {}", checkpoint.key)?;
                    for (witness, at) in &checkpoint.witnesses {
                        writeln!(out, "witnessed   by {witness} at {at}")?;
                    }
                    Ok(Found::Equal)
                }
                Err(error) => {
                    let Some(say) = broken(&error) else { return Err(error) };
                    writeln!(out, "NOT WHAT WAS SIGNED: {say}")?;
                    Ok(Found::Different)
                }
            }
        }
        AuditLog::Export(export) => runtime.block_on(write_export(export, out)).map(|()| Found::Equal),
        AuditLog::NewKey { keys_dir } => {
            let name = keys::new_audit_key(keys_dir)?;
            writeln!(out, "{}", keys_dir.join(name).display())?;
            Ok(Found::Equal)
        }
        AuditLog::Key { keys_dir } => {
            let signers = keys::audit_signers(keys::audit_keys(keys_dir)?)?;
            let first = signers.first().context("the audit log has no key")?;
            writeln!(out, "{}", first.public(audit::note::Signs::Text))?;
            Ok(Found::Equal)
        }
    }
}

/// In words what is not what was signed; nothing of an error that says nothing about the log.
fn broken(error: &anyhow::Error) -> Option<String> {
    let found = match error.downcast_ref::<LogError>() {
        Some(LogError::Broken(found)) => Some(anyhow::Error::from(found.clone())),
        Some(LogError::App(_)) => None,
        None => {
            let refused = error.downcast_ref::<Refused>().map(|refused| anyhow::Error::from(refused.clone()));
            refused.or_else(|| Some(error.downcast_ref::<Unbelieved>()?.clone().into()))
        }
    };
    found.map(|found| format!("{found:#}"))
}

async fn connect(url: &str) -> anyhow::Result<Arc<dyn AuditStore>> {
    // Nobody's name is read.
    let vault = Vault::new(Arc::new(NoKeys), Arc::new(SystemRng));
    let settings = store::Settings {
        worker_connections: 2,
        ..store::Settings::of_a_command(url.to_owned(), Arc::new(instruments::shipped()?), vault)
    };
    Ok(Arc::new(Store::connect(&settings).await.context("connecting to the database")?))
}

async fn of_database(url: &str, verify: &Verify) -> anyhow::Result<Verified> {
    let store = connect(url).await?;
    let copies = Outside::of(&verify.known)?;
    let known = first_key(&verify.known, copies.as_ref()).await?;
    let first = if let Some(key) = known {
        key
    } else {
        tracing::warn!(
            "no key was given: what the database says of its own key proves nothing against its owner"
        );
        let stored = store.log_keys().await?;
        let key = stored.first().context("the log has no key yet")?;
        NoteKey::parse(&key.key).context("reading the log's key")?
    };
    let keys = with_witnesses(auditing::known_keys(&*store, first).await?, &verify.known)?;
    if let Some(copies) = &copies {
        auditing::check_outside(&*store, &*copies.files, &keys).await?;
    }
    let checkpoint = trusted_checkpoint(&verify.known, copies.as_ref(), &keys).await?;
    let hashes = copies.as_ref().zip(checkpoint).map(|(copies, (size, _))| copies.hashes(size));
    let failed = hashes.as_ref().map(CopiedHashes::failed);
    let compared = hashes.map(|mut hashes| -> auditing::Copied { Box::new(move |entry| hashes.hash(entry)) });
    let end = verify.to.map(|to| to.saturating_add(1));
    let wanted = Wanted { first: verify.from, end, ..Wanted::default() };
    let verified = auditing::verify(&store, Trust { keys, checkpoint }, wanted, compared).await?;
    all_compared(failed)?;
    Ok(verified)
}

/// Whether the log of a database that came back from a backup is what its keys signed, and whether the copies continue it: in
/// words, or in words why not. Copies are newer than a backup, and what they hold beyond it is what was lost.
pub(crate) async fn verify_restored(
    url: &str,
    first: NoteKey,
    copies: Option<&Place>,
) -> anyhow::Result<Result<String, String>> {
    match restored(url, first, copies).await {
        Ok(sentence) => Ok(Ok(sentence)),
        Err(error) => broken(&error).map(Err).ok_or(error),
    }
}

async fn restored(url: &str, first: NoteKey, place: Option<&Place>) -> anyhow::Result<String> {
    let store = connect(url).await?;
    let sealed = store.newest_checkpoint().await.context("looking for a checkpoint")?.is_some();
    ensure!(
        sealed,
        "the audit log was never sealed: there is no checkpoint to judge it by (a platform seals a few seconds after its start)"
    );
    let known = Known { key: None, copies: place.cloned(), trusted: None, witnesses: Vec::new() };
    let keys = auditing::known_keys(&*store, first.clone()).await?;
    let trust = Trust { keys, checkpoint: None };
    let verified = auditing::verify(&store, trust, Wanted::default(), None).await?;
    let size = verified.checkpoint.checkpoint.size;
    let shown = format!(
        "nothing was changed, added, removed or moved: {} entries under {} checkpoints, the last of {size} entries",
        verified.entries, verified.checkpoints
    );
    let Some(copies) = Outside::of(&known)? else { return Ok(shown) };
    let keys = keys_of_copies(&copies, &Keys::new(first).context("using the log's key")?).await?;
    Ok(match trusted_checkpoint(&known, Some(&copies), &keys).await? {
        Some((newest, root)) if newest >= size => {
            prove_continued(&copies, &verified, newest, root)?;
            format!(
                "{shown}; the copies continue it to {newest}, so that {} are lost",
                newest.saturating_sub(size)
            )
        }
        Some((newest, _)) => format!("{shown}; the copies end at {newest}"),
        None => format!("{shown}; there are no copies yet"),
    })
}

/// What an export shows, and the size of the trusted checkpoint if that continues it: an archive is older than what is trusted.
async fn of_export(file: &Path, known: &Known) -> anyhow::Result<(Verified, Option<u64>)> {
    let copies = Outside::of(known)?;
    let key = first_key(known, copies.as_ref()).await?;
    let key = key.context("an export proves nothing without the log's key: give --key or --copies")?;
    // Its later keys come with the export; a trusted checkpoint may be signed by any of them.
    let keys = with_witnesses(Keys::new(key).context("using the log's key")?, known)?;
    let of_copies = match &copies {
        Some(copies) => keys_of_copies(copies, &keys).await?,
        None => keys.clone(),
    };
    let checkpoint = trusted_checkpoint(known, copies.as_ref(), &of_copies).await?;
    let read = |checkpoint: Option<(u64, Hash)>| -> anyhow::Result<Verified> {
        let mut verifier = Verifier::new(Trust { keys: keys.clone(), checkpoint });
        let mut failed = None;
        if let Some((copies, (size, _))) = copies.as_ref().zip(checkpoint) {
            let mut hashes = copies.hashes(size);
            failed = Some(hashes.failed());
            verifier = verifier.with_copies(move |entry| hashes.hash(entry));
        }
        let (mut file, _) = open(file)?;
        let mut part = vec![0; PART];
        loop {
            let read = file.read(&mut part).context("reading the export")?;
            if read == 0 {
                let shown = verifier.finish()?;
                all_compared(failed)?;
                return Ok(shown);
            }
            verifier.feed(part.get(..read).unwrap_or_default())?;
        }
    };
    match (read(checkpoint), &copies, checkpoint) {
        // Only archives are read long after they were made; another export that ends before what is trusted was cut.
        (Err(error), Some(copies), Some((size, root)))
            if matches!(error.downcast_ref(), Some(Refused::Behind { .. })) && open(file)?.1 =>
        {
            let verified = read(None)?;
            prove_continued(copies, &verified, size, root)?;
            Ok((verified, Some(size)))
        }
        (verified, ..) => Ok((verified?, None)),
    }
}

/// Copies that somebody reads.
struct Outside {
    files: Arc<dyn Copies>,
}

impl Outside {
    fn of(known: &Known) -> anyhow::Result<Option<Self>> {
        let Some(place) = &known.copies else { return Ok(None) };
        let means = Means {
            credentials: Credentials::from_env(),
            clock: Arc::new(SystemClock),
            rng: Arc::new(SystemRng),
        };
        let files = place.reader(means).with_context(|| format!("reading the copies in {place}"))?;
        Ok(Some(Self { files }))
    }

    async fn text(&self, name: &str) -> anyhow::Result<Option<String>> {
        let doing = || format!("reading {name} of the copies");
        let content = self.files.get(name).await.with_context(doing)?;
        content.map(String::from_utf8).transpose().with_context(doing)
    }

    /// Waits without letting go of the thread: a proof asks for one tile after the other, and for few.
    fn tile(&self, tile: &Tile) -> io::Result<Vec<u8>> {
        let name = tile.to_string();
        let content = block_in_place(|| Handle::current().block_on(self.files.get(&name)));
        content.map_err(io::Error::other)?.ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn hashes(&self, size: u64) -> CopiedHashes {
        CopiedHashes::new(Arc::clone(&self.files), size, Handle::current())
    }
}

/// Copies that could not be read were not compared: nothing was shown then.
fn all_compared(failed: Option<Arc<Mutex<Option<AppError>>>>) -> anyhow::Result<()> {
    let failed = failed.and_then(|failed| failed.lock().unwrap_or_else(PoisonError::into_inner).take());
    failed.map_or(Ok(()), |error| Err(error).context("comparing with the copies"))
}

/// Whether the log that is trusted continues an archive, by the hashes of the copies.
fn prove_continued(copies: &Outside, archive: &Verified, size: u64, root: Hash) -> anyhow::Result<()> {
    let older = &archive.checkpoint.checkpoint;
    let mut tiles = Tiles::new(size, |tile: &Tile| copies.tile(tile));
    let proof = prove_consistency(older.size, size, |node| tiles.node(node))
        .context("reading the hashes of the copies")?
        .unwrap_or_default();
    verify_consistency(older.size, size, &proof, &older.root, &root)
        .map_err(|_| LogError::from(Break::Rewritten { size: older.size }).into())
}

/// An export as it is read, and whether it was compressed: a file, or the files of a folder one behind the other.
fn open(path: &Path) -> anyhow::Result<(Box<dyn Read>, bool)> {
    let reading = || format!("reading {}", path.display());
    let mut files = if path.is_dir() {
        let entries = std::fs::read_dir(path).with_context(reading)?;
        let files: Result<Vec<PathBuf>, io::Error> = entries.map(|entry| Ok(entry?.path())).collect();
        files.with_context(reading)?
    } else {
        vec![path.to_owned()]
    };
    files.sort();
    let mut all: Box<dyn Read> = Box::new(io::empty());
    for file in files {
        let file = File::open(&file).with_context(|| format!("reading {}", file.display()))?;
        all = Box::new(all.chain(BufReader::new(file)));
    }
    let mut begin = Vec::new();
    all.by_ref().take(2).read_to_end(&mut begin).with_context(reading)?;
    let is_packed = begin == GZIP;
    let whole = Cursor::new(begin).chain(all);
    Ok((if is_packed { Box::new(unpacked(whole)) } else { Box::new(whole) }, is_packed))
}

async fn first_key(known: &Known, copies: Option<&Outside>) -> anyhow::Result<Option<NoteKey>> {
    let text = match (&known.key, copies) {
        (Some(text), _) if Path::new(text).is_file() => {
            Some(std::fs::read_to_string(text).with_context(|| format!("reading {text}"))?)
        }
        (Some(text), _) => Some(text.clone()),
        (None, Some(copies)) => copies.text("keys/1").await?,
        (None, None) => None,
    };
    text.map(|text| NoteKey::parse(text.trim()).context("this is no key of an audit log")).transpose()
}

fn with_witnesses(keys: Keys, known: &Known) -> anyhow::Result<Keys> {
    let parse = |text: &String| NoteKey::parse(text.trim()).with_context(|| format!("{text:?} is no key"));
    let witnesses = known.witnesses.iter().map(parse).collect::<anyhow::Result<Vec<NoteKey>>>()?;
    let needed = witnesses.len();
    keys.with_witnesses(witnesses, needed).context("using the keys of witnesses")
}

/// The keys that the statements among the copies name.
async fn keys_of_copies(copies: &Outside, keys: &Keys) -> anyhow::Result<Keys> {
    let mut keys = keys.clone();
    for number in 2_u32.. {
        let name = format!("keys/{number}");
        let Some(statement) = copies.text(&name).await? else { break };
        keys.succeed(&statement).with_context(|| format!("believing {name}"))?;
    }
    Ok(keys)
}

/// The checkpoint that was verified before: its own, or the newest outside.
async fn trusted_checkpoint(
    known: &Known,
    copies: Option<&Outside>,
    keys: &Keys,
) -> anyhow::Result<Option<(u64, Hash)>> {
    let note = match (&known.trusted, copies) {
        (Some(file), _) => {
            Some(std::fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?)
        }
        (None, Some(copies)) => copies.text(NEWEST).await?,
        (None, None) => None,
    };
    let Some(note) = note else { return Ok(None) };
    let opened = keys.open(&note).context("the checkpoint that is to be trusted")?;
    Ok(Some((opened.checkpoint.size, opened.checkpoint.root)))
}

async fn write_export(export: &Export, out: &mut dyn Write) -> anyhow::Result<()> {
    let store = connect(&export.database_url).await?;
    let end = export.to.map(|to| to.saturating_add(1));
    let wanted = Wanted { first: export.from, end, firm: export.firm, trusted: export.trusted };
    let mut exporter = Exporter::new(store, wanted).await?;
    let mut file: Box<dyn Write> = if export.file == Path::new("-") {
        Box::new(std::io::stdout())
    } else {
        Box::new(File::create(&export.file).with_context(|| format!("writing {}", export.file.display()))?)
    };
    while let Some(part) = exporter.next().await? {
        file.write_all(&part).context("writing the export")?;
    }
    file.flush().context("writing the export")?;
    if export.file != Path::new("-") {
        let header = exporter.header();
        writeln!(
            out,
            "entries {} to {} of a log of {}",
            header.first,
            header.end.saturating_sub(1),
            header.size
        )?;
    }
    Ok(())
}
