//! A part of the log, or all of it, in one file that a stranger checks without us.
//!
//! The file begins with the line `tradesense.audit-export/1`. Pieces follow: a letter, the length of what follows in 4
//! bytes (big-endian), and that.
//!
//! | letter | what follows |
//! | --- | --- |
//! | `H` | once, first: the lines `origin`, `first`, `end`, `size`, `firm`, each with its value after a space |
//! | `N` | a level (1 byte) and a hash: the root of 2^level entries that are left out here |
//! | `E` | a hash and the bytes of [`crate::entry`]: the next entry and the hash with which it stands in the tree |
//! | `K` | the statement of the next key, where the one before has signed for the last time |
//! | `C` | a signed checkpoint of all entries up to here |
//! | `Z` | nothing: the end |
//!
//! The entries `[first, end)` are in the file, without a gap, or those of one `firm` among them; of all others up to
//! `size` only hashes are. (That none of a firm's was left out, only the whole log can show: a hash does not say whose
//! entry it is of.) So the [`Verifier`] comes to the root of every size at which a checkpoint stands, by itself
//! and in one pass, whatever part the file is of. It holds one piece and one [`Frontier`].
//!
//! For every entry it is checked that its bytes are the one form of an entry, that they have the hash that stands
//! beside them, and that the entry says itself that it stands at this place; the texts within are not read. A changed
//! entry whose hash was changed as well comes to light at the next checkpoint.

use std::fmt::Write as _;

use kernel::FirmId;
use uuid::Uuid;

use crate::checkpoint::{Checkpoint, KeyError, Keys, Opened, Unbelieved, parse_size};
use crate::entry::{self, Entry, NotAnEntry};
use crate::note;
use crate::tree::{Frontier, Hash, Node, cover};

/// The first line.
pub const FORMAT: &str = "tradesense.audit-export/1";

/// The most bytes of a piece.
const MOST_PIECE: usize = {
    const ENTRY: usize = entry::MOST_BYTES.saturating_add(32);
    if ENTRY > note::MOST_BYTES { ENTRY } else { note::MOST_BYTES }
};

/// What a file says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// The log's name.
    pub origin: String,
    /// The first entry that is in the file.
    pub first: u64,
    /// The one after the last that is in the file.
    pub end: u64,
    /// How long the log is at the last checkpoint of the file.
    pub size: u64,
    /// The only firm whose entries are in the file.
    pub firm: Option<FirmId>,
}

impl Header {
    fn parse(bytes: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(bytes).ok()?;
        let mut lines = text.strip_suffix('\n')?.split('\n');
        let mut value = |name: &str| lines.next()?.strip_prefix(name)?.strip_prefix(' ');
        let header = Self {
            origin: value("origin")?.to_owned(),
            first: parse_size(value("first")?)?,
            end: parse_size(value("end")?)?,
            size: parse_size(value("size")?)?,
            firm: match value("firm")? {
                "all" => None,
                firm => Some(FirmId::from_uuid(Uuid::parse_str(firm).ok()?)),
            },
        };
        let whole = header.first <= header.end && header.end <= header.size && header.text() == text;
        whole.then_some(header)
    }

    fn text(&self) -> String {
        let Self { origin, first, end, size, firm } = self;
        let firm = firm.map_or_else(|| "all".into(), |firm| firm.uuid().to_string());
        format!("origin {origin}\nfirst {first}\nend {end}\nsize {size}\nfirm {firm}\n")
    }
}

/// Begins a file.
pub fn begin(header: &Header, file: &mut Vec<u8>) {
    file.extend_from_slice(FORMAT.as_bytes());
    file.push(b'\n');
    piece(b'H', &[header.text().as_bytes()], file);
}

/// The next entry, with the hash that is stored for it: a row that was changed does not come to its hash any more, and
/// the verifier says so of this very entry.
pub fn write_entry(hash: &Hash, bytes: &[u8], file: &mut Vec<u8>) {
    piece(b'E', &[hash.bytes(), bytes], file);
}

