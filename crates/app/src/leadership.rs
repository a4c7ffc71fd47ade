//! Who does what only one process may do at a time: relay messages, read a part of a stream for its group, feed quotes.

use std::collections::BTreeMap;

use async_trait::async_trait;
use kernel::{OwnerId, Span};

use crate::AppError;

/// Leases by name. Whoever was paused may believe in a lease that has run out; what must not happen twice is guarded by
/// the token, which rises with every new holder, or by something better.
#[async_trait]
pub trait Leadership: Send + Sync {
    /// Renews of these what the owner has and takes what is free, for so long, a minute at most; gives what it has then, each with its token.
    /// Names that are equal up to a colon are of one kind: of each kind nobody has more than its share among all who ask,
    /// and lets go of what is beyond.
    async fn lead(
        &self,
        owner: OwnerId,
        names: &[String],
        length: Span,
    ) -> Result<BTreeMap<String, i64>, AppError>;

    /// Gives back what the owner has of these.
    async fn give_up(&self, owner: OwnerId, names: &[String]) -> Result<(), AppError>;
}
