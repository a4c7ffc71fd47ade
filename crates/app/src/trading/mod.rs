//! Trading: the sequencer that orders quotes, the shard that owns the engine, the desk through which everybody
//! speaks to it, and the ports they store through.

mod answering;
mod desk;
mod follower;
mod history;
mod owner;
mod port;
mod queue;
mod remote;
mod replay;
mod sequencer;
mod shard;
mod traded;
mod wire;
mod words;

pub use desk::{ANSWERS_WITHIN, Desk, Left, Line, LineError, Submitted, Views};
pub use follower::{Follower, Shards, caught_up, repeat};
pub use history::{
    Compared, Comparison, Counted, Difference, HistoryError, HistoryStore, ReadQuotes, RowName, Rows, RowsOf,
    Snapshot, Whereabouts, Whose, answer_text, compare, go_through,
};
pub use owner::Owner;
pub use port::{
    AuditEntry, Batch, Changed, Decided, Digests, Journaled, LeaseStore, Leases, Loaded, LoggedQuote,
    LoggedQuotes, Origin, OutboxEntry, QuoteLog, RefusedQuote, ShardCommit, ShardError, ShardStore,
};
pub use queue::Queues;
pub use remote::Remote;
pub use replay::{By, Places, Replay, ReplayError, Told, Witness};
pub use sequencer::{IncomingQuote, Sequencer, SharedQuoteLog};
pub use shard::ShardSettings;
pub use traded::TRADED_PAUSE;
