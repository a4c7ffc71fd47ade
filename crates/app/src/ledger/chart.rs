//! The chart of accounts. Every firm has these accounts, in every currency it deals in, and no other.

use std::fmt;
use std::str::FromStr;

use kernel::PersonId;

use super::LedgerError;

/// Who moves money for the firm, such as `stripe`: a lower-case letter, then letters, digits and underscores, at most 32.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Provider(String);

impl Provider {
    /// Checks the form.
    pub fn parse(text: &str) -> Result<Self, LedgerError> {
        let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        let fits = (1..=32).contains(&text.len())
            && text.bytes().all(inner)
            && text.starts_with(|first: char| first.is_ascii_lowercase());
        if fits { Ok(Self(text.to_owned())) } else { Err(LedgerError::NoAccount(text.to_owned())) }
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Provider {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// On which side an account grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nature {
    /// What the firm has or spends.
    Debit,
    /// What the firm owes or earns.
    Credit,
    /// Now this, now that.
    Either,
}

/// An account of a firm, in one currency that is said beside it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Account {
    /// The firm's own bank account.
    Bank,
    /// Money that a provider holds for the firm.
    ProviderClearing(Provider),
    /// Taken by a provider while a dispute is open.
    Disputes(Provider),
    /// What was sold, at the list price without tax.
    FeeIncome,
    /// What of that price was let off.
    Discounts,
    /// Given back, without tax.
    Refunds,
    /// Tax in what was paid, owed to an authority.
    TaxPayable,
    /// Paid twice; to be given back.
    Overpaid,
    /// What a provider charges.
    ProviderFees(Provider),
    /// Disputes lost.
    DisputeLosses,
    /// Traders' shares of what left their accounts.
    TraderRewards,
    /// Owed to a trader.
    TraderPayable(PersonId),
    /// Owed to a trader and reserved for a payout under way.
    TraderHeld(PersonId),
    /// Sent to traders, and not yet known to have arrived.
    PayoutClearing(Provider),
    /// Commissions of affiliates.
    AffiliateCommissions,
    /// Owed to an affiliate.
    AffiliatePayable(PersonId),
    /// Owed to an affiliate and reserved for a payout under way.
    AffiliateHeld(PersonId),
    /// The two sides of conversions.
    Exchange,
    /// Differences that nobody has resolved.
    Unmatched(Provider),
}

/// Whose an account may be.
enum Whose {
    Nobodys(Account),
    Providers(fn(Provider) -> Account),
    Persons(fn(PersonId) -> Account),
}

impl Account {
    /// The words of all kinds, in the order of the chart.
    pub const KINDS: [&str; 19] = [
        "bank",
        "provider_clearing",
        "disputes",
        "fee_income",
        "discounts",
        "refunds",
        "tax_payable",
        "overpaid",
        "provider_fees",
        "dispute_losses",
        "trader_rewards",
        "trader_payable",
        "trader_held",
        "payout_clearing",
        "affiliate_commissions",
        "affiliate_payable",
        "affiliate_held",
        "exchange",
        "unmatched",
    ];

