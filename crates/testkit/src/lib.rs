//! What tests stand on: a database of their own, a clock and chance they command, a firm with something to sell.
//!
//! **For:** [`TestDatabase`] (cloned from a migrated template, gone when dropped), [`World`] (the store with its use
//! cases over a manual clock), [`trading`] (a quote log in memory, a store whose
//! commits wait until they are let through), [`TestRedis`] (a server that may be killed), [`TestSentinels`] (several, one of which is promoted
//! when the primary is killed), [`FaultProxy`] (a link that may be
//! cut), [`Disk`] (one that may be full), a mail server ([`smtp`]) and an HTTP server ([`receiver`]) that answer as they are told,
//! an S3 server ([`TestS3`]), Stripe and PayPal ([`payments`]) that remember what happened to them, programs of others to start
//! or compare with ([`listed()`]), keys of people in memory ([`MemoryKeys`]), and the small [`instruments`]
//! table and [`program`] they share; the [`operations`] of an API, so that none goes without a row of who may.
//!
//! **Must not know:** what is being tested. Nothing that ships depends on this crate.
//!
//! **To add a helper:** when a second test file needs it; a method on [`World`] if it writes, a plain function if not.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::missing_panics_doc,
    clippy::indexing_slicing,
    reason = "a test harness fails by panicking"
)]

mod database;
mod disk;
mod keys;
mod listed;
pub mod payments;
mod proxy;
pub mod receiver;
mod redis;
mod s3;
pub mod smtp;
pub mod trading;
mod world;

pub use database::TestDatabase;
pub use disk::Disk;
pub use keys::{MemoryKeys, vault, vault_over};
pub use listed::listed;
pub use proxy::{FaultProxy, Faults};
pub use redis::{TestRedis, TestSentinels, free_port};
pub use s3::{Answered, TestS3};
pub use world::{PASSWORD, START, World, instruments, program};

/// Lets HTTP clients of tests be built: they ask for a provider of cryptography even if they never need one.
pub fn with_cryptography() {
    // An error means that somebody was here before, with the same one.
    drop(rustls::crypto::ring::default_provider().install_default());
}

/// Path and method of every operation of an OpenAPI document, in their order.
pub fn operations(document: &str) -> Vec<(String, String)> {
    let document: serde_json::Value = serde_json::from_str(document).unwrap();
    let mut operations = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        let methods = item.as_object().unwrap().keys();
        operations.extend(methods.map(|method| (path.clone(), method.to_uppercase())));
    }
    operations.sort();
    operations
}