/// Leaves out the entries `[start, end)`. Cut such a range at every size whose checkpoint is to follow, and at that of the
/// checkpoint that the reader trusts.
pub fn write_left_out<E>(
    start: u64,
    end: u64,
    mut read: impl FnMut(Node) -> Result<Hash, E>,
    file: &mut Vec<u8>,
) -> Result<(), E> {
    for node in cover(start, end) {
        piece(b'N', &[&[node.level], read(node)?.bytes()], file);
    }
    Ok(())
}

/// The statement of the next key, after the last checkpoint of the key before.
pub fn write_succession(note: &str, file: &mut Vec<u8>) {
    piece(b'K', &[note.as_bytes()], file);
}

/// A signed checkpoint of everything up to here.
pub fn write_checkpoint(note: &str, file: &mut Vec<u8>) {
    piece(b'C', &[note.as_bytes()], file);
}

/// Ends a file, after the last checkpoint.
pub fn end(file: &mut Vec<u8>) {
    piece(b'Z', &[], file);
}

fn piece(letter: u8, parts: &[&[u8]], file: &mut Vec<u8>) {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    file.push(letter);
    // What is longer than 4 GiB is longer than any piece, and refused by the reader as such.
    file.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
    for part in parts {
        file.extend_from_slice(part);
    }
}

/// What a reader knows from elsewhere.
#[derive(Debug, Clone)]
pub struct Trust {
    /// The log's key and its witnesses.
    pub keys: Keys,
    /// The newest checkpoint that was verified before, here or by somebody else. Without it a log that was rewritten with
    /// its own key, or restored to an older state, looks like any other.
    pub checkpoint: Option<(u64, Hash)>,
}

/// What has been shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// What the file says of itself; all of it holds.
    pub header: Header,
    /// How many entries were in the file.
    pub entries: u64,
    /// The last checkpoint: what to trust from now on.
    pub checkpoint: Opened,
    /// How many checkpoints there were.
    pub checkpoints: u64,
    /// The reader's own checkpoint, which this log continues.
    pub continues: Option<u64>,
}

impl Verified {
    /// What was shown, and what was not.
    pub fn sentence(&self) -> String {
        let Self { header: Header { first, end, size, firm, .. }, entries, checkpoints, .. } = self;
        let (done, whose) = match firm {
            None => ("changed, added, removed or moved", ""),
            Some(_) => ("changed, added or moved", "of the firm "),
        };
        let mut text = format!(
            "Nothing was {done}: {entries} entries {whose}from {first} up to but not {end}, under {checkpoints} checkpoints, \
             the last of {size} entries."
        );
        if firm.is_some() {
            text.push_str(" Whether one of the firm's was left out, only an export of all firms can show.");
        }
        // Writing to a string does not fail.
        let _written = match self.continues {
            Some(older) => write!(text, " They continue the checkpoint of {older} entries that you trust."),
            None => write!(
                text,
                " You named no checkpoint from before: whether the log was rewritten since then this cannot show."
            ),
        };
        text
    }
}

