//! Accounts watched on every tick: the index beside the posting list and the dense scan, over the same accounts and the
//! same ticks, in one run.
//!
//! `cargo xtask bench engine --synthetic walk --accounts 100000 --check` prints one JSON object.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    clippy::cast_possible_wrap,
    clippy::similar_names,
    clippy::wildcard_enum_match_arm,
    clippy::struct_excessive_bools,
    clippy::float_arithmetic,
    clippy::disallowed_types,
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a measurement may stop at the first fault, reads the clock and divides its own figures"
)]

#[path = "../../tests/common/mod.rs"]
mod common;
mod crash;
mod differential;
mod load;
mod rivals;

use std::time::Instant;

use engine::watch::{Levels, Slot, Trail, Watch};
use kernel::Timestamp;
use load::{Load, Loaded, Tick};
use serde_json::{Value, json};

/// What happened to an account: the tick, the account, and whether it gained.
pub type Event = (u32, u32, bool);

/// A method that watches accounts.
pub trait Method {
    /// Applies a tick; what happened is added, and who it happened to is watched no more.
    fn tick(&mut self, number: u32, tick: &Tick, events: &mut Vec<Event>);
    /// Accounts looked at so far, if the method chooses.
    fn looks(&self) -> Option<u64> {
        None
    }
}

/// The index of the engine.
struct Index {
    watch: Watch,
    accounts: Vec<u32>,
    fired: Vec<Slot>,
    high: Vec<i64>,
}

impl Index {
    fn new(loaded: &Loaded) -> Self {
        let mut watch = Watch::new(loaded.instruments);
        let at = Timestamp::from_micros(0);
        let prices: Vec<_> = (0_u32..).zip(loaded.start.iter().copied()).collect();
        watch.apply(0, at, &prices, &mut Vec::new()).expect("prices in range");
        let mut accounts = vec![0; loaded.accounts.len()];
        let mut high = Vec::with_capacity(loaded.accounts.len());
        for (number, account) in (0_u32..).zip(&loaded.accounts) {
            let slot = watch.enter();
            let trail = account.trail.map(|distance| Trail { peak: account.peak, distance });
            let levels = Levels { low: account.low, high: account.high, trail };
            watch.set(slot, account.base, &account.exposures, levels).expect("amounts in range");
            accounts[slot as usize] = number;
            high.push(account.high);
        }
        Self { watch, accounts, fired: Vec::new(), high }
    }
}

impl Method for Index {
    fn tick(&mut self, number: u32, tick: &Tick, events: &mut Vec<Event>) {
        self.fired.clear();
        let at = Timestamp::from_micros(i64::from(number));
        self.watch
            .apply(
                u64::from(number) + 1,
                at,
                &[(tick.bid(), tick.bid), (tick.ask(), tick.ask)],
                &mut self.fired,
            )
            .expect("in range");
        for slot in &self.fired {
            let account = self.accounts[*slot as usize];
            let gained = self.watch.worth(*slot).expect("in range") >= self.high[account as usize];
            events.push((number, account, gained));
            self.watch.leave(*slot);
        }
    }

    fn looks(&self) -> Option<u64> {
        Some(self.watch.looks())
    }
}

/// What a method was seen to do.
struct Run {
    events: Vec<Event>,
    /// Nanoseconds of processor time for each tick.
    cpu: Vec<u32>,
    /// The same for all of them, measured without looking at each.
    whole: u64,
    looks: Option<u64>,
}

/// Nanoseconds of processor time of this thread.
fn processor() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// Runs a method over all ticks: one half of them measured as a whole, the other tick by tick.
fn run(method: &mut dyn Method, ticks: &[Tick]) -> Run {
    let mut events = Vec::new();
    let half = ticks.len() / 2;
    let started = processor();
    for (number, tick) in ticks[..half].iter().enumerate() {
        method.tick(number as u32, tick, &mut events);
    }
    let whole = processor() - started;
    let mut cpu = Vec::with_capacity(ticks.len() - half);
    for (number, tick) in ticks.iter().enumerate().skip(half) {
        let started = processor();
        method.tick(number as u32, tick, &mut events);
        cpu.push((processor() - started).min(u64::from(u32::MAX)) as u32);
    }
    Run { events, cpu, whole, looks: method.looks() }
}

fn micros(nanos: u64) -> f64 {
    nanos as f64 / 1_000.0
}

fn figures(run: &mut Run, ticks: usize) -> Value {
    run.cpu.sort_unstable();
    let at = |part: f64| micros(u64::from(run.cpu[((run.cpu.len() - 1) as f64 * part) as usize]));
    let half = ticks / 2;
    json!({
        "ticks_per_second": (half as f64 / (run.whole.max(1) as f64 / 1e9)).round(),
        "mean_cpu_us": micros(run.whole) / half as f64,
        "p50_cpu_us": at(0.5),
        "p99_cpu_us": at(0.99),
        "max_cpu_us": at(1.0),
        "evaluations_per_tick": run.looks.map(|looks| looks as f64 / ticks as f64),
        "events": run.events.len(),
    })
}

