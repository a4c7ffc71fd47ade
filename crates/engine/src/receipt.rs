//! The receipt of a verdict: everything it was decided by, in words and in numbers, so that whoever holds it can decide
//! again without asking anybody.

use std::borrow::Cow;
use std::collections::BTreeMap;

use kernel::{
    AccountId, Amount, Currency, FirmId, Overflow, Rounding, Side, Span, Timestamp, decimal, divide,
};
use rules::payout::Holding;
use rules::{Effect, Fact, Figure, Phase, Program, ProgramError, RuleError, Scene, VersionHash, Worth};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{Cause, Quoted, Valued, Verdict, VerdictKind};

/// The wording of this release; raised with every change of [`headline`] or [`explain`].
pub const WORDING: u32 = 1;

/// A verdict with everything needed to reach it again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Receipt {
    /// Whose firm.
    pub firm: FirmId,
    /// Whose account.
    pub account: AccountId,
    /// The instant that was judged.
    pub at: Timestamp,
    /// When it had been decided.
    pub decided_at: Timestamp,
    /// When it was known to be stored for good; not known if the platform was stopped in between.
    pub durable_at: Option<Timestamp>,
    /// Microseconds from the receipt of the deciding quote to the decision; none if no quote decided.
    pub tick_to_decision_us: Option<i64>,
    /// Microseconds from the receipt of the deciding quote to the stored verdict.
    pub tick_to_durable_us: Option<i64>,
    /// How long things took on the account's day (UTC) as far as that was counted when the receipt was made, by what was
    /// received and up to where, such as `command_durable`. Told, not proven.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub latencies: BTreeMap<String, Latency>,
    /// Which wording headline and explanation have: a later release may say the same in other words.
    pub wording: u32,
    /// What was decided, in a few words.
    pub headline: String,
    /// How it was decided, in sentences.
    pub explanation: Vec<String>,
    /// The program, letter by letter as it was published: its SHA-256 is the name of the version.
    pub program: String,
    /// What was decided, in numbers.
    pub verdict: Verdict,
}

/// How long several things took, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Latency {
    /// How many.
    pub count: u64,
    /// Half of them took no longer; at most 12.5 % too high.
    pub p50_us: u64,
    /// 99 of 100 took no longer; at most 12.5 % too high.
    pub p99_us: u64,
    /// The longest, exactly.
    pub max_us: u64,
}

