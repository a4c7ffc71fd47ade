//! Challenge programs as data, and what they say about an account.
//!
//! **For:** the vocabulary of rules ([`Rule`]), the [`Program`] that combines them, the [`Track`] of an account that
//! they look at, and the answers: [`floors`] (where a loss rule fires), [`objectives`] (what a pass still needs),
//! [`deadlines`], [`payout`] (what may be paid and why not), [`scaling`], the [`difference`] between two programs in
//! sentences, and [`example`]s that show what a program means.
//!
//! **Must not know:** quotes, storage, the time of day. Everything arrives as an argument; the engine asks at every
//! price, and nothing else in the system gives a verdict.
//!
//! **To add a rule kind:** one file in `kinds/` like [`kinds::MaxLoss`]'s, with its settings (which are its schema),
//! its arithmetic, its sentence and its examples, and one line in the list of `rule.rs`. Everything else follows: the
//! JSON Schema, reading and checking, the floors or objectives it answers, screens, receipts and `rules check`.

mod alarm;
mod difference;
mod effect;
pub mod example;
mod facts;
mod floor;
mod hint;
pub mod kinds;
mod limit;
pub mod merge;
mod near;
pub mod payout;
mod program;
mod rule;
pub mod scaling;
mod track;

pub use alarm::{Alarm, OpenLevel, alarm, open_levels};
pub use difference::{Change, difference};
pub use effect::{Effect, Figure, Figured, Finding, RuleError};
pub use facts::{CloseReason, Closing, Fact, NewsEvent, OpenTrade, Opening};
pub use floor::{
    Comparison, Deadline, Floor, Objection, Objective, RUIN, Tested, Worth, breached, deadlines, figures,
    floors, objection, objectives, passed, profit_target, target_reached,
};
pub use limit::{Limit, Offset, Reached, Since};
pub use payout::Payout;
pub use program::{Invalid, Phase, Program, ProgramError, Promotion, Terms, VersionHash};
pub use rule::{Moment, Rule, Scene, Words};
pub use scaling::Scaling;
pub use track::{Activity, Clocks, Day, HeldBack, Lock, Paid, Peaks, Track};

/// For settings that are written only where they differ.
fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