/// The whole engine beside the scan, over the shapes or ticks that were asked for.
fn compare(load: &Load) -> Value {
    let accounts = load.accounts.min(20_000);
    let mut out = json!({ "accounts": accounts, "seed": load.seed });
    let mut differences = 0;
    let mut add = |name: &str, compared: differential::Compared, started: u64| {
        differences += u64::from(compared.difference.is_some());
        out[name] = json!({
            "ticks": compared.ticks,
            "commands": compared.commands,
            "events": compared.events,
            "verdicts": compared.verdicts,
            "verdicts_of_soft_rules": compared.soft,
            "verdicts_on_open_positions": compared.floating,
            "fills_of_waiting_orders_and_exits": compared.triggered,
            "resets": compared.resets,
            "states_compared": compared.states,
            "first_difference": compared.difference,
            "cpu_seconds": ((processor() - started) as f64 / 1e9).round(),
        });
    };
    if let Some(folder) = &load.ticks_of {
        let days = providers::feeds::ticks::scan(folder).expect("a folder of ticks");
        let symbols: std::collections::BTreeSet<_> = days.iter().map(|day| day.symbol.clone()).collect();
        let instruments = differential::instruments_of(symbols.into_iter());
        let decimals = instruments.iter().map(|(_, it)| (it.symbol.clone(), it.price_decimals)).collect();
        let days = days.into_iter().filter(|day| instruments.find(&day.symbol).is_some()).collect();
        let ticks = providers::feeds::ticks::merge(days, &decimals).expect("a folder of ticks").map(|tick| {
            let tick = tick.expect("a tick");
            let instrument = instruments.find(&tick.symbol).expect("in the table");
            engine::Quote { instrument, bid: tick.bid, ask: tick.ask, source_time: tick.source_time }
        });
        let started = processor();
        add("recorded", differential::over_ticks(&instruments, ticks, accounts, load.seed), started);
    } else {
        for (name, shape) in differential::Shape::ALL {
            if load.chosen && name != load.source() {
                continue;
            }
            let started = processor();
            add(name, differential::over_shape(shape, accounts, load.ticks as u64, load.seed), started);
        }
    }
    out["differences"] = json!(differences);
    out
}

fn main() {
    let load = Load::from_args();
    if load.differential {
        let out = compare(&load);
        println!("{}", serde_json::to_string_pretty(&out).expect("an object"));
        if out["differences"] != 0 {
            std::process::exit(1);
        }
        return;
    }
    let (loaded, ticks) = load.make();
    let mut out = json!({
        "accounts": loaded.accounts.len(),
        "instruments": loaded.instruments,
        "positions_per_account":
            loaded.accounts.iter().map(|it| it.exposures.len()).sum::<usize>() as f64 / loaded.accounts.len() as f64,
        "trailing_share": loaded.accounts.iter().filter(|it| it.trail.is_some()).count() as f64
            / loaded.accounts.len() as f64,
        "ticks": ticks.len(),
        "source": load.source(),
        "seed": load.seed,
    });
    let started = (Instant::now(), processor());
    let mut index = Index::new(&loaded);
    out["build_ms"] = json!((processor() - started.1) as f64 / 1e6);
    let bytes = index.watch.bytes();
    let mut indexed = run(&mut index, &ticks);
    let accounts = loaded.accounts.len() as f64;
    let found = figures(&mut indexed, ticks.len());
    for (key, value) in found.as_object().expect("an object") {
        out[key] = value.clone();
    }
    let positions = index.watch.bytes_of_positions();
    out["bytes_per_account"] = json!(((bytes - positions) as f64 / accounts).round());
    out["bytes_per_account_with_positions"] = json!((bytes as f64 / accounts).round());
    out["index_mib"] = json!(bytes >> 20);
    out["sweeps"] = json!(index.watch.sweeps());
    out["history_mib"] = json!(index.watch.history_bytes() >> 20);
    drop(index);
    if load.source() == "crash" {
        let found = crash::all_end(load.accounts);
        for (key, value) in found.as_object().expect("an object") {
            out[key] = value.clone();
        }
    }
    if load.rivals {
        let fewer = &ticks[..ticks.len().min(load.rival_ticks)];
        let mut posting = rivals::PostingList::new(&loaded);
        let mut posted = run(&mut posting, fewer);
        out["posting_list"] = figures(&mut posted, fewer.len());
        let dense_ticks = &ticks[..ticks.len().min(load.rival_ticks / 20).max(2)];
        let mut scanned = run(&mut rivals::Dense::new(&loaded), dense_ticks);
        out["dense_scan"] = figures(&mut scanned, dense_ticks.len());
        let ratio = |of: &str| {
            let rate = |value: &Value| value["ticks_per_second"].as_f64().expect("a number");
            (rate(&out) / rate(&out[of]) * 10.0).round() / 10.0
        };
        let ratios = (ratio("posting_list"), ratio("dense_scan"));
        out["ratio_vs_posting_list"] = json!(ratios.0);
        out["ratio_vs_dense_scan"] = json!(ratios.1);
        if load.check {
            let until = fewer.len() as u32;
            let differing = differences(&indexed.events, &posted.events, until);
            out["checked_ticks"] = json!(until);
            out["differences"] = json!(differing.len());
            out["differing"] = json!(differing.iter().take(10).collect::<Vec<_>>());
        }
    }
    println!("{}", serde_json::to_string_pretty(&out).expect("an object"));
    if out["differences"].as_u64().is_some_and(|count| count > 0) {
        std::process::exit(1);
    }
}

/// Events that only one of two methods found before a tick.
fn differences(left: &[Event], right: &[Event], until: u32) -> Vec<(Event, &'static str)> {
    let set = |events: &[Event]| -> std::collections::BTreeSet<Event> {
        events.iter().filter(|event| event.0 < until).copied().collect()
    };
    let (left, right) = (set(left), set(right));
    let only_left = left.difference(&right).map(|event| (*event, "only the index"));
    let only_right = right.difference(&left).map(|event| (*event, "only the scan"));
    only_left.chain(only_right).collect()
}
