//! The accounts and the ticks of a measurement.

use std::collections::BTreeMap;
use std::path::PathBuf;

use engine::watch::{Exposure, ask, bid};
use providers::feeds::ticks::{merge, scan};

/// Micro-units per point of the smallest size.
const POINT: i64 = 10_000;
/// Micro-units an account starts with: 100,000 units.
const START: i64 = 100_000_000_000;

/// One account of a measurement.
pub struct Account {
    pub base: i64,
    pub exposures: Vec<Exposure>,
    pub low: i64,
    pub high: i64,
    /// How far the floor lies below the peak.
    pub trail: Option<i64>,
    pub peak: i64,
}

/// One tick.
pub struct Tick {
    pub instrument: u16,
    pub bid: i64,
    pub ask: i64,
}

impl Tick {
    pub fn bid(&self) -> u32 {
        bid(self.instrument)
    }

    pub fn ask(&self) -> u32 {
        ask(self.instrument)
    }
}

/// Accounts and the prices they start at.
pub struct Loaded {
    pub accounts: Vec<Account>,
    pub instruments: usize,
    pub start: Vec<i64>,
}

/// What to measure.
pub struct Load {
    pub ticks_of: Option<PathBuf>,
    shape: Shape,
    /// Whether a shape was asked for.
    pub chosen: bool,
    pub accounts: usize,
    instruments: usize,
    trailing: u64,
    pub ticks: usize,
    pub seed: u64,
    pub check: bool,
    pub differential: bool,
    pub rivals: bool,
    pub rival_ticks: usize,
}

/// How prices move.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// Small steps, a tenfold one every 200 ticks on average.
    Walk,
    /// The walk, and 600 points at every 500th tick.
    Gap,
    /// Prices swing round the levels at which accounts end.
    Oscillation,
    /// All hold the same instrument and have the same limits.
    Herd,
    /// The ask runs away from the bid and comes back.
    Spread,
    /// The walk, and then one tick that ends every account.
    Crash,
}

impl Shape {
    const ALL: [(&str, Self); 6] = [
        ("walk", Self::Walk),
        ("gap", Self::Gap),
        ("oscillation", Self::Oscillation),
        ("herd", Self::Herd),
        ("spread", Self::Spread),
        ("crash", Self::Crash),
    ];
}

/// Chance from a seed: the same numbers on every machine.
pub struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number from 0 up to, and without, a bound.
    pub fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }

    fn within(&mut self, from: i64, to: i64) -> i64 {
        from + self.below((to - from + 1) as u64) as i64
    }
}

impl Load {
    pub fn from_args() -> Self {
        use lexopt::prelude::*;
        let mut load = Self {
            ticks_of: None,
            shape: Shape::Walk,
            chosen: false,
            accounts: 100_000,
            instruments: 50,
            trailing: 30,
            ticks: 400_000,
            seed: 1,
            check: false,
            differential: false,
            rivals: true,
            rival_ticks: 40_000,
        };
        let mut args = lexopt::Parser::from_env();
        let text = |value: std::ffi::OsString| value.into_string().expect("text");
        let number =
            |value: std::ffi::OsString| text(value).replace('_', "").parse::<u64>().expect("a number");
        while let Some(arg) = args.next().expect("arguments") {
            match arg {
                Long("ticks") => load.ticks_of = Some(PathBuf::from(args.value().expect("a folder"))),
                Long("synthetic") => {
                    let word = args.optional_value().or_else(|| {
                        args.try_raw_args()?.next_if(|it| !it.to_string_lossy().starts_with('-'))
                    });
                    let word = word.map_or_else(|| "walk".to_owned(), text);
                    load.chosen = true;
                    let found = Shape::ALL.iter().find(|(name, _)| *name == word);
                    load.shape = found.expect("walk, gap, oscillation, herd, spread or crash").1;
                }
                Long("accounts") => load.accounts = number(args.value().expect("a number")) as usize,
                Long("instruments") => load.instruments = number(args.value().expect("a number")) as usize,
                Long("trailing-share") => {
                    let share =
                        text(args.value().expect("a share")).parse::<f64>().expect("a share such as 0.3");
                    load.trailing = (share * 100.0).round() as u64;
                }
                Long("length") => load.ticks = number(args.value().expect("a number")) as usize,
                Long("seed") => load.seed = number(args.value().expect("a number")),
                Long("differential") => load.differential = true,
                Long("check") => load.check = true,
                Long("check-all") => (load.check, load.rival_ticks) = (true, usize::MAX),
                Long("alone") => load.rivals = false,
                // What cargo hands to every measurement.
                Long("bench") => {}
                other => panic!("{}", other.unexpected()),
            }
        }
        load
    }

    pub fn source(&self) -> String {
        let name = Shape::ALL.iter().find(|(_, shape)| *shape == self.shape).map_or("", |(name, _)| name);
        self.ticks_of.as_ref().map_or_else(|| name.to_owned(), |folder| folder.display().to_string())
    }

    pub fn make(&self) -> (Loaded, Vec<Tick>) {
        let mut chance = Chance(self.seed);
        let (start, ticks) = match &self.ticks_of {
            Some(folder) => real(folder),
            None => self.synthetic(&mut chance),
        };
        let instruments = start.len() / 2;
        let accounts = (0..self.accounts).map(|_| self.account(&mut chance, &start, instruments)).collect();
        (Loaded { accounts, instruments, start }, ticks)
    }

