//! What is posted.

use kernel::{EntryId, Money, Timestamp};
use sha2::{Digest as _, Sha256};

use super::{Account, LedgerError};

/// The most transfers in an entry.
pub const MOST_TRANSFERS: usize = 16;
/// The most characters of a reason.
pub const MOST_REASON: usize = 500;

/// An amount that moves: the one account is debited, the other credited. There is no transfer that does not balance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transfer {
    debit: Account,
    credit: Account,
    amount: Money,
}

impl Transfer {
    /// Moves an amount above zero.
    pub fn new(debit: Account, credit: Account, amount: Money) -> Result<Self, LedgerError> {
        if amount.minor() <= 0 {
            return Err(LedgerError::NotPositive(amount.minor()));
        }
        if debit == credit {
            return Err(LedgerError::SameAccount(debit.to_string()));
        }
        Ok(Self { debit, credit, amount })
    }

    /// The account that is debited.
    pub const fn debit(&self) -> &Account {
        &self.debit
    }

    /// The account that is credited.
    pub const fn credit(&self) -> &Account {
        &self.credit
    }

    /// How much.
    pub const fn amount(&self) -> Money {
        self.amount
    }

    /// The same amount the other way.
    fn back(&self) -> Self {
        Self { debit: self.credit.clone(), credit: self.debit.clone(), amount: self.amount }
    }
}

/// What kind of thing happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryKind {
    /// A purchase was paid, or needed no payment.
    Capture,
    /// A purchase was paid once more.
    Overpayment,
    /// A provider charged its fee.
    ProviderFee,
    /// A provider gave a fee back.
    ProviderFeeBack,
    /// A purchase was refunded, in whole or in part.
    Refund,
    /// A dispute was opened.
    DisputeOpened,
    /// A dispute was won.
    DisputeWon,
    /// A dispute was lost.
    DisputeLost,
    /// A payout left a trading account.
    Reward,
    /// Money is held.
    Hold,
    /// Held money was used.
    HoldPosted,
    /// Held money is free again.
    HoldVoided,
    /// Held money is free again, because its time was over.
    HoldExpired,
    /// A payout has arrived.
    PayoutSettled,
    /// A payout failed or came back.
    PayoutReturned,
    /// An affiliate earned a commission.
    Commission,
    /// A provider paid the firm.
    ProviderPayout,
    /// A provider converted money.
    Conversion,
    /// A difference was found.
    Difference,
    /// Another entry is taken back.
    Reversal,
}

impl EntryKind {
    /// All.
    pub const ALL: [Self; 20] = [
        Self::Capture,
        Self::Overpayment,
        Self::ProviderFee,
        Self::ProviderFeeBack,
        Self::Refund,
        Self::DisputeOpened,
        Self::DisputeWon,
        Self::DisputeLost,
        Self::Reward,
        Self::Hold,
        Self::HoldPosted,
        Self::HoldVoided,
        Self::HoldExpired,
        Self::PayoutSettled,
        Self::PayoutReturned,
        Self::Commission,
        Self::ProviderPayout,
        Self::Conversion,
        Self::Difference,
        Self::Reversal,
    ];

    /// The word in rows and reports.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Capture => "capture",
            Self::Overpayment => "overpayment",
            Self::ProviderFee => "provider_fee",
            Self::ProviderFeeBack => "provider_fee_back",
            Self::Refund => "refund",
            Self::DisputeOpened => "dispute_opened",
            Self::DisputeWon => "dispute_won",
            Self::DisputeLost => "dispute_lost",
            Self::Reward => "reward",
            Self::Hold => "hold",
            Self::HoldPosted => "hold_posted",
            Self::HoldVoided => "hold_voided",
            Self::HoldExpired => "hold_expired",
            Self::PayoutSettled => "payout_settled",
            Self::PayoutReturned => "payout_returned",
            Self::Commission => "commission",
            Self::ProviderPayout => "provider_payout",
            Self::Conversion => "conversion",
            Self::Difference => "difference",
            Self::Reversal => "reversal",
        }
    }
}

/// What an entry is about, such as `purchase:0198...`: an aggregate's kind and name.
pub type Cause = String;

/// SHA-256 over the content of an entry: what an id names.
pub type Digest = [u8; 32];

