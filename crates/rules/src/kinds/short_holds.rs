//! Trades that are held for seconds only.

use kernel::{Amount, Lots, Overflow, Percent, Span};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::effect::{Figured, RuleError, figure};
use crate::limit::Reached;
use crate::rule::{Kind, Words};
use crate::{Effect, Fact, Finding, Rule, Scene, Track, is_default};

use super::{Note, effect_fault};

/// The share that short trades have of all. Once it has spoken, the share is taken of the trades that come after.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ShortHolds {
    /// A trade held for this long, or less, is short.
    pub seconds: u32,
    /// Whether exactly that long is short.
    pub hold: Hold,
    /// What the share is taken of.
    pub share_of: ShareOf,
    /// What happens at which share, from the smallest to the largest.
    pub shares: Vec<HoldShare>,
    /// When it is judged.
    #[serde(default, skip_serializing_if = "is_default")]
    pub judged: Judged,
}

/// Whether a trade held for exactly the limit is short.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Hold {
    /// Only what was held for less.
    Below,
    /// That too.
    AtMost,
}

/// What the share is taken of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ShareOf {
    /// Of all lots closed.
    Volume,
    /// Of all profit.
    Profit,
    /// Of all trades that earned; those that lost never count.
    ProfitableTrades,
}

/// What happens from a share on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HoldShare {
    /// The share.
    pub share: Percent,
    /// Whether exactly the share counts.
    pub reached: Reached,
    /// What happens: `warn`, `flag`, `soft` or `hard`.
    pub effect: Effect,
    /// What happens instead once the trader has been warned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub again: Option<Effect>,
}

/// When the share is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Judged {
    /// When the account is looked through: before a pass and before a payout.
    #[default]
    Review,
    /// With every trade that closes.
    Trade,
}

/// Results by how long trades were held.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Holds {
    /// Lots of short trades.
    pub short_volume: Lots,
    /// Lots of all.
    pub volume: Lots,
    /// What short trades brought.
    pub short_profit: Amount,
    /// What all brought.
    pub profit: Amount,
    /// Short trades that earned.
    pub short_wins: u32,
    /// Trades that earned.
    pub wins: u32,
    /// Whether the trader has been warned.
    pub warned: bool,
    /// Whether the rule has spoken of all this, so that the next trade is counted anew.
    pub spoken: bool,
}

impl ShortHolds {
    fn holds(track: &Track, index: usize) -> Holds {
        match track.notes.get(&index) {
            Some(Note::Holds(holds)) => holds.clone(),
            _ => Holds::default(),
        }
    }

    fn parts(&self, holds: &Holds) -> (i64, i64) {
        match self.share_of {
            ShareOf::Volume => (holds.short_volume.millionths(), holds.volume.millionths()),
            ShareOf::Profit => (holds.short_profit.micros(), holds.profit.micros()),
            ShareOf::ProfitableTrades => (i64::from(holds.short_wins), i64::from(holds.wins)),
        }
    }

    fn judge(&self, index: usize, holds: &mut Holds) -> Result<Option<Finding>, Overflow> {
        let (part, whole) = self.parts(holds);
        if whole <= 0 || holds.spoken {
            return Ok(None);
        }
        let wide = |left: i64, right: i64| i128::from(left).checked_mul(i128::from(right)).ok_or(Overflow);
        let measured = wide(part, Percent::WHOLE.millionths())?;
        for step in self.shares.iter().rev() {
            if step.reached.reached(measured, wide(whole, step.share.millionths())?) {
                let effect = step.again.filter(|_| holds.warned).unwrap_or(step.effect);
                holds.warned |= effect == Effect::Warn;
                holds.spoken = true;
                let figures = vec![
                    figure("short_share", Percent::of(part, whole)?),
                    figure("allowed_share", step.share),
                ];
                return Ok(Some(Rule::finding(index, "short_holds", effect, figures)));
            }
        }
        Ok(None)
    }
}

impl Kind for ShortHolds {
    fn faults(&self, fault: &mut dyn FnMut(&str, String)) {
        if !(1..=86_400).contains(&self.seconds) {
            fault("seconds", "must be from 1 to 86400".to_owned());
        }
        if self.shares.is_empty() || !self.shares.is_sorted_by(|left, right| left.share < right.share) {
            fault("shares", "give at least one share, from the smallest to the largest".to_owned());
        }
        for (index, step) in self.shares.iter().enumerate() {
            let allowed = [Effect::Warn, Effect::Flag, Effect::Soft, Effect::Hard];
            for effect in std::iter::once(step.effect).chain(step.again) {
                effect_fault(effect, &allowed, &mut |field, say| {
                    fault(&format!("shares[{index}].{field}"), say);
                });
            }
            if step.share.millionths() < 0 || step.share > Percent::WHOLE {
                fault(&format!("shares[{index}].share"), "must be from 0 to 100 per cent".to_owned());
            }
        }
    }

    fn sentence(&self, _: &Words) -> String {
        let short = match self.hold {
            Hold::Below => format!("less than {} seconds", self.seconds),
            Hold::AtMost => format!("{} seconds or less", self.seconds),
        };
        let of = match self.share_of {
            ShareOf::Volume => "of your volume",
            ShareOf::Profit => "of your profit",
            ShareOf::ProfitableTrades => "of the trades that earned",
        };
        let shares: Vec<_> = self
            .shares
            .iter()
            .map(|step| {
                let again =
                    step.again.map_or(String::new(), |again| format!(", after a warning {}", again.words()));
                format!("with {} {}% {of} {}{again}", step.reached.words(), step.share, step.effect.words())
            })
            .collect();
        let judged = match self.judged {
            Judged::Review => "when you pass or are paid",
            Judged::Trade => "with every trade that closes",
        };
        format!("Trades held for {short} are short, which is looked at {judged}: {}.", shares.join("; "))
    }

