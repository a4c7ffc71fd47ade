//! Checkpoints, as C2SP `tlog-checkpoint` writes them: a note that says how long a log is and what root it has. And the
//! keys that sign them: whoever trusts one key learns the next from a statement that the one before has signed.

use std::fmt;

use crate::note::{Forged, Note, NoteError, NoteKey, NoteKeyError, NoteSigner, Signs};
use crate::tree::{Hash, MOST_SIZE};

/// The first line of a statement by which a key names its successor.
pub const SUCCESSION: &str = "tradesense.audit-key/1";

/// How long a log is and what root it has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// The log's name, such as `audit.example.com/main`; its keys have the same one.
    pub origin: String,
    /// How many entries.
    pub size: u64,
    /// The root of their tree.
    pub root: Hash,
    /// Lines that mean nothing to others. We write none.
    pub extensions: Vec<String>,
}

/// A text that is no checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a checkpoint is three lines: the log's name, how many entries it has, and their root as 44 base64 digits"
)]
pub struct NotACheckpoint;

impl Checkpoint {
    /// Of a log without extension lines.
    pub fn new(origin: &str, size: u64, root: Hash) -> Self {
        Self { origin: origin.into(), size, root, extensions: Vec::new() }
    }

    /// Reads the text above the signatures.
    pub fn parse(text: &str) -> Result<Self, NotACheckpoint> {
        let mut lines = text.strip_suffix('\n').ok_or(NotACheckpoint)?.split('\n');
        let mut line = || lines.next().filter(|line| !line.is_empty()).ok_or(NotACheckpoint);
        let origin = line()?.to_owned();
        let size = parse_size(line()?).ok_or(NotACheckpoint)?;
        let root = Hash::parse_base64(line()?).ok_or(NotACheckpoint)?;
        let extensions: Vec<String> = lines.map(str::to_owned).collect();
        if extensions.iter().any(String::is_empty) || (size == 0 && root != Hash::EMPTY) {
            return Err(NotACheckpoint);
        }
        Ok(Self { origin, size, root, extensions })
    }

    /// Signs it. None if the log's name or an extension holds what no line can hold, or the key has another name.
    pub fn sign(&self, signer: &NoteSigner) -> Option<Note> {
        let text = self.to_string();
        let named = signer.public(Signs::Text).name() == self.origin;
        let mut note =
            Note::unsigned(text).filter(|note| named && Self::parse(note.text()) == Ok(self.clone()))?;
        let signature = signer.sign(note.text());
        note.add(signature);
        Some(note)
    }
}

impl fmt::Display for Checkpoint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "{}\n{}\n{}", self.origin, self.size, self.root.base64())?;
        self.extensions.iter().try_for_each(|line| writeln!(formatter, "{line}"))
    }
}

/// Digits without zeros before them, at most [`MOST_SIZE`].
pub(crate) fn parse_size(text: &str) -> Option<u64> {
    let size = text.parse().ok().filter(|size| *size <= MOST_SIZE)?;
    // `+7` and `007` would be the same number.
    (u64::to_string(&size) == text).then_some(size)
}

/// The statement that `next` signs the checkpoints after this one, signed by both keys: by the one before so that it is
/// believed, by the next so that nobody gives out another's key as his own. None if the names differ or no line can hold them.
pub fn succession(last: &Checkpoint, previous: &NoteSigner, next: &NoteSigner) -> Option<Note> {
    let key = next.public(Signs::Text);
    let named = previous.public(Signs::Text).name() == last.origin && key.name() == last.origin;
    let Checkpoint { origin, size, root, .. } = last;
    let root = root.base64();
    let mut note = Note::unsigned(format!("{SUCCESSION}\nlog {origin}\nafter {size} {root}\nnext {key}\n"))
        .filter(|_| named)?;
    for signer in [previous, next] {
        let signature = signer.sign(note.text());
        note.add(signature);
    }
    Some(note)
}

struct Succession {
    origin: String,
    size: u64,
    root: Hash,
    next: NoteKey,
}