    /// The word of its kind.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Bank => "bank",
            Self::ProviderClearing(_) => "provider_clearing",
            Self::Disputes(_) => "disputes",
            Self::FeeIncome => "fee_income",
            Self::Discounts => "discounts",
            Self::Refunds => "refunds",
            Self::TaxPayable => "tax_payable",
            Self::Overpaid => "overpaid",
            Self::ProviderFees(_) => "provider_fees",
            Self::DisputeLosses => "dispute_losses",
            Self::TraderRewards => "trader_rewards",
            Self::TraderPayable(_) => "trader_payable",
            Self::TraderHeld(_) => "trader_held",
            Self::PayoutClearing(_) => "payout_clearing",
            Self::AffiliateCommissions => "affiliate_commissions",
            Self::AffiliatePayable(_) => "affiliate_payable",
            Self::AffiliateHeld(_) => "affiliate_held",
            Self::Exchange => "exchange",
            Self::Unmatched(_) => "unmatched",
        }
    }

    fn whose(kind: &str) -> Option<Whose> {
        let whose = match kind {
            "bank" => Whose::Nobodys(Self::Bank),
            "provider_clearing" => Whose::Providers(Self::ProviderClearing),
            "disputes" => Whose::Providers(Self::Disputes),
            "fee_income" => Whose::Nobodys(Self::FeeIncome),
            "discounts" => Whose::Nobodys(Self::Discounts),
            "refunds" => Whose::Nobodys(Self::Refunds),
            "tax_payable" => Whose::Nobodys(Self::TaxPayable),
            "overpaid" => Whose::Nobodys(Self::Overpaid),
            "provider_fees" => Whose::Providers(Self::ProviderFees),
            "dispute_losses" => Whose::Nobodys(Self::DisputeLosses),
            "trader_rewards" => Whose::Nobodys(Self::TraderRewards),
            "trader_payable" => Whose::Persons(Self::TraderPayable),
            "trader_held" => Whose::Persons(Self::TraderHeld),
            "payout_clearing" => Whose::Providers(Self::PayoutClearing),
            "affiliate_commissions" => Whose::Nobodys(Self::AffiliateCommissions),
            "affiliate_payable" => Whose::Persons(Self::AffiliatePayable),
            "affiliate_held" => Whose::Persons(Self::AffiliateHeld),
            "exchange" => Whose::Nobodys(Self::Exchange),
            "unmatched" => Whose::Providers(Self::Unmatched),
            _ => return None,
        };
        Some(whose)
    }

    /// On which side it grows.
    pub const fn nature(&self) -> Nature {
        match self {
            Self::Bank
            | Self::ProviderClearing(_)
            | Self::Disputes(_)
            | Self::Discounts
            | Self::Refunds
            | Self::ProviderFees(_)
            | Self::DisputeLosses
            | Self::TraderRewards
            | Self::AffiliateCommissions => Nature::Debit,
            Self::FeeIncome
            | Self::TaxPayable
            | Self::Overpaid
            | Self::TraderPayable(_)
            | Self::TraderHeld(_)
            | Self::PayoutClearing(_)
            | Self::AffiliatePayable(_)
            | Self::AffiliateHeld(_) => Nature::Credit,
            Self::Exchange | Self::Unmatched(_) => Nature::Either,
        }
    }

    /// Whether no more may be debited than was credited. Only accounts of one person: whoever debits one waits for
    /// whoever else does.
    pub const fn bounded(&self) -> bool {
        matches!(
            self,
            Self::TraderPayable(_) | Self::TraderHeld(_) | Self::AffiliatePayable(_) | Self::AffiliateHeld(_)
        )
    }

    /// Where its money is while it is held.
    pub fn held(&self) -> Result<Self, LedgerError> {
        if let Self::TraderPayable(person) = self {
            return Ok(Self::TraderHeld(*person));
        }
        if let Self::AffiliatePayable(person) = self {
            return Ok(Self::AffiliateHeld(*person));
        }
        Err(LedgerError::NotHeld(self.to_string()))
    }
}

impl fmt::Display for Account {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.kind())?;
        match self {
            Self::ProviderClearing(provider)
            | Self::Disputes(provider)
            | Self::ProviderFees(provider)
            | Self::PayoutClearing(provider)
            | Self::Unmatched(provider) => write!(formatter, ":{provider}"),
            Self::TraderPayable(person)
            | Self::TraderHeld(person)
            | Self::AffiliatePayable(person)
            | Self::AffiliateHeld(person) => write!(formatter, ":{person}"),
            Self::Bank
            | Self::FeeIncome
            | Self::Discounts
            | Self::Refunds
            | Self::TaxPayable
            | Self::Overpaid
            | Self::DisputeLosses
            | Self::TraderRewards
            | Self::AffiliateCommissions
            | Self::Exchange => Ok(()),
        }
    }
}

impl FromStr for Account {
    type Err = LedgerError;

    fn from_str(text: &str) -> Result<Self, LedgerError> {
        let unknown = || LedgerError::NoAccount(text.to_owned());
        let (kind, of) = match text.split_once(':') {
            Some((kind, of)) => (kind, Some(of)),
            None => (text, None),
        };
        let account = match (Self::whose(kind).ok_or_else(unknown)?, of) {
            (Whose::Nobodys(account), None) => account,
            (Whose::Providers(account), Some(of)) => account(Provider::parse(of)?),
            (Whose::Persons(account), Some(of)) => account(of.parse().map_err(|_| unknown())?),
            (Whose::Nobodys(_), Some(_)) | (Whose::Providers(_) | Whose::Persons(_), None) => {
                return Err(unknown());
            }
        };
        // One text for one account: a UUID has several.
        if account.to_string() == text { Ok(account) } else { Err(unknown()) }
    }
}
