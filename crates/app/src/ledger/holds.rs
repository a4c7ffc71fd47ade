//! Money that is kept back: pending, and then posted, voided or expired, once.

use kernel::{EntryId, HoldId, Money, Timestamp};

use super::entry::reason_of;
use super::{Account, Cause, Entry, EntryKind, LedgerError, Transfer};

/// Where a hold stands. Everything but the first is for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HoldState {
    /// The money is kept back.
    Pending,
    /// It was used, in whole or in part; the rest is free again.
    Posted,
    /// It is free again, because somebody said so.
    Voided,
    /// It is free again, because its time was over.
    Expired,
}

impl HoldState {
    /// All.
    pub const ALL: [Self; 4] = [Self::Pending, Self::Posted, Self::Voided, Self::Expired];

    /// The word in rows and answers.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Posted => "posted",
            Self::Voided => "voided",
            Self::Expired => "expired",
        }
    }
}

/// Money kept back for something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hold {
    /// Its name, chosen by whoever opens it.
    pub id: HoldId,
    /// Whose money; [`Account::held`] says where it is meanwhile.
    pub account: Account,
    /// How much.
    pub amount: Money,
    /// What for, such as `payout:0198...`.
    pub cause: Cause,
    /// Since when.
    pub opened_at: Timestamp,
    /// From then on it can only expire; never if none.
    pub expires_at: Option<Timestamp>,
    /// Where it stands.
    pub state: HoldState,
}

/// How a hold ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// So much of it goes there; the rest is free again.
    Post(Money, Account),
    /// All of it is free again, for a reason.
    Void(String),
    /// All of it is free again, because its time is over.
    Expire,
}

/// The end of a hold, as it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ending {
    /// Which hold.
    pub hold: HoldId,
    /// What it is from now on.
    pub state: HoldState,
    /// What is posted with it.
    pub entry: Entry,
}

impl Hold {
    /// The entry that opens it.
    pub fn entry(&self) -> Result<Entry, LedgerError> {
        let transfer = Transfer::new(self.account.clone(), self.account.held()?, self.amount)?;
        let id = EntryId::derived(&[b"hold", self.id.uuid().as_bytes()]);
        Entry::new(id, EntryKind::Hold, self.cause.clone(), self.opened_at, vec![transfer])
    }

    /// What ends it. One that has ended already is refused, also if it ended the same way: whoever wrote the end
    /// knows from its row.
    pub fn end(&self, outcome: Outcome, at: Timestamp) -> Result<Ending, LedgerError> {
        if self.state != HoldState::Pending {
            return Err(LedgerError::HoldEnded(self.state));
        }
        let over = self.expires_at.is_some_and(|end| end <= at);
        let held = self.account.held()?;
        let free = |amount| Transfer::new(held.clone(), self.account.clone(), amount);
        let (state, kind, transfers, reason) = match outcome {
            Outcome::Post(..) if over => return Err(LedgerError::HoldEnded(HoldState::Expired)),
            Outcome::Post(amount, to) => {
                if amount.currency() != self.amount.currency() {
                    return Err(LedgerError::Currencies(amount.currency(), self.amount.currency()));
                }
                let (held_minor, asked) = (self.amount.minor(), amount.minor());
                let rest = held_minor.checked_sub(asked).ok_or(kernel::Overflow)?;
                if rest < 0 {
                    return Err(LedgerError::BeyondHold { held: held_minor, asked });
                }
                let mut transfers = vec![Transfer::new(held.clone(), to, amount)?];
                if rest > 0 {
                    transfers.push(free(Money::from_minor(rest, self.amount.currency()))?);
                }
                (HoldState::Posted, EntryKind::HoldPosted, transfers, None)
            }
            Outcome::Void(reason) => {
                let reason = reason_of(&reason)?;
                (HoldState::Voided, EntryKind::HoldVoided, vec![free(self.amount)?], Some(reason))
            }
            Outcome::Expire if !over => return Err(LedgerError::NotOver),
            Outcome::Expire => (HoldState::Expired, EntryKind::HoldExpired, vec![free(self.amount)?], None),
        };
        // One name for every end: there is only one.
        let id = EntryId::derived(&[b"hold end", self.id.uuid().as_bytes()]);
        let mut entry = Entry::new(id, kind, self.cause.clone(), at, transfers)?;
        if let Some(reason) = reason {
            entry = entry.because(&reason)?;
        }
        Ok(Ending { hold: self.id, state, entry })
    }
}