/// Why a file is refused: the first thing in it that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Another file.
    #[error("this is not an export of an audit log: it does not begin with the line {FORMAT}")]
    NotAnExport,
    /// The header is not as we write it.
    #[error("the export's first lines were changed: they have not the form of a header")]
    Header,
    /// Of another log.
    #[error("this is an export of the log {found:?}, and your key is of {wanted:?}")]
    OtherLog {
        /// The key's.
        wanted: String,
        /// The file's.
        found: String,
    },
    /// Bytes that are none of the pieces, or a piece where it cannot stand.
    #[error("after {at} entries the export goes on with what cannot stand there: {what}")]
    Piece {
        /// How many entries were read or left out before.
        at: u64,
        /// What is wrong.
        what: &'static str,
    },
    /// An entry that is wrong in itself or at its place.
    #[error("entry {index} is wrong")]
    Entry {
        /// Its place.
        index: u64,
        /// How.
        source: WrongEntry,
    },
    /// Left out without being said.
    #[error("entries {first} to {last} are missing: the export says that it holds them")]
    Missing {
        /// The first of them.
        first: u64,
        /// The last of them.
        last: u64,
    },
    /// A checkpoint that is wrong in itself or for what is before it.
    #[error("the checkpoint after entry number {size} is wrong")]
    Checkpoint {
        /// How many entries are before it.
        size: u64,
        /// How.
        source: WrongCheckpoint,
    },
    /// The next key is not believed.
    #[error("the change of keys after {size} entries is wrong")]
    Key {
        /// How many entries are before it.
        size: u64,
        /// How.
        source: KeyError,
    },
    /// The change of keys names another root.
    #[error("the change of keys after {size} entries was stated for another log than this: {range}")]
    OtherRootAtKey {
        /// How many entries are before it.
        size: u64,
        /// Where the difference lies.
        range: Range,
    },
    /// Not the log that the reader knows.
    #[error(
        "the log was rewritten: its first {size} entries are not those of the checkpoint that you trust; {range}"
    )]
    Rewritten {
        /// The size of the reader's checkpoint.
        size: u64,
        /// Where the difference lies.
        range: Range,
    },
    /// Older than what the reader knows.
    #[error(
        "the log was cut or set back: this ends with a checkpoint of {size} entries, and there were {trusted} before"
    )]
    Behind {
        /// The size of the reader's checkpoint.
        trusted: u64,
        /// That of the file's last one.
        size: u64,
    },
    /// The reader's checkpoint lies within a range that was left out as one.
    #[error(
        "the export does not show whether it continues the checkpoint of {trusted} entries that you trust: it leaves out a \
         range around it; ask for one that is cut there"
    )]
    NotShown {
        /// The size of the reader's checkpoint.
        trusted: u64,
    },
    /// The end is missing.
    #[error("the export is cut: it ends after {at} entries, before its end piece")]
    Cut {
        /// How many entries were read or left out.
        at: u64,
    },
}

/// What is wrong with an entry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WrongEntry {
    /// The bytes are no entry.
    #[error("it was changed: its bytes are none of an entry")]
    Bytes(#[source] NotAnEntry),
    /// Its bytes or its hash were changed.
    #[error("it was changed: it has the hash {found}, and stands in the tree with {wanted}")]
    Changed {
        /// In the tree.
        wanted: Hash,
        /// Of the bytes.
        found: Hash,
    },
    /// Removed, added or moved around here.
    #[error("in its place stands what says of itself to be entry {found}: one was removed, added or moved")]
    OtherPlace {
        /// What the entry says.
        found: u64,
    },
    /// Of a firm that is not the file's.
    #[error("it is an entry of another firm")]
    OtherFirm,
    /// Not the one in the reader's copy.
    #[error("it was changed together with its hash {found}: in the copy it has {wanted}")]
    OtherThanCopy {
        /// In the copy.
        wanted: Hash,
        /// In the file.
        found: Hash,
    },
}

/// What is wrong with a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WrongCheckpoint {
    /// Unsigned, forged, of another log.
    #[error("it is not believed")]
    Unbelieved(#[source] Unbelieved),
    /// Of another size.
    #[error("it is one of {found} entries: one from before, or one that was removed from its place")]
    OtherSize {
        /// What it says.
        found: u64,
    },
    /// The entries were changed, or another log's checkpoint was put here.
    #[error("the entries before it are not those it was signed for: {0}")]
    OtherRoot(Range),
    /// The last one of the file does not cover what is before it.
    #[error("it is missing: nobody has signed for what stands here")]
    Missing,
}

