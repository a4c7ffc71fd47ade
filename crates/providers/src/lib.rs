//! Adapters to the world outside the platform.
//!
//! **For:** turning what an outside party offers into the platform's own words. Today that is market data,
//! see [`feeds`]: recorded ticks, their replay, and a simulator; and [`quote_log`], where accepted quotes are kept, with its
//! [`archive`]; [`payments`], which take and send money; [`mail`] to people, and [`webhooks`] to the firm's own systems; [`copies`] of the audit log; and [`people_keys`],
//! under which people's data is sealed.
//!
//! **Must not know:** programs, accounts, storage, HTTP of our own; another adapter. An adapter reads no wall
//! clock: time is an argument, so that a test decides what hour it is.
//!
//! **To add a market-data feed:** implement [`feeds::Feed`] in a module of its own under `feeds`. Deliver what
//! arrived, in the order it arrived; judging it (crossed, stale, outlier) is the quote gate's business.

pub mod archive;
pub mod copies;
pub mod feeds;
pub mod mail;
pub mod payments;
pub mod people_keys;
pub mod quote_log;
pub mod webhooks;
