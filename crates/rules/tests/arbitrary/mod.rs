//! Programs of all kinds of rules and courses of events, made up at random and within what a program may say.

#![expect(clippy::unwrap_used, clippy::arithmetic_side_effects, reason = "the helpers of a test fail it")]

use std::collections::{BTreeMap, BTreeSet};

use kernel::{Amount, LocalTime, Lots, Percent, ResetClock, Side, Span, Symbol, Timestamp, TradingDay, Zone};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use rules::example::{Example, OpenStep, Step, TradeStep};
use rules::kinds::*;
use rules::payout::*;
use rules::scaling::ScalingStep;
use rules::{
    Clocks, Comparison, Effect, Limit, NewsEvent, Offset, Phase, Program, Promotion, Reached, Rule, Scaling,
    Since, Terms, Tested,
};

pub fn at(minute: i32) -> Timestamp {
    let noon = Timestamp::parse("2026-01-05T12:00:00Z").unwrap();
    noon.after(Span::from_seconds(minute * 60)).unwrap()
}

pub fn clocks(clock: &ResetClock) -> Clocks<'_> {
    Clocks { reset: clock, counting: clock }
}

pub fn phase_of(rule: Rule) -> Phase {
    Phase {
        name: "Account".into(),
        rules: vec![rule],
        promotion: Promotion::Automatic,
        payout: None,
        scaling: None,
    }
}

fn amount() -> impl Strategy<Value = Amount> {
    (1_i64..30_000_000).prop_map(|cents| Amount::from_micros(cents * 10_000))
}

fn signed() -> impl Strategy<Value = Amount> {
    (-3_000_000_i64..3_000_000).prop_map(|cents| Amount::from_micros(cents * 10_000))
}

fn percent() -> impl Strategy<Value = Percent> {
    (1_i32..=1_000).prop_map(|tenths| Percent::parse(&format!("{}.{}", tenths / 10, tenths % 10)).unwrap())
}

fn lots() -> impl Strategy<Value = Lots> {
    (1_i64..2_000).prop_map(|hundredths| Lots::from_steps(hundredths, 2).unwrap())
}

fn limit() -> impl Strategy<Value = Limit> {
    prop_oneof![
        amount().prop_map(Limit::Amount),
        percent().prop_map(Limit::PercentOfInitial),
        percent().prop_map(Limit::PercentOfReference),
    ]
}

/// Where there is no other reference, a share is one of the initial balance.
fn limit_of_initial() -> impl Strategy<Value = Limit> {
    prop_oneof![amount().prop_map(Limit::Amount), percent().prop_map(Limit::PercentOfInitial)]
}

fn symbol() -> impl Strategy<Value = Symbol> {
    select(&["EURUSD", "XAUUSD", "GBPJPY"][..]).prop_map(|text| Symbol::parse(text).unwrap())
}

fn comparison() -> impl Strategy<Value = Comparison> {
    select(&[Comparison::Below, Comparison::AtOrBelow][..])
}

fn reached() -> impl Strategy<Value = Reached> {
    select(&[Reached::AtOrAbove, Reached::Above][..])
}

fn tested() -> impl Strategy<Value = Tested> {
    select(&[Tested::Equity, Tested::Balance, Tested::LowerOf, Tested::DayEndBalance][..])
}

fn since() -> impl Strategy<Value = Since> {
    select(&[Since::Opening, Since::Payout][..])
}

fn warn_at() -> impl Strategy<Value = Vec<Percent>> {
    prop::collection::btree_set(select(&["50", "80", "99.9"][..]), 0..3)
        .prop_map(|shares| shares.into_iter().map(|text| Percent::parse(text).unwrap()).collect())
}

fn effect(allowed: &'static [Effect]) -> impl Strategy<Value = Effect> {
    select(allowed)
}

