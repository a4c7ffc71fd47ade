//! What would come next for an account if prices stayed, and where they would have to go for a floor to fire.

use std::borrow::Cow;
use std::collections::BTreeMap;

use kernel::{AccountId, Amount, Price, Side, Timestamp};
use rules::{Effect, Figured, Floor, Worth};
use serde::{Deserialize, Serialize};

use crate::{Engine, EngineError, Market, Position, Ticket, View};

/// Resets that are looked ahead.
const RESETS: usize = 8;

/// What would come next.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Forecast {
    /// The account as it stands.
    pub view: View,
    /// The next ends of its trading day.
    pub resets: Vec<ComingReset>,
    /// The floors as they would stand after the next reset, at the prices of now.
    pub floors_after_reset: Vec<Floor>,
    /// The one that would fire then.
    pub fires_at_reset: Option<Floor>,
    /// For each open position the price at which it alone would make a floor fire, if there is one in range.
    pub fires_at: BTreeMap<Ticket, FiringPrice>,
    /// Every number of every rule, in the order of the phase.
    pub figures: Vec<RuleFigures>,
}

/// An end of a trading day.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ComingReset {
    /// When.
    pub at: Timestamp,
    /// On the wall clock of its zone.
    pub local: String,
    /// Whether the clocks of the zone change within the day it ends: that day is not 24 hours long.
    pub clock_change: bool,
}

/// The price at which one position alone would make a floor fire.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FiringPrice {
    /// At or beyond it, on the side at which the position closes.
    pub price: Price,
    /// The floor's rule, by its place in the phase.
    pub rule: usize,
    /// The floor's kind.
    pub kind: String,
}

/// The numbers of a rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleFigures {
    /// Its kind.
    pub kind: Cow<'static, str>,
    /// Its numbers.
    pub figures: Vec<Figured>,
}

impl Engine {
    /// What would come next for an account.
    pub fn forecast(&self, id: AccountId) -> Result<Option<Forecast>, EngineError> {
        let Some(view) = self.view(id)? else { return Ok(None) };
        let clocks = view.program.clocks();
        let account = &view.account;
        let scene = rules::Scene {
            phase: &view.phase,
            calendar: &account.track.calendar,
            at: view.as_of,
            balance: account.balance,
            equity: view.equity,
        };
        let mut figures = Vec::with_capacity(view.phase.rules.len());
        for (index, rule) in view.phase.rules.iter().enumerate() {
            let numbers = rules::figures(index, rule, &scene, &account.track)?;
            figures.push(RuleFigures { kind: rule.kind().into(), figures: numbers });
        }
        let mut resets = Vec::with_capacity(RESETS);
        let (mut from, mut at) = (account.track.day_started_at, account.track.next_reset);
        for _ in 0..RESETS {
            let clock_change = clocks.reset.changes_between(from, at)?;
            resets.push(ComingReset { at, local: clocks.reset.local(at)?, clock_change });
            (from, at) = (at, clocks.reset.next_after(at)?);
        }
        let mut after = account.track.clone();
        after.reset(clocks, account.balance, view.equity)?;
        let floors_after_reset = rules::floors(&view.phase, &after)?;
        // First the day that ends is judged by its own floors, then what is held by those of the new day.
        let fires = |floors: &[Floor], at_reset| {
            let worth = Worth { balance: account.balance, equity: view.equity, at_reset };
            let acts = |floor: &&Floor| floor.effect != Effect::Warn;
            let acting: Vec<Floor> = floors.iter().filter(acts).cloned().collect();
            rules::breached(&acting, worth).cloned()
        };
        let fires_at_reset = fires(&view.floors, true).or_else(|| fires(&floors_after_reset, false));
        let mut fires_at = BTreeMap::new();
        for (ticket, position) in &account.positions {
            if let Some(firing) = firing_price(self.market(), &view, position)? {
                fires_at.insert(*ticket, firing);
            }
        }
        Ok(Some(Forecast { view, resets, floors_after_reset, fires_at_reset, fires_at, figures }))
    }
}

/// The first price on the way against a position at which a floor fires, everything else standing still. Equity only
/// falls on that way, so the price is found by halving.
fn firing_price(
    market: &Market,
    view: &View,
    position: &Position,
) -> Result<Option<FiringPrice>, EngineError> {
    let now = market.close_price(position.instrument, position.side).ok_or(EngineError::MissingPrice)?;
    let instrument = market.instruments().get(position.instrument)?;
    let currency = view.program.currency;
    let floors: Vec<Floor> =
        view.floors.iter().filter(|floor| floor.effect != Effect::Warn && !floor.cap).cloned().collect();
    let worth_of = |price: Price| -> Result<Amount, EngineError> {
        let Position { instrument, side, quantity, open_price, .. } = *position;
        Ok(market.worth_at(instrument, side, quantity, open_price, price, currency)?.profit)
    };
    let others = view.equity.minus(worth_of(now)?)?;
    let balance = view.account.balance;
    let fires = |price: Price| -> Result<Option<&Floor>, EngineError> {
        let equity = others.plus(worth_of(price)?)?;
        Ok(rules::breached(&floors, Worth { balance, equity, at_reset: false }))
    };
    // Distances from the price of now, in points.
    let reach = match position.side {
        Side::Buy => now.0.checked_sub(instrument.price_min.0),
        Side::Sell => instrument.price_max.0.checked_sub(now.0),
    };
    let at = |distance: i64| match position.side {
        Side::Buy => now.0.saturating_sub(distance),
        Side::Sell => now.0.saturating_add(distance),
    };
    let (mut safe, mut crossed) = (0_i64, reach.unwrap_or_default().max(0));
    if fires(Price(at(crossed)))?.is_none() {
        return Ok(None);
    }
    while crossed.saturating_sub(safe) > 1 {
        let middle = safe.midpoint(crossed);
        if fires(Price(at(middle)))?.is_some() {
            crossed = middle;
        } else {
            safe = middle;
        }
    }
    let price = Price(at(crossed));
    Ok(fires(price)?.map(|floor| FiringPrice { price, rule: floor.rule, kind: floor.kind.to_string() }))
}
