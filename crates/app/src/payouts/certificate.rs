//! What a trader may show: that a payout was settled, or a phase passed. Whoever has the code reads the same from us.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use kernel::{AccountId, Clock, FirmId, Money, PayoutId, PersonId, Rng, Timestamp};

use super::pdf;
use crate::{AppError, Context};

/// What a certificate is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    /// A payout that was settled.
    Payout(PayoutId),
    /// An account that has passed its phase.
    Phase(AccountId),
}

/// What it proves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Proven {
    /// So much was paid.
    Paid(Money),
    /// A phase of this name was passed.
    Passed(String),
}

/// A certificate, with nothing in it that strangers may not read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// 128 bits by chance, in hexadecimal: whoever has it may look.
    pub code: String,
    /// What it proves.
    pub proven: Proven,
    /// The name of the program.
    pub program: String,
    /// By which name the trader is known on boards.
    pub trader: String,
    /// The firm's name.
    pub firm: String,
    /// When it was paid or passed.
    pub at: Timestamp,
}

/// What is stored of certificates.
#[async_trait]
pub trait CertificateStore: Send + Sync {
    /// The certificate about something of somebody's, under the code that it has or, if it has none, under this one. Nothing
    /// unless it is theirs, and settled or passed.
    async fn certify(
        &self,
        firm: FirmId,
        person: PersonId,
        subject: Subject,
        code: &str,
        at: Timestamp,
    ) -> Result<Option<Certificate>, AppError>;
    /// The one with a code.
    async fn certificate(&self, firm: FirmId, code: &str) -> Result<Option<Certificate>, AppError>;
}

/// The use cases.
pub struct Certificates {
    store: Arc<dyn CertificateStore>,
    clock: Arc<dyn Clock>,
    rng: Arc<dyn Rng>,
}

impl fmt::Debug for Certificates {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Certificates").finish_non_exhaustive()
    }
}

impl Certificates {
    /// Over a store.
    pub fn new(store: Arc<dyn CertificateStore>, clock: Arc<dyn Clock>, rng: Arc<dyn Rng>) -> Self {
        Self { store, clock, rng }
    }

    /// The certificate about something of the caller's: the same however often it is asked for.
    pub async fn of(&self, context: &Context, subject: Subject) -> Result<Certificate, AppError> {
        let person = context.actor()?.person;
        let mut chance = [0_u8; 16];
        self.rng.fill(&mut chance);
        let (code, at) = (hex::encode(chance), self.clock.now());
        let found = self.store.certify(context.firm, person, subject, &code, at).await?;
        found.ok_or(AppError::NotFound("certificate"))
    }

    /// What a code proves, for whoever has it.
    pub async fn verify(&self, context: &Context, code: &str) -> Result<Certificate, AppError> {
        let plain = code.len() == 32 && code.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        let found = if plain { self.store.certificate(context.firm, code).await? } else { None };
        found.ok_or(AppError::NotFound("certificate"))
    }
}

impl Certificate {
    /// To be shown and printed; `check_at` is where it is verified.
    pub fn pdf(&self, check_at: &str) -> Vec<u8> {
        let day = self.at.to_string();
        let day = day.get(..10).unwrap_or_default();
        let (title, what) = match &self.proven {
            Proven::Paid(money) => ("Certificate of payout", format!("was paid {money}")),
            Proven::Passed(phase) => ("Certificate of achievement", format!("has passed \"{phase}\"")),
        };
        pdf::page(&[
            pdf::Line { size: 16, bold: false, text: self.firm.clone() },
            pdf::Line { size: 34, bold: true, text: title.to_owned() },
            pdf::Line { size: 26, bold: true, text: self.trader.clone() },
            pdf::Line { size: 20, bold: false, text: what },
            pdf::Line { size: 16, bold: false, text: format!("{}, {day}", self.program) },
            pdf::Line { size: 10, bold: false, text: format!("Verification code {}", self.code) },
            pdf::Line { size: 10, bold: false, text: check_at.to_owned() },
        ])
    }
}