/// What happened at once, as it is posted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    id: EntryId,
    kind: EntryKind,
    cause: Cause,
    effective_at: Timestamp,
    transfers: Vec<Transfer>,
    reverses: Option<EntryId>,
    reason: Option<String>,
}

impl Entry {
    /// An entry. The id is the client's: the same one with the same content is the same entry.
    pub fn new(
        id: EntryId,
        kind: EntryKind,
        cause: Cause,
        effective_at: Timestamp,
        transfers: Vec<Transfer>,
    ) -> Result<Self, LedgerError> {
        Self { id, kind, cause, effective_at, transfers, reverses: None, reason: None }.checked()
    }

    /// The same with a reason, for entries that a person decided.
    pub fn because(mut self, reason: &str) -> Result<Self, LedgerError> {
        self.reason = Some(reason_of(reason)?);
        Ok(self)
    }

    /// Takes an entry back: the same amounts the other way, for a reason. Its name follows from the entry's, so that
    /// an entry is taken back once. Entries of holds are not: a hold ends.
    pub fn reversal(&self, effective_at: Timestamp, reason: &str) -> Result<Self, LedgerError> {
        let of_a_hold = matches!(
            self.kind,
            EntryKind::Hold | EntryKind::HoldPosted | EntryKind::HoldVoided | EntryKind::HoldExpired
        );
        if of_a_hold || self.reverses.is_some() {
            return Err(LedgerError::Reversal(self.id));
        }
        Self {
            id: EntryId::derived(&[b"reversal", self.id.uuid().as_bytes()]),
            kind: EntryKind::Reversal,
            cause: self.cause.clone(),
            effective_at,
            transfers: self.transfers.iter().map(Transfer::back).collect(),
            reverses: Some(self.id),
            reason: Some(reason_of(reason)?),
        }
        .checked()
    }

    /// As it is stored.
    pub fn stored(
        id: EntryId,
        kind: EntryKind,
        cause: Cause,
        effective_at: Timestamp,
        transfers: Vec<Transfer>,
        reverses: Option<EntryId>,
        reason: Option<String>,
    ) -> Result<Self, LedgerError> {
        Self { id, kind, cause, effective_at, transfers, reverses, reason }.checked()
    }

    fn checked(self) -> Result<Self, LedgerError> {
        let transfers = self.transfers.len();
        if (1..=MOST_TRANSFERS).contains(&transfers) {
            Ok(self)
        } else {
            Err(LedgerError::Transfers(transfers))
        }
    }

    /// Its name.
    pub const fn id(&self) -> EntryId {
        self.id
    }

    /// What happened.
    pub const fn kind(&self) -> EntryKind {
        self.kind
    }

    /// What it is about.
    pub fn cause(&self) -> &str {
        &self.cause
    }

    /// When it happened.
    pub const fn effective_at(&self) -> Timestamp {
        self.effective_at
    }

    /// What moved.
    pub fn transfers(&self) -> &[Transfer] {
        &self.transfers
    }

    /// Which entry it takes back.
    pub const fn reverses(&self) -> Option<EntryId> {
        self.reverses
    }

    /// Why.
    pub fn reason(&self) -> Option<&str> {
        self.reason.as_deref()
    }

    /// Of everything but the id. Each part is preceded by its length, so that no two contents run into one text.
    pub fn digest(&self) -> Digest {
        let mut hash = Sha256::new();
        let mut part = |bytes: &[u8]| {
            hash.update(u64::try_from(bytes.len()).unwrap_or(u64::MAX).to_be_bytes());
            hash.update(bytes);
        };
        part(self.kind.word().as_bytes());
        part(self.cause.as_bytes());
        part(&self.effective_at.micros().to_be_bytes());
        part(self.reverses.map(|id| id.to_string()).unwrap_or_default().as_bytes());
        part(self.reason.as_deref().unwrap_or_default().as_bytes());
        for Transfer { debit, credit, amount } in &self.transfers {
            part(debit.to_string().as_bytes());
            part(credit.to_string().as_bytes());
            part(amount.currency().code().as_bytes());
            part(&amount.minor().to_be_bytes());
        }
        hash.finalize().into()
    }
}

pub(super) fn reason_of(text: &str) -> Result<String, LedgerError> {
    let text = text.trim();
    let fits = (1..=MOST_REASON).contains(&text.chars().count());
    if fits { Ok(text.to_owned()) } else { Err(LedgerError::Reason) }
}