/// What does not follow from the evidence.
#[derive(Debug, thiserror::Error)]
pub enum Unproven {
    /// The program is not the version it was judged by.
    #[error("the program's text does not have the hash {0}, by which the account was judged")]
    OtherProgram(VersionHash),
    /// The program cannot be read.
    #[error("the program cannot be read")]
    Program(#[from] ProgramError),
    /// The program has no such phase or rule.
    #[error("the program has no {0}")]
    Missing(&'static str),
    /// A value is not what follows from the others.
    #[error("{what} should be {should}, the receipt says {says}")]
    Differs {
        /// Which value.
        what: String,
        /// What follows.
        should: String,
        /// What it says.
        says: String,
    },
    /// A quote that is used is not in the receipt.
    #[error("there is no quote of {0} in the receipt")]
    NoQuote(String),
    /// A number that is none.
    #[error("{0} is not a number of this kind")]
    Number(String),
    /// A rule cannot answer.
    #[error(transparent)]
    Rule(#[from] RuleError),
}

impl From<Overflow> for Unproven {
    fn from(error: Overflow) -> Self {
        Self::Rule(error.into())
    }
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, should: &T, says: &T) -> Result<(), Unproven> {
    if should == says {
        return Ok(());
    }
    Err(Unproven::Differs { what: what.to_owned(), should: format!("{should:?}"), says: format!("{says:?}") })
}

impl Receipt {
    /// The receipt of a verdict by a program, whose published text is handed in.
    pub fn compose(
        firm: FirmId,
        account: AccountId,
        at: Timestamp,
        decided_at: Timestamp,
        durable_at: Option<Timestamp>,
        program_text: String,
        verdict: Verdict,
    ) -> Result<Self, Unproven> {
        let program = Program::from_stored(&program_text)?;
        let since = |end: Timestamp| tick(&verdict).and_then(|tick| end.since(tick).ok()).map(Span::micros);
        Ok(Self {
            firm,
            account,
            at,
            decided_at,
            durable_at,
            tick_to_decision_us: since(decided_at),
            tick_to_durable_us: durable_at.and_then(since),
            latencies: BTreeMap::new(),
            wording: WORDING,
            headline: headline(&program, &verdict),
            explanation: explain(&program, &verdict),
            program: program_text,
            verdict,
        })
    }

    /// Decides again by the evidence alone: the floors by the program and what the rules remembered, the equity by the
    /// positions and the quotes, the verdict by both.
    pub fn prove(&self) -> Result<Program, Unproven> {
        let verdict = &self.verdict;
        let hash = hex::encode(Sha256::digest(&self.program));
        if hash != verdict.version.as_str() {
            return Err(Unproven::OtherProgram(verdict.version.clone()));
        }
        let program = Program::from_stored(&self.program)?;
        let phase = phase_with_overrides(&program, verdict)?;
        let equity = equity(verdict, program.currency)?;
        same("the equity", &equity, &verdict.equity)?;
        let floors = rules::floors(&phase, &verdict.track)?;
        same("the floors", &floors, &verdict.floors)?;
        if let Some(fact) = &verdict.fact {
            told_of(fact, verdict)?;
        }
        self.decide(&program, &phase, equity)?;
        let again = Self::compose(
            self.firm,
            self.account,
            self.at,
            self.decided_at,
            self.durable_at,
            self.program.clone(),
            verdict.clone(),
        )?;
        if self.wording == WORDING {
            same("the headline", &again.headline, &self.headline)?;
            same("the explanation", &again.explanation, &self.explanation)?;
        }
        same("the time from tick to decision", &again.tick_to_decision_us, &self.tick_to_decision_us)?;
        same(
            "the time from tick to the stored verdict",
            &again.tick_to_durable_us,
            &self.tick_to_durable_us,
        )?;
        Ok(program)
    }

    fn decide(&self, program: &Program, phase: &Phase, equity: Amount) -> Result<(), Unproven> {
        let verdict = &self.verdict;
        let track = &verdict.track;
        let balance = verdict.balance;
        let scene = Scene { phase, calendar: &track.calendar, at: self.at, balance, equity };
        let flat = verdict.positions.is_empty();
        let no_orders = verdict.orders == 0;
        match verdict.kind {
            VerdictKind::Pass => {
                let objectives = rules::objectives(&scene, track)?;
                same("the objectives", &objectives, &verdict.objectives)?;
                let passed = rules::passed(&scene, &objectives, flat, !no_orders);
                same("whether everything is reached", &passed, &true)
            }
            VerdictKind::Promotion => {
                same("the opening balance", &program.initial_balance, &balance)?;
                same("whether an account passed before", &true, &verdict.from.is_some())
            }
            VerdictKind::Payout | VerdictKind::PayoutRefusal => {
                let policy = phase.payout.as_ref().ok_or(Unproven::Missing("payout policy"))?;
                let holding = Holding { flat, no_orders, ended: track.ended.clone() };
                let amount = verdict.figures.last().map(|it| (it.name.as_ref(), &it.value));
                let asked = match amount {
                    Some(("asked", Figure::Amount(asked))) => Some(*asked),
                    Some(("taken", Figure::Amount(_))) => None,
                    _ => return Err(Unproven::Missing("amount that was asked for")),
                };
                let (clocks, currency) = (program.clocks(), program.currency);
                let decided = policy.decide(&scene, track, clocks, currency, holding, asked)?;
                same("the conditions", &decided.precheck.conditions, &verdict.objectives)?;
                same("the numbers of the payout", &decided.precheck.figures, &verdict.figures)?;
                same("whether it may be paid", &decided.allowed, &(verdict.kind == VerdictKind::Payout))
            }
            VerdictKind::Breach
            | VerdictKind::SoftBreach
            | VerdictKind::Violation
            | VerdictKind::Warning
            | VerdictKind::Expiry => match &verdict.fact {
                None => {
                    same("the objectives", &rules::objectives(&scene, track)?, &verdict.objectives)?;
                    let worth = Worth { balance, equity, at_reset: verdict.cause == Cause::DayEnd };
                    let crossed = rules::breached(&verdict.floors, worth).cloned();
                    same("the floor that was crossed", &crossed, &verdict.floor)?;
                    let finding = crossed.as_ref().map(|floor| floor.finding(worth)).transpose()?;
                    self.agrees(finding.as_ref())
                }
                Some(fact) => {
                    same("the objectives", &rules::objectives(&scene, track)?, &verdict.objectives)?;
                    let mut track = track.clone();
                    let found = track.notice(&scene, fact)?;
                    let same_rule = |finding: &&rules::Finding| {
                        finding.rule == verdict.rule_index
                            && finding.trade == verdict.trade.map(|ticket| ticket.0)
                    };
                    // A rule may find several things about one position.
                    let agreed = found.iter().filter(same_rule).any(|found| self.agrees(Some(found)).is_ok());
                    if agreed { Ok(()) } else { self.agrees(found.iter().find(same_rule)) }
                }
            },
        }
    }

    fn agrees(&self, found: Option<&rules::Finding>) -> Result<(), Unproven> {
        let verdict = &self.verdict;
        let Some(found) = found else {
            return same("what the rules find", &"something", &"nothing");
        };
        same("the rule", &found.kind, &verdict.rule)?;
        same("the rule's place", &found.rule, &verdict.rule_index)?;
        same("what it does", &found.effect, &verdict.effect)?;
        same("what it means", &VerdictKind::of(found.effect), &verdict.kind)?;
        same("the numbers that decided", &found.figures, &verdict.figures)
    }
}

/// What the rules were told agrees with what the receipt shows of the positions.
fn told_of(fact: &Fact, verdict: &Verdict) -> Result<(), Unproven> {
    match fact {
        Fact::Floating(told) => {
            let shown: Vec<_> = verdict.positions.iter().map(|it| (it.ticket.0, it.profit)).collect();
            same("what each position would bring", &shown, told)
        }
        Fact::Opened(opening) => {
            let opened = verdict.positions.iter().find(|position| position.ticket.0 == opening.trade);
            let opened = opened.ok_or(Unproven::Missing("position that opened"))?;
            same("the instrument that was opened", &opened.symbol.as_str(), &opening.symbol.as_str())?;
            same("the side that was opened", &opened.side, &opening.side)
        }
        Fact::Ordered | Fact::StopMoved { .. } | Fact::Closed(_) | Fact::Time | Fact::Review => Ok(()),
    }
}

/// When the deciding quote was received.
fn tick(verdict: &Verdict) -> Option<Timestamp> {
    cause(verdict).map(|quote| quote.received_at)
}

fn cause(verdict: &Verdict) -> Option<&Quoted> {
    match verdict.cause {
        Cause::Quote(place) => verdict.quotes.iter().find(|quote| quote.position == place),
        Cause::Command | Cause::DayEnd | Cause::Reset | Cause::Deadline => None,
    }
}

fn phase_with_overrides(program: &Program, verdict: &Verdict) -> Result<Phase, Unproven> {
    let mut phase = program.phases.get(verdict.phase).cloned().ok_or(Unproven::Missing("such phase"))?;
    for (place, rule) in &verdict.track.overrides {
        *phase.rules.get_mut(*place).ok_or(Unproven::Missing("rule that is overridden"))? = rule.clone();
    }
    Ok(phase)
}

/// Balance and what closing every position at the quotes of the receipt would bring.
fn equity(verdict: &Verdict, currency: Currency) -> Result<Amount, Unproven> {
    let mut equity = verdict.balance;
    for position in &verdict.positions {
        let quote = quote_of(verdict, &position.symbol)?;
        let side = match position.side {
            Side::Buy => &quote.bid,
            Side::Sell => &quote.ask,
        };
        let ticket = position.ticket.0;
        same(&format!("the price of position {ticket}"), side, &position.close_price)?;
        let in_quote = profit_in_quote(position)?;
        same(&format!("the result of position {ticket}"), &in_quote, &position.profit_in_quote)?;
        let profit = converted(verdict, position, in_quote, currency)?;
        same(&format!("the converted result of position {ticket}"), &profit, &position.profit)?;
        equity = equity.plus(profit)?;
    }
    Ok(equity)
}

fn quote_of<'a>(verdict: &'a Verdict, symbol: &str) -> Result<&'a Quoted, Unproven> {
    let found = verdict.quotes.iter().find(|quote| quote.symbol == symbol);
    found.ok_or_else(|| Unproven::NoQuote(symbol.to_owned()))
}

/// A decimal text as a whole number and the power of ten below it.
fn scaled(text: &str) -> Result<(i128, u8), Unproven> {
    let wrong = || Unproven::Number(text.to_owned());
    let places = text.split_once('.').map_or(0, |(_, places)| places.len());
    let scale = u8::try_from(places).map_err(|_| wrong())?;
    Ok((decimal::parse(text, scale).map_err(|_| wrong())?.into(), scale))
}

/// `(close − open) × contract size × lots`, for a long; mirrored for a short.
fn profit_in_quote(position: &Valued) -> Result<Amount, Unproven> {
    let (open, open_scale) = scaled(&position.open_price)?;
    let (close, close_scale) = scaled(&position.close_price)?;
    let (lots, lot_scale) = scaled(&position.quantity)?;
    same("the digits of a price", &open_scale, &close_scale)?;
    let moved = match position.side {
        Side::Buy => close.checked_sub(open),
        Side::Sell => open.checked_sub(close),
    };
    let points = moved
        .and_then(|it| it.checked_mul(lots))
        .and_then(|it| it.checked_mul(position.contract_size.into()));
    let scale = open_scale.checked_add(lot_scale).ok_or(Overflow)?;
    let unit = decimal::power_of_ten(scale).ok_or(Overflow)?;
    let micros = points.and_then(|it| it.checked_mul(1_000_000)).ok_or(Overflow)?;
    Ok(Amount::from_wide(divide(micros, unit, Rounding::Floor)?)?)
}

/// Converts at the side of the rate that applies, downwards.
fn converted(
    verdict: &Verdict,
    position: &Valued,
    amount: Amount,
    currency: Currency,
) -> Result<Amount, Unproven> {
    let Some(rate) = &position.rate else {
        same("the currency of a result without a rate", &currency.to_string(), &position.quote_currency)?;
        return Ok(amount);
    };
    let quote = quote_of(verdict, &rate.symbol)?;
    let bid = amount.is_negative() != rate.multiply;
    same("the rate", if bid { &quote.bid } else { &quote.ask }, &rate.price)?;
    let (price, scale) = scaled(&rate.price)?;
    let unit = decimal::power_of_ten(scale).ok_or(Overflow)?;
    let micros = i128::from(amount.micros());
    let (numerator, denominator) =
        if rate.multiply { (micros.checked_mul(price), unit) } else { (micros.checked_mul(unit), price) };
    Ok(Amount::from_wide(divide(numerator.ok_or(Overflow)?, denominator, Rounding::Floor)?)?)
}

/// What was decided, in a few words.
pub fn headline(program: &Program, verdict: &Verdict) -> String {
    let phase = program.phases.get(verdict.phase).map_or("phase", |phase| phase.name.as_str());
    let rule = label(&verdict.rule);
    let near = verdict.floor.as_ref().and_then(|floor| floor.used);
    match verdict.kind {
        VerdictKind::Breach => format!("{rule} crossed: the account has ended"),
        VerdictKind::SoftBreach if verdict.effect == Effect::Close => {
            format!("{rule}: everything was closed")
        }
        VerdictKind::SoftBreach => format!("{rule} crossed: the account is locked until the next reset"),
        VerdictKind::Violation => format!("{rule} broken: recorded for review"),
        VerdictKind::Warning => match near {
            Some(used) => format!("{rule}: {used}% of the limit is used"),
            None => format!("{rule}: a warning"),
        },
        VerdictKind::Pass => format!("{phase} passed"),
        VerdictKind::Promotion => format!("Promoted to {phase}"),
        VerdictKind::Expiry => format!("{rule} reached: the account has ended"),
        VerdictKind::Payout => "Payout".to_owned(),
        VerdictKind::PayoutRefusal => "Payout not possible yet".to_owned(),
    }
}

/// A word of the vocabulary for readers: `daily_loss` is "Daily loss".
pub fn label(word: &str) -> String {
    if word == rules::RUIN {
        return "Nothing left".to_owned();
    }
    let spaced = word.replace('_', " ");
    let spaced = match (spaced.strip_prefix("max "), spaced.strip_prefix("min ")) {
        (Some(rest), _) => format!("maximum {rest}"),
        (_, Some(rest)) => format!("minimum {rest}"),
        (None, None) => spaced,
    };
    let mut letters = spaced.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

/// How it was decided, in sentences.
pub fn explain(program: &Program, verdict: &Verdict) -> Vec<String> {
    let words = program.words();
    let money = |amount: Amount| format!("{} {}", amount.grouped(program.currency), program.currency);
    let mut sentences = Vec::new();
    let own = program.phases.get(verdict.phase).and_then(|phase| phase.rule(verdict.rule_index));
    let rule = verdict.track.overrides.get(&verdict.rule_index).or(own);
    match (verdict.kind, rule) {
        (VerdictKind::Payout | VerdictKind::PayoutRefusal | VerdictKind::Promotion, _) => {}
        (_, Some(rule)) => sentences.push(format!("The rule: {}", rule.sentence(&words))),
        // The floor that no program writes.
        (_, None) => sentences.push("The rule: an account whose equity is used up has ended.".to_owned()),
    }
    if let Some(floor) = &verdict.floor {
        let name = if floor.used.is_some() { "The level of this warning" } else { "The floor" };
        sentences.push(format!("{name} was {}. {}", money(floor.amount), derivation(floor, &money)));
    }
    sentences.push(match (verdict.cause, cause(verdict)) {
        (_, Some(quote)) => format!(
            "The quote of {} with bid {} and ask {}, made by {} at {} and received at {}, decided.",
            quote.symbol, quote.bid, quote.ask, quote.source, quote.source_time, quote.received_at
        ),
        (Cause::DayEnd, None) => {
            "It was decided at the end of the day, at the quotes standing then.".to_owned()
        }
        (Cause::Reset, None) => "It was decided at the daily reset, at the quotes standing then.".to_owned(),
        (Cause::Deadline, None) => "Time decided: a deadline was reached.".to_owned(),
        (Cause::Command, None) => "It was decided when a command had been carried out.".to_owned(),
        (Cause::Quote(place), None) => format!("The quote at place {place} decided."),
    });
    if matches!(verdict.kind, VerdictKind::Pass | VerdictKind::Payout | VerdictKind::PayoutRefusal) {
        sentences.extend(verdict.objectives.iter().map(|objective| said_of(objective, &money)));
    }
    if verdict.floor.is_none() {
        for figured in &verdict.figures {
            sentences.push(format!("{}: {}.", label(&figured.name), shown(&figured.value, &money)));
        }
    }
    let held = match verdict.positions.len() {
        0 => "no position was open".to_owned(),
        1 => "one position was open".to_owned(),
        open => format!("{open} positions were open"),
    };
    sentences.push(format!(
        "The balance was {} and {held}, so the equity was {}.",
        money(verdict.balance),
        money(verdict.equity)
    ));
    sentences
}

/// A condition with its number, such as "Minimum profit does not hold: 0.00 USD now, 100.00 USD asked for."
fn said_of(objective: &rules::Objective, money: &dyn Fn(Amount) -> String) -> String {
    let words = match objective.kind.as_ref() {
        "active" => "That the account trades",
        "flat" => "That no position is open",
        "no_orders" => "That no order is working",
        "amount" => "The amount that can be taken out",
        "stays_open" => "That what is left lies above every floor that ends the account",
        "asked_at_most" => "The most that can be taken out",
        "asked_at_least" => "The least that can be taken out",
        "any_of" => "That one of the either-or lists holds",
        kind => &label(kind),
    };
    let met = if objective.met { "holds" } else { "does not hold" };
    let (now, asked) = (shown(&objective.current, money), shown(&objective.target, money));
    match (objective.kind.as_ref(), &objective.target) {
        ("stays_open", _) => format!("{words} {met}: {now} would be left, the floor is {asked}."),
        ("asked_at_most" | "asked_at_least", _) => {
            format!("{words} {met}: it is {asked}, asked for were {now}.")
        }
        (_, Figure::Flag(_)) => format!("{words} {met}."),
        (_, _) => format!("{words} {met}: {now} now, {asked} asked for."),
    }
}

/// How a floor follows from what it is measured from.
pub fn derivation(floor: &rules::Floor, money: &dyn Fn(Amount) -> String) -> String {
    let measured = format!("{} {}", floor.reference_name, money(floor.reference));
    let sign = if floor.cap { "plus" } else { "less" };
    let name = if floor.cap { "profit" } else { "loss" };
    let used = floor.used.map_or(String::new(), |used| format!("{used}% of "));
    let line = format!("It is the {measured} {sign} {used}the allowed {name} of {}", money(floor.limit));
    match floor.locked_at {
        Some(level) => format!("{line}, locked at {}.", money(level)),
        None => format!("{line}."),
    }
}

/// A number for readers.
pub fn shown(figure: &Figure, money: &dyn Fn(Amount) -> String) -> Cow<'static, str> {
    let list = |parts: Vec<String>| if parts.is_empty() { "none".to_owned() } else { parts.join(", ") };
    Cow::Owned(match figure {
        Figure::Amount(amount) => money(*amount),
        Figure::Percent(percent) => format!("{percent}%"),
        Figure::Lots(lots) => format!("{lots} lots"),
        Figure::Count(count) => count.to_string(),
        Figure::Flag(true) => "yes".to_owned(),
        Figure::Flag(false) => "no".to_owned(),
        Figure::At(at) => at.to_string(),
        Figure::Day(day) => day.to_string(),
        Figure::Days(days) => list(days.iter().map(ToString::to_string).collect()),
        Figure::ByDay(days) => {
            list(days.iter().map(|(day, amount)| format!("{day} {}", money(*amount))).collect())
        }
        Figure::Word(word) => word.to_string(),
    })
}
