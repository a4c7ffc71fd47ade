//! Stripe: Checkout, refunds, disputes, transfers to connected accounts, balance transactions; and its webhooks.

mod answers;
mod client;
mod webhooks;

pub use client::{Stripe, StripeSettings, VERSION};
pub use webhooks::{StripeWebhooks, TOLERANCE};
