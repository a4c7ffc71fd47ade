//! Whether somebody is who they say: what they show for it, who looks at it, and until when it counts.
//!
//! A [`Verifier`] may look first; where it does not decide, the firm's people do, each with a reason that is written down before
//! they see anything. Documents are sealed under the key of whoever shows them and go with an erasure.

mod sandbox;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use kernel::{Clock, DocumentId, FirmId, PersonId, Rng, Span, Timestamp};
use serde_json::json;

use crate::privacy::MOST_REASON;
use crate::trading::{AuditEntry, Digests};
use crate::{AppError, Context, Permission};

pub use sandbox::SandboxVerifier;

/// How somebody stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Nothing was shown.
    None,
    /// Something was shown, and more may follow.
    Started,
    /// Somebody is to look at it.
    Submitted,
    /// We know who it is.
    Verified,
    /// What was shown is not enough, or not theirs.
    Refused,
    /// We knew; it has to be shown anew.
    Expired,
}

impl Standing {
    /// All.
    pub const ALL: [Self; 6] =
        [Self::None, Self::Started, Self::Submitted, Self::Verified, Self::Refused, Self::Expired];

    /// The word in rows and answers.
    pub const fn word(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Started => "started",
            Self::Submitted => "submitted",
            Self::Verified => "verified",
            Self::Refused => "refused",
            Self::Expired => "expired",
        }
    }
}

/// How somebody stands, and until when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Known {
    /// As it was written.
    pub standing: Standing,
    /// Until when it counts, if they are verified.
    pub expires_at: Option<Timestamp>,
}

impl Known {
    /// Nothing is known.
    pub const NOTHING: Self = Self { standing: Standing::None, expires_at: None };

    /// How they stand at an instant: what has run out no longer counts, whoever has written so or not.
    pub fn at(&self, at: Timestamp) -> Standing {
        let over = self.expires_at.is_none_or(|end| end <= at);
        if self.standing == Standing::Verified && over { Standing::Expired } else { self.standing }
    }
}

/// The check of somebody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// Whose.
    pub person: PersonId,
    /// How they stand.
    pub known: Known,
    /// Who looks at the documents.
    pub verifier: String,
    /// The verifier's name of it.
    pub reference: Option<String>,
    /// Why it was refused.
    pub reason: Option<String>,
    /// Who of the firm's people decided, if one did.
    pub reviewer: Option<PersonId>,
    /// When the first document was shown.
    pub started_at: Timestamp,
    /// When the person said that these are all.
    pub submitted_at: Option<Timestamp>,
    /// When it was decided.
    pub decided_at: Option<Timestamp>,
}

/// What a document is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DocumentKind {
    /// A passport.
    Passport,
    /// A national identity card.
    IdCard,
    /// A driving licence.
    DrivingLicence,
    /// What shows where they live.
    Address,
    /// A picture of themselves.
    Selfie,
}

impl DocumentKind {
    /// All.
    pub const ALL: [Self; 5] =
        [Self::Passport, Self::IdCard, Self::DrivingLicence, Self::Address, Self::Selfie];

    /// The word in rows and requests.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Passport => "passport",
            Self::IdCard => "id_card",
            Self::DrivingLicence => "driving_licence",
            Self::Address => "address",
            Self::Selfie => "selfie",
        }
    }

    /// Whether it shows who somebody is.
    pub const fn shows_who(self) -> bool {
        matches!(self, Self::Passport | Self::IdCard | Self::DrivingLicence)
    }
}

/// Which files are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MediaType {
    /// A photograph.
    Jpeg,
    /// A picture.
    Png,
    /// A document.
    Pdf,
}

impl MediaType {
    /// All.
    pub const ALL: [Self; 3] = [Self::Jpeg, Self::Png, Self::Pdf];

    /// As in a header.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Jpeg => "image/jpeg",
            Self::Png => "image/png",
            Self::Pdf => "application/pdf",
        }
    }

    /// What the bytes begin with, whatever the sender calls them.
    pub fn of(bytes: &[u8]) -> Option<Self> {
        let begins: [(&[u8], Self); 3] = [
            (&[0xff, 0xd8, 0xff], Self::Jpeg),
            (&[0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1a, b'\n'], Self::Png),
            (b"%PDF-", Self::Pdf),
        ];
        begins.into_iter().find(|(begin, _)| bytes.starts_with(begin)).map(|(_, media)| media)
    }
}

