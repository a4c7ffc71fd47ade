//! The sealer: rows become entries of the audit log, its end is signed, and copies of both go where the database's owner cannot
//! write.
//!
//! One process does it at a time, under a lease. That the log has one continuation does not rest on that: a batch goes in only
//! where the last one ended, and only under the newest token (`AuditStore::seal`). Whoever is interrupted anywhere leaves a
//! batch that is whole or not there, and the next one reads again where the log stands.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use app::AppError;
use app::auditing::{
    self, AuditStore, Batch, Break, Copies, Leaf, LogError, NEWEST, Places, StoredCheckpoint, StoredKey,
    Stretch,
};
use audit::checkpoint::{Checkpoint, Keys, succession};
use audit::entry::Source;
use audit::note::{NoteKey, NoteSigner, Signs};
use audit::tiles::{Content, Tile, WIDTH, add_to_bundle, check_bundle, grown, tile_of};
use audit::tree::{Frontier, Hash};
use kernel::Clock;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::as_error;
use crate::gaps::Numbers;
use crate::leader::{Leads, led, lost};
use crate::verifier::Health;

/// The lease of whoever seals.
pub const LEASE: &str = "audit";
/// Rows of one source and shard in a batch.
const MOST: i64 = 1_000;
/// What comes within this is one batch.
const PAUSE: Duration = Duration::from_millis(10);
/// The longest pause where nothing comes.
const LONGEST_PAUSE: Duration = Duration::from_millis(80);
/// Rows of a month far away, which a wrong clock has written, are looked for this often; all others at once.
const EVERYWHERE_EVERY: Duration = Duration::from_secs(1);
/// Signed at most this often.
const SIGN_EVERY: Duration = Duration::from_secs(2);
/// Copied at most this often.
const COPY_EVERY: Duration = Duration::from_secs(20);
/// Where there was nothing to copy, it is looked for this often.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Pause after a failure.
const AFTER_FAILURE: Duration = Duration::from_millis(500);
/// Pause after the log was found broken: nothing is sealed then until somebody has looked.
const AFTER_BREAK: Duration = Duration::from_secs(10);

/// Seals, signs and copies.
pub struct Sealer {
    /// Where rows, tree and checkpoints are.
    pub store: Arc<dyn AuditStore>,
    /// Where copies go.
    pub copies: Arc<dyn Copies>,
    /// The log's keys in the order in which they take over; the last one signs.
    pub signers: Arc<Vec<NoteSigner>>,
    /// Stamps checkpoints.
    pub clock: Arc<dyn Clock>,
    /// Told what was found.
    pub health: Arc<Health>,
}

/// Why sealing ended.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The log is broken, or could not be reached.
    #[error(transparent)]
    Log(#[from] LogError),
    /// Another goes on with the log.
    #[error("somebody else seals")]
    Deposed,
}

impl From<AppError> for Failure {
    fn from(error: AppError) -> Self {
        Self::Log(error.into())
    }
}

impl From<Break> for Failure {
    fn from(found: Break) -> Self {
        Self::Log(found.into())
    }
}

/// For what a sound program never meets.
fn bug(doing: &'static str, error: impl std::error::Error + Send + Sync + 'static) -> Failure {
    AppError::bug(doing)(Box::new(error)).into()
}

impl std::fmt::Debug for Sealer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Sealer").finish_non_exhaustive()
    }
}

