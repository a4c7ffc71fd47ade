//! Rest around releases that move markets.

use std::borrow::Cow;
use std::collections::BTreeSet;

use kernel::{Overflow, Span, Symbol, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::effect::{Figure, Figured, RuleError, figure};
use crate::rule::{Kind, Words};
use crate::{
    CloseReason, Deadline, Effect, Fact, Finding, Moment, NewsEvent, Opening, Rule, Scene, Track, is_default,
};

use super::{Note, effect_fault};

/// The longest way from a release to either end of its window.
pub const LONGEST_WINDOW: Span = Span::from_seconds(86_400);
const MOST_MINUTES: u32 = 1_440;

/// Some actions are not allowed on the targeted instruments from some minutes before a release to some after. The
/// releases are the firm's calendar; they are data and not part of the program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewsWindow {
    /// Minutes before the release.
    pub before_minutes: u32,
    /// Minutes after it.
    pub after_minutes: u32,
    /// Whether the first and the last instant belong to the window.
    #[serde(default, skip_serializing_if = "is_default")]
    pub ends: Ends,
    /// What is not allowed.
    pub actions: BTreeSet<NewsAction>,
    /// What happens: `flag`, `deduct`, `warn`, `soft`, `hard`, or `refuse` where only opening is not allowed.
    pub effect: Effect,
}

/// Whether the ends of a window belong to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Ends {
    /// They do.
    #[default]
    Closed,
    /// They do not.
    Open,
}

/// What may not happen within a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum NewsAction {
    /// A position is opened by hand.
    Open,
    /// A working order fires.
    PendingFill,
    /// A position is closed by hand.
    Close,
    /// A stop loss fires.
    StopLossFill,
    /// A take profit fires.
    TakeProfitFill,
    /// A position is held at the release.
    Hold,
}

impl NewsAction {
    const fn words(self) -> &'static str {
        match self {
            Self::Open => "open a position",
            Self::PendingFill => "let a working order fire",
            Self::Close => "close a position",
            Self::StopLossFill => "let a stop loss fire",
            Self::TakeProfitFill => "let a take profit fire",
            Self::Hold => "hold a position",
        }
    }
}

impl NewsWindow {
    fn window(&self, event: &NewsEvent) -> Result<(Timestamp, Timestamp), Overflow> {
        let before = Span::from_minutes(self.before_minutes)?;
        Ok((event.at.before(before)?, event.at.after(Span::from_minutes(self.after_minutes)?)?))
    }

    /// The release whose window holds an instant, for an instrument.
    fn event<'a>(&self, scene: &Scene<'a>, symbol: &Symbol) -> Result<Option<&'a NewsEvent>, Overflow> {
        for event in scene.calendar {
            let (from, to) = self.window(event)?;
            let inside = match self.ends {
                Ends::Closed => (from..=to).contains(&scene.at),
                Ends::Open => from < scene.at && scene.at < to,
            };
            if inside && event.targets(symbol) {
                return Ok(Some(event));
            }
        }
        Ok(None)
    }

    /// The instant up to which positions that are held have been looked at.
    fn acted(index: usize, track: &Track) -> Timestamp {
        match track.notes.get(&index) {
            Some(Note::Acted(at)) => *at,
            _ => track.opened_at,
        }
    }

    fn finding(&self, index: usize, trade: u32, action: NewsAction, event: &NewsEvent) -> Finding {
        let effect = self.effect.after_the_fact();
        let mut finding = Rule::finding(index, "news_window", effect, figures(action, event));
        finding.trade = Some(trade);
        finding
    }
}

fn figures(action: NewsAction, event: &NewsEvent) -> Vec<Figured> {
    vec![
        figure("action", Figure::Word(Cow::Borrowed(action.words()))),
        figure("event", Figure::Word(Cow::Owned(event.name.clone()))),
        figure("event_at", event.at),
    ]
}