/// The largest document.
pub const MOST_DOCUMENT_BYTES: usize = 5 * 1_024 * 1_024;

/// So many documents are kept of somebody.
pub const MOST_DOCUMENTS: usize = 8;

/// So long it counts that somebody was verified, unless whoever verifies says otherwise.
pub const COUNTS_FOR: Span = Span::from_seconds(730 * 86_400);

/// A document without its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DocumentInfo {
    /// Its name.
    pub id: DocumentId,
    /// What it is.
    pub kind: DocumentKind,
    /// What file.
    pub media: MediaType,
    /// How many bytes.
    pub size: usize,
    /// When it was shown.
    pub uploaded_at: Timestamp,
}

/// A document.
#[derive(Clone, PartialEq, Eq)]
pub struct Document {
    /// What it is.
    pub info: DocumentInfo,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

impl fmt::Debug for Document {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Document").field("info", &self.info).finish_non_exhaustive()
    }
}

/// What a verifier says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// It is still looking.
    Looking,
    /// It is they, until then.
    Verified {
        /// Until when; as usual if it does not say.
        until: Option<Timestamp>,
    },
    /// It is not enough.
    Refused {
        /// Why, for the person.
        reason: String,
    },
    /// One of the firm's people has to look.
    ForReview,
}

/// Somebody who looks at documents for a living.
#[async_trait]
pub trait Verifier: Send + Sync {
    /// Its word in rows.
    fn name(&self) -> &'static str;
    /// Hands documents in, under a reference of ours that is the same however often it is done. Gives its own name of it.
    async fn submit(&self, reference: &str, documents: &[Document]) -> Result<String, AppError>;
    /// What it says.
    async fn finding(&self, reference: &str) -> Result<Finding, AppError>;
}

/// What becomes of a check.
#[derive(Debug)]
pub struct CheckChange {
    /// The check from now on.
    pub check: Check,
    /// Written with it.
    pub audit: AuditEntry,
}

/// Looks at a locked check and the number of its documents and says what becomes of it.
pub type DecideCheck<'a> =
    dyn Fn(Option<&Check>, &[DocumentInfo]) -> Result<Option<CheckChange>, AppError> + Send + Sync + 'a;

/// Says what a closure decides, so that it is one for every check that it is shown.
const fn deciding<F>(decide: F) -> F
where
    F: Fn(Option<&Check>, &[DocumentInfo]) -> Result<Option<CheckChange>, AppError>,
{
    decide
}

/// What is stored of it.
#[async_trait]
pub trait KycStore: Send + Sync {
    /// The check of somebody.
    async fn check(&self, firm: FirmId, person: PersonId) -> Result<Option<Check>, AppError>;
    /// What somebody has shown, the oldest first.
    async fn documents(&self, firm: FirmId, person: PersonId) -> Result<Vec<DocumentInfo>, AppError>;
    /// What somebody has shown, with its bytes; that somebody else looks is written before anything is given. Nothing of it once
    /// they were erased.
    async fn shown(
        &self,
        firm: FirmId,
        person: PersonId,
        only: Option<DocumentId>,
        look: Option<&AuditEntry>,
    ) -> Result<Vec<Document>, AppError>;
    /// Locks a check, lets `decide` look at it, and writes what it says and the document that comes with it. Gives it as it then
    /// is.
    async fn change_check(
        &self,
        firm: FirmId,
        person: PersonId,
        document: Option<&Document>,
        decide: &DecideCheck<'_>,
    ) -> Result<Option<Check>, AppError>;
    /// People whose documents somebody is to look at, and those whose check has run out at an instant and says otherwise; those
    /// who were looked at longest ago first.
    async fn unsettled(&self, firm: FirmId, at: Timestamp, most: i64) -> Result<Vec<Check>, AppError>;
    /// People whose documents the firm's people are to look at, the oldest first.
    async fn submitted(&self, firm: FirmId, most: i64) -> Result<Vec<Check>, AppError>;
}

/// The use cases.
pub struct Kyc {
    store: Arc<dyn KycStore>,
    verifier: Arc<dyn Verifier>,
    clock: Arc<dyn Clock>,
    rng: Arc<dyn Rng>,
}

impl fmt::Debug for Kyc {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Kyc").finish_non_exhaustive()
    }
}