/// Where a difference lies that shows only at a root: after the last place at which all was well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// The first entry that may be wrong.
    pub first: u64,
    /// The one after the last.
    pub end: u64,
}

impl std::fmt::Display for Range {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { first, end } = self;
        match end.checked_sub(1) {
            Some(last) if first < end => {
                write!(formatter, "the first wrong one is entry {first} or one after it, up to entry {last}")
            }
            _ => formatter.write_str("the entries are those that were signed for before, with another root"),
        }
    }
}

type Copies<'a> = Box<dyn FnMut(u64) -> Option<Hash> + Send + 'a>;

/// Checks a file in one pass, as it comes: [`Verifier::feed`] with any parts of it, then [`Verifier::finish`].
pub struct Verifier<'a> {
    trust: Trust,
    copies: Option<Copies<'a>>,
    /// The beginning of a piece whose rest has not come.
    waiting: Vec<u8>,
    begun: bool,
    ended: bool,
    header: Option<Header>,
    frontier: Frontier,
    entries: u64,
    checkpoints: u64,
    last: Option<Opened>,
    /// The last size at which the root was known to be right.
    right_up_to: u64,
    continues: Option<u64>,
}

impl std::fmt::Debug for Verifier<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Verifier(at {})", self.frontier.size())
    }
}

impl<'a> Verifier<'a> {
    /// For a reader who trusts this.
    pub fn new(trust: Trust) -> Self {
        Self {
            trust,
            copies: None,
            waiting: Vec::new(),
            begun: false,
            ended: false,
            header: None,
            frontier: Frontier::new(),
            entries: 0,
            checkpoints: 0,
            last: None,
            right_up_to: 0,
            continues: None,
        }
    }

    /// Compares every entry with the hash in a copy, where the copy has one: the hashes of level 0 of tiles that were
    /// kept elsewhere. It names the very entry where a changed one was given a new hash; without copies that shows at the
    /// next checkpoint.
    #[must_use]
    pub fn with_copies(mut self, copies: impl FnMut(u64) -> Option<Hash> + Send + 'a) -> Self {
        self.copies = Some(Box::new(copies));
        self
    }

    /// How many entries were read or left out so far.
    pub fn at(&self) -> u64 {
        self.frontier.size()
    }

    /// Takes the next part of the file. After a refusal the rest is not looked at.
    pub fn feed(&mut self, part: &[u8]) -> Result<(), Refused> {
        let mut part = part;
        // What waits is completed by as little as possible, so that all else is read where it lies.
        while !self.waiting.is_empty() && !part.is_empty() {
            let mut waiting = std::mem::take(&mut self.waiting);
            let (more, rest) = part.split_at(self.lacking(&waiting).clamp(1, part.len()));
            waiting.extend_from_slice(more);
            part = rest;
            let left = self.pieces(&waiting)?.len();
            waiting.drain(..waiting.len().saturating_sub(left));
            self.waiting = waiting;
        }
        let rest = self.pieces(part)?;
        self.waiting.extend_from_slice(rest);
        Ok(())
    }

    /// The whole file was fed.
    pub fn finish(self) -> Result<Verified, Refused> {
        let at = self.at();
        if !self.begun {
            return Err(Refused::NotAnExport);
        }
        let (Some(header), Some(checkpoint)) = (self.header, self.last) else {
            return Err(Refused::Cut { at });
        };
        if !self.ended {
            return Err(Refused::Cut { at });
        }
        let Self { entries, checkpoints, continues, .. } = self;
        Ok(Verified { header, entries, checkpoint, checkpoints, continues })
    }

    /// How many bytes the beginning of a piece needs to go on.
    fn lacking(&self, waiting: &[u8]) -> usize {
        let wanted = match waiting.split_first_chunk::<5>() {
            Some(([_, length @ ..], _)) if self.begun => usize::try_from(u32::from_be_bytes(*length))
                .unwrap_or(usize::MAX)
                .min(MOST_PIECE)
                .saturating_add(5),
            _ => 5,
        };
        wanted.saturating_sub(waiting.len())
    }

