//! One name in two books: what is posted from the provider's, and where they differ. Pure.

use std::collections::{BTreeMap, BTreeSet};

use kernel::{Currency, EntryId, Money, Overflow, Timestamp};

use super::{Difference, Found, Kind, Unit};
use crate::ledger::posting::{self, Event};
use crate::ledger::{Account, Entry, EntryKind as Posting, LedgerError, Provider, Transfer};
use crate::payments::port::{Entry as BookEntry, EntryKind, ProviderName};
use crate::payouts::attempt_of;

/// What is compared with each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// Between the provider and our bank. Known from the provider's books alone.
    Bank,
    /// From one currency into another. Known from the provider's books alone.
    Conversion,
    /// Disputes, with what came back.
    Dispute,
    /// Fees on their own. Known from the provider's books alone.
    Fee,
    /// Held back by the provider.
    Hold,
    /// What nobody knows.
    Other,
    /// Payments.
    Payment,
    /// Payouts to traders, with what came back.
    Payout,
    /// Refunds, with what came back.
    Refund,
}

impl Family {
    /// All.
    pub const ALL: [Self; 9] = [
        Self::Bank,
        Self::Conversion,
        Self::Dispute,
        Self::Fee,
        Self::Hold,
        Self::Other,
        Self::Payment,
        Self::Payout,
        Self::Refund,
    ];

    /// The word in rows.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Bank => "bank",
            Self::Conversion => "conversion",
            Self::Dispute => "dispute",
            Self::Fee => "fee",
            Self::Hold => "hold",
            Self::Other => "other",
            Self::Payment => "payment",
            Self::Payout => "payout",
            Self::Refund => "refund",
        }
    }

    const fn of(kind: EntryKind) -> Self {
        match kind {
            EntryKind::Payment => Self::Payment,
            EntryKind::Refund | EntryKind::RefundReturned => Self::Refund,
            EntryKind::Dispute | EntryKind::DisputeReturned => Self::Dispute,
            EntryKind::Payout | EntryKind::PayoutReturned => Self::Payout,
            EntryKind::Hold => Self::Hold,
            EntryKind::Fee => Self::Fee,
            EntryKind::Bank => Self::Bank,
            EntryKind::Conversion => Self::Conversion,
            EntryKind::Other => Self::Other,
        }
    }
}

/// By what a line and the entries of the ledger that belong to it are known.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name {
    /// What it is.
    pub family: Family,
    /// The provider's name of the payment, the refund or the dispute; ours of the payout; else the line's.
    pub name: String,
}

/// The name of a line in a provider's books. What came back of a payout may carry only the provider's name of it: the store
/// looks for ours.
pub fn name_of(entry: &BookEntry) -> Name {
    let family = Family::of(entry.kind);
    let name = match family {
        Family::Payment => entry.payment.as_ref().or(entry.about.as_ref()),
        Family::Payout => entry.reference.as_ref().or(entry.about.as_ref()),
        Family::Refund | Family::Dispute | Family::Hold | Family::Other => entry.about.as_ref(),
        Family::Fee | Family::Bank | Family::Conversion => None,
    };
    let name = name.unwrap_or(&entry.id);
    let name = if family == Family::Payout { payout_name(name) } else { name };
    Name { family, name: name.to_owned() }
}

/// A payout's own name in our reference of it, or in a cause of the ledger.
fn payout_name(reference: &str) -> &str {
    let bare = reference.strip_prefix("payout").and_then(|rest| rest.strip_prefix([':', '-', '_']));
    let bare = bare.filter(|bare| !bare.is_empty()).unwrap_or(reference);
    // Each attempt at it has a name of its own; the ledger knows the payout alone.
    match attempt_of(reference).and_then(|_| bare.split_once('_')) {
        Some((payout, _)) => payout,
        None => bare,
    }
}

/// Whether a provider's books name a dispute by the payment.
pub const fn disputes_by_payment(provider: ProviderName) -> bool {
    matches!(provider, ProviderName::Paypal)
}

/// A line in a provider's books.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Its name.
    pub id: String,
    /// What came, or went if below zero, before the fee.
    pub gross: Money,
    /// The fee, above zero if we pay it.
    pub fee: Money,
    /// What the balance changed by.
    pub net: Money,
    /// When.
    pub at: Timestamp,
}