impl Sealer {
    /// Seals whenever this process leads, until it is to stop.
    pub async fn run(self, mut leads: Leads, mut stop: watch::Receiver<bool>) {
        while let Some(token) = led(&mut leads, LEASE, &mut stop).await {
            let ended = tokio::select! {
                ended = self.seal_under(token) => ended,
                () = lost(&mut leads, LEASE, token) => Ok(()),
                _ = stop.wait_for(|stop| *stop) => return,
            };
            let pause = match ended {
                Ok(()) => continue,
                Err(Failure::Log(LogError::Broken(found))) => {
                    self.health.broke(&found);
                    AFTER_BREAK
                }
                Err(failure) => {
                    tracing::warn!(error = as_error(&failure), "the sealer begins anew");
                    AFTER_FAILURE
                }
            };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                _ = stop.wait_for(|stop| *stop) => return,
            }
        }
    }

    async fn seal_under(&self, token: i64) -> Result<(), Failure> {
        let mut sealing = self.take_over(token).await?;
        tokio::select! {
            ended = sealing.go_on() => ended,
            () = self.go_on_copying() => Ok(()),
        }
    }

    /// Compares the log with what lies outside and takes it over, at its end.
    pub async fn take_over(&self, token: i64) -> Result<Sealing<'_>, Failure> {
        let standing = self.store.take_over_log(token).await?.ok_or(Failure::Deposed)?;
        let keys = self.keys().await?;
        auditing::check_outside(&*self.store, &*self.copies, &keys).await?;
        let newest = self.store.newest_checkpoint().await?;
        if let Some(newest) = &newest {
            auditing::check_continues(&*self.store, standing.size, newest.size, newest.root).await?;
        }
        let mut sealing = Sealing {
            sealer: self,
            token,
            frontier: auditing::frontier(&*self.store, standing.size).await?,
            commands: standing.commands,
            acts: Numbers::after(standing.acts.settled),
            verdicts: Numbers::after(standing.verdicts.settled),
            signed: newest.map_or(0, |newest| newest.size),
            signed_at: None,
            looked_at: None,
        };
        let now = Instant::now();
        sealing.acts.saw(standing.acts.sealed, now);
        sealing.verdicts.saw(standing.verdicts.sealed, now);
        sealing.hand_over().await?;
        tracing::info!(token, size = standing.size, "this process seals the audit log");
        Ok(sealing)
    }

    fn first_key(&self) -> Result<NoteKey, Failure> {
        let first = self.signers.first().map(|signer| signer.public(Signs::Text));
        first.ok_or_else(|| Break::Keys("this process has none".to_owned()).into())
    }

    async fn keys(&self) -> Result<Keys, Failure> {
        Ok(auditing::known_keys(&*self.store, self.first_key()?).await?)
    }

    async fn go_on_copying(&self) {
        let mut copied = 0;
        loop {
            let mut pause = COPY_EVERY;
            match self.copy().await {
                // Nothing was new; what comes next is copied soon.
                Ok(size) if size == copied => pause = LOOK_EVERY,
                Ok(size) => copied = size,
                Err(Failure::Log(LogError::Broken(found))) => self.health.broke(&found),
                Err(failure) => {
                    tracing::warn!(
                        error = as_error(&failure),
                        "the audit log could not be copied; trying again"
                    );
                }
            }
            tokio::time::sleep(pause).await;
        }
    }

    /// Copies what the newest checkpoint covers and the copy has not, the checkpoint last. Gives its size.
    pub async fn copy(&self) -> Result<u64, Failure> {
        let keys = self.keys().await?;
        let outside = auditing::check_outside(&*self.store, &*self.copies, &keys).await?;
        let copied = outside.map_or(0, |opened| opened.checkpoint.size);
        let Some(newest) = self.store.newest_checkpoint().await?.filter(|newest| newest.size > copied) else {
            return Ok(copied);
        };
        let size = newest.size;
        let floor = self.store.log_floor().await?;
        let mut frontier = auditing::frontier(&*self.store, copied).await?;
        for tile in grown(copied, size) {
            let content = match tile.content {
                Content::Entries => self.bundle(tile, size, floor, &mut frontier).await?,
                Content::Hashes(level) => Some(self.hashes(tile, level).await?),
            };
            if let Some(content) = content {
                self.copies.put(&tile.to_string(), &content).await?;
            }
        }
        // The bundles hold every entry up to here, and what they come to is what was signed.
        if frontier.root() != newest.root {
            return Err(Break::Rewritten { size }.into());
        }
        for key in self.store.log_keys().await? {
            let content = key.statement.unwrap_or_else(|| format!("{}\n", key.key));
            self.copies.put(&format!("keys/{}", key.number), content.as_bytes()).await?;
        }
        self.copies.put(&format!("checkpoints/{size}"), newest.note.as_bytes()).await?;
        self.copies.put(NEWEST, newest.note.as_bytes()).await?;
        Ok(size)
    }

    /// A bundle; none of one that begins with dropped entries, if it was not copied up to the floor before: archives hold these.
    async fn bundle(
        &self,
        tile: Tile,
        size: u64,
        floor: u64,
        frontier: &mut Frontier,
    ) -> Result<Option<Vec<u8>>, Failure> {
        let first = tile.index.saturating_mul(WIDTH.into());
        let end = first.saturating_add(tile.width.into());
        let (mut bundle, mut bytes) = (Vec::new(), Vec::new());
        let mut at = first;
        if first < floor {
            // Up to here it was copied before.
            at = frontier.size();
            let begun = if at < floor { None } else { self.begun_bundle(tile.index, first, at).await? };
            let Some(begun) = begun else {
                let stretch =
                    Stretch { level: 0, first: at.max(first), count: end.saturating_sub(at.max(first)) };
                for hash in self.store.hashes(&[stretch]).await?.pop().unwrap_or_default() {
                    frontier.push(hash, |_, _| ()).map_err(|error| bug("going on with the tree", error))?;
                }
                return Ok(None);
            };
            bundle = begun;
        }
        let mut rows = self.store.leaves(at, end).await?.into_iter();
        for index in at..end {
            let Some((leaf, row)) = rows.next().filter(|(leaf, _)| leaf.index == index) else {
                return Err(Break::NoLeaf { index, size }.into());
            };
            let Leaf { source, part, number, .. } = leaf;
            let id = || auditing::row_id(source, part, number);
            let row = row.ok_or_else(|| Break::NoRow { index, table: source, id: id() })?;
            let other = || Break::OtherRow { index, table: source, id: id() };
            bytes.clear();
            row.encode(index, &mut bytes).map_err(|_| other())?;
            if Hash::leaf(&bytes) != leaf.hash {
                return Err(other().into());
            }
            add_to_bundle(&mut bundle, &bytes).ok_or_else(other)?;
            if index >= frontier.size() {
                frontier.push(leaf.hash, |_, _| ()).map_err(|error| bug("going on with the tree", error))?;
            }
        }
        Ok(Some(bundle))
    }

    /// The beginning of a bundle as it was copied, which has to be what was sealed.
    async fn begun_bundle(&self, index: u64, first: u64, end: u64) -> Result<Option<Vec<u8>>, Failure> {
        let count = end.saturating_sub(first);
        let Ok(width) = u16::try_from(count) else { return Ok(None) };
        let tile = Tile { content: Content::Entries, index, width };
        let Some(bundle) = self.copies.get(&tile.to_string()).await? else { return Ok(None) };
        let hashes =
            self.store.hashes(&[Stretch { level: 0, first, count }]).await?.pop().unwrap_or_default();
        check_bundle(first, &bundle, &tile_of(&hashes))
            .map_err(|error| Break::Outside(format!("{tile}: {error}")))?;
        Ok(Some(bundle))
    }

    async fn hashes(&self, tile: Tile, level: u8) -> Result<Vec<u8>, Failure> {
        let first = tile.index.saturating_mul(WIDTH.into());
        let stretch = Stretch { level, first, count: tile.width.into() };
        let hashes = self.store.hashes(&[stretch]).await?.pop().unwrap_or_default();
        if hashes.len() != usize::from(tile.width) {
            let place = first.saturating_add(u64::try_from(hashes.len()).unwrap_or(0));
            return Err(Break::NoNode { level, place }.into());
        }
        Ok(tile_of(&hashes))
    }
}

