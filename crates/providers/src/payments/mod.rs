//! Providers of money: companies that take what a buyer pays and send what a trader is owed.
//!
//! **For:** [`stripe`] and [`paypal`], which do what the platform asks of any of them ([`app::payments::port`]); [`amounts`], money in the
//! form that each of them takes. Their webhooks are verified here ([`stripe::Webhooks`], [`paypal::Webhooks`]): what comes out is
//! who says that something happened to what, never how it stands; that is pulled.
//!
//! **Must not know:** purchases, ledgers, storage. The clock and chance are handed in.
//!
//! **To add a provider:** a folder with `client.rs` ([`app::payments::port::Provider`]) and `webhooks.rs` ([`app::payments::port::Webhooks`]), its currencies in
//! [`amounts`], a stateful fake in `testkit`, contract tests over both, and what others made of the provider beside them (`tests/payments/peers`).

pub mod amounts;
mod breaker;
mod multipart;
pub mod paypal;
pub mod stripe;
mod wire;

pub use wire::{BadSettings, Limits, Tools, system_roots, system_roots_pem};
