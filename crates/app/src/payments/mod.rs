//! Money from and to the world: companies that take what a buyer pays and send what a trader is owed.
//!
//! What such a company can do is [`port::Provider`]; which ones a firm has are its [`Providers`]. Buyers pay on [`checkouts`].
//! Nobody believes what comes from outside: a webhook that is verified ([`port::Webhooks`]) goes into the inbox ([`notices`]) and says
//! only that something happened to a thing; [`following`] pulls the thing and does what follows. So it does not matter how
//! often, how late and in what order providers tell.

pub mod checkouts;
pub mod following;
pub mod notices;
pub mod port;
mod registry;

pub use registry::{NoSuchProvider, Providers};

use crate::AppError;
use port::Failure;

/// What a caller hears of a provider's failure: that it will not, or that it may later. The rest is for the operator.
pub fn failed(doing: &'static str) -> impl FnOnce(Failure) -> AppError {
    move |failure| match failure {
        Failure::Declined(_) | Failure::Refused(_) => AppError::refused(
            "payment_refused",
            "The payment provider refused this. Try another way, or ask support.",
        ),
        Failure::Unknown(_) | Failure::Unavailable { .. } => {
            AppError::Unavailable { doing, source: Box::new(failure) }
        }
        Failure::WrongKey(_) => AppError::Bug { doing, source: Box::new(failure) },
    }
}