const RECORDED: &[Effect] = &[Effect::Flag, Effect::Deduct, Effect::Warn, Effect::Soft, Effect::Hard];
const ORDERED: &[Effect] =
    &[Effect::Refuse, Effect::Flag, Effect::Deduct, Effect::Warn, Effect::Soft, Effect::Hard];
const CLOSED: &[Effect] =
    &[Effect::Flag, Effect::Deduct, Effect::Warn, Effect::Close, Effect::Soft, Effect::Hard];

fn reference() -> impl Strategy<Value = Reference> {
    select(
        &[
            Reference::Balance,
            Reference::Equity,
            Reference::HigherOf,
            Reference::DayPeakEquity,
            Reference::PeakAtReset,
        ][..],
    )
}

fn offset() -> impl Strategy<Value = Offset> {
    prop_oneof![
        signed().prop_map(Offset::Amount),
        (-200_i32..200).prop_map(|tenths| {
            let sign = if tenths < 0 { "-" } else { "" };
            let size = tenths.abs();
            Offset::PercentOfInitial(Percent::parse(&format!("{sign}{}.{}", size / 10, size % 10)).unwrap())
        }),
    ]
}

fn lock() -> impl Strategy<Value = LockAt> {
    let level = prop_oneof![
        Just(LockLevel::Initial),
        offset().prop_map(LockLevel::InitialPlus),
        limit().prop_map(LockLevel::BelowTrigger),
    ];
    let of = select(&[Tested::Equity, Tested::Balance, Tested::LowerOf][..]);
    prop_oneof![
        Just(LockAt::None),
        Just(LockAt::AtInitial),
        offset().prop_map(LockAt::At),
        (limit_of_initial(), of, reached(), level).prop_map(|(profit, of, reached, to)| LockAt::Jump(Jump {
            profit,
            of,
            reached,
            to
        })),
    ]
}

pub fn max_loss() -> impl Strategy<Value = MaxLoss> {
    let trail = select(
        &[
            Trail::Static,
            Trail::EndOfDayBalance,
            Trail::EndOfDayHigher,
            Trail::RealisedBalance,
            Trail::IntradayEquity,
            Trail::BalanceOrEquity,
        ][..],
    );
    let effect = effect(&[Effect::Hard, Effect::Soft, Effect::Flag]);
    (trail, limit(), lock(), any::<bool>(), comparison(), tested(), effect, warn_at()).prop_map(
        |(trail, limit, lock, lock_on_payout, breach, tests, effect, warn_at)| MaxLoss {
            trail,
            limit,
            lock,
            lock_on_payout,
            breach,
            tests,
            effect,
            warn_at,
        },
    )
}

fn daily_loss() -> impl Strategy<Value = Rule> {
    let effect = effect(&[Effect::Hard, Effect::Soft, Effect::Pause, Effect::Flag]);
    (reference(), limit(), comparison(), tested(), effect, warn_at()).prop_map(
        |(reference, limit, breach, tests, effect, warn_at)| {
            Rule::DailyLoss(DailyLoss { reference, limit, breach, tests, effect, warn_at })
        },
    )
}

fn daily_cap() -> impl Strategy<Value = Rule> {
    let reference = select(&[Reference::Balance, Reference::Equity, Reference::HigherOf][..]);
    (reference, limit(), comparison(), effect(&[Effect::Soft, Effect::Pause])).prop_map(
        |(reference, limit, breach, effect)| Rule::DailyCap(DailyCap { reference, limit, breach, effect }),
    )
}

pub fn open_loss() -> impl Strategy<Value = Rule> {
    let limit = prop_oneof![
        amount().prop_map(LossBase::Amount),
        percent().prop_map(LossBase::PercentOfInitial),
        percent().prop_map(LossBase::PercentOfDayStartProfit),
    ];
    let effect = effect(&[Effect::Hard, Effect::Soft, Effect::Close, Effect::Flag, Effect::Warn]);
    (select(&[OpenLossPer::Trade, OpenLossPer::Account][..]), limit, reached(), effect)
        .prop_map(|(per, limit, breach, effect)| Rule::OpenLoss(OpenLoss { per, limit, breach, effect }))
}