impl Succession {
    fn parse(text: &str) -> Result<Self, KeyError> {
        let mut lines = text.strip_suffix('\n').unwrap_or_default().split('\n');
        let mut value = |name: &str| lines.next().and_then(|line| line.strip_prefix(name));
        let (Some(""), Some(origin), Some(after), Some(next), None) =
            (value(SUCCESSION), value("log "), value("after "), value("next "), value(""))
        else {
            return Err(KeyError::Form);
        };
        let (size, root) = after.split_once(' ').ok_or(KeyError::Form)?;
        Ok(Self {
            origin: origin.into(),
            size: parse_size(size).ok_or(KeyError::Form)?,
            root: Hash::parse_base64(root).ok_or(KeyError::Form)?,
            next: NoteKey::parse(next).map_err(KeyError::Next)?,
        })
    }
}

/// Whom somebody believes about a log: its key, what that key has said of its successors, and witnesses.
#[derive(Debug, Clone)]
pub struct Keys {
    origin: String,
    /// In the order in which they took over; each signs from its own place to that of the next.
    log: Vec<LogKey>,
    witnesses: Vec<NoteKey>,
    witnesses_needed: usize,
}

#[derive(Debug, Clone)]
struct LogKey {
    key: NoteKey,
    /// The last checkpoint of the key before it.
    after: Option<(u64, Hash)>,
}

