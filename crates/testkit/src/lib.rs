//! What tests stand on: a database of their own, a clock and chance they command, a firm with something to sell.
//!
//! **For:** [`TestDatabase`] (cloned from a migrated template, gone when dropped), [`World`] (the store with its use
//! cases over a manual clock), [`trading`] (a quote log in memory, a store whose
//! commits wait until they are let through), [`TestRedis`] (a server that may be killed), [`FaultProxy`] (a link that may be
//! cut), a mail server ([`smtp`]) and an HTTP server ([`receiver`]) that answer as they are told, and the small [`instruments`]
//! table and [`program`] they share.
//!
//! **Must not know:** what is being tested. Nothing that ships depends on this crate.
//!
//! **To add a helper:** when a second test file needs it; a method on [`World`] if it writes, a plain function if not.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::missing_panics_doc,
    reason = "a test harness fails by panicking"
)]

mod database;
mod proxy;
pub mod receiver;
mod redis;
pub mod smtp;
pub mod trading;
mod world;

pub use database::TestDatabase;
pub use proxy::{FaultProxy, Faults};
pub use redis::{TestRedis, free_port};
pub use world::{PASSWORD, START, World, instruments, program};