fn profit_target() -> impl Strategy<Value = Rule> {
    let of = select(&[TargetOf::Balance, TargetOf::Equity][..]);
    (limit_of_initial(), any::<bool>(), any::<bool>(), of, reached()).prop_map(
        |(limit, flat, no_orders, of, reached)| {
            Rule::ProfitTarget(ProfitTarget { limit, flat, no_orders, of, reached })
        },
    )
}

fn trading_days() -> impl Strategy<Value = Rule> {
    let counts = prop_oneof![
        Just(Counts::OpensPosition),
        Just(Counts::PositionHeld),
        Just(Counts::OpenAndClose),
        limit_of_initial().prop_map(Counts::DayChange),
        (limit_of_initial(), limit_of_initial(), reached())
            .prop_map(|(size, result, reached)| Counts::SizedTrade(SizedTrade { size, result, reached })),
    ];
    (1_u32..6, counts, any::<bool>(), since()).prop_map(|(days, counts, weekdays_only, since)| {
        Rule::MinTradingDays(MinTradingDays { days, counts, weekdays_only, since })
    })
}

fn profitable_days() -> impl Strategy<Value = Rule> {
    let basis = select(&[Basis::Closed, Basis::Equity, Basis::OpenDay][..]);
    (1_u32..6, limit_of_initial(), basis, reached(), since()).prop_map(
        |(days, profit, basis, reached, since)| {
            Rule::MinProfitableDays(MinProfitableDays { days, profit, basis, reached, since })
        },
    )
}

fn consistency() -> impl Strategy<Value = Rule> {
    let of = prop_oneof![
        Just(Against::Profit),
        Just(Against::PositiveDays),
        limit_of_initial().prop_map(Against::Fixed),
    ];
    let best = select(&[Portion::Day, Portion::Trade][..]);
    (best, percent(), of, select(&[ShareLimit::AtMost, ShareLimit::Below][..]), since()).prop_map(
        |(best, share, of, allowed, since)| {
            Rule::Consistency(Consistency { best, share, of, allowed, since })
        },
    )
}

fn lot_range() -> impl Strategy<Value = Rule> {
    let around = select(&[Around::Average, Around::FirstTrade][..]);
    (around, 0_i32..100, 100_i32..500, effect(ORDERED)).prop_map(|(around, lower, upper, effect)| {
        let (lower, upper) = (Percent::from_whole(lower), Percent::from_whole(upper));
        Rule::LotRange(LotRange { around, lower, upper, effect })
    })
}

fn lot_step() -> impl Strategy<Value = Rule> {
    let from = select(&[Predecessor::PreviousTrade, Predecessor::FirstTrade][..]);
    (lots(), from, effect(RECORDED))
        .prop_map(|(step, from, effect)| Rule::LotStep(LotStep { step, from, effect }))
}

fn max_size() -> impl Strategy<Value = Rule> {
    let steps = (lots(), option::of((amount(), lots()))).prop_map(|(first, more)| {
        let mut steps = vec![SizeStep { from_profit: Amount::ZERO, lots: first }];
        steps.extend(more.map(|(from_profit, lots)| SizeStep { from_profit, lots }));
        steps
    });
    let weights = prop::collection::btree_map(symbol(), percent(), 0..2);
    let read = select(&[ReadAt::Always, ReadAt::DayStart][..]);
    (select(&[Per::Order, Per::Symbol, Per::Account][..]), steps, read, weights, effect(ORDERED)).prop_map(
        |(per, steps, read, weights, effect)| Rule::MaxSize(MaxSize { per, steps, read, weights, effect }),
    )
}

pub fn risk_per_idea() -> impl Strategy<Value = Rule> {
    (limit_of_initial(), reached(), 0_u32..100, any::<bool>(), any::<bool>(), effect(CLOSED)).prop_map(
        |(limit, breach, gap_minutes, by_side, closed_only, effect)| {
            Rule::RiskPerIdea(RiskPerIdea { limit, breach, gap_minutes, by_side, closed_only, effect })
        },
    )
}

