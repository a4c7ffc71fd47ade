//! Signed notes, as C2SP `signed-note` and the Go checksum database write them: a text, an empty line, and a line for
//! each signature. Ed25519 alone, by a log (type 1) or with the time by a witness (type 4, `cosignature/v1`).

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

use crate::{PublicKey, SigningKey};

/// The most bytes of a note.
pub const MOST_BYTES: usize = 131_072;

/// The most signatures of a note.
pub const MOST_SIGNATURES: usize = 100;

/// What a key's signatures say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Signs {
    /// The text.
    Text,
    /// That the text's checkpoint was the latest and consistent one at a time.
    Witnessed,
}

impl Signs {
    const fn code(self) -> u8 {
        match self {
            Self::Text => 1,
            Self::Witnessed => 4,
        }
    }
}

/// A public key with a name. Its text is `name+id+base64`, the "vkey" of other programs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoteKey {
    name: String,
    signs: Signs,
    key: PublicKey,
}

/// Why a key's text or name is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoteKeyError {
    /// Empty, or with a space, a plus or a control character.
    #[error("a key's name is not empty and has no spaces, plus or control characters")]
    Name,
    /// Not `name+8 digits+base64`.
    #[error("a key is written as its name, 8 hexadecimal digits and base64, with a plus between them")]
    Form,
    /// Another kind of signature.
    #[error("the key is not one of Ed25519 for notes (1) or cosignatures (4)")]
    Kind,
    /// No public key, or one that accepts forged signatures.
    #[error("the key's bytes are no good Ed25519 public key")]
    Key,
    /// Mistyped somewhere.
    #[error("the key's digits are not those of its name and bytes")]
    Id,
}

impl NoteKey {
    /// The key with a name.
    pub fn new(name: &str, signs: Signs, key: PublicKey) -> Result<Self, NoteKeyError> {
        if is_name(name) { Ok(Self { name: name.into(), signs, key }) } else { Err(NoteKeyError::Name) }
    }

    /// Reads `name+id+base64`.
    pub fn parse(text: &str) -> Result<Self, NoteKeyError> {
        let mut parts = text.splitn(3, '+');
        let (Some(name), Some(id), Some(bytes)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(NoteKeyError::Form);
        };
        let bytes = STANDARD.decode(bytes).map_err(|_| NoteKeyError::Form)?;
        let (kind, bytes) = bytes.split_first().ok_or(NoteKeyError::Form)?;
        let signs = match kind {
            1 => Signs::Text,
            4 => Signs::Witnessed,
            _ => return Err(NoteKeyError::Kind),
        };
        let bytes = bytes.try_into().map_err(|_| NoteKeyError::Key)?;
        let key = PublicKey::from_bytes(bytes).map_err(|_| NoteKeyError::Key)?;
        let key = Self::new(name, signs, key)?;
        if hex::encode(key.id()) == id { Ok(key) } else { Err(NoteKeyError::Id) }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What its signatures say.
    pub const fn signs(&self) -> Signs {
        self.signs
    }

    /// The bare key.
    pub const fn public(&self) -> &PublicKey {
        &self.key
    }

    /// Stands before its signatures. Short: it finds a key and proves nothing.
    pub fn id(&self) -> [u8; 4] {
        let mut hasher = Sha256::new();
        hasher.update(self.name.as_bytes());
        hasher.update([b'\n', self.signs.code()]);
        hasher.update(self.key.bytes());
        let hash: [u8; 32] = hasher.finalize().into();
        let mut id = [0; 4];
        for (to, from) in id.iter_mut().zip(hash) {
            *to = from;
        }
        id
    }
}

impl fmt::Display for NoteKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = vec![self.signs.code()];
        bytes.extend_from_slice(self.key.bytes());
        write!(formatter, "{}+{}+{}", self.name, hex::encode(self.id()), STANDARD.encode(bytes))
    }
}

fn is_name(name: &str) -> bool {
    let refused = |character: char| character.is_whitespace() || character.is_control() || character == '+';
    !name.is_empty() && !name.contains(refused)
}

/// The private half of a [`NoteKey`].
#[derive(Debug)]
pub struct NoteSigner {
    name: String,
    key: SigningKey,
}

impl NoteSigner {
    /// A key with a name. A key serves one name and one purpose: what it signs is not framed further.
    pub fn new(name: &str, key: SigningKey) -> Result<Self, NoteKeyError> {
        if is_name(name) { Ok(Self { name: name.into(), key }) } else { Err(NoteKeyError::Name) }
    }

    /// The half that everybody may know.
    pub fn public(&self, signs: Signs) -> NoteKey {
        NoteKey { name: self.name.clone(), signs, key: self.key.public() }
    }

    /// Signs a text.
    pub fn sign(&self, text: &str) -> NoteSignature {
        let signature = self.key.sign_bare(text.as_bytes()).to_vec();
        NoteSignature { name: self.name.clone(), id: self.public(Signs::Text).id(), signature }
    }

    /// Signs as a witness that this checkpoint was the latest and consistent one, `at` seconds after 1970.
    pub fn witness(&self, text: &str, at: u64) -> NoteSignature {
        let mut signature = at.to_be_bytes().to_vec();
        signature.extend(self.key.sign_bare(witnessed(text, at).as_bytes()));
        NoteSignature { name: self.name.clone(), id: self.public(Signs::Witnessed).id(), signature }
    }
}

