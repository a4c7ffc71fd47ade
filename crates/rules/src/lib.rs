//! Challenge programs as data, and what they say about an account.
//!
//! **For:** the vocabulary of rules ([`Rule`]), the [`Program`] that combines them, the [`Track`] of an account that
//! they look at, and the answers: [`floors`] (equity below or at which a loss rule fires), [`objectives`] (what a
//! pass still needs) and [`deadlines`].
//!
//! **Must not know:** quotes, positions, storage, the time of day. Everything arrives as an argument; the engine
//! asks at every price, and nothing else in the system gives a verdict.
//!
//! **To add a rule kind:** one file like [`max_loss`] with its settings, its arithmetic, its sentence and its
//! examples; one variant of [`Rule`], and the compiler lists the matches to extend.

pub mod calendar_limit;
pub mod daily_loss;
mod floor;
pub mod inactivity;
mod limit;
pub mod max_loss;
pub mod min_trading_days;
pub mod profit_target;
mod program;
mod track;

pub use floor::{
    Comparison, Deadline, Floor, Objective, Reach, breached, deadlines, floors, objectives, passed,
};
pub use limit::Limit;
pub use program::{Invalid, Phase, Program, ProgramError, Rule, Terms, VersionHash};
pub use track::Track;