fn risk_at_stop() -> impl Strategy<Value = Rule> {
    (limit_of_initial(), reached(), any::<bool>(), effect(ORDERED)).prop_map(
        |(limit, breach, without_stop, effect)| {
            Rule::RiskAtStop(RiskAtStop { limit, breach, without_stop, effect })
        },
    )
}

fn stop_required() -> impl Strategy<Value = Rule> {
    (0_u32..10, option::of(1_u32..90), effect(CLOSED)).prop_map(|(minutes, cure_minutes, effect)| {
        Rule::StopRequired(StopRequired { minutes, cure_minutes, effect })
    })
}

fn news_window() -> impl Strategy<Value = Rule> {
    let action = select(
        &[
            NewsAction::Open,
            NewsAction::PendingFill,
            NewsAction::Close,
            NewsAction::StopLossFill,
            NewsAction::TakeProfitFill,
            NewsAction::Hold,
        ][..],
    );
    let actions = prop::collection::btree_set(action, 1..4);
    let ends = select(&[Ends::Closed, Ends::Open][..]);
    (0_u32..60, 0_u32..60, ends, actions, effect(ORDERED)).prop_map(
        |(before_minutes, after_minutes, ends, mut actions, effect)| {
            if effect == Effect::Refuse {
                actions = [NewsAction::Open, NewsAction::PendingFill].into();
            }
            Rule::NewsWindow(NewsWindow { before_minutes, after_minutes, ends, actions, effect })
        },
    )
}

fn flat_by() -> impl Strategy<Value = Rule> {
    let zone = select(&["America/New_York", "Europe/Prague", "America/New_York+07:00"][..]);
    let time = select(&["15:45", "00:00", "02:30"][..]);
    let day = select(&[Weekday::Mon, Weekday::Wed, Weekday::Fri, Weekday::Sun][..]);
    let early = select(&["2026-01-07", "2026-01-09"][..]).prop_map(|date| EarlyClose {
        date: TradingDay::parse(date).unwrap(),
        time: LocalTime::parse("12:00").unwrap(),
    });
    let effect = effect(&[Effect::Close, Effect::Flag, Effect::Warn, Effect::Soft, Effect::Hard]);
    (zone, time, prop::collection::btree_set(day, 1..4), option::of(early), effect).prop_map(
        |(zone, time, weekdays, early, effect)| {
            Rule::FlatBy(FlatBy {
                zone: Zone::parse(zone).unwrap(),
                time: LocalTime::parse(time).unwrap(),
                weekdays,
                early: early.into_iter().collect(),
                effect,
            })
        },
    )
}

fn short_holds() -> impl Strategy<Value = Rule> {
    let effects = &[Effect::Warn, Effect::Flag, Effect::Soft, Effect::Hard];
    let share = (0_i32..100, reached(), effect(effects), option::of(effect(effects))).prop_map(
        |(share, reached, effect, again)| HoldShare {
            share: Percent::from_whole(share),
            reached,
            effect,
            again,
        },
    );
    let share_of = select(&[ShareOf::Volume, ShareOf::Profit, ShareOf::ProfitableTrades][..]);
    let hold = select(&[Hold::Below, Hold::AtMost][..]);
    (1_u32..300, hold, share_of, share, select(&[Judged::Review, Judged::Trade][..])).prop_map(
        |(seconds, hold, share_of, share, judged)| {
            Rule::ShortHolds(ShortHolds { seconds, hold, share_of, shares: vec![share], judged })
        },
    )
}

fn count() -> impl Strategy<Value = DayCount> {
    select(&[DayCount::Calendar, DayCount::Weekdays][..])
}

