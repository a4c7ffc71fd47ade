//! The honest ways without an index: everybody who holds what moved, and everybody.

use crate::load::{Loaded, Tick};
use crate::{Event, Method};

/// What both know of an account.
struct Watched {
    worth: i64,
    low: i64,
    high: i64,
    /// How far the floor lies below the peak; the largest number if nothing follows it.
    distance: i64,
    peak: i64,
    over: bool,
}

impl Watched {
    fn all(loaded: &Loaded) -> Vec<Self> {
        let worth = |account: &crate::load::Account| {
            let held = account.exposures.iter().map(|it| it.weight * loaded.start[it.variable as usize]);
            account.base + held.sum::<i64>()
        };
        let watched = |account: &crate::load::Account| {
            let crate::load::Account { low, high, trail, peak, .. } = account;
            let distance = trail.unwrap_or(i64::MAX);
            Self { worth: worth(account), low: *low, high: *high, distance, peak: *peak, over: false }
        };
        loaded.accounts.iter().map(watched).collect()
    }

    /// Whether something happens at its worth now.
    fn tested(&mut self) -> Option<bool> {
        self.peak = self.peak.max(self.worth);
        let floor = self.low.max(self.peak.saturating_sub(self.distance));
        if self.worth <= floor || self.worth >= self.high {
            self.over = true;
            return Some(self.worth >= self.high);
        }
        None
    }
}

/// Each price knows who depends on it: their worth moves by weight times the step, and is tested.
pub struct PostingList {
    accounts: Vec<Watched>,
    holders: Vec<Vec<(u32, i64)>>,
    prices: Vec<i64>,
}

impl PostingList {
    pub fn new(loaded: &Loaded) -> Self {
        let mut holders = vec![Vec::new(); loaded.start.len()];
        for (number, account) in (0_u32..).zip(&loaded.accounts) {
            for exposure in &account.exposures {
                holders[exposure.variable as usize].push((number, exposure.weight));
            }
        }
        Self { accounts: Watched::all(loaded), holders, prices: loaded.start.clone() }
    }
}

impl Method for PostingList {
    fn tick(&mut self, number: u32, tick: &Tick, events: &mut Vec<Event>) {
        for (variable, price) in [(tick.bid(), tick.bid), (tick.ask(), tick.ask)] {
            let step = price - self.prices[variable as usize];
            self.prices[variable as usize] = price;
            if step == 0 {
                continue;
            }
            for (account, weight) in &self.holders[variable as usize] {
                let watched = &mut self.accounts[*account as usize];
                watched.worth += weight * step;
                // Nobody here has both sides of an instrument, so nobody is tested between them.
                if !watched.over
                    && let Some(gained) = watched.tested()
                {
                    events.push((number, *account, gained));
                }
            }
        }
    }
}

/// Everybody's worth anew from their prices.
pub struct Dense {
    accounts: Vec<Watched>,
    bases: Vec<i64>,
    from: Vec<u32>,
    weights: Vec<(u32, i64)>,
    prices: Vec<i64>,
}

impl Dense {
    pub fn new(loaded: &Loaded) -> Self {
        let mut from = vec![0];
        let mut weights = Vec::new();
        for account in &loaded.accounts {
            weights.extend(account.exposures.iter().map(|it| (it.variable, it.weight)));
            from.push(weights.len() as u32);
        }
        let bases = loaded.accounts.iter().map(|it| it.base).collect();
        Self { accounts: Watched::all(loaded), bases, from, weights, prices: loaded.start.clone() }
    }
}

impl Method for Dense {
    fn tick(&mut self, number: u32, tick: &Tick, events: &mut Vec<Event>) {
        self.prices[tick.bid() as usize] = tick.bid;
        self.prices[tick.ask() as usize] = tick.ask;
        for (account, watched) in self.accounts.iter_mut().enumerate() {
            let held = &self.weights[self.from[account] as usize..self.from[account + 1] as usize];
            let sum: i64 =
                held.iter().map(|(variable, weight)| weight * self.prices[*variable as usize]).sum();
            watched.worth = self.bases[account] + sum;
            if !watched.over
                && let Some(gained) = watched.tested()
            {
                events.push((number, account as u32, gained));
            }
        }
    }
}