/// What an entry of the ledger moves of what the provider holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Move {
    /// The entry.
    pub entry: EntryId,
    /// What it is about.
    pub cause: String,
    /// What came, or went if below zero.
    pub amount: Money,
    /// Whether it is a fee.
    pub fee: bool,
    /// When it happened.
    pub at: Timestamp,
}

/// Everything under one name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Both {
    /// The name.
    pub name: Name,
    /// The provider's books.
    pub lines: Vec<Line>,
    /// Ours.
    pub moves: Vec<Move>,
    /// Of payouts: what was sent and is not known to have arrived.
    pub under_way: Vec<Money>,
}

/// What comes of it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Judged {
    /// To be posted: known from the provider's books alone. The same lines give the same entries.
    pub posts: Vec<Entry>,
    /// Where the books differ.
    pub found: Vec<Found>,
}

/// Amounts by currency, each with whether there was one.
type Sums = BTreeMap<Currency, i64>;

fn add(sums: &mut Sums, money: Money) -> Result<(), LedgerError> {
    let sum = sums.entry(money.currency()).or_default();
    *sum = sum.checked_add(money.minor()).ok_or(Overflow)?;
    Ok(())
}

fn sum<'m>(amounts: impl IntoIterator<Item = &'m Money>) -> Result<Sums, LedgerError> {
    let mut sums = Sums::new();
    for amount in amounts {
        add(&mut sums, *amount)?;
    }
    Ok(sums)
}

fn negated(money: Money) -> Result<Money, LedgerError> {
    Ok(Money::from_minor(money.minor().checked_neg().ok_or(Overflow)?, money.currency()))
}

/// The name of what is posted for a line.
fn posting_id(what: &str, provider: &Provider, line: &str) -> EntryId {
    EntryId::derived(&[b"provider_books", what.as_bytes(), provider.as_str().as_bytes(), line.as_bytes()])
}

struct Judge<'b> {
    provider: &'b Provider,
    both: &'b Both,
    moves: Vec<Move>,
    posts: Vec<Entry>,
}