fn inactivity() -> impl Strategy<Value = Rule> {
    let activity =
        select(&[ActivityKind::Open, ActivityKind::Close, ActivityKind::Order, ActivityKind::Any][..]);
    (3_u32..30, activity, count(), option::of(1_u32..3)).prop_map(|(days, activity, count, warn_days)| {
        Rule::Inactivity(Inactivity { days, activity, count, warn_days })
    })
}

fn calendar_limit() -> impl Strategy<Value = Rule> {
    (1_u32..60, count()).prop_map(|(days, count)| Rule::CalendarLimit(CalendarLimit { days, count }))
}

/// A rule of any kind but the profit target, of which a phase has at most one.
pub fn rule() -> impl Strategy<Value = Rule> {
    prop_oneof![
        4 => max_loss().prop_map(Rule::MaxLoss),
        4 => daily_loss(),
        1 => daily_cap(),
        1 => open_loss(),
        1 => trading_days(),
        1 => profitable_days(),
        1 => consistency(),
        1 => lot_range(),
        1 => lot_step(),
        1 => max_size(),
        1 => risk_per_idea(),
        1 => risk_at_stop(),
        1 => stop_required(),
        1 => news_window(),
        1 => flat_by(),
        1 => short_holds(),
        1 => inactivity(),
        1 => calendar_limit(),
    ]
}

/// Two rules of one kind.
pub fn rules_of_one_kind() -> impl Strategy<Value = (Rule, Rule)> {
    prop_oneof![
        (max_loss(), max_loss()).prop_map(|(one, other)| (Rule::MaxLoss(one), Rule::MaxLoss(other))),
        (daily_loss(), daily_loss()),
        (daily_cap(), daily_cap()),
        (open_loss(), open_loss()),
        (profit_target(), profit_target()),
        (trading_days(), trading_days()),
        (profitable_days(), profitable_days()),
        (consistency(), consistency()),
        (lot_range(), lot_range()),
        (lot_step(), lot_step()),
        (max_size(), max_size()),
        (risk_per_idea(), risk_per_idea()),
        (risk_at_stop(), risk_at_stop()),
        (stop_required(), stop_required()),
        (news_window(), news_window()),
        (flat_by(), flat_by()),
        (short_holds(), short_holds()),
        (inactivity(), inactivity()),
        (calendar_limit(), calendar_limit()),
    ]
}

fn share() -> impl Strategy<Value = Share> {
    prop_oneof![
        amount().prop_map(Share::Amount),
        percent().prop_map(Share::PercentOfInitial),
        percent().prop_map(Share::PercentOfProfit),
        percent().prop_map(Share::PercentOfBalance),
    ]
}

fn cycle() -> impl Strategy<Value = Cycle> {
    let from = select(&[CycleStart::Opening, CycleStart::FirstTrade][..]);
    let count = select(&[CycleCount::Calendar, CycleCount::Business][..]);
    let next_from = select(&[NextCycle::CycleEnd, NextCycle::Payout][..]);
    let holidays = select(&[None, Some("2026-01-06")][..]);
    (1_u32..15, 1_u32..15, from, count, any::<bool>(), next_from, holidays).prop_map(
        |(first_days, next_days, from, count, inclusive, next_from, holidays)| Cycle {
            first_days,
            next_days,
            from,
            count,
            inclusive,
            next_from,
            holidays: holidays.into_iter().map(|day| TradingDay::parse(day).unwrap()).collect(),
        },
    )
}

