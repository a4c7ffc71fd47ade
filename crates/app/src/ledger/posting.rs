//! Which event posts what: the table of docs/adr/0031 as functions.

use kernel::{Currency, EntryId, Money, Overflow, PersonId, Rounding, Timestamp, divide};

use super::{Account, Cause, Entry, EntryKind, LedgerError, Provider, Transfer};

/// What all entries of one event share.
#[derive(Debug, Clone)]
pub struct Event {
    /// The entry's name.
    pub id: EntryId,
    /// What it is about.
    pub cause: Cause,
    /// When it happened.
    pub at: Timestamp,
}

impl Event {
    fn entry(self, kind: EntryKind, transfers: Vec<Transfer>) -> Result<Entry, LedgerError> {
        Entry::new(self.id, kind, self.cause, self.at, transfers)
    }

    fn one(
        self,
        kind: EntryKind,
        debit: Account,
        credit: Account,
        amount: Money,
    ) -> Result<Entry, LedgerError> {
        self.entry(kind, vec![Transfer::new(debit, credit, amount)?])
    }
}

/// A transfer unless the amount is zero.
fn some(
    transfers: &mut Vec<Transfer>,
    debit: Account,
    credit: Account,
    amount: Money,
) -> Result<(), LedgerError> {
    if amount.minor() != 0 {
        transfers.push(Transfer::new(debit, credit, amount)?);
    }
    Ok(())
}

/// What a purchase brings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sale {
    /// What is paid, tax included.
    pub paid: Money,
    /// Tax in it.
    pub tax: Money,
    /// What of the list price was let off.
    pub discount: Money,
}

/// A purchase was paid through a provider, or needed no payment because everything was let off. Nothing at all is
/// posted for what was free and has no list price.
pub fn captured(event: Event, sale: Sale, provider: Option<&Provider>) -> Result<Option<Entry>, LedgerError> {
    let Sale { paid, tax, discount } = sale;
    let net = minus(paid, tax)?;
    let mut transfers = Vec::new();
    if let Some(provider) = provider {
        let clearing = || Account::ProviderClearing(provider.clone());
        some(&mut transfers, clearing(), Account::FeeIncome, net)?;
        some(&mut transfers, clearing(), Account::TaxPayable, tax)?;
    } else if paid.minor() != 0 {
        return Err(LedgerError::NoAccount("the provider of a payment".to_owned()));
    }
    some(&mut transfers, Account::Discounts, Account::FeeIncome, discount)?;
    if transfers.is_empty() { Ok(None) } else { event.entry(EntryKind::Capture, transfers).map(Some) }
}

/// A purchase that was paid was paid once more.
pub fn overpaid(event: Event, provider: &Provider, amount: Money) -> Result<Entry, LedgerError> {
    let clearing = Account::ProviderClearing(provider.clone());
    event.one(EntryKind::Overpayment, clearing, Account::Overpaid, amount)
}

/// A provider charged a fee.
pub fn provider_fee(event: Event, provider: &Provider, fee: Money) -> Result<Entry, LedgerError> {
    let (fees, clearing) =
        (Account::ProviderFees(provider.clone()), Account::ProviderClearing(provider.clone()));
    event.one(EntryKind::ProviderFee, fees, clearing, fee)
}

/// A provider gave a fee back.
pub fn provider_fee_back(event: Event, provider: &Provider, fee: Money) -> Result<Entry, LedgerError> {
    let (fees, clearing) =
        (Account::ProviderFees(provider.clone()), Account::ProviderClearing(provider.clone()));
    event.one(EntryKind::ProviderFeeBack, clearing, fees, fee)
}

/// The tax in a refund: its share of the tax paid, over everything refunded so far with it, less the tax that was given
/// back before. So the last part takes what is left, and all parts together are the tax. `before` is what was refunded, and
/// the tax in that.
pub fn tax_in_refund(sale: Sale, before: (Money, Money), refund: Money) -> Result<Money, LedgerError> {
    let currency = sale.paid.currency();
    for money in [sale.tax, before.0, before.1, refund] {
        if money.currency() != currency {
            return Err(LedgerError::Currencies(money.currency(), currency));
        }
    }
    if sale.paid.minor() == 0 {
        return Ok(nothing(currency));
    }
    let with = before.0.minor().checked_add(refund.minor()).ok_or(Overflow)?;
    let product = i128::from(sale.tax.minor()).checked_mul(i128::from(with)).ok_or(Overflow)?;
    let share = divide(product, i128::from(sale.paid.minor()), Rounding::HalfEven)?;
    let share = i64::try_from(share).map_err(|_| Overflow)?;
    let tax = share.checked_sub(before.1.minor()).ok_or(Overflow)?;
    Ok(Money::from_minor(tax.clamp(0, refund.minor().max(0)), currency))
}

/// A purchase was refunded, in whole or in part; `tax` of it is tax.
pub fn refunded(event: Event, provider: &Provider, amount: Money, tax: Money) -> Result<Entry, LedgerError> {
    let clearing = || Account::ProviderClearing(provider.clone());
    let mut transfers = Vec::new();
    some(&mut transfers, Account::Refunds, clearing(), minus(amount, tax)?)?;
    some(&mut transfers, Account::TaxPayable, clearing(), tax)?;
    event.entry(EntryKind::Refund, transfers)
}

