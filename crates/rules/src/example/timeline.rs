//! An account that lives through an example.

use std::borrow::Cow;
use std::collections::BTreeMap;

use kernel::{Amount, LocalTime, Lots, Rounding, Side, Span, Symbol, Timestamp, TradingDay, Zone};
use serde::{Deserialize, Serialize};

use super::expect::{self, Checked};
use super::{CloseStep, DayEnd, Example, ExampleError, OpenStep, Step, StopStep, TradeStep};
use crate::effect::{Figure, Figured, figure};
use crate::kinds::{OpenLossPer, Weekday};
use crate::payout::{Decision, Holding, Precheck};
use crate::{
    CloseReason, Closing, Effect, Fact, Finding, Floor, HeldBack, Moment, NewsEvent, Objective, Opening,
    Phase, Program, Promotion, Rule, RuleError, Scene, Track, Worth, breached, deadlines, figures, floors,
    objection, objectives, passed, profit_target,
};

/// The state of an account in an example; what a step leaves is all that the next one needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timeline {
    at: Timestamp,
    phase: usize,
    track: Track,
    balance: Amount,
    /// What is open would bring so much in all.
    floating: Amount,
    /// What each position would bring, where that is known: it is not for those of which only the sum was told.
    floating_of: BTreeMap<u32, Amount>,
    working_orders: u32,
    /// Open positions by their names in the example.
    tickets: BTreeMap<String, u32>,
    next_ticket: u32,
    status: Status,
    /// How many steps were taken.
    steps: usize,
    /// What was found in the last step.
    found: Vec<Finding>,
    /// The verdict after each value of the lists of the last step.
    verdicts: Vec<Cow<'static, str>>,
    merged: Option<Amount>,
}

/// Whether the account of an example lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// It trades.
    Active,
    /// It passed its phase.
    Passed,
    /// A hard rule ended it.
    Breached,
    /// Its time is over.
    Expired,
}

enum Failure {
    Say(String),
    /// With what it happened in.
    Rule(&'static str, RuleError),
}

impl<E: Into<RuleError>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Rule("its numbers", error.into())
    }
}

/// Names what could not be computed: a part of a step, or a rule.
fn named<T>(what: &'static str, result: Result<T, impl Into<Failure>>) -> Result<T, Failure> {
    result.map_err(|error| match error.into() {
        Failure::Rule(_, source) => Failure::Rule(what, source),
        say @ Failure::Say(_) => say,
    })
}

fn say<T>(text: impl Into<String>) -> Result<T, Failure> {
    Err(Failure::Say(text.into()))
}

impl Timeline {
    /// The account of an example as it opens.
    pub fn open(program: &Program, example: &Example) -> Result<Self, ExampleError> {
        let open = || -> Result<Self, Failure> {
            let at = match &example.start {
                Some(text) => instant(program, text)?,
                None => program.clocks().counting.start_of(TradingDay::parse("2026-01-05")?)?,
            };
            let phases = program.phases.len();
            let phase = example.phase.unwrap_or(1);
            let Some(phase) = phase.checked_sub(1).filter(|phase| *phase < phases) else {
                return say(format!("phase: {phase} is none of the program's phases, 1 to {phases}"));
            };
            Ok(Self {
                at,
                phase,
                track: Track::open(program.initial_balance, at, program.clocks())?,
                balance: program.initial_balance,
                floating: Amount::ZERO,
                floating_of: BTreeMap::new(),
                working_orders: 0,
                tickets: BTreeMap::new(),
                next_ticket: 1,
                status: Status::Active,
                steps: 0,
                found: Vec::new(),
                verdicts: Vec::new(),
                merged: None,
            })
        };
        open().map_err(|failure| located(example, 0, failure))
    }

    /// Takes one step and compares what it expects.
    pub fn step(
        &mut self,
        program: &Program,
        example: &Example,
        step: &Step,
    ) -> Result<Vec<Checked>, ExampleError> {
        self.steps = self.steps.saturating_add(1);
        let number = self.steps;
        let taken = self.take(program, example, step);
        let compared = taken.and_then(|()| self.compare(program, example, step));
        compared.map_err(|failure| located(example, number, failure))
    }

    fn take(&mut self, program: &Program, example: &Example, step: &Step) -> Result<(), Failure> {
        self.found.clear();
        self.verdicts.clear();
        let mut run = Run { state: self, program, example, ends_unjudged: false, cleared: false };
        named("the clock", run.move_clock(step))?;
        if step.order {
            named("order", run.order())?;
        }
        if let Some(orders) = step.working_orders {
            run.state.working_orders = orders;
        }
        for open in &step.open {
            named("open", run.one_of_many(|run| run.open(open)))?;
        }
        for stop in &step.stop {
            named("stop", run.move_stop(stop))?;
        }
        if !step.open_profit.is_empty() {
            named("open_profit", run.open_profit(&step.open_profit))?;
        }
        for close in &step.close {
            named("close", run.one_of_many(|run| run.close(close)))?;
        }
        for trade in &step.trade {
            named("trade", run.one_of_many(|run| run.trade(trade)))?;
        }
        named("the balance and the equity", run.worth(step))?;
        named("the list of values", run.lists(step))?;
        if step.review {
            named("review", run.tell(&Fact::Review))?;
        }
        if let Some(amount) = &step.payout {
            named("payout", run.pay(amount))?;
        }
        for _ in 0..step.grow {
            named("grow", run.grow())?;
        }
        if step.promote {
            named("promote", run.promote())?;
        }
        if !step.merge.is_empty() {
            let Some(merge) = program.merge else { return say("the program says nothing about merging") };
            run.state.merged = Some(named("merge", merge.start_balance(&step.merge))?);
        }
        Ok(())
    }

