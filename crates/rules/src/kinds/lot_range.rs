//! Sizes that stay in a range.

use std::borrow::Cow;
use std::collections::BTreeMap;

use kernel::{Amount, Lots, Overflow, Percent, Rounding, divide};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::effect::{Figure, Figured, RuleError, figure};
use crate::rule::{Kind, Words};
use crate::{Effect, Fact, Finding, Moment, Objective, Opening, Rule, Scene, Track};

use super::{Note, effect_fault};

/// Every size lies between two multiples of a reference, both ends included.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LotRange {
    /// The reference.
    pub around: Around,
    /// The least size, in per cent of the reference.
    pub lower: Percent,
    /// The largest size, in per cent of the reference.
    pub upper: Percent,
    /// What happens: `flag`, `deduct`, `warn`, `soft`, `hard` or `refuse`. Around the first trade `refuse` refuses the
    /// order, around the average it holds the pass and the payout back; `deduct` keeps the profit of sizes outside from
    /// being paid out.
    pub effect: Effect,
}

/// What sizes are compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Around {
    /// The average size of all closing orders so far; parts count. It is known only in the end, so sizes are judged
    /// together when the phase is passed or money is paid.
    Average,
    /// The size of the first trade; every later one is judged as it opens.
    FirstTrade,
}

/// Sizes of trades so far.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct LotNotes {
    /// The first trade opened.
    pub first: Option<Lots>,
    /// All closed sizes together.
    pub total: Lots,
    /// How many they were.
    pub orders: u32,
    /// What closed sizes have earned, by size, losses left out; kept around the average.
    pub earned: BTreeMap<Lots, Amount>,
}

struct Range {
    reference: Lots,
    least: Lots,
    most: Lots,
}

impl LotRange {
    fn notes(track: &Track, index: usize) -> LotNotes {
        match track.notes.get(&index) {
            Some(Note::Lots(notes)) => notes.clone(),
            _ => LotNotes::default(),
        }
    }

    fn range(&self, notes: &LotNotes) -> Result<Option<Range>, Overflow> {
        let reference = match self.around {
            Around::FirstTrade => notes.first,
            Around::Average if notes.orders > 0 => {
                let average = divide(
                    i128::from(notes.total.millionths()),
                    i128::from(notes.orders),
                    Rounding::HalfEven,
                )?;
                Some(Lots::from_wide(average)?)
            }
            Around::Average => None,
        };
        let Some(reference) = reference else { return Ok(None) };
        let least = reference.share(self.lower, Rounding::Ceiling)?;
        let most = reference.share(self.upper, Rounding::Floor)?;
        Ok(Some(Range { reference, least, most }))
    }

    /// Whether a closed size lies in the range of the average; compared as products, nothing is rounded.
    fn inside(&self, notes: &LotNotes, size: Lots) -> Result<bool, Overflow> {
        let wide = |left: i64, right: i64| i128::from(left).checked_mul(i128::from(right)).ok_or(Overflow);
        let size = wide(size.millionths(), i64::from(notes.orders))?
            .checked_mul(i128::from(Percent::WHOLE.millionths()))
            .ok_or(Overflow)?;
        let lower = wide(notes.total.millionths(), self.lower.millionths())?;
        let upper = wide(notes.total.millionths(), self.upper.millionths())?;
        Ok((lower..=upper).contains(&size))
    }

    /// What closed sizes outside the range of the average have earned; `None` if all are inside.
    fn outside(&self, notes: &LotNotes) -> Result<Option<Amount>, Overflow> {
        let mut outside = None;
        for (size, earned) in &notes.earned {
            if !self.inside(notes, *size)? {
                outside = Some(outside.unwrap_or(Amount::ZERO).plus(*earned)?);
            }
        }
        Ok(outside)
    }
}

const MOST_UPPER: Percent = Percent::from_whole(100_000);

impl Kind for LotRange {
    fn faults(&self, fault: &mut dyn FnMut(&str, String)) {
        if self.lower.millionths() < 0 || self.lower > self.upper {
            fault("lower", "must be from 0 to the upper end".to_owned());
        }
        if self.upper > MOST_UPPER {
            fault("upper", "must be at most 100000 per cent".to_owned());
        }
        let allowed =
            [Effect::Flag, Effect::Deduct, Effect::Warn, Effect::Refuse, Effect::Soft, Effect::Hard];
        effect_fault(self.effect, &allowed, fault);
    }

    fn sentence(&self, _: &Words) -> String {
        let around = match self.around {
            Around::Average => "average size of your trades, judged when you pass or are paid",
            Around::FirstTrade => "size of your first trade",
        };
        let effect = match (self.around, self.effect) {
            (Around::Average, Effect::Refuse) => "that has to wait",
            (Around::Average, Effect::Deduct) => "what the sizes outside have earned is not paid out",
            (Around::Average | Around::FirstTrade, effect) => effect.words(),
        };
        format!(
            "Every size stays between {}% and {}% of the {around}; otherwise {effect}.",
            self.lower, self.upper
        )
    }

    fn objective(&self, index: usize, _: &Scene<'_>, track: &Track) -> Result<Option<Objective>, RuleError> {
        if self.around == Around::FirstTrade || self.effect != Effect::Refuse {
            return Ok(None);
        }
        let notes = Self::notes(track, index);
        let met = self.outside(&notes)?.is_none();
        let target = self.range(&notes)?.map_or(Lots::ZERO, |range| range.most);
        let largest = notes.earned.last_key_value().map(|(size, _)| *size);
        Ok(Some(Objective {
            rule: index,
            kind: Cow::Borrowed("lot_range"),
            target: Figure::Lots(target),
            current: Figure::Lots(largest.unwrap_or_default()),
            met,
        }))
    }