    /// Takes whole pieces; what is left is the beginning of one.
    fn pieces<'b>(&mut self, bytes: &'b [u8]) -> Result<&'b [u8], Refused> {
        let mut rest = bytes;
        if !self.begun {
            let wanted = FORMAT.bytes().chain([b'\n']);
            if !wanted.clone().zip(rest.iter().copied()).all(|(wanted, found)| wanted == found) {
                return Err(Refused::NotAnExport);
            }
            let Some((_, after)) = rest.split_at_checked(wanted.count()) else { return Ok(rest) };
            self.begun = true;
            rest = after;
        }
        while let Some((head, after)) = rest.split_first_chunk::<5>() {
            let [letter, length @ ..] = head;
            let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
            if length > MOST_PIECE {
                return Err(self.misplaced("a piece that is longer than any can be"));
            }
            let Some((piece, after)) = after.split_at_checked(length) else { return Ok(rest) };
            self.piece(*letter, piece)?;
            rest = after;
        }
        Ok(rest)
    }

    fn misplaced(&self, what: &'static str) -> Refused {
        Refused::Piece { at: self.at(), what }
    }

    fn piece(&mut self, letter: u8, piece: &[u8]) -> Result<(), Refused> {
        if self.ended {
            return Err(self.misplaced("a piece after the end"));
        }
        match (letter, self.header.is_some()) {
            (b'H', false) => self.begin(piece),
            (_, false) => Err(Refused::Header),
            (b'E', true) => self.entry(piece),
            (b'N', true) => self.left_out(piece),
            (b'C', true) => self.checkpoint(piece),
            (b'K', true) => self.succession(piece),
            (b'Z', true) => self.end(piece),
            (_, true) => Err(self.misplaced("a piece of no known kind")),
        }
    }

    fn begin(&mut self, piece: &[u8]) -> Result<(), Refused> {
        let header = Header::parse(piece).ok_or(Refused::Header)?;
        let wanted = self.trust.keys.origin();
        if header.origin != wanted {
            return Err(Refused::OtherLog { wanted: wanted.into(), found: header.origin });
        }
        if let Some((trusted, _)) = self.trust.checkpoint.filter(|(trusted, _)| *trusted > header.size) {
            return Err(Refused::Behind { trusted, size: header.size });
        }
        self.header = Some(header);
        self.compare_with_trusted()
    }

    fn entry(&mut self, piece: &[u8]) -> Result<(), Refused> {
        let index = self.frontier.size();
        let wrong = |source| Refused::Entry { index, source };
        let Some((wanted, bytes)) = piece.split_first_chunk() else {
            return Err(self.misplaced("an entry without its hash"));
        };
        let wanted = Hash::new(*wanted);
        let Some(Header { first, end, firm, .. }) = self.header else { return Err(Refused::Header) };
        if index < first || index >= end {
            return Err(self.misplaced("an entry outside the range that the export is of"));
        }
        let entry = Entry::decode(bytes).map_err(|source| wrong(WrongEntry::Bytes(source)))?;
        let found = Hash::leaf(bytes);
        if found != wanted {
            return Err(wrong(WrongEntry::Changed { wanted, found }));
        }
        if entry.index != index {
            return Err(wrong(WrongEntry::OtherPlace { found: entry.index }));
        }
        if firm.is_some_and(|firm| firm != entry.firm) {
            return Err(wrong(WrongEntry::OtherFirm));
        }
        if let Some(copied) = self.copies.as_mut().and_then(|copies| copies(index))
            && copied != found
        {
            return Err(wrong(WrongEntry::OtherThanCopy { wanted: copied, found }));
        }
        self.frontier
            .push(found, |_, _| ())
            .map_err(|_| self.misplaced("more entries than a log can hold"))?;
        self.entries = self.entries.saturating_add(1);
        self.compare_with_trusted()
    }

    fn left_out(&mut self, piece: &[u8]) -> Result<(), Refused> {
        let node = piece.split_first().and_then(|(level, hash)| Some((*level, Hash::from_slice(hash)?)));
        let Some((level, hash)) = node else { return Err(self.misplaced("a hash that is none")) };
        let Some(Header { first, end, size, firm, .. }) = self.header else { return Err(Refused::Header) };
        let before = self.frontier.size();
        self.frontier
            .push_node(level, hash, |_, _| ())
            .map_err(|_| Refused::Piece { at: before, what: "a hash of entries that do not begin here" })?;
        let after = self.frontier.size();
        if after > size {
            return Err(self.misplaced("entries after the last checkpoint"));
        }
        let (missing, missing_end) = (before.max(first), after.min(end));
        if firm.is_none() && missing < missing_end {
            return Err(Refused::Missing { first: missing, last: missing_end.saturating_sub(1) });
        }
        if let Some((trusted, _)) = self.trust.checkpoint
            && before < trusted
            && trusted < after
        {
            return Err(Refused::NotShown { trusted });
        }
        self.compare_with_trusted()
    }

    /// Where nothing is known to be wrong yet: between the last root that was right and here.
    fn range(&self) -> Range {
        Range { first: self.right_up_to, end: self.frontier.size() }
    }

    fn compare_with_trusted(&mut self) -> Result<(), Refused> {
        let size = self.frontier.size();
        match self.trust.checkpoint {
            Some((trusted, root)) if trusted == size => {
                if self.frontier.root() != root {
                    return Err(Refused::Rewritten { size, range: self.range() });
                }
                self.continues = Some(size);
                self.right_up_to = size;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn checkpoint(&mut self, piece: &[u8]) -> Result<(), Refused> {
        let size = self.frontier.size();
        let wrong = |source| Refused::Checkpoint { size, source };
        let note = std::str::from_utf8(piece).map_err(|_| self.misplaced("a checkpoint that is no text"))?;
        let opened = self
            .trust
            .keys
            .open(note)
            .map_err(|unbelieved| wrong(WrongCheckpoint::Unbelieved(unbelieved)))?;
        let Checkpoint { size: found, root, .. } = opened.checkpoint;
        if found != size {
            return Err(wrong(WrongCheckpoint::OtherSize { found }));
        }
        if root != self.frontier.root() {
            return Err(wrong(WrongCheckpoint::OtherRoot(self.range())));
        }
        self.right_up_to = size;
        self.checkpoints = self.checkpoints.saturating_add(1);
        self.last = Some(opened);
        Ok(())
    }

    fn succession(&mut self, piece: &[u8]) -> Result<(), Refused> {
        let size = self.frontier.size();
        let note =
            std::str::from_utf8(piece).map_err(|_| self.misplaced("a statement of keys that is no text"))?;
        let (after, root) = self.trust.keys.succeed(note).map_err(|source| Refused::Key { size, source })?;
        if after != size {
            return Err(self.misplaced("a change of keys that was stated for another place"));
        }
        if root != self.frontier.root() {
            return Err(Refused::OtherRootAtKey { size, range: self.range() });
        }
        self.right_up_to = size;
        Ok(())
    }

    fn end(&mut self, piece: &[u8]) -> Result<(), Refused> {
        let size = self.frontier.size();
        let said = self.header.as_ref().map_or(0, |header| header.size);
        if !piece.is_empty() {
            return Err(self.misplaced("an end with something in it"));
        }
        if size != said {
            return Err(Refused::Cut { at: size });
        }
        if self.last.as_ref().is_none_or(|last| last.checkpoint.size != size) {
            return Err(Refused::Checkpoint { size, source: WrongCheckpoint::Missing });
        }
        self.ended = true;
        Ok(())
    }
}
