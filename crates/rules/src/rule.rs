//! The vocabulary: which kinds of rules there are, and what a kind may answer.

use std::borrow::Cow;
use std::collections::BTreeSet;

use kernel::{Amount, Currency, Timestamp};
use schemars::JsonSchema;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

use crate::effect::{Figured, RuleError};
use crate::hint::hint;
use crate::kinds::{
    CalendarLimit, Consistency, DailyCap, DailyLoss, FlatBy, Inactivity, LotRange, LotStep, MaxLoss, MaxSize,
    MinProfitableDays, MinTradingDays, NewsWindow, OpenLoss, ProfitTarget, RiskAtStop, RiskPerIdea,
    ShortHolds, StopRequired,
};
use crate::near::nearest;
use crate::{
    Deadline, Effect, Fact, Finding, Floor, Invalid, NewsEvent, Objective, OpenLevel, Opening, Phase, Track,
};

/// What a rule may look at, beside the account's [`Track`].
#[derive(Debug, Clone, Copy)]
pub struct Scene<'a> {
    /// The phase with all its rules.
    pub phase: &'a Phase,
    /// The firm's calendar of releases.
    pub calendar: &'a [NewsEvent],
    /// Now.
    pub at: Timestamp,
    /// The balance now.
    pub balance: Amount,
    /// The equity now.
    pub equity: Amount,
}

/// When a position is looked at before it is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// The order is placed, and may fill at once or later.
    Placed,
    /// It would open now.
    Opens,
}

/// What a kind of rule may answer. Every kind has a sentence; of the rest it answers what concerns it.
pub(crate) trait Kind {
    /// What is wrong with its settings: the field and what would be right.
    fn faults(&self, _fault: &mut dyn FnMut(&str, String)) {}

    /// What it means, for a trader.
    fn sentence(&self, words: &Words) -> String;

    /// The levels of equity at which it fires.
    fn floors(&self, _index: usize, _track: &Track) -> Result<Vec<Floor>, RuleError> {
        Ok(Vec::new())
    }

    /// Shares of the way to a floor at which the trader is warned.
    fn warnings(&self) -> &[kernel::Percent] {
        &[]
    }

    /// What it asks for before the phase is passed, or money is paid.
    fn objective(
        &self,
        _index: usize,
        _scene: &Scene<'_>,
        _track: &Track,
    ) -> Result<Option<Objective>, RuleError> {
        Ok(None)
    }

    /// When it acts by itself if nothing changes.
    fn deadlines(
        &self,
        _index: usize,
        _scene: &Scene<'_>,
        _track: &Track,
    ) -> Result<Vec<Deadline>, RuleError> {
        Ok(Vec::new())
    }

    /// Takes notice of a fact: remembers in the track what it needs, and says what it finds.
    fn notice(
        &self,
        _index: usize,
        _scene: &Scene<'_>,
        _track: &mut Track,
        _fact: &Fact,
    ) -> Result<Vec<Finding>, RuleError> {
        Ok(Vec::new())
    }

    /// Looks at a position before it is opened: the numbers that speak against it.
    fn objection(
        &self,
        _index: usize,
        _scene: &Scene<'_>,
        _track: &Track,
        _opening: &Opening,
        _moment: Moment,
    ) -> Result<Option<Vec<Figured>>, RuleError> {
        Ok(None)
    }

    /// What it keeps from being paid out, beside the profit of single trades that a finding names.
    fn deducted(&self, _index: usize, _track: &Track) -> Result<Amount, RuleError> {
        Ok(Amount::ZERO)
    }

    /// Its numbers, beside those of its floors and its objective.
    fn figures(&self, _index: usize, _scene: &Scene<'_>, _track: &Track) -> Result<Vec<Figured>, RuleError> {
        Ok(Vec::new())
    }

    /// How much may be lost or must be earned, for the kinds that say so.
    fn limit(&self) -> Option<crate::Limit> {
        None
    }

    /// Whether [`Fact::Floating`] must be told at every price.
    fn needs_floating(&self) -> bool {
        false
    }

    /// Where the results of open positions must not go unseen: as long as every sum lies above its level, being told of
    /// [`Fact::Floating`] neither makes the kind speak nor changes what it remembers. `None` if it must be told at the next
    /// price, whatever that is: of a kind that looks at prices and does not say more. `open` are the positions that would be
    /// told of, at least one.
    fn open_levels(
        &self,
        _index: usize,
        _track: &Track,
        _open: &BTreeSet<u32>,
    ) -> Result<Option<Vec<OpenLevel>>, RuleError> {
        Ok((!self.needs_floating()).then(Vec::new))
    }

    /// Whether the peaks of the equity must be kept.
    fn needs_peaks(&self) -> bool {
        false
    }

    /// What the kind does when it fires on a fact.
    fn effect(&self) -> Effect {
        Effect::Hard
    }
}

/// What sentences name amounts in.
#[derive(Debug, Clone, Copy)]
pub struct Words {
    /// The balance that the account opens with.
    pub initial: Amount,
    /// The account's currency.
    pub currency: Currency,
}

