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
                    phase.rules.retain(|rule| !matches!(rule, Rule::MinTradingDays(days) if days.days == 0));
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

#[cfg(test)]
mod tests {
    use super::*;

    fn program() -> Program {
        Program::from_toml(
            r#"
            name = "One step"
            currency = "USD"
            initial_balance = "100000"
            reset = { zone = "UTC", time = "00:00" }
            [terms]
            instruments = ["EURUSD"]
            leverage = 100
            commission_per_lot = "3"
            stop_out = "50"
            [[phases]]
            name = "Evaluation"
            rules = [
              { kind = "max_loss", trail = "static", limit = { percent_of_initial = "10" }, breach = "below" },
              { kind = "profit_target", limit = { percent_of_initial = "10" }, flat = true },
              { kind = "min_trading_days", days = 5 },
              { kind = "calendar_limit", days = 30 },
            ]
            [[phases]]
            name = "Funded"
            rules = [{ kind = "max_loss", trail = "static", limit = { percent_of_initial = "10" }, breach = "below" }]
            payout = { split = "80", cycle = { first_days = 30, next_days = 14, from = "opening", inclusive = false } }
            "#,
        )
        .unwrap()
    }

    #[test]
    fn each_changes_what_it_says_and_the_program_stays_sound() {
        let bought = program();
        let text = |change: AddonChange| {
            let changed = change.applied(&bought).unwrap();
            changed.check().unwrap();
            assert_ne!(changed.version().unwrap(), bought.version().unwrap());
            let said = rules::difference(&bought, &changed);
            assert!(!said.is_empty());
            changed
        };
        let split = text(AddonChange::Split { at_least: Percent::from_whole(90) });
        assert_eq!(split.phases[1].payout.as_ref().unwrap().split, Percent::from_whole(90));
        let cycle = text(AddonChange::PayoutDays { first: 14, next: 7 });
        let cycle = cycle.phases[1].payout.as_ref().unwrap().cycle.as_ref().unwrap().clone();
        assert_eq!((cycle.first_days, cycle.next_days), (14, 7));
        let days = text(AddonChange::TradingDays { at_most: 3 });
        assert!(
            days.phases[0].rules.iter().any(|rule| matches!(rule, Rule::MinTradingDays(it) if it.days == 3))
        );
        let none = text(AddonChange::TradingDays { at_most: 0 });
        assert_eq!(none.phases[0].rules.len(), bought.phases[0].rules.len() - 1);
        let longer = text(AddonChange::MoreDays { more: 30 });
        assert!(
            longer.phases[0]
                .rules
                .iter()
                .any(|rule| matches!(rule, Rule::CalendarLimit(it) if it.days == 60))
        );
        let resets = AddonChange::Resets { included: 2 };
        assert_eq!((resets.applied(&bought).unwrap(), resets.resets()), (bought.clone(), 2));
    }

    #[test]
    fn nobody_pays_for_what_changes_nothing() {
        for change in [
            AddonChange::Split { at_least: Percent::from_whole(80) },
            AddonChange::Resets { included: 0 },
            AddonChange::PayoutDays { first: 60, next: 60 },
            AddonChange::TradingDays { at_most: 5 },
            AddonChange::MoreDays { more: 0 },
        ] {
            assert_eq!(change.applied(&program()), Err(ChangesNothing), "{change:?}");
        }
    }
}