/// What was paid twice was given back.
pub fn overpayment_refunded(event: Event, provider: &Provider, amount: Money) -> Result<Entry, LedgerError> {
    let clearing = Account::ProviderClearing(provider.clone());
    event.one(EntryKind::Refund, Account::Overpaid, clearing, amount)
}

/// A dispute was opened: the provider takes the amount, and a fee.
pub fn dispute_opened(
    event: Event,
    provider: &Provider,
    amount: Money,
    fee: Option<Money>,
) -> Result<Entry, LedgerError> {
    let clearing = || Account::ProviderClearing(provider.clone());
    let mut transfers = vec![Transfer::new(Account::Disputes(provider.clone()), clearing(), amount)?];
    if let Some(fee) = fee {
        some(&mut transfers, Account::ProviderFees(provider.clone()), clearing(), fee)?;
    }
    event.entry(EntryKind::DisputeOpened, transfers)
}

/// A dispute was won: the provider gives the amount back.
pub fn dispute_won(event: Event, provider: &Provider, amount: Money) -> Result<Entry, LedgerError> {
    let (disputes, clearing) =
        (Account::Disputes(provider.clone()), Account::ProviderClearing(provider.clone()));
    event.one(EntryKind::DisputeWon, clearing, disputes, amount)
}

/// A dispute was lost.
pub fn dispute_lost(event: Event, provider: &Provider, amount: Money) -> Result<Entry, LedgerError> {
    event.one(EntryKind::DisputeLost, Account::DisputeLosses, Account::Disputes(provider.clone()), amount)
}

/// A payout left a trading account: the trader's share is owed.
pub fn reward(event: Event, trader: PersonId, share: Money) -> Result<Entry, LedgerError> {
    event.one(EntryKind::Reward, Account::TraderRewards, Account::TraderPayable(trader), share)
}

/// Where payouts are paid from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PaidFrom {
    /// What a provider holds.
    Provider(Provider),
    /// The firm's bank account.
    Bank,
}

/// A payout that was sent through a provider has arrived; it cost a fee.
pub fn payout_settled(
    event: Event,
    sent_through: &Provider,
    from: &PaidFrom,
    amount: Money,
    fee: Option<Money>,
) -> Result<Entry, LedgerError> {
    let from = || match from {
        PaidFrom::Provider(provider) => Account::ProviderClearing(provider.clone()),
        PaidFrom::Bank => Account::Bank,
    };
    let mut transfers = vec![Transfer::new(Account::PayoutClearing(sent_through.clone()), from(), amount)?];
    if let Some(fee) = fee {
        some(&mut transfers, Account::ProviderFees(sent_through.clone()), from(), fee)?;
    }
    event.entry(EntryKind::PayoutSettled, transfers)
}

/// A payout that was sent failed: it is owed again.
pub fn payout_returned(
    event: Event,
    sent_through: &Provider,
    to: Account,
    amount: Money,
) -> Result<Entry, LedgerError> {
    event.one(EntryKind::PayoutReturned, Account::PayoutClearing(sent_through.clone()), to, amount)
}

/// An affiliate earned a commission.
pub fn commission(event: Event, affiliate: PersonId, amount: Money) -> Result<Entry, LedgerError> {
    let (commissions, payable) = (Account::AffiliateCommissions, Account::AffiliatePayable(affiliate));
    event.one(EntryKind::Commission, commissions, payable, amount)
}

/// A provider paid the firm.
pub fn provider_payout(event: Event, provider: &Provider, amount: Money) -> Result<Entry, LedgerError> {
    let clearing = Account::ProviderClearing(provider.clone());
    event.one(EntryKind::ProviderPayout, Account::Bank, clearing, amount)
}

/// A provider converted money that it holds.
pub fn converted(event: Event, provider: &Provider, given: Money, got: Money) -> Result<Entry, LedgerError> {
    let clearing = || Account::ProviderClearing(provider.clone());
    let transfers = vec![
        Transfer::new(Account::Exchange, clearing(), given)?,
        Transfer::new(clearing(), Account::Exchange, got)?,
    ];
    event.entry(EntryKind::Conversion, transfers)
}

/// A provider holds more than the books say (above zero) or less (below).
pub fn difference(
    event: Event,
    provider: &Provider,
    more: Money,
    reason: &str,
) -> Result<Entry, LedgerError> {
    let (clearing, unmatched) =
        (Account::ProviderClearing(provider.clone()), Account::Unmatched(provider.clone()));
    let (debit, credit) = if more.minor() < 0 { (unmatched, clearing) } else { (clearing, unmatched) };
    let size = more.minor().checked_abs().ok_or(Overflow)?;
    let amount = Money::from_minor(size, more.currency());
    event.one(EntryKind::Difference, debit, credit, amount)?.because(reason)
}

/// The difference of two amounts in one currency.
pub(crate) fn minus(from: Money, less: Money) -> Result<Money, LedgerError> {
    let currencies = (less.currency(), from.currency());
    if currencies.0 != currencies.1 {
        return Err(LedgerError::Currencies(currencies.0, currencies.1));
    }
    let minor = from.minor().checked_sub(less.minor()).ok_or(Overflow)?;
    Ok(Money::from_minor(minor, from.currency()))
}

/// Nothing.
pub(crate) const fn nothing(currency: Currency) -> Money {
    Money::from_minor(0, currency)
}