impl Kind for NewsWindow {
    fn faults(&self, fault: &mut dyn FnMut(&str, String)) {
        if self.before_minutes > MOST_MINUTES || self.after_minutes > MOST_MINUTES {
            fault("before_minutes", "must be at most 1440, a day".to_owned());
        }
        if self.actions.is_empty() {
            fault("actions", "name at least one action".to_owned());
        }
        let allowed =
            [Effect::Refuse, Effect::Flag, Effect::Deduct, Effect::Warn, Effect::Soft, Effect::Hard];
        effect_fault(self.effect, &allowed, fault);
        let opens = |action: &NewsAction| matches!(action, NewsAction::Open | NewsAction::PendingFill);
        if self.effect == Effect::Refuse && !self.actions.iter().all(opens) {
            let say = "only open and pending_fill can be refused; give the other actions a rule of their own";
            fault("actions", say.to_owned());
        }
    }

    fn sentence(&self, _: &Words) -> String {
        let mut actions: Vec<_> = self.actions.iter().map(|action| action.words()).collect();
        let last = actions.pop().unwrap_or_default();
        let actions =
            if actions.is_empty() { last.to_owned() } else { format!("{} or {last}", actions.join(", ")) };
        let ends = match self.ends {
            Ends::Closed => "included",
            Ends::Open => "left out",
        };
        format!(
            "From {} minutes before to {} minutes after a release that targets an instrument, both instants {ends}, you \
             may not {actions} in it; otherwise {}.",
            self.before_minutes,
            self.after_minutes,
            self.effect.words()
        )
    }

    fn deadlines(&self, index: usize, scene: &Scene<'_>, track: &Track) -> Result<Vec<Deadline>, RuleError> {
        let mut deadlines = Vec::new();
        if !self.actions.contains(&NewsAction::Hold) {
            return Ok(deadlines);
        }
        let acted = Self::acted(index, track);
        let held = |event: &&NewsEvent| {
            track.open.values().any(|trade| trade.opened_at <= event.at && event.targets(&trade.symbol))
        };
        for event in scene.calendar.iter().filter(|event| event.at > acted).filter(held) {
            let kind = Cow::Borrowed("news_window");
            deadlines.push(Deadline { rule: index, kind, at: event.at, effect: self.effect });
        }
        Ok(deadlines)
    }

    fn notice(
        &self,
        index: usize,
        scene: &Scene<'_>,
        track: &mut Track,
        fact: &Fact,
    ) -> Result<Vec<Finding>, RuleError> {
        let mut found = Vec::new();
        match fact {
            Fact::Opened(opening) => {
                let action = if opening.pending { NewsAction::PendingFill } else { NewsAction::Open };
                if self.actions.contains(&action)
                    && let Some(event) = self.event(scene, &opening.symbol)?
                {
                    found.push(self.finding(index, opening.trade, action, event));
                }
            }
            Fact::Closed(closing) => {
                let action = match closing.reason {
                    CloseReason::Trader => NewsAction::Close,
                    CloseReason::StopLoss => NewsAction::StopLossFill,
                    CloseReason::TakeProfit => NewsAction::TakeProfitFill,
                    CloseReason::Platform => return Ok(found),
                };
                if self.actions.contains(&action)
                    && let Some(trade) = track.open.get(&closing.trade)
                    && let Some(event) = self.event(scene, &trade.symbol)?
                {
                    found.push(self.finding(index, closing.trade, action, event));
                }
            }
            Fact::Time => {
                let acted = Self::acted(index, track);
                let holds = self.actions.contains(&NewsAction::Hold);
                let released = |event: &&NewsEvent| holds && event.at > acted && event.at <= scene.at;
                for (ticket, trade) in &track.open {
                    // Of several at one instant the first by name speaks for all.
                    let held =
                        |event: &&NewsEvent| trade.opened_at <= event.at && event.targets(&trade.symbol);
                    if let Some(event) = scene.calendar.iter().filter(released).find(held) {
                        found.push(self.finding(index, *ticket, NewsAction::Hold, event));
                    }
                }
                track.notes.insert(index, Note::Acted(scene.at));
            }
            Fact::Ordered | Fact::StopMoved { .. } | Fact::Floating(_) | Fact::Review => {}
        }
        Ok(found)
    }

