//! Trading: the sequencer that orders quotes, the shard that owns the engine, the desk through which everybody
//! speaks to it, and the ports they store through.

mod desk;
mod history;
mod port;
mod replay;
mod sequencer;
mod shard;

pub use desk::{Desk, Submitted};
pub use history::{
    Compared, Comparison, Counted, Difference, HistoryError, HistoryStore, ReadQuotes, RowName, Rows, RowsOf,
    Snapshot, Whereabouts, Whose, answer_text, compare, go_through,
};
pub use port::{
    AuditEntry, Batch, Journaled, Loaded, LoggedQuote, LoggedQuotes, Origin, OutboxEntry, QuoteLog,
    RefusedQuote, ShardCommit, ShardError, ShardStore,
};
pub use replay::{By, Places, Replay, ReplayError, Told, Witness};
pub use sequencer::{IncomingQuote, Sequencer, SharedQuoteLog};
pub use shard::{Shard, ShardSettings};