    fn notice(
        &self,
        index: usize,
        _: &Scene<'_>,
        track: &mut Track,
        fact: &Fact,
    ) -> Result<Vec<Finding>, RuleError> {
        let mut notes = Self::notes(track, index);
        let mut found = Vec::new();
        match fact {
            Fact::Opened(opening) => {
                if self.around == Around::FirstTrade
                    && let Some(range) = self.range(&notes)?
                    && !(range.least..=range.most).contains(&opening.lots)
                {
                    let effect = self.effect.after_the_fact();
                    let figures = range.figures(Some(opening.lots));
                    let finding = Rule::finding(index, "lot_range", effect, figures);
                    found.push(Finding { trade: Some(opening.trade), ..finding });
                }
                notes.first.get_or_insert(opening.lots);
            }
            Fact::Closed(closing) => {
                notes.total = notes.total.plus(closing.lots)?;
                notes.orders = notes.orders.saturating_add(1);
                if self.around == Around::Average {
                    let earned = notes.earned.entry(closing.lots).or_default();
                    *earned = earned.plus(closing.profit.max(Amount::ZERO))?;
                }
            }
            Fact::Review if self.around == Around::Average => {
                let quiet = matches!(self.effect, Effect::Refuse | Effect::Deduct);
                if !quiet
                    && self.outside(&notes)?.is_some()
                    && let Some(range) = self.range(&notes)?
                {
                    found.push(Rule::finding(index, "lot_range", self.effect, range.figures(None)));
                }
                return Ok(found);
            }
            Fact::Ordered | Fact::StopMoved { .. } | Fact::Floating(_) | Fact::Time | Fact::Review => {
                return Ok(found);
            }
        }
        track.notes.insert(index, Note::Lots(notes));
        Ok(found)
    }

    fn deducted(&self, index: usize, track: &Track) -> Result<Amount, RuleError> {
        if self.around == Around::FirstTrade || self.effect != Effect::Deduct {
            return Ok(Amount::ZERO);
        }
        Ok(self.outside(&Self::notes(track, index))?.unwrap_or_default())
    }

    fn objection(
        &self,
        index: usize,
        _: &Scene<'_>,
        track: &Track,
        opening: &Opening,
        _: Moment,
    ) -> Result<Option<Vec<Figured>>, RuleError> {
        if self.around == Around::Average {
            return Ok(None);
        }
        let notes = Self::notes(track, index);
        let outside = |range: &Range| !(range.least..=range.most).contains(&opening.lots);
        Ok(self.range(&notes)?.filter(outside).map(|range| range.figures(Some(opening.lots))))
    }

    fn figures(&self, index: usize, _: &Scene<'_>, track: &Track) -> Result<Vec<Figured>, RuleError> {
        let notes = Self::notes(track, index);
        let mut figures = self.range(&notes)?.map(|range| range.figures(None)).unwrap_or_default();
        figures.push(figure("orders", notes.orders));
        figures.push(figure("total", notes.total));
        Ok(figures)
    }

    fn effect(&self) -> Effect {
        self.effect
    }
}

impl Range {
    fn figures(&self, lots: Option<Lots>) -> Vec<Figured> {
        let mut figures = vec![
            figure("reference", self.reference),
            figure("min_lots", self.least),
            figure("max_lots", self.most),
        ];
        figures.extend(lots.map(|lots| figure("lots", lots)));
        figures
    }
}

#[cfg(test)]
mod tests {
    use crate::example::{holds, refused};

    #[test]
    fn both_ends_of_the_range_are_inside() {
        holds(
            r#"
            [[example]]
            id = "first trade"
            program.rules = [{ kind = "lot_range", around = "first_trade", lower = "50", upper = "400", effect = "refuse" }]
            step = [
              { trade = [{ lots = "1", profit = "0" }, { lots = "0.5", profit = "0" }, { lots = "4", profit = "0" }, { lots = "0.49", profit = "0" }, { lots = "4.01", profit = "0" }], expect = { verdicts = ["ok", "ok", "ok", "refused", "refused"] } },
            ]
            "#,
        );
        assert_eq!(
            refused("kind = 'lot_range'\naround = 'average'\nlower = '2'\nupper = '1'\neffect = 'flag'"),
            ["lower"]
        );
    }

    /// 4 trades of 2 lots and one of 12: the average is 4, the range from 2 to 8.
    fn outlier(effect: &str, expect: &str) -> String {
        format!(
            "[[example]]\nid = '{effect}'\nprogram.payout = {{ split = '100', conditions = [{{ kind = 'lot_range', around = 'average', \
             lower = '50', upper = '200', effect = '{effect}' }}] }}\nstep = [{{ trade = [{{ lots = '2', profit = '100', times = 4 }}, {{ \
             lots = '12', profit = '1000' }}] }}, {{ review = true, expect = {{ lot_range.min_lots = 2, lot_range.max_lots = 8, {expect} }} }}]"
        )
    }

    #[test]
    fn sizes_outside_the_range_of_the_average_wait_or_are_flagged_or_are_not_paid() {
        holds(&outlier("refuse", "payout.eligible = false, payout.missing = 'lot_range'"));
        holds(&outlier("flag", "payout.eligible = true, verdict = 'violation', payout.withdrawable = 1400"));
        holds(&outlier(
            "deduct",
            "payout.eligible = true, verdict = 'ok', payout.deducted = 1000, payout.withdrawable = 400",
        ));
    }
}
