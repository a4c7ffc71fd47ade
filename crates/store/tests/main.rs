//! Everything that is asked of a real database, in one program: linking one for each file would take minutes and gigabytes.
//! `cargo nextest run -p store payouts::` runs a file.

mod analytics;
mod audit;
mod audit_archive;
mod common;
mod connected;
mod disputes;
mod firms;
mod history;
mod jobs;
mod leadership;
mod ledger;
mod lines;
mod notifications;
mod operations;
mod operators;
mod payouts;
mod privacy;
mod provider_schedules;
mod quorum;
mod receipts;
mod reconciliation;
mod registry;
mod replicas;
mod sale;
mod schema;
mod servers;
mod shard;
mod tls;
mod use_cases;
mod webhooks;
