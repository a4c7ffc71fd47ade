//! What may be added to a program when it is bought. An add-on that changes the program gives another version of it: the
//! account is bought with that version and keeps it, like every other.

use kernel::Percent;
use rules::{Program, Rule};
use serde::{Deserialize, Serialize};

/// What an add-on changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum AddonChange {
    /// The trader's share of every payout is at least this.
    Split {
        /// The share.
        at_least: Percent,
    },
    /// So many resets are included.
    Resets {
        /// How many.
        included: u32,
    },
    /// Payouts may be asked for after so many days, the first one and every other, if the program's cycles are longer.
    PayoutDays {
        /// Of the first cycle.
        first: u32,
        /// Of every other.
        next: u32,
    },
    /// At most so many trading days are asked for, in phases that ask for more.
    TradingDays {
        /// How many.
        at_most: u32,
    },
    /// A phase that must be passed within some days may take so many more.
    MoreDays {
        /// How many.
        more: u32,
    },
}

/// Why an add-on does not go with a program: it would change nothing, and nobody pays for that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it would change nothing in this program")]
pub struct ChangesNothing;

impl AddonChange {
    /// The program with the change. [`ChangesNothing`] if that is the program itself; resets change no program.
    pub fn applied(self, program: &Program) -> Result<Program, ChangesNothing> {
        let mut changed = program.clone();
        match self {
            Self::Resets { included } => {
                return if included > 0 { Ok(changed) } else { Err(ChangesNothing) };
            }
            Self::Split { at_least } => {
                for payout in changed.phases.iter_mut().filter_map(|phase| phase.payout.as_mut()) {
                    payout.split = payout.split.max(at_least);
                    for step in &mut payout.split_steps {
                        step.split = step.split.max(at_least);
                    }
                }
            }
            Self::PayoutDays { first, next } => {
                for phase in &mut changed.phases {
                    if let Some(cycle) = phase.payout.as_mut().and_then(|payout| payout.cycle.as_mut()) {
                        cycle.first_days = cycle.first_days.min(first);
                        cycle.next_days = cycle.next_days.min(next);
                    }
                }
            }
            Self::TradingDays { at_most } => {
                for phase in &mut changed.phases {
                    for rule in &mut phase.rules {
                        if let Rule::MinTradingDays(days) = rule {
                            days.days = days.days.min(at_most);
                        }
                    }
                    // None to trade on is no rule.
                    phase
                        .rules
                        .retain(|rule| !matches!(rule, Rule::MinTradingDays(days) if days.days == 0));
                }
            }
            Self::MoreDays { more } => {
                for rule in changed.phases.iter_mut().flat_map(|phase| &mut phase.rules) {
                    if let Rule::CalendarLimit(limit) = rule {
                        limit.days = limit.days.saturating_add(more);
                    }
                }
            }
        }
        if changed == *program { Err(ChangesNothing) } else { Ok(changed) }
    }

    /// How many resets it includes.
    pub const fn resets(self) -> u32 {
        match self {
            Self::Resets { included } => included,
            Self::Split { .. }
            | Self::PayoutDays { .. }
            | Self::TradingDays { .. }
            | Self::MoreDays { .. } => 0,
        }
    }
}