/// The log in the hands of one holder of the lease.
pub struct Sealing<'a> {
    sealer: &'a Sealer,
    token: i64,
    /// Of what is committed, and of nothing else.
    frontier: Frontier,
    commands: BTreeMap<i16, i64>,
    acts: Numbers,
    verdicts: Numbers,
    signed: u64,
    signed_at: Option<Instant>,
    /// When all months were looked into last.
    looked_at: Option<Instant>,
}

impl std::fmt::Debug for Sealing<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Sealing").field("size", &self.frontier.size()).finish_non_exhaustive()
    }
}

impl Sealing<'_> {
    /// How long the log is.
    pub fn size(&self) -> u64 {
        self.frontier.size()
    }

    async fn go_on(&mut self) -> Result<(), Failure> {
        let mut pause = PAUSE;
        loop {
            let sealed = self.seal().await?;
            if self.signed_at.is_none_or(|at| at.elapsed() >= SIGN_EVERY) && self.sign().await? {
                self.signed_at = Some(Instant::now());
            }
            if sealed == 0 {
                pause = pause.saturating_mul(2).min(LONGEST_PAUSE);
            } else {
                pause = PAUSE;
            }
            // More waits than one batch holds.
            if i64::try_from(sealed).is_ok_and(|sealed| sealed < MOST) {
                tokio::time::sleep(pause).await;
            }
        }
    }

    /// Seals what is there; how many entries. After a failure nothing more can be done with this.
    pub async fn seal(&mut self) -> Result<usize, Failure> {
        let places = Places {
            commands: self.commands.clone(),
            acts: (self.acts.seen(), self.acts.gaps()),
            verdicts: (self.verdicts.seen(), self.verdicts.gaps()),
            everywhere: self.looked_at.is_none_or(|at| at.elapsed() >= EVERYWHERE_EVERY),
        };
        let read = self.sealer.store.unsealed(&places, MOST).await?;
        let now = Instant::now();
        let mut commands = places.commands;
        for row in read.rows.iter().filter(|row| row.source == Source::Command) {
            let last = commands.entry(row.part).or_default();
            let seq = last.saturating_add(1);
            if row.number != seq {
                return Err(Break::NoCommand { shard: row.part, seq }.into());
            }
            *last = seq;
        }
        let numbers =
            |source: Source| read.rows.iter().filter(move |row| row.source == source).map(|row| row.number);
        let acts_read = numbers(Source::Act).count();
        let (mut acts, mut verdicts) = (self.acts.clone(), self.verdicts.clone());
        for (numbered, source) in [(&mut acts, Source::Act), (&mut verdicts, Source::Verdict)] {
            numbered.saw(numbers(source), now);
            if read.everywhere {
                numbered.forget(read.oldest_running, read.next_transaction, now);
            }
        }
        let mut frontier = self.frontier.clone();
        let (mut leaves, mut nodes) = (Vec::with_capacity(read.rows.len()), Vec::new());
        let mut bytes = Vec::new();
        for row in &read.rows {
            let index = frontier.size();
            bytes.clear();
            row.encode(index, &mut bytes).map_err(|error| bug("writing an entry", error))?;
            let hash = Hash::leaf(&bytes);
            let (firm, source, part, number) = (row.firm, row.source, row.part, row.number);
            leaves.push(Leaf { index, firm, source, part, number, hash });
            let full = |node: audit::tree::Node, hash| {
                if node.level > 0 && node.level.checked_rem(8) == Some(0) {
                    nodes.push((node.level.checked_div(8).unwrap_or(0), node.index, hash));
                }
            };
            frontier.push(hash, full).map_err(|error| bug("going on with the tree", error))?;
        }
        let sealed = leaves.len();
        if sealed > 0 {
            let mut marks: Vec<(Source, i16, i64)> =
                commands.iter().map(|(shard, seq)| (Source::Command, *shard, *seq)).collect();
            marks.push((Source::Act, 0, acts.known()));
            marks.push((Source::Verdict, 0, verdicts.known()));
            let batch = Batch { token: self.token, leaves, nodes, marks };
            if !self.sealer.store.seal(&batch).await? {
                return Err(Failure::Deposed);
            }
        }
        if read.everywhere {
            // While more waits than was read, what is around today would come before what is in front of it.
            let whole = i64::try_from(acts_read).is_ok_and(|read| read < MOST);
            self.looked_at = whole.then_some(now);
        }
        // Only what is committed is the log's end.
        self.frontier = frontier;
        (self.commands, self.acts, self.verdicts) = (commands, acts, verdicts);
        Ok(sealed)
    }

    /// Signs what is sealed, unless that is signed; whether it did.
    pub async fn sign(&mut self) -> Result<bool, Failure> {
        self.sign_by(self.sealer.signers.last()).await
    }

    async fn sign_by(&mut self, signer: Option<&NoteSigner>) -> Result<bool, Failure> {
        let (size, root) = (self.frontier.size(), self.frontier.root());
        if size <= self.signed {
            return Ok(false);
        }
        let note = signer
            .and_then(|signer| Checkpoint::new(signer.public(Signs::Text).name(), size, root).sign(signer));
        let note = note.ok_or_else(|| Break::Keys("the last one cannot sign".to_owned()))?.to_string();
        let at = self.sealer.clock.now();
        if !self.sealer.store.keep_checkpoint(self.token, &StoredCheckpoint { size, at, root, note }).await? {
            return Err(Failure::Deposed);
        }
        self.signed = size;
        Ok(true)
    }

    /// Makes the first key known, and has each key name the one that takes over from it here.
    async fn hand_over(&mut self) -> Result<(), Failure> {
        let Sealer { store, signers, .. } = self.sealer;
        let known = store.log_keys().await?;
        let (size, root) = (self.frontier.size(), self.frontier.root());
        if known.len() > signers.len() {
            let say = format!("there are {}, and this process has {}", known.len(), signers.len());
            return Err(Break::Keys(say).into());
        }
        let mut previous: Option<&NoteSigner> = None;
        for (number, (place, signer)) in (1_u32..).zip(signers.iter().enumerate()) {
            let key = signer.public(Signs::Text).to_string();
            if known.get(place).is_some_and(|known| known.key != key) {
                return Err(Break::Keys(format!("number {number} is another one than here, {key}")).into());
            }
            if place >= known.len() {
                let last = Checkpoint::new(signer.public(Signs::Text).name(), size, root);
                let statement = match previous {
                    None => None,
                    Some(previous) => {
                        // The last checkpoint of a key stands before the statement of the next, wherever the log is read.
                        self.sign_by(Some(previous)).await?;
                        let statement = succession(&last, previous, signer);
                        let one_log = || Break::Keys(format!("number {number} has another name"));
                        Some(statement.ok_or_else(one_log)?.to_string())
                    }
                };
                let after_size = if previous.is_none() { 0 } else { size };
                let key = StoredKey { number, key, after_size, statement };
                if !store.keep_key(self.token, &key).await? {
                    return Err(Failure::Deposed);
                }
                tracing::info!(number, "the audit log has a new key");
            }
            previous = Some(signer);
        }
        Ok(())
    }
}
