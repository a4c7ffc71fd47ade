//! PayPal: orders, captures, refunds, disputes, payouts, transaction reports; and its webhooks.

mod answers;
mod certificates;
mod client;
mod webhooks;

pub use certificates::{CertificateSource, CertificateUrl, HttpsCertificates};
pub use client::{Paypal, PaypalSettings};
pub use webhooks::{LATEST, PaypalWebhooks};
