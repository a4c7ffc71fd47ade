//! What notes say.

use super::{Kind, Told};

/// The line that a note is listed under and a mail's subject.
pub fn title(kind: Kind, told: &Told) -> String {
    let number = told.account.as_ref().map_or("", |account| account.number.as_str());
    let (program, headline) = (&told.program, &told.headline);
    match kind {
        Kind::PurchasePaid => format!("{program} is paid: your account is being opened"),
        Kind::PurchaseFailed => format!("The payment for {program} did not go through"),
        Kind::AccountOpened => format!("Account {number} is open"),
        Kind::AccountBreached
        | Kind::AccountLocked
        | Kind::AccountWarned
        | Kind::AccountPassed
        | Kind::AccountPromoted
        | Kind::AccountExpired
        | Kind::AccountPaid
        | Kind::PayoutRefused => format!("{number}: {headline}"),
        Kind::WebhookDisabled => format!("A webhook was disabled: {headline}"),
    }
}