impl Judge<'_> {
    fn clearing(&self) -> Account {
        Account::ProviderClearing(self.provider.clone())
    }

    fn posted(&self, id: EntryId) -> bool {
        self.both.moves.iter().any(|it| it.entry == id)
    }

    /// What it is about: what everything else under the name is about.
    fn cause(&self, line: &Line) -> String {
        let known = self.both.moves.first().map(|it| it.cause.clone());
        let own = || format!("provider:{}/{}", self.provider, line.id).chars().take(200).collect();
        known.unwrap_or_else(own)
    }

    fn event(&self, what: &str, line: &Line) -> Event {
        Event { id: posting_id(what, self.provider, &line.id), cause: self.cause(line), at: line.at }
    }

    fn post(&mut self, entry: Entry) -> Result<(), LedgerError> {
        let clearing = self.clearing();
        for transfer in entry.transfers() {
            let (other, amount) = if *transfer.debit() == clearing {
                (transfer.credit(), transfer.amount())
            } else {
                (transfer.debit(), negated(transfer.amount())?)
            };
            let fee = matches!(other, Account::ProviderFees(_));
            let (cause, at) = (entry.cause().to_owned(), entry.effective_at());
            self.moves.push(Move { entry: entry.id(), cause, amount, fee, at });
        }
        self.posts.push(entry);
        Ok(())
    }

    /// What of a line is compared as its amount, and what as its fee.
    fn parts(&self, line: &Line) -> Result<(Option<Money>, Money), LedgerError> {
        let none = posting::nothing(line.net.currency());
        Ok(match self.both.name.family {
            Family::Fee => (None, negated(line.net)?),
            Family::Hold | Family::Other => (Some(line.net), none),
            Family::Bank
            | Family::Conversion
            | Family::Dispute
            | Family::Payment
            | Family::Payout
            | Family::Refund => (Some(line.gross), line.fee),
        })
    }

    /// What only the provider's books tell of.
    fn post_own(&mut self) -> Result<(), LedgerError> {
        let what = match self.both.name.family {
            Family::Bank => "bank",
            Family::Conversion => "conversion",
            Family::Dispute
            | Family::Fee
            | Family::Hold
            | Family::Other
            | Family::Payment
            | Family::Payout
            | Family::Refund => return Ok(()),
        };
        for line in &self.both.lines {
            if line.gross.minor() == 0 || self.posted(posting_id(what, self.provider, &line.id)) {
                continue;
            }
            let event = self.event(what, line);
            let (other, kind) = if what == "bank" {
                (Account::Bank, Posting::ProviderPayout)
            } else {
                (Account::Exchange, Posting::Conversion)
            };
            self.post(moved(event, kind, self.clearing(), other, line.gross)?)?;
        }
        Ok(())
    }

    /// A payment in a currency that the provider turned into that of its balance.
    fn convert(&mut self) -> Result<(), LedgerError> {
        let family = self.both.name.family;
        if !matches!(family, Family::Payment | Family::Refund | Family::Dispute | Family::Payout) {
            return Ok(());
        }
        let (theirs, ours) = (self.theirs()?.0, self.ours(None)?.0);
        let mut foreign =
            ours.iter().filter(|(currency, minor)| !theirs.contains_key(currency) && **minor != 0);
        let (Some((from, given)), None) = (foreign.next(), foreign.next()) else { return Ok(()) };
        let mut held = theirs.iter();
        let (Some((to, has)), None) = (held.next(), held.next()) else { return Ok(()) };
        let got = has.checked_sub(ours.get(to).copied().unwrap_or_default()).ok_or(Overflow)?;
        let Some(last) = self.both.lines.iter().max_by_key(|line| (line.at, &line.id)) else { return Ok(()) };
        if got == 0
            || (got < 0) != (*given < 0)
            || self.posted(posting_id("settled", self.provider, &last.id))
        {
            return Ok(());
        }
        let event = self.event("settled", last);
        let (given, got) = (Money::from_minor(*given, *from), Money::from_minor(got, *to));
        let mut transfers = Vec::new();
        for amount in [negated(given)?, got] {
            let size = Money::from_minor(amount.minor().checked_abs().ok_or(Overflow)?, amount.currency());
            transfers.push(if amount.minor() > 0 {
                Transfer::new(self.clearing(), Account::Exchange, size)?
            } else {
                Transfer::new(Account::Exchange, self.clearing(), size)?
            });
        }
        self.post(Entry::new(event.id, Posting::Conversion, event.cause, event.at, transfers)?)
    }

    /// The provider's amounts and fees.
    fn theirs(&self) -> Result<(Sums, Sums), LedgerError> {
        let (mut amounts, mut fees) = (Sums::new(), Sums::new());
        for line in &self.both.lines {
            let (amount, fee) = self.parts(line)?;
            if let Some(amount) = amount {
                add(&mut amounts, amount)?;
            }
            add(&mut fees, fee)?;
        }
        Ok((amounts, fees))
    }

    /// Our amounts and fees, of what happened before an instant or of everything.
    fn ours(&self, until: Option<Timestamp>) -> Result<(Sums, Sums), LedgerError> {
        let (mut amounts, mut fees) = (Sums::new(), Sums::new());
        let whole = matches!(self.both.name.family, Family::Hold | Family::Other);
        for it in self.moves.iter().filter(|it| until.is_none_or(|until| it.at < until)) {
            if it.fee && !whole {
                add(&mut fees, negated(it.amount)?)?;
            } else {
                add(&mut amounts, it.amount)?;
            }
        }
        Ok((amounts, fees))
    }

    fn found(&self, kind: Kind, currency: Currency, ours: Option<i64>, theirs: Option<i64>) -> Found {
        let about = self.both.moves.first().map(|it| it.cause.clone());
        let Name { family, name } = &self.both.name;
        let difference = Difference { family: family.word().to_owned(), name: name.clone(), kind, currency };
        Found { difference, ours, theirs, unit: Unit::Minor, about }
    }

    fn differing_amounts(&self, until: Timestamp) -> Result<Vec<Found>, LedgerError> {
        let theirs = self.theirs()?.0;
        let (all, before) = (self.ours(None)?.0, self.ours(Some(until))?.0);
        let under_way = sum(&self.both.under_way)?;
        let currencies: BTreeSet<Currency> = theirs.keys().chain(all.keys()).copied().collect();
        let mut found = Vec::new();
        for currency in currencies {
            let of = |sums: &Sums| sums.get(&currency).copied().unwrap_or_default();
            let (has, mine) = (of(&theirs), of(&all));
            let sent = mine.checked_sub(of(&under_way)).ok_or(Overflow)?;
            if has == mine || has == of(&before) || (of(&under_way) != 0 && has == sent) {
                continue;
            }
            let kind = if !all.contains_key(&currency) {
                Kind::NotInLedger
            } else if theirs.contains_key(&currency) {
                Kind::Amount
            } else {
                Kind::NotWithProvider
            };
            let (ours, theirs) = (all.get(&currency).copied(), theirs.get(&currency).copied());
            found.push(self.found(kind, currency, ours, theirs));
        }
        Ok(found)
    }

    fn fees(&mut self) -> Result<Vec<Found>, LedgerError> {
        let (theirs, ours) = (self.theirs()?.1, self.ours(None)?.1);
        let currencies: BTreeSet<Currency> = theirs.keys().chain(ours.keys()).copied().collect();
        let mut found = Vec::new();
        for currency in currencies {
            let of = |sums: &Sums| sums.get(&currency).copied().unwrap_or_default();
            let due = of(&theirs).checked_sub(of(&ours)).ok_or(Overflow)?;
            if due == 0 {
                continue;
            }
            let mut left = Vec::new();
            for line in &self.both.lines {
                let fee = self.parts(line)?.1;
                let of_it = fee.currency() == currency && fee.minor() != 0;
                if of_it && !self.posted(posting_id("fee", self.provider, &line.id)) {
                    left.push((line, fee));
                }
            }
            let all = sum(left.iter().map(|(_, fee)| fee))?.get(&currency).copied().unwrap_or_default();
            if all != due {
                left.retain(|(_, fee)| fee.minor() == due);
                left.truncate(1);
            }
            if left.is_empty() {
                found.push(self.found(Kind::Fee, currency, Some(of(&ours)), Some(of(&theirs))));
            }
            for (line, fee) in left {
                let event = self.event("fee", line);
                self.post(fee_entry(event, self.provider, fee)?)?;
            }
        }
        Ok(found)
    }
}