/// Why a key is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Not a note.
    #[error("the statement of the next key cannot be read")]
    Note(#[source] NoteError),
    /// Not the four lines.
    #[error("the statement of the next key has not the form {SUCCESSION}")]
    Form,
    /// The next key is none.
    #[error("the next key cannot be read")]
    Next(#[source] NoteKeyError),
    /// Of another log.
    #[error("the next key is stated for the log {0:?}")]
    OtherLog(String),
    /// A log's key does not cosign, and a witness does not sign bare texts.
    #[error("the key {0} is not one for this use")]
    Use(String),
    /// Its key has already named another successor, or is none that is known.
    #[error("the statement of the next key is not signed by the key that is valid now, {0}")]
    Unsigned(String),
    /// The next key has not signed it.
    #[error("the next key {0} has not signed the statement itself")]
    NotOwned(String),
    /// A signature does not fit.
    #[error("the statement of the next key was changed after signing")]
    Forged(#[source] Forged),
    /// It goes back behind the key before.
    #[error("the next key would take over at entry {found}, before the one in front of it did at {wanted}")]
    Earlier {
        /// Where that one took over.
        wanted: u64,
        /// Where this one would.
        found: u64,
    },
    /// It was a key of this log before.
    #[error("the next key {0} was one of this log's keys before")]
    Again(String),
}

impl Keys {
    /// Believes one key, which was got from elsewhere than the log itself. The log has the key's name.
    pub fn new(key: NoteKey) -> Result<Self, KeyError> {
        if key.signs() != Signs::Text {
            return Err(KeyError::Use(key.to_string()));
        }
        let origin = key.name().to_owned();
        Ok(Self {
            origin,
            log: vec![LogKey { key, after: None }],
            witnesses: Vec::new(),
            witnesses_needed: 0,
        })
    }

    /// Wants each checkpoint to be cosigned by at least `needed` of these witnesses.
    pub fn with_witnesses(mut self, witnesses: Vec<NoteKey>, needed: usize) -> Result<Self, KeyError> {
        if let Some(other) = witnesses.iter().find(|key| key.signs() != Signs::Witnessed) {
            return Err(KeyError::Use(other.to_string()));
        }
        self.witnesses = witnesses;
        self.witnesses_needed = needed;
        Ok(self)
    }

    /// The same without what the first key and its successors have said: for a reader who is told that on the way.
    #[must_use]
    pub fn first_alone(&self) -> Self {
        let mut first = self.clone();
        first.log.truncate(1);
        first
    }

    /// The log's name.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// The key that signs now.
    pub fn latest(&self) -> Option<&NoteKey> {
        self.log.last().map(|log| &log.key)
    }

    /// Learns the next key from a statement of the one that is valid now. Says after which checkpoint it signs.
    pub fn succeed(&mut self, statement: &str) -> Result<(u64, Hash), KeyError> {
        let note = Note::parse(statement).map_err(KeyError::Note)?;
        let Succession { origin, size, root, next } = Succession::parse(note.text())?;
        if origin != self.origin || next.name() != self.origin {
            return Err(KeyError::OtherLog(origin));
        }
        if next.signs() != Signs::Text {
            return Err(KeyError::Use(next.to_string()));
        }
        let unsigned = |key: &NoteKey| KeyError::Unsigned(key.to_string());
        if let Some(LogKey { key, after }) = self.log.last() {
            note.signed_by(key).map_err(KeyError::Forged)?.ok_or_else(|| unsigned(key))?;
            if let Some((wanted, _)) = after.filter(|(wanted, _)| size < *wanted) {
                return Err(KeyError::Earlier { wanted, found: size });
            }
        }
        let owned = note.signed_by(&next).map_err(KeyError::Forged)?;
        owned.ok_or_else(|| KeyError::NotOwned(next.to_string()))?;
        if self.log.iter().any(|log| log.key.public() == next.public()) {
            return Err(KeyError::Again(next.to_string()));
        }
        self.log.push(LogKey { key: next, after: Some((size, root)) });
        Ok((size, root))
    }

    /// Reads a signed checkpoint and believes it, or says why not.
    pub fn open(&self, note: &str) -> Result<Opened, Unbelieved> {
        let note = Note::parse(note).map_err(Unbelieved::Note)?;
        let mut signed = Vec::new();
        for (place, log) in self.log.iter().enumerate() {
            if note.signed_by(&log.key)?.is_some() {
                signed.push((place, &log.key));
            }
        }
        let (_, first) = *signed.first().ok_or(Unbelieved::Unsigned)?;
        let mut witnesses = Vec::new();
        for witness in &self.witnesses {
            let at = note.signed_by(witness)?.and_then(|signed| signed.at);
            witnesses.extend(at.map(|at| (witness.clone(), at)));
        }
        let checkpoint = Checkpoint::parse(note.text()).map_err(Unbelieved::Text)?;
        let size = checkpoint.size;
        if checkpoint.origin != self.origin {
            return Err(Unbelieved::OtherLog(checkpoint.origin));
        }
        let in_time = signed.into_iter().find(|(place, _)| self.may_sign(*place, &checkpoint));
        let Some((_, key)) = in_time else {
            return Err(Unbelieved::OutsideItsTime { key: first.to_string(), size });
        };
        if witnesses.len() < self.witnesses_needed {
            return Err(Unbelieved::Witnesses { wanted: self.witnesses_needed, found: witnesses.len() });
        }
        Ok(Opened { checkpoint, key: key.clone(), witnesses })
    }

    /// Whether the key at this place had its time: from the checkpoint at which it took over to that at which it handed over,
    /// both of which it may sign as well.
    fn may_sign(&self, place: usize, checkpoint: &Checkpoint) -> bool {
        let Checkpoint { size, root, .. } = checkpoint;
        let after = self.log.get(place).and_then(|key| key.after);
        let until = self.log.get(place.saturating_add(1)).and_then(|next| next.after);
        let begun = after.is_none_or(|(after, at)| *size > after || (*size == after && *root == at));
        let not_over = until.is_none_or(|(until, at)| *size < until || (*size == until && *root == at));
        begun && not_over
    }
}

/// A checkpoint that is believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opened {
    /// What it says.
    pub checkpoint: Checkpoint,
    /// Which of the log's keys has signed.
    pub key: NoteKey,
    /// The known witnesses that have cosigned, and when, in seconds after 1970.
    pub witnesses: Vec<(NoteKey, u64)>,
}

/// Why a checkpoint is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unbelieved {
    /// Not a note.
    #[error("it cannot be read as a signed note")]
    Note(#[source] NoteError),
    /// By nobody who is known.
    #[error("it is signed by none of the log's keys that you trust")]
    Unsigned,
    /// A known key's signature does not fit.
    #[error("it was changed after signing")]
    Forged(#[from] Forged),
    /// A good note that is no checkpoint.
    #[error("it is signed and no checkpoint")]
    Text(#[source] NotACheckpoint),
    /// Of another log.
    #[error("it is one of the log {0:?}")]
    OtherLog(String),
    /// By a key that had handed over, or had not taken over yet.
    #[error("the key {key} was not to sign a log of {size} entries: another had that time")]
    OutsideItsTime {
        /// Which key.
        key: String,
        /// How long the log was.
        size: u64,
    },
    /// Too few known witnesses.
    #[error("{found} of the witnesses that you trust have cosigned it, and {wanted} are needed")]
    Witnesses {
        /// How many there should be.
        wanted: usize,
        /// How many there are.
        found: usize,
    },
}
