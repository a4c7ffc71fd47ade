//! Use cases: what a person may ask of TradeSense, decided once, whoever asks and however.
//!
//! **For:** identity, the catalogue, purchases, the firm's books, trading (the shard that owns the engine), overrides, releases, live
//! streams, judging a history again by other rules, messages and jobs, privacy, the audit log, and the ports that adapters fill. A use case locks or owns, reads, decides in pure code, writes everything in one
//! transaction, and only then speaks to the world.
//!
//! **Must not know:** SQL, HTTP, files, which adapter fills a port. The clock and chance are handed in.
//!
//! **To add a use case:** a plain async function in the module of its area that takes the [`Context`] and a checked
//! request, a method on that area's port if it needs a new read or write, one test over the real store.

pub mod auditing;
pub mod cache;
pub mod catalogue;
mod context;
mod error;
pub mod events;
pub mod identity;
pub mod jobs;
pub mod latency;
pub mod leadership;
pub mod ledger;
pub mod market;
pub mod notifications;
pub mod operations;
pub mod overrides;
pub mod privacy;
pub mod purchases;
pub mod receipts;
pub mod releases;
pub mod streams;
pub mod trading;
pub mod upkeep;
pub mod webhooks;
pub mod what_if;

pub use context::{Actor, Context, Permission, Role};
pub use error::{AppError, BoxError, FieldError, with_causes};
