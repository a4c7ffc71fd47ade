//! What notes say.

use super::{Kind, Told};

/// The line that a note is listed under and a mail's subject.
pub fn title(kind: Kind, told: &Told) -> String {
    let number = told.account.as_ref().map_or("", |account| account.number.as_str());
    let (program, headline) = (&told.program, &told.headline);
    match kind {
        Kind::PurchasePaid => format!("{program} is paid: your account is being opened"),
        Kind::PurchaseFailed => format!("The payment for {program} did not go through"),
        Kind::PurchaseDisputed => format!("The payment for {program} is disputed: its accounts are on hold"),
        Kind::DisputeReleased => format!("A dispute about {program} has ended: it holds nothing any more"),
        Kind::AccountOpened => format!("Account {number} is open"),
        Kind::AccountBreached
        | Kind::AccountLocked
        | Kind::AccountWarned
        | Kind::AccountPassed
        | Kind::AccountPromoted
        | Kind::AccountExpired
        | Kind::AccountPaid
        | Kind::PayoutRefused
        | Kind::PayoutRejected
        | Kind::PayoutSettled
        | Kind::PayoutReturned => format!("{number}: {headline}"),
        Kind::WebhookDisabled => format!("A webhook was disabled: {headline}"),
    }
}

/// What a note says of a purchase beside its title.
pub fn of_purchase(kind: Kind) -> Vec<String> {
    let sentence = if kind == Kind::PurchaseDisputed {
        Some(
            "You, or your bank, asked for the money back or about it. Until that is decided nothing can be opened and nothing is paid \
             out; what is open can be closed, and every rule goes on.",
        )
    } else {
        (kind == Kind::DisputeReleased)
            .then_some("Its accounts go on, unless another dispute about the same purchase is open.")
    };
    sentence.map(str::to_owned).into_iter().collect()
}

/// What a note says of a payout of an amount, such as `800.00 USD`: in a few words, and what is to be done.
pub fn of_payout(kind: Kind, amount: &str) -> (String, Vec<String>) {
    let (headline, sentence) = if kind == Kind::PayoutSettled {
        (format!("your payout of {amount} has arrived"), None)
    } else if kind == Kind::PayoutReturned {
        let sentence =
            "The money is yours and waits. The firm sends it again, also to somewhere else: tell them where.";
        (format!("your payout of {amount} came back"), Some(sentence))
    } else {
        let sentence = "The money is still in the account. The payout says why.";
        (format!("your payout of {amount} was not let go"), Some(sentence))
    };
    (headline, sentence.map(str::to_owned).into_iter().collect())
}