fn payout() -> impl Strategy<Value = Payout> {
    let steps = option::of((amount(), percent()));
    let cap =
        (prop::collection::vec(share(), 1..3), any::<bool>(), select(&[CapOn::TakenOut, CapOn::Paid][..]))
            .prop_map(|(ladder, then_none, on)| Cap { ladder, then_none, on });
    let buffer = (share(), option::of(1_u32..3)).prop_map(|(keep, payouts)| Buffer { keep, payouts });
    let after = (any::<bool>(), any::<bool>(), any::<bool>())
        .prop_map(|(to_initial, rebase_peaks, keep_days)| After { to_initial, rebase_peaks, keep_days });
    let condition = prop_oneof![trading_days(), profitable_days(), lot_range()];
    let conditions = prop::collection::vec(condition.clone(), 0..2);
    let any_of = prop::collection::vec(prop::collection::vec(condition, 1..3), 2..3);
    let any_of = option::of(any_of).prop_map(Option::unwrap_or_default);
    let after_breach = (percent(), 1_u32..10, any::<bool>(), option::of(limit_of_initial())).prop_map(
        |(share, claim_days, every_stop, worst_trade)| AfterBreach {
            rules: BTreeSet::from(["daily_loss".to_owned()]),
            share,
            claim_days,
            every_stop,
            worst_trade,
        },
    );
    (
        (
            percent(),
            steps,
            option::of(cycle()),
            option::of(limit_of_initial()),
            option::of(limit_of_initial()),
        ),
        (option::of(amount()), select(&[PaidFrom::Profit, PaidFrom::Balance][..]), option::of(buffer)),
        (option::of(cap), any::<bool>(), any::<bool>(), conditions, option::of(1_u32..4)),
        (after, option::of(after_breach), any_of),
    )
        .prop_map(
            |(
                (split, steps, cycle, min_profit, min_cycle_profit),
                (min_amount, from, buffer),
                (cap, flat, no_orders, conditions, most_payouts),
                (after, after_breach, any_of),
            )| Payout {
                split,
                split_steps: steps
                    .map(|(from_total, split)| SplitStep { from_total, split })
                    .into_iter()
                    .collect(),
                cycle,
                min_profit,
                min_cycle_profit,
                min_amount,
                from,
                buffer,
                cap,
                flat,
                no_orders,
                conditions,
                any_of,
                most_payouts,
                after,
                after_breach,
            },
        )
}

fn scaling() -> impl Strategy<Value = Scaling> {
    let step = prop_oneof![
        percent().prop_map(ScalingStep::Linear),
        percent().prop_map(ScalingStep::Compound),
        percent().prop_map(ScalingStep::FirstThenDouble),
        amount()
            .prop_map(|size| ScalingStep::Table(vec![size.plus(Amount::parse("1000000").unwrap()).unwrap()])),
    ];
    (1_u32..5, limit_of_initial(), 0_u32..2, 0_u32..3, step, option::of(amount()), option::of(percent()))
        .prop_map(|(every_months, profit, profitable_months, payouts, step, most, split)| Scaling {
            every_months,
            profit,
            profitable_months,
            payouts,
            step,
            most,
            split,
        })
}

/// A program of one phase with any rules, and all policies or none.
pub fn program() -> impl Strategy<Value = Program> {
    let clock = prop_oneof![
        Just(("Europe/Prague", "00:00")),
        Just(("America/New_York", "17:00")),
        Just(("Etc/UTC", "00:30")),
        Just(("America/New_York+07:00", "00:00")),
    ]
    .prop_map(|(zone, time)| ResetClock::parse(zone, time).unwrap());
    (
        prop::collection::vec(rule(), 0..6),
        option::of(profit_target()),
        option::of(payout()),
        option::of(scaling()),
        clock.clone(),
        option::of(clock),
        select(&["100000", "100000", "100000", "5000", "1000000000"][..]),
        any::<bool>(),
    )
        .prop_map(|(mut rules, target, payout, mut scaling, reset, counting, initial, asked)| {
            rules.extend(target);
            // Beyond the largest account there is no next size.
            let largest = initial == "1000000000";
            scaling = scaling.filter(|it| !largest || !matches!(it.step, ScalingStep::Table(_)));
            Program {
                name: "Example".into(),
                currency: kernel::Currency::parse("USD").unwrap(),
                initial_balance: Amount::parse(initial).unwrap(),
                counting: counting.filter(|counting| *counting != reset),
                reset,
                terms: Terms {
                    instruments: vec![Symbol::parse("EURUSD").unwrap()],
                    leverage: 100,
                    commission_per_lot: Amount::ZERO,
                    stop_out: Percent::WHOLE,
                },
                phases: vec![Phase {
                    name: "Account".into(),
                    rules,
                    promotion: if asked { Promotion::OnRequest } else { Promotion::Automatic },
                    payout,
                    scaling,
                }],
                merge: None,
            }
        })
}

