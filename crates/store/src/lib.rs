//! PostgreSQL: the only truth.
//!
//! **For:** the ports of `app` ([`app::identity::IdentityStore`], [`app::catalogue::CatalogueStore`],
//! [`app::purchases::PurchaseStore`], [`app::trading::ShardStore`], [`app::trading::LeaseStore`], [`app::trading::HistoryStore`],
//! [`app::receipts::ReceiptStore`], [`app::overrides::OverrideStore`], [`app::releases::ReleaseStore`], [`app::jobs::JobStore`],
//! [`app::jobs::ScheduleStore`], [`app::operations::OperationStore`], [`app::notifications::NotificationStore`],
//! [`app::webhooks::WebhookStore`], [`app::auditing::AuditStore`], [`app::privacy::PrivacyStore`], [`app::ledger::LedgerStore`], [`app::refunds::RefundStore`],
//! [`app::disputes::DisputeStore`], [`app::payouts::PayoutStore`], [`app::kyc::KycStore`]), the read models of screens
//! ([`read`]), and the migrations.
//!
//! **Must not know:** HTTP, rules of the business, the time of day: every instant is handed in. Nothing here decides
//! what may happen; it says whether it could be written.
//!
//! Firms are kept apart twice. Every statement names its firm, and row-level security lets through only the rows of
//! the firm that the transaction was begun for ([`Store::begin`]). The shards' owner works for all firms under a
//! role of its own that cannot see people, sessions or purchases. A platform runs with a login that may take these two
//! roles and nothing else ([`Store::ensure_login`]); only setting up needs the owner.
//!
//! Who people are is sealed before it is written and opened after it is read, under keys that are not here
//! ([`app::privacy::Vault`]). What every column holds of people stands in `docs/compliance/data.toml`, and a test holds them to
//! it.
//!
//! What is known by its hash (versions, verdicts) is kept as the text that was hashed and checked before it is parsed,
//! so that a field more in the type changes nothing that is stored.
//!
//! **To add a table:** a new file in `migrations/` with the firm in the primary key and in every foreign key, named
//! constraints, `enable` and `force row level security`, a policy and its grants, and a line for each column in
//! `docs/compliance/data.toml`; tests list the tables and hold them to it. **To add a query:** `sqlx::query!` and its kin only, then `cargo xtask db prepare`. **To map a refusal
//! of the database to one of the business:** name the constraint in `error.rs`.

pub mod analytics;
mod auditing;
mod batch;
mod catalogue;
mod checkouts;
mod disputes;
mod drill;
mod error;
mod faults;
mod finance;
mod history;
mod identity;
mod inbox;
mod jobs;
mod kyc;
mod latencies;
mod leadership;
mod leases;
mod ledger;
mod messages;
mod metrics;
mod money_faults;
mod notices;
mod notifications;
mod operations;
mod overrides;
mod payouts;
mod pool;
mod privacy;
mod purchases;
pub mod read;
mod receipts;
mod reconciliation;
mod records;
mod refunds;
mod releases;
mod replicas;
mod row;
mod schedules;
mod scram;
mod shard;
mod upkeep;
mod webhooks;

pub use drill::Contents;
pub use error::{Inconsistent, StoreError};
pub use faults::{Fault, faults_in};
pub use metrics::{Business, Machinery, Pool};
pub use pool::{Committed, Firm, NewFirm, Settings, Store, Tx};
pub use replicas::{Health, MOST_BEHIND, NoToken, Read, Replicas, Token};