/// So many are looked at in one go.
const MOST_AT_ONCE: i64 = 50;

/// What the firm's people decide.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Judgement {
    /// It is they.
    Verified,
    /// It is not enough; the person reads why.
    Refused(String),
}

impl Kyc {
    /// Over a store and whoever looks at documents.
    pub fn new(
        store: Arc<dyn KycStore>,
        verifier: Arc<dyn Verifier>,
        clock: Arc<dyn Clock>,
        rng: Arc<dyn Rng>,
    ) -> Self {
        Self { store, verifier, clock, rng }
    }

    /// How the caller stands, and what they have shown.
    pub async fn own(&self, context: &Context) -> Result<(Option<Check>, Vec<DocumentInfo>), AppError> {
        let person = context.actor()?.person;
        let check = self.store.check(context.firm, person).await?;
        Ok((check, self.store.documents(context.firm, person).await?))
    }

    /// Takes a document of the caller's.
    pub async fn upload(
        &self,
        context: &Context,
        kind: DocumentKind,
        bytes: Vec<u8>,
    ) -> Result<DocumentInfo, AppError> {
        let person = context.actor()?.person;
        if bytes.is_empty() || bytes.len() > MOST_DOCUMENT_BYTES {
            return Err(AppError::field("", "A document has 1 byte to 5 MiB."));
        }
        let media = MediaType::of(&bytes).ok_or_else(|| {
            AppError::field("", "Send a JPEG, a PNG or a PDF; the bytes are of no such file.")
        })?;
        let at = self.clock.now();
        let id = DocumentId::random(at, &*self.rng);
        let info = DocumentInfo { id, kind, media, size: bytes.len(), uploaded_at: at };
        let document = Document { info: info.clone(), bytes };
        let decide = deciding(|check: Option<&Check>, shown: &[DocumentInfo]| {
            let standing = check.map_or(Standing::None, |check| check.known.at(at));
            // What was refused or has run out is shown anew, and counts anew.
            let begun = check.filter(|_| standing == Standing::Started);
            let started_at = begun.map_or(at, |check| check.started_at);
            let counted = shown.iter().filter(|document| document.uploaded_at >= started_at).count();
            if counted >= MOST_DOCUMENTS {
                return Err(AppError::refused("conflict", format!("At most {MOST_DOCUMENTS} documents.")));
            }
            if matches!(standing, Standing::Submitted | Standing::Verified) {
                return Err(AppError::refused("conflict", "Nothing more is needed now."));
            }
            let check = Check {
                person,
                known: Known { standing: Standing::Started, expires_at: None },
                verifier: self.verifier.name().to_owned(),
                reference: None,
                reason: None,
                reviewer: None,
                started_at,
                submitted_at: None,
                decided_at: None,
            };
            let detail = json!({ "document": id, "kind": kind.word() });
            let audit = self.entry(context, person, "identity.show", "", detail);
            Ok(Some(CheckChange { check, audit }))
        });
        self.store.change_check(context.firm, person, Some(&document), &decide).await?;
        Ok(info)
    }

    /// The caller has shown everything.
    pub async fn submit(&self, context: &Context) -> Result<Check, AppError> {
        let person = context.actor()?.person;
        let at = self.clock.now();
        let decide = deciding(|check: Option<&Check>, shown: &[DocumentInfo]| {
            let Some(check) = check else { return Ok(None) };
            match check.known.at(at) {
                Standing::Submitted => return Ok(None),
                Standing::Started => {}
                standing @ (Standing::None | Standing::Verified | Standing::Refused | Standing::Expired) => {
                    let say = format!("What you have shown is {}; show it anew first.", standing.word());
                    return Err(AppError::refused("conflict", say));
                }
            }
            let anew = |document: &&DocumentInfo| document.uploaded_at >= check.started_at;
            if !shown.iter().filter(anew).any(|document| document.kind.shows_who()) {
                let say = "Show a passport, an identity card or a driving licence first.";
                return Err(AppError::refused("conflict", say));
            }
            let known = Known { standing: Standing::Submitted, expires_at: None };
            let check = Check { known, submitted_at: Some(at), ..check.clone() };
            let audit = self.entry(context, person, "identity.submit", "", json!({}));
            Ok(Some(CheckChange { check, audit }))
        });
        let check = self.store.change_check(context.firm, person, None, &decide).await?;
        check.ok_or_else(|| AppError::refused("conflict", "Show a document first."))
    }