    fn objection(
        &self,
        _: usize,
        scene: &Scene<'_>,
        _: &Track,
        opening: &Opening,
        moment: Moment,
    ) -> Result<Option<Vec<Figured>>, RuleError> {
        let action = match (opening.pending, moment) {
            (false, _) => NewsAction::Open,
            (true, Moment::Opens) => NewsAction::PendingFill,
            // Whether it fires inside a window is seen when it fires.
            (true, Moment::Placed) => return Ok(None),
        };
        if !self.actions.contains(&action) {
            return Ok(None);
        }
        Ok(self.event(scene, &opening.symbol)?.map(|event| figures(action, event)))
    }

    fn effect(&self) -> Effect {
        self.effect
    }
}

#[cfg(test)]
mod tests {
    use crate::example::{holds, refused};

    fn window(ends: &str, steps: &str) -> String {
        format!(
            "[[example]]\nid = '{ends}'\ncalendar = [{{ name = 'CPI', at = '2026-01-13T13:30:00Z', currencies = ['USD'], symbols = ['US30'] \
             }}]\nprogram.rules = [{{ kind = 'news_window', before_minutes = 2, after_minutes = 3, ends = '{ends}', actions = ['open', \
             'take_profit_fill', 'hold'], effect = 'flag' }}]\nstep = [{steps}]"
        )
    }

    fn opened(at: &str, symbol: &str, verdict: &str) -> String {
        format!(
            "{{ at = 'CPI {at}', trade = [{{ symbol = '{symbol}', profit = '1' }}], expect = {{ verdict = '{verdict}' }} }},\n"
        )
    }

    #[test]
    fn the_ends_belong_to_the_window_or_not() {
        for (ends, verdict) in [("closed", "violation"), ("open", "ok")] {
            let steps = [
                opened("-121s", "USDJPY", "ok"),
                opened("-120s", "USDJPY", verdict),
                opened("-119s", "US30", "violation"),
                opened("-100s", "EURGBP", "ok"),
                opened("+179s", "EURUSD", "violation"),
                opened("+180s", "EURUSD", verdict),
                opened("+181s", "EURUSD", "ok"),
            ];
            holds(&window(ends, &steps.concat()));
        }
    }

    #[test]
    fn only_the_named_actions_count_and_holding_counts_at_the_release() {
        let steps = "
            { at = 'CPI -1h', open = [{ position = 'a', symbol = 'EURUSD' }, { position = 'b', symbol = 'EURGBP' }] },
            { at = 'CPI -60s', expect = { verdict = 'ok' } },
            { at = 'CPI', expect = { violations = 1, verdict = 'violation', news_window.event = 'CPI' } },
            { at = 'CPI +60s', close = [{ position = 'a', lots = '0.5', profit = '1' }], expect = { verdict = 'ok' } },
            { at = 'CPI +61s', close = [{ position = 'a', profit = '1', reason = 'take_profit' }], expect = { verdict = 'violation' } },";
        holds(&window("closed", steps));
    }

    #[test]
    fn a_late_clock_finds_what_was_held_at_the_release_and_nothing_that_was_opened_after_it() {
        let file = window(
            "closed",
            "{ at = 'CPI -1h', open = [{ position = 'a' }] }, { at = 'CPI +1h', expect = { violations = 1 } }, { at = 'CPI +2h', open = [{ position = 'b' }], expect = { violations = 0 } }, { at = 'CPI +1d', expect = { violations = 0 } }",
        );
        holds(&file);
        assert_eq!(
            refused(
                "kind = 'news_window'\nbefore_minutes = 2\nafter_minutes = 1441\nactions = []\neffect = 'close'"
            ),
            ["before_minutes", "actions", "effect"]
        );
    }
}
