//! The binary's parts: configuration, wiring, commands. The only crate that knows everybody.
//!
//! **For:** turning settings into running roles, and the one-shot commands.
//!
//! **Must not know:** how anything is decided; it builds and connects.
//!
//! **To add a command:** a variant in `main.rs`, its module here with a plain `run`.

pub mod audit_log;
pub mod bots;
pub mod census;
mod chores;
pub mod demo;
pub mod drill;
pub mod feeding;
pub mod firm;
pub mod health;
pub mod instruments;
pub mod keys;
pub mod listening;
pub mod mail;
pub mod market;
pub mod payments;
pub mod platform;
pub mod privacy;
mod probe;
pub mod quotes;
pub mod receipt;
pub mod replay;
pub mod role;
pub mod rotation;
pub mod rules;
pub mod secret_files;
pub mod smoke;
pub mod system;
pub mod up;