    /// Whose documents wait for the firm's people.
    pub async fn queue(&self, context: &Context) -> Result<Vec<Check>, AppError> {
        context.demand(Permission::ReviewPayouts)?;
        self.store.submitted(context.firm, MOST_AT_ONCE).await
    }

    /// How somebody stands and what they have shown, without what is in it.
    pub async fn of(
        &self,
        context: &Context,
        person: PersonId,
    ) -> Result<(Check, Vec<DocumentInfo>), AppError> {
        context.demand(Permission::ReviewPayouts)?;
        let check = self.store.check(context.firm, person).await?.ok_or(AppError::NotFound("check"))?;
        Ok((check, self.store.documents(context.firm, person).await?))
    }

    /// A document of somebody else, for a reason that is written down first.
    pub async fn look(
        &self,
        context: &Context,
        person: PersonId,
        document: DocumentId,
        reason: Option<&str>,
    ) -> Result<Document, AppError> {
        context.demand(Permission::ReviewPayouts)?;
        let detail = json!({ "document": document });
        let look = self.entry(context, person, "identity.look", said(reason)?, detail);
        let shown = self.store.shown(context.firm, person, Some(document), Some(&look)).await?;
        shown.into_iter().next().ok_or(AppError::NotFound("document"))
    }

    /// One of the firm's people decides, for a reason that is written down. Nobody decides about themselves.
    pub async fn judge(
        &self,
        context: &Context,
        person: PersonId,
        judgement: &Judgement,
        reason: Option<&str>,
    ) -> Result<Check, AppError> {
        let reviewer = context.demand(Permission::ReviewPayouts)?.person;
        let purpose = said(reason)?.to_owned();
        if reviewer == person {
            return Err(AppError::refused("four_eyes", "Nobody decides about themselves."));
        }
        let finding = match judgement {
            Judgement::Verified => Finding::Verified { until: None },
            Judgement::Refused(why) => Finding::Refused { reason: said(Some(why))?.to_owned() },
        };
        self.found(context, person, Some(reviewer), &finding, &purpose)
            .await?
            .ok_or(AppError::NotFound("check"))
    }

    /// Hands in what was submitted, asks what became of it, and writes what has run out. Gives how many have moved.
    pub async fn janitor(&self, context: &Context) -> Result<usize, AppError> {
        let mut moved = 0_usize;
        for check in self.store.unsettled(context.firm, self.clock.now(), MOST_AT_ONCE).await? {
            // One that cannot be followed now stands in nobody's way.
            match self.follow(context, &check).await {
                Ok(true) => moved = moved.saturating_add(1),
                Ok(false) => {}
                Err(error) => {
                    let error: &dyn std::error::Error = &error;
                    tracing::warn!(person = %check.person, error, "a check of somebody's identity does not move");
                }
            }
        }
        Ok(moved)
    }

    async fn follow(&self, context: &Context, check: &Check) -> Result<bool, AppError> {
        let at = self.clock.now();
        if check.known.at(at) == Standing::Expired {
            let expire = deciding(|check: Option<&Check>, _: &[DocumentInfo]| {
                let Some(check) = check.filter(|check| {
                    check.known.standing == Standing::Verified && check.known.at(at) == Standing::Expired
                }) else {
                    return Ok(None);
                };
                let known = Known { standing: Standing::Expired, ..check.known };
                let audit = self.entry(context, check.person, "identity.expire", "", json!({}));
                Ok(Some(CheckChange { check: Check { known, ..check.clone() }, audit }))
            });
            self.store.change_check(context.firm, check.person, None, &expire).await?;
            return Ok(true);
        }
        let Some(submitted_at) = check.submitted_at else { return Ok(false) };
        let reference = if let Some(reference) = &check.reference {
            reference.clone()
        } else {
            let documents = self.store.shown(context.firm, check.person, None, None).await?;
            // The same however often it is handed in.
            let ours = format!("identity-{}-{}", check.person, submitted_at.micros());
            let reference = self.verifier.submit(&ours, &documents).await?;
            let told = reference.clone();
            let keep = deciding(move |check: Option<&Check>, _: &[DocumentInfo]| {
                let Some(check) = check.filter(|check| check.submitted_at == Some(submitted_at)) else {
                    return Ok(None);
                };
                let check = Check { reference: Some(told.clone()), ..check.clone() };
                let audit = self.entry(context, check.person, "identity.hand_in", "", json!({}));
                Ok(Some(CheckChange { check, audit }))
            });
            self.store.change_check(context.firm, check.person, None, &keep).await?;
            reference
        };
        let finding = self.verifier.finding(&reference).await?;
        if matches!(finding, Finding::Looking | Finding::ForReview) {
            return Ok(false);
        }
        self.found(context, check.person, None, &finding, "").await?;
        Ok(true)
    }