fn witnessed(text: &str, at: u64) -> String {
    format!("cosignature/v1\ntime {at}\n{text}")
}

/// One line below a note.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoteSignature {
    name: String,
    id: [u8; 4],
    signature: Vec<u8>,
}

impl NoteSignature {
    /// Reads one line, without its line feed.
    pub fn parse(line: &str) -> Option<Self> {
        let (name, bytes) = line.strip_prefix("\u{2014} ")?.split_once(' ')?;
        let bytes = STANDARD.decode(bytes).ok()?;
        let (id, signature) = bytes.split_first_chunk()?;
        let whole = is_name(name) && !signature.is_empty();
        whole.then(|| Self { name: name.into(), id: *id, signature: signature.into() })
    }

    /// Of whom it says it is.
    pub fn name(&self) -> &str {
        &self.name
    }

    fn is_of(&self, key: &NoteKey) -> bool {
        self.name == key.name && self.id == key.id()
    }

    /// When a witness says that it signed, in seconds after 1970; nothing for a log's signature.
    fn verify(&self, text: &str, key: &NoteKey) -> Result<Option<u64>, Forged> {
        let forged = || Forged(key.to_string());
        match key.signs {
            Signs::Text => {
                let signature = self.signature.as_slice().try_into().map_err(|_| forged())?;
                key.key.verify_bare(text.as_bytes(), signature).map_err(|_| forged())?;
                Ok(None)
            }
            Signs::Witnessed => {
                let (at, signature) = self.signature.split_first_chunk().ok_or_else(forged)?;
                let at = u64::from_be_bytes(*at);
                let signature = signature.try_into().map_err(|_| forged())?;
                let message = witnessed(text, at);
                if i64::try_from(at).is_err() || key.key.verify_bare(message.as_bytes(), signature).is_err() {
                    return Err(forged());
                }
                Ok(Some(at))
            }
        }
    }
}

impl fmt::Display for NoteSignature {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = self.id.to_vec();
        bytes.extend_from_slice(&self.signature);
        write!(formatter, "\u{2014} {} {}", self.name, STANDARD.encode(bytes))
    }
}

/// A signature by a known key that does not fit: somebody changed the note.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the signature of the key {0} is not that of this text")]
pub struct Forged(String);

/// Why a text is no note.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    /// Longer than [`MOST_BYTES`].
    #[error("a note has at most {MOST_BYTES} bytes")]
    TooLong,
    /// Control characters within.
    #[error("a note holds no control characters but line feeds")]
    Control,
    /// No text, no empty line or no signatures after it.
    #[error("a note is a text, an empty line and at least one line with a signature")]
    Form,
    /// A line that is no signature.
    #[error("line {0} below the text is no signature")]
    Signature(usize),
    /// More than [`MOST_SIGNATURES`].
    #[error("a note has at most {MOST_SIGNATURES} signatures")]
    TooMany,
}

/// A text with the lines below it. Nothing in it is to be believed before a signature was verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    text: String,
    signatures: Vec<NoteSignature>,
}

impl Note {
    /// A text without signatures yet. None if it does not end in a line feed or holds control characters.
    pub fn unsigned(text: String) -> Option<Self> {
        let whole = text.ends_with('\n') && !has_control(&text);
        whole.then(|| Self { text, signatures: Vec::new() })
    }

    /// Reads a whole note.
    pub fn parse(note: &str) -> Result<Self, NoteError> {
        if note.len() > MOST_BYTES {
            return Err(NoteError::TooLong);
        }
        if has_control(note) {
            return Err(NoteError::Control);
        }
        let (before, lines) = note.rsplit_once("\n\n").ok_or(NoteError::Form)?;
        let lines = lines.strip_suffix('\n').ok_or(NoteError::Form)?;
        let mut signatures = Vec::new();
        for (number, line) in (1..).zip(lines.split('\n')) {
            if number > MOST_SIGNATURES {
                return Err(NoteError::TooMany);
            }
            signatures.push(NoteSignature::parse(line).ok_or(NoteError::Signature(number))?);
        }
        Ok(Self { text: format!("{before}\n"), signatures })
    }

    /// What is signed.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The lines below it.
    pub fn signatures(&self) -> &[NoteSignature] {
        &self.signatures
    }

    /// One more line below it; one that stands there already is not repeated.
    pub fn add(&mut self, signature: NoteSignature) {
        if !self.signatures.contains(&signature) {
            self.signatures.push(signature);
        }
    }

    /// Whether the key has signed: nothing if it has no line here, an error if its line does not fit.
    pub fn signed_by(&self, key: &NoteKey) -> Result<Option<Signed>, Forged> {
        let mut signed = None;
        for line in self.signatures.iter().filter(|line| line.is_of(key)) {
            let at = line.verify(&self.text, key)?;
            signed = signed.or(Some(Signed { at }));
        }
        Ok(signed)
    }
}

/// A good signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signed {
    /// When a witness says that it signed, in seconds after 1970; nothing for a log's signature.
    pub at: Option<u64>,
}

fn has_control(text: &str) -> bool {
    text.bytes().any(|byte| byte < 0x20 && byte != b'\n')
}

impl fmt::Display for Note {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "{}", self.text)?;
        self.signatures.iter().try_for_each(|signature| writeln!(formatter, "{signature}"))
    }
}