/// What comes to an account from another, or goes there if below zero.
fn moved(
    event: Event,
    kind: Posting,
    account: Account,
    other: Account,
    amount: Money,
) -> Result<Entry, LedgerError> {
    let size = Money::from_minor(amount.minor().checked_abs().ok_or(Overflow)?, amount.currency());
    let transfer = if amount.minor() > 0 {
        Transfer::new(account, other, size)?
    } else {
        Transfer::new(other, account, size)?
    };
    Entry::new(event.id, kind, event.cause, event.at, vec![transfer])
}

/// A fee above zero, or what came back of one.
pub(super) fn fee_entry(event: Event, provider: &Provider, fee: Money) -> Result<Entry, LedgerError> {
    if fee.minor() > 0 {
        posting::provider_fee(event, provider, fee)
    } else {
        posting::provider_fee_back(event, provider, negated(fee)?)
    }
}

/// Compares what two books say under one name. The provider's go until an instant; what happened to ours since may be in them
/// or not.
pub fn judge(provider: &Provider, both: &Both, until: Timestamp) -> Result<Judged, LedgerError> {
    if both.lines.is_empty() && both.moves.iter().all(|it| it.at >= until) {
        return Ok(Judged::default());
    }
    let mut judge = Judge { provider, both, moves: both.moves.clone(), posts: Vec::new() };
    judge.post_own()?;
    judge.convert()?;
    let mut found = judge.differing_amounts(until)?;
    // Whoever has yet to tell of the rest may tell of the fee with it.
    let arrived = both.under_way.iter().all(|it| it.minor() == 0);
    if found.is_empty() && arrived {
        found = judge.fees()?;
    }
    Ok(Judged { posts: judge.posts, found })
}
