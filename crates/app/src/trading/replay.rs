//! The history of a shard, applied again: journal and quote log give the same events, answers and state.

use engine::{Engine, EngineError, Event, Input, Outcome};
use kernel::Timestamp;

use super::port::{Journaled, LoggedQuote, LoggedQuotes};
use super::shard::apply_quote;
use crate::BoxError;

/// What a replay did.
#[derive(Debug, Default)]
pub struct Replayed {
    /// Everything that happened, in order.
    pub events: Vec<Event>,
    /// Commands applied.
    pub commands: u64,
    /// Quotes applied.
    pub quotes: u64,
}

/// Why a history cannot be applied again.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The journal or the quote log cannot be read.
    #[error("reading the history")]
    Reading(#[source] BoxError),
    /// The engine stopped.
    #[error("applying the history")]
    Engine(#[from] EngineError),
    /// A command got another answer than it did then.
    #[error("command {seq} was answered {then:?}, now {now:?}")]
    OtherAnswer {
        /// Its place in the journal.
        seq: i64,
        /// The stored answer.
        then: Outcome,
        /// The answer of this replay.
        now: Option<Outcome>,
    },
}

/// Applies a journal and the quotes between its commands, then the quotes up to a place and the time up to an instant,
/// to an engine that knows every program. Every command must get the answer that it got then.
pub fn replay(
    engine: &mut Engine,
    journal: &[Journaled],
    quotes: LoggedQuotes,
    upto: u64,
    at: Timestamp,
) -> Result<Replayed, ReplayError> {
    let mut quotes = quotes.peekable();
    let mut replayed = Replayed::default();
    for entry in journal {
        apply_quotes(engine, &mut quotes, entry.after_quote, &mut replayed)?;
        let input = Input::Command(entry.command.clone());
        let answered = engine.apply(entry.at.max(engine.now()), &input, &mut replayed.events)?;
        let now = answered.map(|answered| answered.outcome);
        if now != Some(entry.outcome) {
            return Err(ReplayError::OtherAnswer { seq: entry.seq, then: entry.outcome, now });
        }
        replayed.commands = replayed.commands.saturating_add(1);
    }
    apply_quotes(engine, &mut quotes, upto, &mut replayed)?;
    engine.apply(at.max(engine.now()), &Input::Clock, &mut replayed.events)?;
    Ok(replayed)
}

fn apply_quotes(
    engine: &mut Engine,
    quotes: &mut std::iter::Peekable<LoggedQuotes>,
    upto: u64,
    replayed: &mut Replayed,
) -> Result<(), ReplayError> {
    // A quote that cannot be read is taken as well, to be told of.
    let due =
        |quote: &Result<LoggedQuote, BoxError>| quote.as_ref().map_or(true, |quote| quote.position <= upto);
    while let Some(quote) = quotes.next_if(due) {
        apply_quote(engine, &quote.map_err(ReplayError::Reading)?, &mut replayed.events)?;
        replayed.quotes = replayed.quotes.saturating_add(1);
    }
    Ok(())
}