fn trade() -> impl Strategy<Value = TradeStep> {
    let held = select(&[None, Some("5s"), Some("30m"), Some("2d")][..]);
    (symbol(), option::of(lots()), held, option::of(amount()), signed(), option::of(1_u32..3)).prop_map(
        |(symbol, lots, held, risk, profit, times)| TradeStep {
            symbol: Some(symbol),
            side: None,
            lots,
            held: held.map(str::to_owned),
            risk,
            profit,
            times,
        },
    )
}

fn open(position: String) -> impl Strategy<Value = OpenStep> {
    let side = select(&[Side::Buy, Side::Sell][..]);
    (symbol(), side, lots(), option::of(amount()), any::<bool>(), option::of(amount())).prop_map(
        move |(symbol, side, lots, risk, pending, price)| OpenStep {
            position: position.clone(),
            symbol: Some(symbol),
            side: Some(side),
            lots: Some(lots),
            units: None,
            price,
            stop: None,
            risk,
            pending,
            commission: None,
        },
    )
}

fn step() -> impl Strategy<Value = Step> {
    let after = select(&[None, None, Some("1s"), Some("3h"), Some("1d"), Some("12d"), Some("70d")][..]);
    let what = prop_oneof![
        signed().prop_map(|closed| Step { closed: Some(closed), ..Step::default() }),
        signed().prop_map(|floating| Step { floating: Some(floating), ..Step::default() }),
        amount().prop_map(|balance| Step { balance: Some(balance), ..Step::default() }),
        prop::collection::vec(amount(), 1..4).prop_map(|equities| Step { equities, ..Step::default() }),
        prop::collection::vec(trade(), 1..4).prop_map(|trade| Step { trade, ..Step::default() }),
        open("a".into()).prop_map(|open| Step { open: vec![open], ..Step::default() }),
        open("b".into()).prop_map(|open| Step { open: vec![open], ..Step::default() }),
        signed().prop_map(|profit| Step {
            open_profit: BTreeMap::from([("a".into(), profit)]),
            ..Step::default()
        }),
        signed().prop_map(|profit| Step {
            close: vec![rules::example::CloseStep { position: "a".into(), lots: None, profit, reason: None }],
            ..Step::default()
        }),
        Just(Step { review: true, ..Step::default() }),
        Just(Step { payout: Some("all".into()), ..Step::default() }),
        (1_u32..4).prop_map(|grow| Step { grow, ..Step::default() }),
        Just(Step { promote: true, ..Step::default() }),
        Just(Step { order: true, working_orders: Some(1), ..Step::default() }),
    ];
    let expect =
        ["account.balance", "verdict", "rule", "payout.withdrawable", "payout.payout", "payout.missing"];
    (after, what).prop_map(move |(after, what)| Step {
        after: after.map(str::to_owned),
        expect: expect.iter().map(|name| ((*name).to_owned(), "none".into())).collect(),
        ..what
    })
}

/// A course of events with a release in it.
pub fn example() -> impl Strategy<Value = Example> {
    prop::collection::vec(step(), 1..14).prop_map(|steps| Example {
        id: "random".into(),
        firm: None,
        source: None,
        family: None,
        note: None,
        reading: None,
        some_added: false,
        program: None,
        calendar: vec![NewsEvent {
            name: "US payrolls".into(),
            at: Timestamp::parse("2026-01-09T13:30:00Z").unwrap(),
            currencies: vec!["USD".into()],
            symbols: Vec::new(),
        }],
        start: None,
        phase: None,
        steps,
    })
}
