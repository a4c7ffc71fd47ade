//! Providers of money that remember what happened to them: what their own sandboxes would do, in memory and on a private port.
//!
//! [`stripe::FakeStripe`] and [`paypal::FakePaypal`] take the requests of a real client, check them against the providers'
//! specifications, honour keys, and do as they are told by [`Fault`]s: delay, drop, fail, decline. What buyers and banks do is
//! a method of each fake. What happened is told in signed webhooks, which a test delivers in any order, as often as it likes.
//!
//! The providers' own libraries work with them as well (`providers/tests/payments/peers`), and know every field that they say.

mod authority;
mod pretend;
mod spec;

pub mod paypal;
pub mod stripe;

pub use authority::{Authority, CertificateServer, Leaf, Serving};
pub use pretend::{Fault, SignedWebhook, deliver, shuffled};