impl Words {
    /// "5,000.00 USD".
    pub(crate) fn amount(&self, amount: Amount) -> String {
        format!("{} {}", amount.grouped(self.currency), self.currency)
    }
}

/// One line for each kind: its words, its settings, its file.
macro_rules! vocabulary {
    ($($(#[$about:meta])* $word:literal => $kind:ident),+ $(,)?) => {
        /// One rule. The words are the field's; each kind has its own file in `kinds/`.
        #[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
        #[serde(tag = "kind")]
        pub enum Rule {
            $($(#[$about])* #[serde(rename = $word)] $kind($kind)),+
        }

        impl Rule {
            /// Every kind's word.
            pub const KINDS: &[&str] = &[$($word),+];

            /// The kind's word in data, API and receipts.
            pub const fn kind(&self) -> &'static str {
                match self {
                    $(Self::$kind(_) => $word),+
                }
            }

            /// What it answers.
            pub(crate) fn answers(&self) -> &dyn Kind {
                match self {
                    $(Self::$kind(rule) => rule),+
                }
            }
        }

        impl<'de> Deserialize<'de> for Rule {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let mut settings = serde_json::Map::deserialize(deserializer)?;
                let kind = settings.remove("kind").ok_or_else(|| D::Error::missing_field("kind"))?;
                match kind.as_str() {
                    $(Some($word) => settle(settings).map(Self::$kind).map_err(D::Error::custom),)+
                    Some(word) => Err(D::Error::custom(format!("kind: {}", unknown_kind(word)))),
                    None => Err(D::Error::custom("kind: must be text, such as \"daily_loss\"")),
                }
            }
        }
    };
}

vocabulary! {
    /// Loss within a trading day.
    "daily_loss" => DailyLoss,
    /// Loss in all.
    "max_loss" => MaxLoss,
    /// Loss and profit within a trading day, both sides.
    "daily_cap" => DailyCap,
    /// Loss of one open position, or of all together.
    "open_loss" => OpenLoss,
    /// Profit to pass.
    "profit_target" => ProfitTarget,
    /// Days to trade.
    "min_trading_days" => MinTradingDays,
    /// Days to earn on.
    "min_profitable_days" => MinProfitableDays,
    /// How much of the profit one day or one trade may bring.
    "consistency" => Consistency,
    /// Sizes that stay in a range.
    "lot_range" => LotRange,
    /// Sizes that change by steps.
    "lot_step" => LotStep,
    /// The largest size.
    "max_size" => MaxSize,
    /// The loss of one trade idea.
    "risk_per_idea" => RiskPerIdea,
    /// The loss at the stop loss.
    "risk_at_stop" => RiskAtStop,
    /// A stop loss that must be there.
    "stop_required" => StopRequired,
    /// Rest around releases.
    "news_window" => NewsWindow,
    /// Nothing open over night or the weekend.
    "flat_by" => FlatBy,
    /// Trades that are held for seconds only.
    "short_holds" => ShortHolds,
    /// Rest allowed.
    "inactivity" => Inactivity,
    /// Time allowed.
    "calendar_limit" => CalendarLimit,
}

/// What to say of a kind that there is not.
pub(crate) fn unknown_kind(word: &str) -> String {
    let kinds = Rule::KINDS;
    let hint =
        nearest(word, kinds.iter().copied()).map_or(String::new(), |near| format!(", did you mean {near}?"));
    format!("{word} is not a kind of rule{hint}; the kinds are {}", kinds.join(", "))
}

/// Reads a rule's settings, naming the setting that is wrong.
fn settle<T: serde::de::DeserializeOwned + JsonSchema>(
    settings: serde_json::Map<String, serde_json::Value>,
) -> Result<T, String> {
    serde_path_to_error::deserialize(serde_json::Value::Object(settings)).map_err(|error| {
        let (path, say) = (error.path().to_string(), error.inner().to_string());
        let path = if path == "." { String::new() } else { path };
        let right = hint(&say, &|| schemars::schema_for!(T).to_value(), &path);
        if path.is_empty() { format!("{say}{right}") } else { format!("{path}: {say}{right}") }
    })
}

impl Rule {
    /// What the rule means, for a trader.
    pub fn sentence(&self, words: &Words) -> String {
        self.answers().sentence(words)
    }

    /// How much may be lost or must be earned, for the kinds that say so.
    pub fn limit(&self) -> Option<crate::Limit> {
        self.answers().limit()
    }

    /// Everything wrong with its settings at once.
    pub fn check(&self) -> Result<(), Vec<Invalid>> {
        let mut faults = Vec::new();
        self.faults(&mut |field, say| faults.push(Invalid { path: field.to_owned(), say }));
        if faults.is_empty() { Ok(()) } else { Err(faults) }
    }

    /// What is wrong with its settings: the field and what would be right.
    pub(crate) fn faults(&self, fault: &mut dyn FnMut(&str, String)) {
        self.answers().faults(fault);
    }

    /// A finding of this rule.
    pub(crate) fn finding(
        index: usize,
        kind: &'static str,
        effect: Effect,
        figures: Vec<Figured>,
    ) -> Finding {
        Finding { rule: index, kind: Cow::Borrowed(kind), effect, trade: None, figures }
    }
}
