//! Trading: the sequencer that orders quotes, the shard that owns the engine, the desk through which everybody
//! speaks to it, and the ports they store through.

mod desk;
mod port;
mod replay;
mod sequencer;
mod shard;

pub use desk::{Desk, Submitted};
pub use port::{
    AuditEntry, Batch, Journaled, Loaded, LoggedQuote, LoggedQuotes, Origin, OutboxEntry, QuoteLog,
    RefusedQuote, ShardCommit, ShardError, ShardStore,
};
pub use replay::{ReplayError, Replayed, replay};
pub use sequencer::{IncomingQuote, Sequencer, SharedQuoteLog};
pub use shard::{Shard, ShardSettings};