    fn account(&self, chance: &mut Chance, start: &[i64], instruments: usize) -> Account {
        let herd = matches!(self.shape, Shape::Herd | Shape::Crash);
        let count = if herd { 1 } else { 1 + chance.below(6.min(instruments as u64)) as usize };
        let mut exposures: Vec<Exposure> = Vec::with_capacity(count);
        while exposures.len() < count {
            let instrument = if herd { 0 } else { zipf(chance, instruments) };
            let long = herd || chance.below(2) == 0;
            let variable = if long { bid(instrument) } else { ask(instrument) };
            if exposures.iter().any(|it| it.variable / 2 == variable / 2) {
                continue;
            }
            let size = if herd { 100 } else { 1 + chance.below(400) as i64 };
            let weight = if long { size * POINT } else { -size * POINT };
            exposures.push(Exposure { variable, weight, below: None, above: None });
        }
        let trails = !herd && chance.below(100) < self.trailing;
        // Already drifted by 4.5 % down to 7 % up; round a level: within 2 per mille of one.
        let drifted = match self.shape {
            Shape::Oscillation if trails => START * 940 / 1_000 + 1 + START * chance.within(0, 2) / 1_000,
            Shape::Oscillation => START * 950 / 1_000 + 1 + START * chance.within(0, 2) / 1_000,
            Shape::Herd => START * 955 / 1_000,
            Shape::Crash => START,
            Shape::Walk | Shape::Gap | Shape::Spread => START + START / 1_000 * chance.within(-45, 70),
        };
        let held: i64 = exposures.iter().map(|it| it.weight * start[it.variable as usize]).sum();
        let peak = drifted.max(START);
        Account {
            base: drifted - held,
            exposures,
            low: if trails { START * 900 / 1_000 } else { START * 950 / 1_000 },
            high: START * 108 / 100,
            trail: trails.then_some(START * 6 / 100),
            peak,
        }
    }

    fn synthetic(&self, chance: &mut Chance) -> (Vec<i64>, Vec<Tick>) {
        let mut middle: Vec<i64> = (0..self.instruments).map(|j| 100_000 + 1_000 * j as i64).collect();
        let start = middle.iter().flat_map(|price| [*price, price + 5]).collect();
        let mut ticks = Vec::with_capacity(self.ticks);
        for number in 0..self.ticks {
            let instrument = if self.shape == Shape::Herd { 0 } else { zipf(chance, self.instruments) };
            let price = &mut middle[usize::from(instrument)];
            let mut step = chance.within(-3, 3);
            if chance.below(200) == 0 {
                step *= 10;
            }
            let mut spread = chance.within(5, 12);
            match self.shape {
                Shape::Gap if number % 500 == 499 => step = if chance.below(2) == 0 { 600 } else { -600 },
                Shape::Oscillation => step = if number % 2 == 0 { 20 } else { -20 },
                Shape::Spread if number % 300 < 20 => spread += 400,
                Shape::Walk | Shape::Gap | Shape::Herd | Shape::Spread | Shape::Crash => {}
            }
            *price = (*price + step).max(1_000);
            let bid = *price;
            ticks.push(Tick { instrument, bid, ask: bid + spread });
        }
        if self.shape == Shape::Crash {
            // The last tick: far enough below for every floor.
            ticks.push(Tick { instrument: 0, bid: 50_000, ask: 50_010 });
        }
        (start, ticks)
    }
}

/// An instrument by popularity: the n-th is drawn as often as the power -0.9 of n says.
fn zipf(chance: &mut Chance, instruments: usize) -> u16 {
    thread_local! {
        static TABLE: std::cell::RefCell<Vec<u64>> = const { std::cell::RefCell::new(Vec::new()) };
    }
    TABLE.with_borrow_mut(|table| {
        if table.len() != instruments {
            let mut sum = 0_u64;
            table.clear();
            for rank in 1..=instruments {
                sum += (1e12 / (rank as f64).powf(0.9)) as u64;
                table.push(sum);
            }
        }
        let drawn = chance.below(*table.last().expect("an instrument"));
        table.partition_point(|upto| *upto <= drawn) as u16
    })
}

/// The ticks of a folder, in order of time, in points of its own.
fn real(folder: &std::path::Path) -> (Vec<i64>, Vec<Tick>) {
    let days = scan(folder).expect("a folder of ticks");
    let decimals: BTreeMap<_, _> = days.iter().map(|day| (day.symbol.clone(), 5)).collect();
    let numbers: BTreeMap<_, u16> = decimals.keys().cloned().zip(0..).collect();
    let mut start = vec![0; numbers.len() * 2];
    let mut ticks = Vec::new();
    for tick in merge(days, &decimals).expect("a folder of ticks") {
        let tick = tick.expect("a tick");
        let instrument = numbers[&tick.symbol];
        let (bid, ask) = (tick.bid.0, tick.ask.0);
        let at = usize::from(instrument) * 2;
        if start[at] == 0 {
            start[at..at + 2].copy_from_slice(&[bid, ask]);
        }
        ticks.push(Tick { instrument, bid, ask });
    }
    (start, ticks)
}