    fn compare(&self, program: &Program, example: &Example, step: &Step) -> Result<Vec<Checked>, Failure> {
        if step.expect.is_empty() {
            return Ok(Vec::new());
        }
        let known = self.known(program, &example.calendar)?;
        let mut all = Vec::new();
        let opened = program.clocks().counting.day_of(self.track.opened_at)?;
        let context = expect::Context { program, known: &known, opened };
        for (name, expected) in &step.expect {
            for checked in context.compare(name, expected).or_else(say)? {
                all.push(Checked { example: example.id.clone(), step: self.steps, ..checked });
            }
        }
        Ok(all)
    }

    fn scene<'a>(&self, program: &'a Program, calendar: &'a [NewsEvent]) -> Result<Scene<'a>, Failure> {
        let Some(phase) = program.phases.get(self.phase) else { return say("the program has no such phase") };
        let equity = self.balance.plus(self.floating)?;
        Ok(Scene { phase, calendar, at: self.at, balance: self.balance, equity })
    }

    /// Everything that can be expected, by name.
    fn known(&self, program: &Program, calendar: &[NewsEvent]) -> Result<BTreeMap<String, Figure>, Failure> {
        let scene = self.scene(program, calendar)?;
        let clocks = program.clocks();
        let mut known = BTreeMap::new();
        let mut add = |prefix: &str, figures: Vec<Figured>| {
            for Figured { name, value } in figures {
                known.insert(format!("{prefix}.{name}"), value);
            }
        };
        add("account", self.account(&scene)?);
        add(
            "clock",
            vec![
                figure("now", self.at),
                figure("day", self.track.day),
                figure("day_began", self.track.day_started_at),
                figure("day_starts", clocks.reset.start_of(self.track.day)?),
                figure("next_reset", self.track.next_reset),
                figure("counted_day", self.track.today.day),
            ],
        );
        let mut seen: BTreeMap<&str, u32> = BTreeMap::new();
        for (index, rule) in scene.phase.rules_and_conditions() {
            let times = seen.entry(rule.kind()).or_default();
            *times = times.saturating_add(1);
            let name = if *times == 1 { rule.kind().to_owned() } else { format!("{}#{times}", rule.kind()) };
            add(&name, named(rule.kind(), figures(index, rule, &scene, &self.track))?);
        }
        if let Some(payout) = &scene.phase.payout {
            let precheck = payout.precheck(&scene, &self.track, clocks, program.currency, self.holding())?;
            for condition in &precheck.conditions {
                let Objective { kind, met, current, target, .. } = condition.clone();
                let named = |name, value| Figured { name: Cow::Borrowed(name), value };
                let figures = vec![figure("met", met), named("current", current), named("target", target)];
                add(&format!("payout.{kind}"), figures);
            }
            add("payout", asked(precheck));
        }
        if let Some(scaling) = &scene.phase.scaling {
            add("scaling", scaling.figures(&scene, &self.track, clocks)?);
        }
        if let Some(balance) = self.merged {
            add("merge", vec![figure("start_balance", balance)]);
        }
        self.outcome(&mut known);
        Ok(known)
    }

    fn account(&self, scene: &Scene<'_>) -> Result<Vec<Figured>, Failure> {
        let held = self.track.held_back_at(self.at);
        let mut account = vec![
            figure("balance", self.balance),
            figure("equity", scene.equity),
            figure("initial_balance", self.track.initial),
            figure("status", Figure::Word(Cow::Borrowed(status_word(self.status)))),
            figure("locked", held.is_some()),
        ];
        account.extend(held.map(|held| figure("locked_until", held.until)));
        let all = floors(scene.phase, &self.track)?;
        let effective = |floor: &&Floor| floor.effect != Effect::Warn && !floor.cap;
        if let Some(floor) = all.iter().filter(effective).rev().max_by_key(|floor| floor.amount) {
            let worth = Worth { balance: self.balance, equity: scene.equity, at_reset: false };
            account.push(figure("floor", floor.amount));
            account.push(figure("floor_rule", Figure::Word(floor.kind.clone())));
            account.push(figure("room", floor.room(worth)?));
        }
        Ok(account)
    }

    /// What came of the last step.
    fn outcome(&self, known: &mut BTreeMap<String, Figure>) {
        // What was found also has its numbers, such as those of an order that was refused.
        for Finding { kind, figures, .. } in &self.found {
            for Figured { name, value } in figures {
                known.entry(format!("{kind}.{name}")).or_insert_with(|| value.clone());
            }
        }
        let count = |effects: &[Effect]| {
            let found = self.found.iter().filter(|finding| effects.contains(&finding.effect)).count();
            Figure::Count(u32::try_from(found).unwrap_or(u32::MAX))
        };
        let over = |verdict: &Cow<'_, str>| matches!(verdict.as_ref(), "breach" | "soft_breach" | "expiry");
        if let Some(place) = self.verdicts.iter().position(over) {
            let place = u32::try_from(place).unwrap_or(u32::MAX);
            known.insert("breach_at_step".to_owned(), Figure::Count(place));
        }
        let (verdict, rule) = self.verdict(&self.found);
        known.insert("verdict".to_owned(), Figure::Word(Cow::Borrowed(verdict)));
        known.insert("rule".to_owned(), Figure::Word(rule));
        known.insert("verdicts".to_owned(), Figure::Word(Cow::Owned(self.verdicts.join(", "))));
        known.insert("violations".to_owned(), count(&[Effect::Flag, Effect::Deduct]));
        known.insert("warnings".to_owned(), count(&[Effect::Warn]));
    }