    fn notice(
        &self,
        index: usize,
        scene: &Scene<'_>,
        track: &mut Track,
        fact: &Fact,
    ) -> Result<Vec<Finding>, RuleError> {
        let mut holds = Self::holds(track, index);
        let mut judged = matches!(fact, Fact::Review);
        if let Fact::Closed(closing) = fact
            && let Some(trade) = track.open.get(&closing.trade)
        {
            let limit = Span::from_seconds(i32::try_from(self.seconds).map_err(|_| Overflow)?);
            let held = scene.at.since(trade.opened_at)?;
            let short = match self.hold {
                Hold::Below => held < limit,
                Hold::AtMost => held <= limit,
            };
            if holds.spoken {
                holds = Holds { warned: holds.warned, ..Holds::default() };
            }
            holds.volume = holds.volume.plus(closing.lots)?;
            holds.profit = holds.profit.plus(closing.profit)?;
            let won = closing.whole && trade.profit.plus(closing.profit)? > Amount::ZERO;
            holds.wins = holds.wins.saturating_add(u32::from(won));
            if short {
                holds.short_volume = holds.short_volume.plus(closing.lots)?;
                holds.short_profit = holds.short_profit.plus(closing.profit)?;
                holds.short_wins = holds.short_wins.saturating_add(u32::from(won));
            }
            judged |= self.judged == Judged::Trade;
        } else if !judged {
            return Ok(Vec::new());
        }
        let found = if judged { self.judge(index, &mut holds)? } else { None };
        track.notes.insert(index, Note::Holds(holds));
        Ok(found.into_iter().collect())
    }

    fn figures(&self, index: usize, _: &Scene<'_>, track: &Track) -> Result<Vec<Figured>, RuleError> {
        let holds = Self::holds(track, index);
        let (part, whole) = self.parts(&holds);
        Ok(vec![figure("short_share", Percent::of(part, whole.max(0))?), figure("warned", holds.warned)])
    }
}

#[cfg(test)]
mod tests {
    use crate::example::{holds, refused};

    fn trades(of: &str, hold: &str, reached: &str, verdict: &str) -> String {
        format!(
            "[[example]]\nid = '{of}'\nprogram.rules = [{{ kind = 'short_holds', seconds = 15, hold = '{hold}', share_of = '{of}', shares = \
             [{{ share = '40', reached = '{reached}', effect = 'flag' }}] }}]\nstep = [\n{{ trade = [\n{{ lots = '4', held = '10s', profit = '40', \
             times = 2 }},\n{{ lots = '3', held = '15s', profit = '20', times = 2 }},\n{{ lots = '6', held = '20s', profit = '80' }},\n{{ lots = \
             '1', held = '5s', profit = '-10' }},\n{{ lots = '1', held = '5m', profit = '-40' }}\n] }},\n{{ review = true, expect = {{ verdict = \
             '{verdict}' }} }}]"
        )
    }

    #[test]
    fn what_is_short_and_what_the_share_is_taken_of_are_settings() {
        // By volume 9 of 22 lots are held for less than 15 seconds, 15 with those of 15.
        holds(&trades("volume", "below", "above", "violation"));
        // By trades that earned 2 of 5 are short, 4 with those of 15; the short one that lost does not count.
        holds(&trades("profitable_trades", "below", "above", "ok"));
        holds(&trades("profitable_trades", "below", "at_or_above", "violation"));
        holds(&trades("profitable_trades", "at_most", "above", "violation"));
        // By profit 70 of 150.
        holds(&trades("profit", "below", "above", "violation"));
    }

    #[test]
    fn a_warning_is_remembered_and_the_share_is_taken_of_what_comes_after() {
        holds(
            r#"
            [[example]]
            id = "warned"
            program.rules = [{ kind = "short_holds", seconds = 15, hold = "below", share_of = "volume", judged = "trade", shares = [{ share = "10", reached = "above", effect = "warn", again = "hard" }, { share = "50", reached = "above", effect = "hard" }] }]
            step = [
              { trade = [{ lots = "9", held = "1m", profit = "0" }, { lots = "1", held = "1s", profit = "0" }], expect = { verdict = "ok" } },
              { trade = [{ lots = "1", held = "1s", profit = "0" }], expect = { verdict = "warning", short_holds.warned = true } },
              { review = true, expect = { verdict = "ok" } },
              { trade = [{ lots = "1", held = "1m", profit = "0" }], expect = { verdict = "ok", short_holds.short_share = 0 } },
              { trade = [{ lots = "1", held = "1s", profit = "0" }], expect = { verdict = "breach" } },
            ]
            "#,
        );
        let rule = "kind = 'short_holds'\nseconds = 0\nhold = 'below'\nshare_of = 'volume'\nshares = [{ share = '101', reached = 'above', effect = 'deduct' }]";
        assert_eq!(refused(rule), ["seconds", "shares[0].effect", "shares[0].share"]);
    }
}