    async fn found(
        &self,
        context: &Context,
        person: PersonId,
        reviewer: Option<PersonId>,
        finding: &Finding,
        purpose: &str,
    ) -> Result<Option<Check>, AppError> {
        let at = self.clock.now();
        let usual = at.after(COUNTS_FOR).map_err(AppError::clock)?;
        let decide = deciding(|check: Option<&Check>, _: &[DocumentInfo]| {
            let Some(check) = check else { return Ok(None) };
            if check.known.standing != Standing::Submitted {
                // The verifier came second.
                if reviewer.is_none() {
                    return Ok(None);
                }
                return Err(AppError::refused("conflict", format!("It is {}.", check.known.at(at).word())));
            }
            let (known, reason) = match finding {
                Finding::Looking | Finding::ForReview => return Ok(None),
                Finding::Verified { until } => {
                    let known =
                        Known { standing: Standing::Verified, expires_at: Some(until.unwrap_or(usual)) };
                    (known, None)
                }
                Finding::Refused { reason } => {
                    (Known { standing: Standing::Refused, expires_at: None }, Some(reason.clone()))
                }
            };
            let is = |standing: Standing| json!({ "identity": standing.word() });
            let audit = self.entry(context, person, "identity.decide", purpose, is(known.standing));
            let digests = Digests::of(Some(&is(check.known.standing)), Some(&is(known.standing)));
            let check = Check { known, reason, reviewer, decided_at: Some(at), ..check.clone() };
            Ok(Some(CheckChange { check, audit: AuditEntry { digests, ..audit } }))
        });
        self.store.change_check(context.firm, person, None, &decide).await
    }

    fn entry(
        &self,
        context: &Context,
        person: PersonId,
        action: &str,
        purpose: &str,
        detail: serde_json::Value,
    ) -> AuditEntry {
        AuditEntry {
            firm: context.firm,
            at: self.clock.now(),
            actor: context.actor.as_ref().map(|actor| actor.person),
            action: action.to_owned(),
            object_kind: "person",
            object: person.to_string(),
            request: Some(context.request),
            purpose: purpose.to_owned(),
            digests: Digests::default(),
            detail,
        }
    }
}

/// The reason that was given.
pub(crate) fn said(reason: Option<&str>) -> Result<&str, AppError> {
    let reason = reason.map(str::trim).filter(|reason| !reason.is_empty());
    let missing = "Say why, in a header `Reason` or in the field `reason`: it is written down.";
    let reason = reason.ok_or_else(|| AppError::refused("reason_missing", missing))?;
    if reason.chars().count() > MOST_REASON {
        return Err(AppError::field("/reason", format!("Say why in at most {MOST_REASON} characters.")));
    }
    Ok(reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_run_out_no_longer_counts() {
        let end = Timestamp::from_micros(1_000_000);
        let known = Known { standing: Standing::Verified, expires_at: Some(end) };
        assert_eq!(known.at(Timestamp::from_micros(999_999)), Standing::Verified);
        assert_eq!(known.at(end), Standing::Expired);
        let forever = Known { standing: Standing::Verified, expires_at: None };
        assert_eq!(forever.at(end), Standing::Expired, "nobody is known for ever");
        assert_eq!(Known::NOTHING.at(end), Standing::None);
    }

    #[test]
    fn a_file_is_what_its_bytes_say() {
        assert_eq!(MediaType::of(b"%PDF-1.7 and so on"), Some(MediaType::Pdf));
        assert_eq!(MediaType::of(&[0xff, 0xd8, 0xff, 0xe0]), Some(MediaType::Jpeg));
        assert_eq!(MediaType::of(b"\x89PNG\r\n\x1a\n"), Some(MediaType::Png));
        for other in [b"<html>".as_slice(), b"", b"MZ", b"\x89PNG", b"GIF89a"] {
            assert_eq!(MediaType::of(other), None);
        }
    }
}