    fn holding(&self) -> Holding {
        Holding {
            flat: self.track.open.is_empty() && self.floating == Amount::ZERO,
            no_orders: self.working_orders == 0,
            ended: self.track.ended.clone(),
        }
    }

    /// The outcome of what was found: the hardest, or else what the account has come to.
    fn verdict(&self, found: &[Finding]) -> (&'static str, Cow<'static, str>) {
        let hardest =
            found.iter().reduce(|cause, next| if next.effect > cause.effect { next } else { cause });
        match (self.status, hardest) {
            (Status::Breached | Status::Expired, Some(finding)) if finding.effect == Effect::Refuse => {
                (finding.effect.outcome(), finding.kind.clone())
            }
            (Status::Passed, _) => ("passed", Cow::Borrowed("profit_target")),
            (Status::Breached, _) => ("breach", self.ended_by()),
            (Status::Expired, _) => ("expiry", self.ended_by()),
            (Status::Active, Some(finding)) => (finding.effect.outcome(), finding.kind.clone()),
            (Status::Active, None) => ("ok", Cow::Borrowed("")),
        }
    }

    /// Whether the account lives, has passed or is over.
    pub const fn status(&self) -> Status {
        self.status
    }

    /// Closed results.
    pub const fn balance(&self) -> Amount {
        self.balance
    }

    /// What the rules remember of the account.
    pub const fn track(&self) -> &Track {
        &self.track
    }

    /// What was found in the last step, in the order in which it was said.
    pub fn found(&self) -> &[Finding] {
        &self.found
    }

    fn ended_by(&self) -> Cow<'static, str> {
        self.track.ended.as_ref().map_or(Cow::Borrowed(""), |(kind, _)| kind.clone())
    }
}

/// The numbers of a payout that is asked for now.
fn asked(precheck: Precheck) -> Vec<Figured> {
    let missing: Vec<_> =
        precheck.conditions.iter().filter(|condition| !condition.met).map(|it| it.kind.as_ref()).collect();
    let missing = figure("missing", Figure::Word(Cow::Owned(missing.join(", "))));
    let mut figures = precheck.figures;
    figures.extend([figure("eligible", precheck.eligible), missing]);
    figures
}

const MINUTE: Span = Span::from_seconds(60);

fn status_word(status: Status) -> &'static str {
    match status {
        Status::Active => "active",
        Status::Passed => "passed",
        Status::Breached => "breached",
        Status::Expired => "expired",
    }
}

fn located(example: &Example, step: usize, failure: Failure) -> ExampleError {
    let example = example.id.clone();
    match failure {
        Failure::Say(say) => ExampleError::Step { example, step, say },
        Failure::Rule(what, source) => ExampleError::Rule { example, step, what: what.to_owned(), source },
    }
}

/// RFC 3339, or a local time of the reset zone, or a date, meaning the start of that day of counting.
fn instant(program: &Program, text: &str) -> Result<Timestamp, Failure> {
    if let Ok(at) = Timestamp::parse(text) {
        return Ok(at);
    }
    if let Some((date, time)) = text.split_once(' ')
        && let (Ok(date), Ok(time)) = (TradingDay::parse(date), LocalTime::parse(time))
        && let Ok(zone) = Zone::parse(program.reset.zone())
    {
        return Ok(zone.at(date, time)?);
    }
    match TradingDay::parse(text) {
        Ok(day) => Ok(program.clocks().counting.start_of(day)?),
        Err(_) => say(format!(
            "{text} is not an instant such as 2026-01-05T12:00:00Z, a local time such as 2026-01-05 14:30, a date, a day \
             of the week such as Thu or Thu 14:30, or a release of the calendar such as \"US payrolls -90s\""
        )),
    }
}

/// `Thu` or `Thu 14:30`: the next noon or time of that day in the reset zone, now included.
fn next_weekday(program: &Program, now: Timestamp, text: &str) -> Result<Option<Timestamp>, Failure> {
    let (day, time) = text.split_once(' ').unwrap_or((text, "12:00"));
    let (Some(day), Ok(time)) = (Weekday::parse(day), LocalTime::parse(time)) else { return Ok(None) };
    let Ok(zone) = Zone::parse(program.reset.zone()) else { return Ok(None) };
    Ok(Some(zone.next_weekly(now.before(Span::from_micros(1))?, time, &[day.number()])?))
}

/// The instant of a release, or some time before or after it: `US payrolls`, `US payrolls -90s`.
fn near_release(calendar: &[NewsEvent], text: &str) -> Result<Option<Timestamp>, Failure> {
    for event in calendar {
        let Some(rest) = text.strip_prefix(event.name.as_str()) else { continue };
        let rest = rest.trim();
        if rest.is_empty() {
            return Ok(Some(event.at));
        } else if let Some(later) = rest.strip_prefix('+') {
            return Ok(Some(event.at.after(span(later.trim())?)?));
        } else if let Some(earlier) = rest.strip_prefix('-') {
            return Ok(Some(event.at.before(span(earlier.trim())?)?));
        }
    }
    Ok(None)
}

