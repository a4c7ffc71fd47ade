//! Money in the form that each provider takes it, exactly or not at all.
//!
//! Stripe counts the smallest unit, with exceptions; PayPal takes decimal text. Nothing is rounded in a conversion: an amount
//! that a provider cannot express is an error, and [`nearest`] is the one place where a price or a payout is brought to one
//! that it can.

use kernel::{Currency, DecimalError, Money, Overflow, Rounding, UnknownCurrency, decimal, divide};

use app::payments::port::{Failure, ProviderName, Said};

/// What an amount is for: providers have other steps for what they send than for what they take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// Taken from a buyer, or given back.
    Charge,
    /// Sent to a trader.
    Payout,
}

/// Why an amount has no form at a provider, or a form is no amount.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AmountError {
    /// The provider takes no such currency.
    #[error("{0} takes no {1}")]
    NotTaken(ProviderName, Currency),
    /// Nothing, or less.
    #[error("{0} is not above zero")]
    NotPositive(Money),
    /// Finer than the provider counts.
    #[error("{1} cannot express {0} exactly")]
    TooFine(Money, ProviderName),
    /// More than the provider moves at once.
    #[error("{0} is more than {1} moves at once")]
    TooLarge(Money, ProviderName),
    /// A provider's currency that we do not know.
    #[error(transparent)]
    Currency(#[from] UnknownCurrency),
    /// A provider's text that is no amount.
    #[error(transparent)]
    Text(#[from] DecimalError),
    /// A provider's count that is no amount of the currency.
    #[error("{0} of Stripe's units is no amount of {1}")]
    Count(i64, Currency),
    /// The result does not fit.
    #[error(transparent)]
    Overflow(#[from] Overflow),
}

/// What cannot be expressed will never be asked for.
impl From<AmountError> for Failure {
    fn from(error: AmountError) -> Self {
        Self::Refused(Said { code: "amount".to_owned(), text: format!("{error}."), trace: None })
    }
}

/// The most that Stripe charges: eight digits of its unit.
const STRIPE_MOST: i64 = 99_999_999;

/// How a provider counts a currency: digits after the point, and the step that its count has to be a multiple of.
#[derive(Clone, Copy)]
struct Form {
    digits: u8,
    step: i64,
}

/// Stripe takes all of our currencies but the offshore yuan, which is no ISO 4217 code.
fn stripe_form(currency: Currency, purpose: Purpose) -> Option<Form> {
    let form = match (currency.code(), purpose) {
        ("CNH", _) => return None,
        // No decimals.
        ("JPY" | "KRW", _) => Form { digits: 0, step: 1 },
        // Whole, but counted in hundredths: the krona since 2023, the others when sent.
        ("ISK", _) | ("HUF" | "TWD", Purpose::Payout) => Form { digits: 2, step: 100 },
        // Three decimals of which the last has to be zero.
        ("BHD" | "JOD" | "KWD" | "OMR" | "TND", _) => Form { digits: 3, step: 10 },
        _ => Form { digits: 2, step: 1 },
    };
    Some(form)
}

fn paypal_form(currency: Currency) -> Option<Form> {
    let digits = match currency.code() {
        "HUF" | "JPY" | "TWD" => 0,
        "AUD" | "BRL" | "CAD" | "CHF" | "CZK" | "DKK" | "EUR" | "GBP" | "HKD" | "ILS" | "MXN" | "NOK"
        | "NZD" | "PLN" | "SEK" | "SGD" | "THB" | "USD" => 2,
        _ => return None,
    };
    Some(Form { digits, step: 1 })
}

fn form(provider: ProviderName, currency: Currency, purpose: Purpose) -> Result<Form, AmountError> {
    let form = match provider {
        ProviderName::Stripe => stripe_form(currency, purpose),
        ProviderName::Paypal => paypal_form(currency),
    };
    form.ok_or(AmountError::NotTaken(provider, currency))
}

/// How many times finer `more` digits are than `less`; one if they are not.
fn finer(more: u8, less: u8) -> Result<i64, Overflow> {
    10_i64.checked_pow(u32::from(more.saturating_sub(less))).ok_or(Overflow)
}

/// The provider's count of an amount.
fn count(provider: ProviderName, money: Money, purpose: Purpose) -> Result<(i64, Form), AmountError> {
    let form = form(provider, money.currency(), purpose)?;
    if money.minor() <= 0 {
        return Err(AmountError::NotPositive(money));
    }
    let too_fine = AmountError::TooFine(money, provider);
    let exponent = money.currency().exponent();
    let scaled = money.minor().checked_mul(finer(form.digits, exponent)?).ok_or(Overflow)?;
    let count = exact(scaled, finer(exponent, form.digits)?).ok_or(too_fine.clone())?;
    exact(count, form.step).ok_or(too_fine)?;
    Ok((count, form))
}

/// The quotient, if nothing is left.
fn exact(number: i64, by: i64) -> Option<i64> {
    (number.checked_rem(by)? == 0).then_some(number.checked_div(by)?)
}

/// Stripe's count of what is charged, given back or sent.
pub fn to_stripe(money: Money, purpose: Purpose) -> Result<i64, AmountError> {
    let (count, _) = count(ProviderName::Stripe, money, purpose)?;
    if count > STRIPE_MOST {
        return Err(AmountError::TooLarge(money, ProviderName::Stripe));
    }
    Ok(count)
}

/// The amount that Stripe counts, in its lower-case currency; below zero in its books.
pub fn from_stripe(count: i64, currency: &str) -> Result<Money, AmountError> {
    let currency = Currency::parse(&currency.to_ascii_uppercase())?;
    // What was taken in may be counted finer than what may be asked for: only the digits matter here.
    let form = form(ProviderName::Stripe, currency, Purpose::Charge)?;
    let exponent = currency.exponent();
    let scaled = count.checked_mul(finer(exponent, form.digits)?).ok_or(Overflow)?;
    let minor = exact(scaled, finer(form.digits, exponent)?).ok_or(AmountError::Count(count, currency))?;
    Ok(Money::from_minor(minor, currency))
}

/// PayPal's text of what is charged, given back or sent; the currency goes beside it in capitals.
pub fn to_paypal(money: Money, purpose: Purpose) -> Result<String, AmountError> {
    let (count, form) = count(ProviderName::Paypal, money, purpose)?;
    let text = decimal::format(count, form.digits, form.digits);
    // Ten million is beyond what any account may move at once.
    if text.len() > "10000000.00".len() {
        return Err(AmountError::TooLarge(money, ProviderName::Paypal));
    }
    Ok(text)
}

/// The amount of PayPal's text; below zero in its books.
pub fn from_paypal(value: &str, currency: &str) -> Result<Money, AmountError> {
    let currency = Currency::parse(currency)?;
    // PayPal writes ".50" as its own pattern allows.
    let value = match value.strip_prefix('-') {
        Some(rest) if rest.starts_with('.') => format!("-0{rest}"),
        None if value.starts_with('.') => format!("0{value}"),
        Some(_) | None => value.to_owned(),
    };
    Ok(Money::parse(&value, currency)?)
}

/// The nearest amount that a provider can express: prices are rounded up, payouts down, as the caller says.
pub fn nearest(
    provider: ProviderName,
    money: Money,
    purpose: Purpose,
    rounding: Rounding,
) -> Result<Money, AmountError> {
    let form = form(provider, money.currency(), purpose)?;
    let exponent = money.currency().exponent();
    // The provider's step in our minor units; at least one of ours.
    let step = form.step.checked_mul(finer(exponent, form.digits)?).ok_or(Overflow)?;
    let step = exact(step, finer(form.digits, exponent)?).unwrap_or(1).max(1);
    let steps = divide(i128::from(money.minor()), i128::from(step), rounding)?;
    let minor = steps.checked_mul(i128::from(step)).and_then(|minor| i64::try_from(minor).ok());
    Ok(Money::from_minor(minor.ok_or(Overflow)?, money.currency()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn money(text: &str, currency: &str) -> Money {
        Money::parse(text, Currency::parse(currency).unwrap()).unwrap()
    }

    #[test]
    fn stripe_counts_each_currency_in_its_own_way() {
        for (text, currency, counted) in [
            ("10", "USD", 1_000),
            ("0.01", "EUR", 1),
            ("500", "JPY", 500),
            ("500", "KRW", 500),
            ("5", "ISK", 500),
            ("5.12", "KWD", 5_120),
            ("10.45", "HUF", 1_045),
            ("999999.99", "USD", 99_999_999),
        ] {
            let money = money(text, currency);
            assert_eq!(to_stripe(money, Purpose::Charge), Ok(counted), "{money}");
            assert_eq!(from_stripe(counted, &currency.to_lowercase()), Ok(money));
        }
        for (text, currency, purpose) in [
            ("5.124", "KWD", Purpose::Charge),
            ("0.001", "TND", Purpose::Charge),
            ("10.45", "HUF", Purpose::Payout),
            ("10.45", "TWD", Purpose::Payout),
        ] {
            let money = money(text, currency);
            assert_eq!(to_stripe(money, purpose), Err(AmountError::TooFine(money, ProviderName::Stripe)));
        }
        assert_eq!(to_stripe(money("10", "HUF"), Purpose::Payout), Ok(1_000));
    }

    #[test]
    fn what_nobody_can_express_is_an_error() {
        let offshore = money("5", "CNH");
        let refused = AmountError::NotTaken(ProviderName::Stripe, offshore.currency());
        assert_eq!(to_stripe(offshore, Purpose::Charge), Err(refused));
        for currency in ["CNH", "INR", "KWD", "MAD", "TRY", "ZAR", "ISK"] {
            let money = money("5", currency);
            let refused = AmountError::NotTaken(ProviderName::Paypal, money.currency());
            assert_eq!(to_paypal(money, Purpose::Charge), Err(refused));
        }
        let large = money("1000000", "USD");
        let refused = AmountError::TooLarge(large, ProviderName::Stripe);
        assert_eq!(to_stripe(large, Purpose::Charge), Err(refused));
        for nothing in ["0", "-1"] {
            let nothing = money(nothing, "USD");
            assert_eq!(to_stripe(nothing, Purpose::Charge), Err(AmountError::NotPositive(nothing)));
            assert_eq!(to_paypal(nothing, Purpose::Charge), Err(AmountError::NotPositive(nothing)));
        }
        let most = Money::from_minor(i64::MAX, Currency::parse("ISK").unwrap());
        assert_eq!(to_stripe(most, Purpose::Charge), Err(AmountError::Overflow(Overflow)));
        assert!(matches!(from_stripe(1, "xxx"), Err(AmountError::Currency(_))));
        assert!(matches!(from_stripe(501, "isk"), Err(AmountError::Count(501, _))));
    }

    #[test]
    fn paypal_writes_only_the_decimals_that_a_currency_has() {
        for (text, currency, written) in [
            ("10", "USD", "10.00"),
            ("0.05", "EUR", "0.05"),
            ("500", "JPY", "500"),
            ("1200", "HUF", "1200"),
            ("31", "TWD", "31"),
        ] {
            let money = money(text, currency);
            assert_eq!(to_paypal(money, Purpose::Charge).as_deref(), Ok(written));
            assert_eq!(from_paypal(written, currency), Ok(money));
        }
        for (text, currency) in [("1200.50", "HUF"), ("0.01", "TWD")] {
            let money = money(text, currency);
            let refused = AmountError::TooFine(money, ProviderName::Paypal);
            assert_eq!(to_paypal(money, Purpose::Charge), Err(refused));
        }
        assert_eq!(from_paypal(".50", "USD"), Ok(money("0.5", "USD")));
        assert_eq!(from_paypal("-.50", "USD"), Ok(money("-0.5", "USD")));
        assert_eq!(from_paypal("-3.30", "USD"), Ok(money("-3.3", "USD")));
        for bad in ["1e2", "", "1.001", "--1", "1,00", "NaN", "-", "."] {
            assert!(from_paypal(bad, "USD").is_err(), "{bad}");
        }
    }

    #[test]
    fn prices_are_brought_up_and_payouts_down_to_what_can_be_expressed() {
        for (text, currency, provider, up, down) in [
            ("5.124", "KWD", ProviderName::Stripe, "5.13", "5.12"),
            ("5.12", "KWD", ProviderName::Stripe, "5.12", "5.12"),
            ("10.45", "HUF", ProviderName::Paypal, "11", "10"),
            ("10.45", "HUF", ProviderName::Stripe, "10.45", "10"),
            ("7", "ISK", ProviderName::Stripe, "7", "7"),
        ] {
            let amount = money(text, currency);
            let price = nearest(provider, amount, Purpose::Charge, Rounding::Ceiling);
            let paid = nearest(provider, amount, Purpose::Payout, Rounding::Floor);
            assert_eq!((price, paid), (Ok(money(up, currency)), Ok(money(down, currency))));
        }
    }

    fn currencies() -> impl Strategy<Value = Currency> {
        proptest::sample::select(Currency::all().collect::<Vec<_>>())
    }

    fn purposes() -> impl Strategy<Value = Purpose> {
        proptest::sample::select(vec![Purpose::Charge, Purpose::Payout])
    }

    proptest! {
        #[test]
        fn what_goes_out_comes_back_the_same(minor in 1..9_999_999_i64, currency in currencies(), purpose in purposes()) {
            let money = Money::from_minor(minor, currency);
            match to_stripe(money, purpose) {
                Ok(count) => prop_assert_eq!(from_stripe(count, &currency.code().to_lowercase()), Ok(money)),
                Err(AmountError::TooFine(..) | AmountError::NotTaken(..) | AmountError::TooLarge(..)) => {}
                Err(error) => prop_assert!(false, "{error}"),
            }
            match to_paypal(money, purpose) {
                Ok(text) => prop_assert_eq!(from_paypal(&text, currency.code()), Ok(money)),
                Err(AmountError::TooFine(..) | AmountError::NotTaken(..)) => {}
                Err(error) => prop_assert!(false, "{error}"),
            }
        }

        #[test]
        fn the_nearest_amount_can_be_expressed_and_lies_on_the_named_side(
            minor in 1_000..9_000_000_i64, currency in currencies(), purpose in purposes()
        ) {
            let money = Money::from_minor(minor, currency);
            for provider in ProviderName::ALL {
                let Ok(up) = nearest(provider, money, purpose, Rounding::Ceiling) else { continue };
                let down = nearest(provider, money, purpose, Rounding::Floor).unwrap();
                prop_assert!(down.minor() <= minor && minor <= up.minor());
                prop_assert!(up.minor().checked_sub(down.minor()).is_some_and(|step| step <= 100));
                for amount in [up, down] {
                    let said = match provider {
                        ProviderName::Stripe => to_stripe(amount, purpose).map(|count| count.to_string()),
                        ProviderName::Paypal => to_paypal(amount, purpose),
                    };
                    prop_assert!(matches!(said, Ok(_) | Err(AmountError::TooLarge(..))), "{said:?}");
                    // What can be expressed is not moved any more.
                    prop_assert_eq!(nearest(provider, amount, purpose, Rounding::Floor), Ok(amount));
                }
            }
        }

        #[test]
        fn no_count_and_no_text_of_a_provider_is_ever_another_amount(count in any::<i64>(), currency in currencies()) {
            if let Ok(money) = from_stripe(count, &currency.code().to_lowercase()) {
                // Stripe counts a krona, which has no hundredths, in hundredths.
                let finer = if currency.code() == "ISK" { 100 } else { 1 };
                prop_assert_eq!(i128::from(money.minor()).checked_mul(finer), Some(i128::from(count)));
            }
        }
    }
}