/// `90s`, `5m`, `2h`, `3d`.
fn span(text: &str) -> Result<Span, Failure> {
    let wrong = || Failure::Say(format!("{text} is not a time such as 90s, 5m, 2h or 3d"));
    let (digits, unit) = text.split_at_checked(text.len().saturating_sub(1)).ok_or_else(wrong)?;
    let count: i64 = digits.parse().map_err(|_| wrong())?;
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return Err(wrong()),
    };
    let micros =
        count.checked_mul(seconds).and_then(|seconds| seconds.checked_mul(1_000_000)).ok_or_else(wrong)?;
    if micros < 0 { Err(wrong()) } else { Ok(Span::from_micros(micros)) }
}

/// A timeline with the program it runs under.
struct Run<'a> {
    state: &'a mut Timeline,
    program: &'a Program,
    example: &'a Example,
    /// The running day ends with what was told of its end, however that came about: only the reset is judged.
    ends_unjudged: bool,
    /// Whether a rule has closed positions or taken orders back since the prices last moved.
    cleared: bool,
}

impl<'a> Run<'a> {
    fn scene(&self) -> Result<Scene<'a>, Failure> {
        self.state.scene(self.program, &self.example.calendar)
    }

    fn phase(&self) -> Result<&'a Phase, Failure> {
        Ok(self.scene()?.phase)
    }

    fn active(&self) -> bool {
        self.state.status == Status::Active
    }

    fn move_clock(&mut self, step: &Step) -> Result<(), Failure> {
        if let Some(end) = step.day_start {
            self.day_before_ended(end)?;
        }
        let to = match (&step.at, &step.after, step.reset) {
            (Some(text), None, false) => self.instant(text)?,
            (None, Some(text), false) => self.state.at.after(span(text)?)?,
            (None, None, true) => self.next_reset()?,
            (None, None, false) if step.day_start.is_some() => self.state.track.next_reset,
            (None, None, false) if self.state.steps <= 1 => self.state.at,
            (None, None, false) => self.state.at.after(MINUTE)?,
            _ => return say("give only one of at, after and reset"),
        };
        if to < self.state.at {
            let now = self.state.at;
            return say(if self.state.steps <= 1 {
                format!("at: {to} lies before {now}, when the account opens; give an earlier start")
            } else {
                format!("at: {to} lies before {now}, where the step before it left the clock")
            });
        }
        self.advance(to)
    }

    /// The next reset; the days of an account that is over are not counted on, but they pass.
    fn next_reset(&self) -> Result<Timestamp, Failure> {
        let (at, next) = (self.state.at, self.state.track.next_reset);
        if next > at || self.active() { Ok(next) } else { Ok(self.program.reset.next_after(at)?) }
    }

    fn instant(&self, text: &str) -> Result<Timestamp, Failure> {
        if let Some(at) = next_weekday(self.program, self.state.at, text)? {
            return Ok(at);
        }
        match near_release(&self.example.calendar, text)? {
            Some(at) => Ok(at),
            None => instant(self.program, text),
        }
    }

    /// The account is worth so much, however that came about: no day counts for it and nothing is judged.
    fn day_before_ended(&mut self, end: DayEnd) -> Result<(), Failure> {
        let (balance, equity) = end.worth(self.state.balance);
        self.state.balance = balance;
        self.float(equity.minus(balance)?);
        self.state.track.today_start_equity = equity;
        self.ends_unjudged = true;
        Ok(())
    }

    /// What is open would bring so much in all. That says what each position would bring only if there is one, or if it
    /// is nothing.
    fn float(&mut self, floating: Amount) {
        let Timeline { track, floating_of, .. } = &mut *self.state;
        floating_of.clear();
        if track.open.len() == 1 || floating == Amount::ZERO {
            floating_of.extend(track.open.keys().map(|trade| (*trade, floating)));
        }
        self.state.floating = floating;
    }

    /// What those positions would bring of which each is known by itself.
    fn told(&self) -> Result<Amount, Failure> {
        let mut told = Amount::ZERO;
        for profit in self.state.floating_of.values() {
            told = told.plus(*profit)?;
        }
        Ok(told)
    }

    /// One value of a list: what comes of it is remembered by itself.
    fn one_of_many(&mut self, take: impl FnOnce(&mut Self) -> Result<(), Failure>) -> Result<(), Failure> {
        let before = self.state.found.len();
        take(self)?;
        let found = self.state.found.get(before..).unwrap_or_default();
        let (verdict, _) = self.state.verdict(found);
        self.state.verdicts.push(Cow::Borrowed(verdict));
        Ok(())
    }

    fn lists(&mut self, step: &Step) -> Result<(), Failure> {
        for balance in &step.balances {
            self.one_of_many(|run| {
                run.wait(MINUTE)?;
                run.set(*balance, Amount::ZERO)
            })?;
        }
        for equity in &step.equities {
            self.one_of_many(|run| {
                run.wait(MINUTE)?;
                run.set(run.state.balance, equity.minus(run.state.balance)?)
            })?;
        }
        for profit in &step.day_profits {
            self.one_of_many(|run| run.day_with(profit))?;
        }
        for end in &step.day_ends {
            self.one_of_many(|run| {
                run.wait(MINUTE)?;
                let (balance, equity) = end.worth(run.state.balance);
                run.set(balance, equity.minus(balance)?)?;
                run.advance(run.state.track.next_reset)
            })?;
        }
        Ok(())
    }

    fn day_with(&mut self, profit: &str) -> Result<(), Failure> {
        if profit != "none" {
            let profit = Amount::parse(profit).or_else(|error| {
                say(format!("day_profits: {profit}: {error}; a day without a trade is \"none\""))
            })?;
            let risk = Some(profit.negated()?.max(Amount::ZERO));
            let trade =
                TradeStep { profit, risk, symbol: None, side: None, lots: None, held: None, times: None };
            self.trade(&trade)?;
        }
        self.advance(self.state.track.next_reset)
    }

    fn wait(&mut self, span: Span) -> Result<(), Failure> {
        self.advance(self.state.at.after(span)?)
    }

    /// Lets everything happen that falls due on the way, each at its own instant.
    fn advance(&mut self, to: Timestamp) -> Result<(), Failure> {
        let mut acted = None;
        loop {
            let due = self.next_due(acted)?;
            let Some(due) = due.filter(|due| *due <= to) else { break };
            self.state.at = due.max(self.state.at);
            self.time_passed()?;
            acted = Some(self.state.at);
        }
        self.state.at = to.max(self.state.at);
        Ok(())
    }

    /// When the account next acts by itself. What was due at `acted` has just been done.
    fn next_due(&self, acted: Option<Timestamp>) -> Result<Option<Timestamp>, Failure> {
        if !self.active() {
            return Ok(None);
        }
        let track = &self.state.track;
        let deadlines = deadlines(&self.scene()?, track)?;
        let own = deadlines.iter().find(|deadline| acted.is_none_or(|acted| deadline.at > acted));
        let ends = track.next_reset.min(track.next_day);
        Ok(Some(own.map_or(ends, |own| own.at.min(ends))))
    }

    fn time_passed(&mut self) -> Result<(), Failure> {
        let clocks = self.program.clocks();
        let scene = self.scene()?;
        let track = &mut self.state.track;
        if track.next_day <= scene.at {
            track.end_day(clocks, scene.equity)?;
        }
        if track.next_reset <= scene.at {
            // What is measured at the reset is measured on the day that ends; then the new day's floors meet what is held.
            if !self.ends_unjudged && self.judge_loss(true)? {
                return Ok(());
            }
            let scene = self.scene()?;
            self.state.track.reset(clocks, scene.balance, scene.equity)?;
            if std::mem::take(&mut self.ends_unjudged) && self.judge_loss(true)? {
                return Ok(());
            }
            self.settle()?;
        }
        if !self.active() {
            return Ok(());
        }
        let deadlines = deadlines(&self.scene()?, &self.state.track)?;
        if deadlines.first().is_some_and(|due| due.at <= self.state.at) {
            self.tell(&Fact::Time)?;
            if !self.ends_unjudged {
                self.settle()?;
            }
        }
        Ok(())
    }

    /// Tells the rules of a fact. Every finding is said; of several the hardest is done.
    fn tell(&mut self, fact: &Fact) -> Result<(), Failure> {
        let scene = self.scene()?;
        let found = self.state.track.notice(&scene, fact)?;
        if !self.active() {
            return Ok(());
        }
        let mut hardest: Option<Finding> = None;
        for finding in found {
            self.state.found.push(finding.clone());
            let ends = finding.effect.ends();
            if hardest.as_ref().is_none_or(|before| finding.effect > before.effect) {
                hardest = Some(finding);
            }
            if ends {
                break;
            }
        }
        hardest.map_or(Ok(()), |finding| self.act_on(&finding))
    }

    /// Does what a rule that fired asks for.
    fn act_on(&mut self, finding: &Finding) -> Result<(), Failure> {
        let (rule, effect) = (finding.rule, finding.effect);
        match effect {
            Effect::Warn | Effect::Flag | Effect::Deduct | Effect::Refuse => Ok(()),
            Effect::Close => self.flatten(),
            Effect::Pause | Effect::Soft => {
                // At the end of a day it is the day to come that is lost.
                let (at, next) = (self.state.at, self.state.track.next_reset);
                let until = if next > at { next } else { self.program.reset.next_after(at)? };
                let held_back = &mut self.state.track.held_back;
                if held_back.is_none_or(|held| held.effect <= effect) {
                    *held_back = Some(HeldBack { until, rule, effect });
                }
                self.cleared = true;
                self.state.working_orders = 0;
                if effect == Effect::Soft { self.flatten() } else { Ok(()) }
            }
            Effect::Expire => self.end(Status::Expired, finding.kind.clone()),
            Effect::Hard => self.end(Status::Breached, finding.kind.clone()),
        }
    }

    /// Ends the account: everything is closed and taken back.
    fn end(&mut self, status: Status, kind: Cow<'static, str>) -> Result<(), Failure> {
        self.state.track.ended = Some((kind, self.state.at));
        self.state.status = status;
        self.flatten()
    }

    /// Takes every order back and closes everything at what it is worth.
    fn flatten(&mut self) -> Result<(), Failure> {
        self.cleared = true;
        self.state.working_orders = 0;
        let open: Vec<_> = self.state.track.open.keys().copied().collect();
        for trade in open {
            self.close_by_platform(trade)?;
        }
        // Results that no position has brought: they count for the day.
        let rest = self.rounded(self.state.floating)?;
        self.state.floating = Amount::ZERO;
        self.state.balance = self.state.balance.plus(rest)?;
        self.book(rest)
    }

    /// Closes a position at what it is worth, if it is still open: what one closing brings may have closed the others.
    fn close_by_platform(&mut self, trade: u32) -> Result<(), Failure> {
        let Some(lots) = self.state.track.open.get(&trade).map(|position| position.lots) else {
            return Ok(());
        };
        // What was told of several together and of none alone goes with the first of them.
        let worth = if let Some(own) = self.state.floating_of.remove(&trade) {
            own
        } else {
            let rest = self.state.floating.minus(self.told()?)?;
            let others = self.state.track.open.keys().filter(|other| **other != trade);
            let unknown: Vec<_> =
                others.filter(|other| !self.state.floating_of.contains_key(other)).copied().collect();
            self.state.floating_of.extend(unknown.into_iter().map(|other| (other, Amount::ZERO)));
            rest
        };
        let profit = self.rounded(worth)?;
        self.state.floating = self.state.floating.minus(worth)?;
        self.state.balance = self.state.balance.plus(profit)?;
        self.state.tickets.retain(|_, ticket| *ticket != trade);
        self.tell(&Fact::Closed(Closing { trade, lots, profit, reason: CloseReason::Platform, whole: true }))
    }

    /// What closing brings is booked in whole minor units.
    fn rounded(&self, worth: Amount) -> Result<Amount, Failure> {
        Ok(worth.rounded(self.program.currency, Rounding::HalfEven)?)
    }

    /// Results that no position has brought: they count for the day.
    fn book(&mut self, profit: Amount) -> Result<(), Failure> {
        let track = &mut self.state.track;
        let today = &mut track.today;
        today.profit = today.profit.plus(profit)?;
        today.booked = today.booked.plus(profit)?;
        today.best_trade = today.best_trade.max(profit);
        track.worst_trade = track.worst_trade.min(profit);
        Ok(())
    }

    /// Tests what the account is worth against every floor; true if the account is over.
    fn judge_loss(&mut self, at_reset: bool) -> Result<bool, Failure> {
        while self.active() {
            let scene = self.scene()?;
            let equity = scene.phase.needs_peaks().then_some(scene.equity);
            self.state.track.observe(scene.phase, scene.at, scene.balance, equity)?;
            let floors = floors(scene.phase, &self.state.track)?;
            let worth = Worth { balance: scene.balance, equity: scene.equity, at_reset };
            let Some(floor) = breached(&floors, worth) else { return Ok(false) };
            self.state.track.warned.extend(floor.told());
            let finding = floor.finding(worth)?;
            self.state.found.push(finding.clone());
            self.act_on(&finding)?;
        }
        Ok(true)
    }

    /// After anything that may have changed balance or holdings: losses first, then the target.
    fn settle(&mut self) -> Result<(), Failure> {
        if self.active() && !self.judge_loss(false)? { self.judge_pass(false) } else { Ok(()) }
    }

    /// Passes the phase if everything it asks for holds, and it need not be asked or was.
    fn judge_pass(&mut self, asked: bool) -> Result<(), Failure> {
        if (self.phase()?.promotion == Promotion::OnRequest && !asked) || !self.has_passed()? {
            return Ok(());
        }
        let held = self.state.track.held_back;
        self.tell(&Fact::Review)?;
        if held == self.state.track.held_back && self.active() && self.has_passed()? {
            self.end(Status::Passed, Cow::Borrowed("profit_target"))?;
        }
        Ok(())
    }

    fn has_passed(&self) -> Result<bool, Failure> {
        let scene = self.scene()?;
        let holding = self.state.holding();
        let objectives = objectives(&scene, &self.state.track)?;
        Ok(passed(&scene, &objectives, holding.flat, !holding.no_orders))
    }

    /// The trader asks for the next phase.
    fn promote(&mut self) -> Result<(), Failure> {
        if !self.active() {
            return Ok(());
        }
        self.judge_pass(true)?;
        if self.state.status == Status::Passed {
            return Ok(());
        }
        self.refuse(Cow::Borrowed("promotion"), Vec::new())
    }

    /// What was asked for is refused, by no rule of its own.
    fn refuse(&mut self, kind: Cow<'static, str>, figures: Vec<Figured>) -> Result<(), Failure> {
        let rule = self.phase()?.rules.len();
        self.state.found.push(Finding { rule, kind, effect: Effect::Refuse, trade: None, figures });
        Ok(())
    }

    /// Prices have moved, and what was held may have been closed: losses come first, then the rules that look at open
    /// positions, then the target.
    fn price_moved(&mut self, closed: bool) -> Result<(), Failure> {
        self.cleared = false;
        if self.judge_loss(false)? {
            return Ok(());
        }
        self.tell_floating()?;
        let passes_open = profit_target(self.phase()?).is_some_and(|target| !target.flat);
        if closed || self.cleared {
            self.settle()
        } else if passes_open && self.active() {
            self.judge_pass(false)
        } else {
            Ok(())
        }
    }

    /// Tells the rules what each open position would bring, if one of them asks for it.
    fn tell_floating(&mut self) -> Result<(), Failure> {
        let phase = self.phase()?;
        if !phase.needs_floating() {
            return Ok(());
        }
        let rest = self.state.floating.minus(self.told()?)?;
        let Timeline { track, floating_of, .. } = &*self.state;
        let mut told: Vec<_> = track
            .open
            .keys()
            .map(|trade| (*trade, floating_of.get(trade).copied().unwrap_or_default()))
            .collect();
        if rest != Amount::ZERO {
            let mut unknown = told.iter_mut().filter(|(trade, _)| !floating_of.contains_key(trade));
            match (unknown.next(), unknown.next().is_some(), looks_at_each(phase)) {
                (Some((_, profit)), false, _) | (Some((_, profit)), true, None) => *profit = rest,
                // No position has a name, and the sum is all that is asked for.
                (None, _, None) => told.push((0, rest)),
                (_, _, Some(kind)) => {
                    return say(format!(
                        "{kind} looks at each position by itself: open the positions by name and tell with open_profit what \
                         each would bring"
                    ));
                }
            }
        }
        self.tell(&Fact::Floating(told))
    }

    fn set(&mut self, balance: Amount, floating: Amount) -> Result<(), Failure> {
        if !self.active() {
            return Ok(());
        }
        let closed = balance != self.state.balance || self.state.track.open.is_empty();
        self.book(balance.minus(self.state.balance)?)?;
        self.state.balance = balance;
        self.float(floating);
        self.price_moved(closed)
    }

    fn worth(&mut self, step: &Step) -> Result<(), Failure> {
        let mut balance = self.state.balance;
        let mut floating = None;
        let told = step.closed.is_some()
            || step.balance.is_some()
            || step.floating.is_some()
            || step.equity.is_some();
        if let Some(closed) = step.closed {
            balance = balance.plus(closed)?;
        }
        if let Some(told) = step.balance {
            balance = told;
            floating = Some(Amount::ZERO);
        }
        if let Some(told) = step.floating {
            floating = Some(told);
        }
        if let Some(equity) = step.equity {
            floating = Some(equity.minus(balance)?);
        }
        if told { self.set(balance, floating.unwrap_or(self.state.floating)) } else { Ok(()) }
    }

    fn ticket(&self, position: &str) -> Result<u32, Failure> {
        match self.state.tickets.get(position) {
            Some(ticket) => Ok(*ticket),
            None => say(format!("no position {position} is open")),
        }
    }

    fn open(&mut self, open: &OpenStep) -> Result<(), Failure> {
        let lots = match open.lots {
            Some(lots) => lots,
            None => Lots::from_steps(1, 0)?,
        };
        let units = match open.units {
            Some(units) => units,
            None => Amount::from_micros(lots.millionths()),
        };
        let times_units = |price: Amount| price.scaled(units.micros(), 1_000_000, Rounding::HalfEven);
        let risk = match (open.risk, open.stop, open.price) {
            (Some(risk), _, _) => Some(risk),
            (None, Some(stop), Some(price)) => {
                let distance = match open.side.unwrap_or(Side::Buy) {
                    Side::Buy => price.minus(stop)?,
                    Side::Sell => stop.minus(price)?,
                };
                Some(times_units(distance)?)
            }
            (None, Some(_), None) => return say("a stop needs a price, or give the risk"),
            (None, None, _) => None,
        };
        let symbol = match &open.symbol {
            Some(symbol) => symbol.clone(),
            None => Symbol::parse("EURUSD").or_else(|error| say(error.to_string()))?,
        };
        // An order takes a number of the series, too; one that fired took its own when it was placed.
        let trade = self.state.next_ticket.saturating_add(u32::from(!open.pending));
        let opening = Opening {
            trade,
            symbol,
            side: open.side.unwrap_or(Side::Buy),
            lots,
            pending: open.pending,
            risk,
            notional: open.price.map_or(Ok(Amount::ZERO), times_units)?,
            cost: open.commission.unwrap_or_default(),
        };
        self.open_as(&open.position, opening)
    }

    fn open_as(&mut self, name: &str, opening: Opening) -> Result<(), Failure> {
        if !self.active() {
            return Ok(());
        }
        if self.state.tickets.contains_key(name) {
            return say(format!("a position {name} is open already"));
        }
        let scene = self.scene()?;
        let held = self.state.track.held_back_at(scene.at).map(|held| (held.rule, Vec::new()));
        let objection = objection(&scene, &self.state.track, &opening, Moment::Opens)?
            .map(|(rule, _, figures)| (rule, figures));
        if let Some((rule, figures)) = held.or(objection) {
            let kind = scene.phase.rules.get(rule).map_or("", |rule| rule.kind());
            let trade = Some(opening.trade);
            self.state.found.push(Finding {
                rule,
                kind: kind.into(),
                effect: Effect::Refuse,
                trade,
                figures,
            });
            return Ok(());
        }
        self.state.next_ticket = opening.trade.saturating_add(1);
        self.state.tickets.insert(name.to_owned(), opening.trade);
        self.state.floating_of.insert(opening.trade, Amount::ZERO);
        self.state.balance = self.state.balance.minus(opening.cost)?;
        if !opening.pending {
            self.tell(&Fact::Ordered)?;
        }
        self.tell(&Fact::Opened(opening))?;
        self.settle()
    }

    fn order(&mut self) -> Result<(), Failure> {
        if !self.active() {
            return Ok(());
        }
        if let Some(held) = self.state.track.held_back_at(self.state.at) {
            let kind = self.phase()?.rules.get(held.rule).map_or("", |rule| rule.kind());
            return self.refuse(Cow::Borrowed(kind), Vec::new());
        }
        self.state.next_ticket = self.state.next_ticket.saturating_add(1);
        self.tell(&Fact::Ordered)?;
        self.settle()
    }

    fn move_stop(&mut self, stop: &StopStep) -> Result<(), Failure> {
        if !self.active() {
            return Ok(());
        }
        let trade = self.ticket(&stop.position)?;
        self.tell(&Fact::StopMoved { trade, risk: stop.risk })?;
        self.settle()
    }

    fn open_profit(&mut self, profits: &BTreeMap<String, Amount>) -> Result<(), Failure> {
        if !self.active() {
            return Ok(());
        }
        for (name, profit) in profits {
            let ticket = self.ticket(name)?;
            self.state.floating_of.insert(ticket, *profit);
        }
        let unknown = |ticket: &u32| !self.state.floating_of.contains_key(ticket);
        if let Some((name, _)) = self.state.tickets.iter().find(|(_, ticket)| unknown(ticket)) {
            return say(format!(
                "open_profit: tell that of {name}, too: it was told only together with others"
            ));
        }
        self.state.floating = self.told()?;
        self.price_moved(false)
    }

    fn close(&mut self, close: &CloseStep) -> Result<(), Failure> {
        if !self.active() {
            return Ok(());
        }
        let trade = self.ticket(&close.position)?;
        let left = self.state.track.open.get(&trade).map_or(Lots::ZERO, |trade| trade.lots);
        let lots = close.lots.unwrap_or(left);
        if lots > left || lots <= Lots::ZERO {
            return say(format!("{left} lots of {} are open", close.position));
        }
        let whole = lots == left;
        let reason = close.reason.unwrap_or(CloseReason::Trader);
        if whole {
            self.state.tickets.remove(&close.position);
        }
        self.state.balance = self.state.balance.plus(close.profit)?;
        let floating = self.state.floating;
        self.state.floating = match self.state.floating_of.remove(&trade) {
            Some(told) => {
                let kept =
                    told.scaled(left.minus(lots)?.millionths(), left.millionths(), Rounding::HalfEven)?;
                if !whole {
                    self.state.floating_of.insert(trade, kept);
                }
                floating.minus(told)?.plus(kept)?
            }
            // Told only together with others: it was worth what it brought, and the last leaves nothing.
            None if whole && self.state.tickets.is_empty() => Amount::ZERO,
            None => floating.minus(close.profit)?,
        };
        self.tell(&Fact::Closed(Closing { trade, lots, profit: close.profit, reason, whole }))?;
        self.settle()
    }

    fn trade(&mut self, trade: &TradeStep) -> Result<(), Failure> {
        for _ in 0..trade.times.unwrap_or(1) {
            let open = OpenStep {
                position: format!("trade {}", self.state.next_ticket),
                symbol: trade.symbol.clone(),
                side: trade.side,
                lots: trade.lots,
                units: None,
                price: None,
                stop: None,
                risk: trade.risk,
                pending: false,
                commission: None,
            };
            self.open(&open)?;
            if let Some(held) = &trade.held {
                self.wait(span(held)?)?;
            }
            if self.state.tickets.contains_key(&open.position) {
                let position = open.position;
                self.close(&CloseStep { position, lots: None, profit: trade.profit, reason: None })?;
            }
        }
        Ok(())
    }

    fn pay(&mut self, amount: &str) -> Result<(), Failure> {
        let Some(payout) = &self.phase()?.payout else { return say("the phase pays nothing out") };
        if self.active() {
            self.tell(&Fact::Review)?;
            if !self.active() {
                return Ok(());
            }
        }
        let scene = self.scene()?;
        let (clocks, currency) = (self.program.clocks(), self.program.currency);
        let asked = match amount {
            "all" => None,
            amount => Some(Amount::parse(amount).or_else(|error| say(format!("payout: {amount}: {error}")))?),
        };
        let Decision { allowed, taken, precheck } =
            payout.decide(&scene, &self.state.track, clocks, currency, self.state.holding(), asked)?;
        if !allowed {
            let missing = precheck.conditions.into_iter().find(|condition| !condition.met);
            let kind = missing.map_or(Cow::Borrowed("amount"), |condition| condition.kind);
            return self.refuse(kind, precheck.figures);
        }
        self.state.balance = payout.pay(&scene, &mut self.state.track, taken)?;
        self.settle()
    }

    fn grow(&mut self) -> Result<(), Failure> {
        if !self.active() {
            return Ok(());
        }
        let scene = self.scene()?;
        let Some(scaling) = &scene.phase.scaling else { return say("the phase has no scaling plan") };
        let figures = scaling.figures(&scene, &self.state.track, self.program.clocks())?;
        if !figures.contains(&figure("eligible", true)) {
            return self.refuse(Cow::Borrowed("scaling"), figures);
        }
        self.state.balance = scaling.grow(&scene, &mut self.state.track)?;
        self.settle()
    }
}

/// The kind of a rule for which the sum of what is open does not do.
fn looks_at_each(phase: &Phase) -> Option<&'static str> {
    let sum_does = |rule: &Rule| matches!(rule, Rule::OpenLoss(rule) if rule.per == OpenLossPer::Account);
    let each = |rule: &&Rule| rule.answers().needs_floating() && !sum_does(rule);
    phase.rules.iter().find(each).map(Rule::kind)
}
