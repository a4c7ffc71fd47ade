//! How an account is watched: what it is worth at any prices, where that must not go unseen, and the box in between.

use std::collections::{BTreeMap, BTreeSet};

use kernel::{Amount, Currency, Overflow, Price, Rounding, Side, Timestamp};

use crate::core::Held;
use crate::watch::{Exposure, Levels, Slot, Trail, Valued, Variable, Watch, ask, bid};
use crate::{Account, EngineError, InstrumentId, Market, OrderKind, Position, Status, Ticket};

/// Tries to draw a box around results in other currencies, each with sides half as long as the one before; then the box
/// is the standing prices alone.
const TRIES: u32 = 6;
/// No distance at all: nothing follows the peak, but the peak is kept.
const FAR: i64 = i64::MAX >> 2_u32;

/// What an account holds, at any prices. It gains with every bid and loses with every ask, whatever it holds: a long is
/// worth its bid, a short owes its ask, a gain is sold at the bid of its currency and a loss bought at the ask. So between
/// two ends of every price it is worth no less than at the lowest bids and highest asks, and no more than at the highest
/// bids and lowest asks.
pub(crate) struct Holdings<'a> {
    pub account: &'a Account,
    pub market: &'a Market,
    pub currency: Currency,
}

impl Holdings<'_> {
    /// The instrument at whose price a position's result is converted, as its bid and ask.
    fn rate(&self, position: &Position) -> Result<Option<[Variable; 2]>, Overflow> {
        let instruments = self.market.instruments();
        let quote = instruments.get(position.instrument)?.quote;
        if quote == self.currency {
            return Ok(None);
        }
        let route = instruments.route(quote, self.currency).ok_or(Overflow)?;
        Ok(Some([bid(route.instrument.0), ask(route.instrument.0)]))
    }

    /// The prices that an instrument can have.
    fn range(&self, variable: Variable) -> Result<(i64, i64), Overflow> {
        let instrument = InstrumentId(u16::try_from(variable >> 1_u32).map_err(|_| Overflow)?);
        let instrument = self.market.instruments().get(instrument)?;
        Ok((instrument.price_min.0, instrument.price_max.0))
    }

    fn profit(
        &self,
        position: &Position,
        price: impl Fn(Variable) -> Option<i64>,
    ) -> Result<Amount, Overflow> {
        let close = Price(price(closing(position)).ok_or(Overflow)?);
        let Position { instrument, side, quantity, open_price, .. } = *position;
        let worth = self.market.worth_by(instrument, side, quantity, open_price, close, self.currency, price);
        worth.map(|worth| worth.profit).map_err(|_| Overflow)
    }

    /// What some of the positions bring together.
    fn results<'p>(
        &self,
        positions: impl IntoIterator<Item = &'p Position>,
        price: impl Fn(Variable) -> Option<i64>,
    ) -> Result<i64, Overflow> {
        let mut sum = Amount::ZERO;
        for position in positions {
            sum = sum.plus(self.profit(position, &price)?)?;
        }
        Ok(sum.micros())
    }

    /// A position's result for each point of its closing price, above zero; `None` if it is converted.
    fn per_point(&self, position: &Position) -> Result<Option<i64>, Overflow> {
        let instruments = self.market.instruments();
        if instruments.get(position.instrument)?.quote != self.currency {
            return Ok(None);
        }
        let per_point = instruments.point_value(position.instrument)?;
        per_point.checked_mul(position.quantity.0).map(Some).ok_or(Overflow)
    }

    /// Where the closing prices of a part none of whose results is converted would reach its level, adding them to the
    /// triggers: each price may use up the same share of the room, so that one price alone has exactly the level. `None` if
    /// a result is converted.
    fn bound(&self, part: &Part<'_>, triggers: &mut Triggers) -> Result<Option<()>, Overflow> {
        let mut weights: BTreeMap<Variable, i64> = BTreeMap::new();
        for position in &part.positions {
            let Some(weight) = self.per_point(position)? else { return Ok(None) };
            let sum = weights.entry(closing(position)).or_default();
            *sum = sum.checked_add(weight).ok_or(Overflow)?;
        }
        let count = i64::try_from(weights.len()).unwrap_or(i64::MAX);
        let share = part.room.checked_div(count).unwrap_or_default();
        for (variable, weight) in weights {
            let standing = self.market.price(variable).ok_or(Overflow)?;
            let points = share.checked_div(weight).unwrap_or_default().saturating_add(1);
            if variable.is_multiple_of(2) {
                add(triggers, variable, Some(standing.saturating_sub(points)), None);
            } else {
                add(triggers, variable, None, Some(standing.saturating_add(points)));
            }
        }
        Ok(Some(()))
    }
}

impl Valued for Holdings<'_> {
    fn variables(&self) -> impl Iterator<Item = Variable> {
        self.account.positions.values().flat_map(|position| {
            let rate = self.rate(position).ok().flatten().into_iter().flatten();
            std::iter::once(closing(position)).chain(rate)
        })
    }

    fn worth(&self, price: impl Fn(Variable) -> Option<i64>) -> Result<i64, Overflow> {
        let open = self.results(self.account.positions.values(), price)?;
        open.checked_add(self.account.balance.micros()).ok_or(Overflow)
    }
}

/// Positions whose results together must not go unseen at or below a level.
struct Part<'a> {
    positions: Vec<&'a Position>,
    low: i64,
    /// What they may lose from where they stand without reaching it.
    room: i64,
}

/// The price at which a position closes.
fn closing(position: &Position) -> Variable {
    match position.side {
        Side::Buy => bid(position.instrument.0),
        Side::Sell => ask(position.instrument.0),
    }
}

/// Prices at which orders and exits fire or a rule must be asked: at or below the first, at or above the second.
type Triggers = BTreeMap<Variable, (Option<i64>, Option<i64>)>;

fn add(triggers: &mut Triggers, variable: Variable, below: Option<i64>, above: Option<i64>) {
    let (lower, upper) = triggers.entry(variable).or_default();
    if let Some(price) = below {
        *lower = Some(lower.map_or(price, |lower| lower.max(price)));
    }
    if let Some(price) = above {
        *upper = Some(upper.map_or(price, |upper| upper.min(price)));
    }
}

fn triggers(account: &Account) -> Triggers {
    let mut triggers = Triggers::new();
    let mut add = |variable, below: Option<Price>, above: Option<Price>| {
        add(&mut triggers, variable, below.map(|price| price.0), above.map(|price| price.0));
    };
    for position in account.positions.values() {
        let (stop, take) = (position.stop_loss, position.take_profit);
        match position.side {
            Side::Buy => add(closing(position), stop, take),
            Side::Sell => add(closing(position), take, stop),
        }
    }
    for order in account.orders.values() {
        let opens_at = match order.side {
            Side::Buy => ask(order.instrument.0),
            Side::Sell => bid(order.instrument.0),
        };
        match (order.kind, order.side) {
            (OrderKind::Limit(price), Side::Buy) | (OrderKind::Stop(price), Side::Sell) => {
                add(opens_at, Some(price), None);
            }
            (OrderKind::Limit(price), Side::Sell) | (OrderKind::Stop(price), Side::Buy) => {
                add(opens_at, None, Some(price));
            }
            (OrderKind::Market, _) => {}
        }
    }
    triggers
}

impl Held {
    /// What it holds.
    pub(crate) fn holdings<'a>(&'a self, market: &'a Market) -> Holdings<'a> {
        Holdings { account: &self.account, market, currency: self.program.currency }
    }

    /// Watches the account as it now stands.
    pub(crate) fn watch(
        &self,
        watch: &mut Watch,
        slot: Slot,
        market: &Market,
        at: Timestamp,
    ) -> Result<(), EngineError> {
        let nothing = Levels { low: i64::MIN, high: i64::MAX, trail: None };
        if self.account.status != Status::Active
            || (self.account.positions.is_empty() && self.account.orders.is_empty())
        {
            return Ok(watch.set(slot, 0, &[], nothing)?);
        }
        let holdings = self.holdings(market);
        let equity = holdings.worth(|variable| market.price(variable))?;
        let mut levels = self.levels(at, equity)?;
        let mut triggers = triggers(&self.account);
        let parts = self.parts(&holdings, &mut levels, &mut triggers)?;
        let peak = levels.trail.map(|trail| trail.peak);
        let Some(parts) = parts.filter(|_| !is_alarmed(market, &levels, &triggers, equity)) else {
            // Whatever the next message about anything it depends on says, it is looked at.
            let all = self.watching().map(|instrument| (bid(instrument.0), i64::MAX, i64::MIN));
            return Ok(watch.guard(slot, &all.collect::<Vec<_>>(), peak)?);
        };
        match self.linear(&holdings, &triggers)? {
            Some((base, exposures)) => watch.set(slot, base, &exposures, levels)?,
            None => watch.guard(slot, &draw(&holdings, &levels, &triggers, &parts, equity)?, peak)?,
        }
        Ok(())
    }

    /// Sees to it that no rule which looks at open positions goes unasked where it has something to say: by a level of the
    /// equity where all positions count together, else by triggers. What is left are the parts that only a box drawn by
    /// trial can keep. `None` if a rule must be asked at the next price.
    fn parts<'a>(
        &'a self,
        holdings: &Holdings<'a>,
        levels: &mut Levels,
        triggers: &mut Triggers,
    ) -> Result<Option<Vec<Part<'a>>>, EngineError> {
        let mut parts = Vec::new();
        let positions = &self.account.positions;
        if !self.needs_floating || positions.is_empty() {
            return Ok(Some(parts));
        }
        let open: BTreeSet<u32> = positions.keys().map(|ticket| ticket.0).collect();
        let Some(told) = rules::open_levels(&self.phase, &self.account.track, &open)? else {
            return Ok(None);
        };
        for rules::OpenLevel { trades, low } in told {
            if trades == open {
                levels.low = levels.low.max(self.account.balance.plus(low)?.micros());
                continue;
            }
            let positions =
                trades.iter().filter_map(|trade| positions.get(&Ticket(*trade))).collect::<Vec<_>>();
            let standing =
                holdings.results(positions.iter().copied(), |variable| holdings.market.price(variable))?;
            let low = low.micros();
            if standing <= low {
                return Ok(None);
            }
            let part = Part { positions, low, room: standing.saturating_sub(low).saturating_sub(1) };
            if holdings.bound(&part, triggers)?.is_none() {
                parts.push(part);
            }
        }
        Ok(Some(parts))
    }

    /// Where its equity must not go unseen.
    fn levels(&self, at: Timestamp, equity: i64) -> Result<Levels, EngineError> {
        let scene = self.scene(at, Amount::from_micros(equity));
        let alarm = rules::alarm(&scene, &self.account.track, &self.floors)?;
        let margin = self.account.margin()?;
        // Stopped out below it.
        let covered = margin.share(self.program.terms.stop_out, Rounding::Ceiling)?;
        let stop_out = (margin > Amount::ZERO).then(|| covered.micros().saturating_sub(1));
        let low = alarm.low.map(|low| low.micros()).max(stop_out).unwrap_or(i64::MIN);
        let high = alarm.high.map_or(i64::MAX, |high| high.micros());
        let trail = alarm.peak.map(|(peak, distance)| Trail {
            peak: peak.micros(),
            distance: distance.map_or(FAR, |distance| distance.micros()),
        });
        Ok(Levels { low, high, trail })
    }

    /// Its worth as a line in the prices, if no result is converted.
    fn linear(
        &self,
        holdings: &Holdings<'_>,
        triggers: &Triggers,
    ) -> Result<Option<(i64, Vec<Exposure>)>, EngineError> {
        let mut base = self.account.balance.micros();
        let mut weights: BTreeMap<Variable, i64> = triggers.keys().map(|variable| (*variable, 0)).collect();
        for position in self.account.positions.values() {
            let Some(size) = holdings.per_point(position)? else { return Ok(None) };
            let weight = match position.side {
                Side::Buy => size,
                Side::Sell => size.checked_neg().ok_or(Overflow)?,
            };
            let opened = weight.checked_mul(position.open_price.0).ok_or(Overflow)?;
            base = base.checked_sub(opened).ok_or(Overflow)?;
            let sum = weights.entry(closing(position)).or_default();
            *sum = sum.checked_add(weight).ok_or(Overflow)?;
        }
        let exposures = weights.into_iter().map(|(variable, weight)| {
            let (below, above) = triggers.get(&variable).copied().unwrap_or_default();
            Exposure { variable, weight, below, above }
        });
        Ok(Some((base, exposures.collect())))
    }
}

/// Whether a level or a trigger is reached already, so that the next message may act on it.
fn is_alarmed(market: &Market, levels: &Levels, triggers: &Triggers, equity: i64) -> bool {
    let followed = levels
        .trail
        .is_some_and(|Trail { peak, distance }| equity > peak || equity <= peak.saturating_sub(distance));
    let fired = triggers.iter().any(|(variable, (below, above))| {
        market.price(*variable).is_none_or(|price| {
            below.is_some_and(|below| price <= below) || above.is_some_and(|above| price >= above)
        })
    });
    equity <= levels.low || equity >= levels.high || followed || fired
}

/// A box around the standing prices for an account some of whose results are converted: long sides by how much each price
/// moves the worth now, and halved until the worst and the best corner are exactly inside the levels. At the worst corner
/// every position brings least, so no part brings less anywhere in the box.
fn draw(
    holdings: &Holdings<'_>,
    levels: &Levels,
    triggers: &Triggers,
    parts: &[Part<'_>],
    equity: i64,
) -> Result<Vec<(Variable, i64, i64)>, Overflow> {
    let (down, up) = levels.limits(equity);
    let price = |variable| holdings.market.price(variable);
    let mut variables: Vec<Variable> = holdings.variables().chain(triggers.keys().copied()).collect();
    variables.sort_unstable();
    variables.dedup();
    let count = i64::try_from(variables.len()).unwrap_or(i64::MAX);
    // How far each price may move if the others stand still, over how many they are.
    let mut sides = Vec::with_capacity(variables.len());
    for variable in variables {
        let standing = price(variable).ok_or(Overflow)?;
        let (lowest, highest) = holdings.range(variable)?;
        let step = (standing >> 10_u32).max(1);
        let moved = |to: i64| {
            let to = to.clamp(lowest, highest);
            holdings.worth(|of| if of == variable { Some(to) } else { price(of) })
        };
        let gained = moved(standing.saturating_add(step))?.saturating_sub(equity);
        let lost = equity.saturating_sub(moved(standing.saturating_sub(step))?);
        let per_step = gained.saturating_abs().max(lost.saturating_abs());
        let way = |amount: i64, per_step: i64| {
            let part = amount.checked_div(count).unwrap_or_default();
            i128::from(part).checked_mul(i128::from(step)).and_then(|it| it.checked_div(i128::from(per_step)))
        };
        let points = |amount, per_step| {
            way(amount, per_step).map_or(FAR, |points| i64::try_from(points).unwrap_or(FAR))
        };
        let is_bid = variable.is_multiple_of(2);
        let (mut loses, gains) = (points(down, per_step), points(up, per_step));
        for part in parts {
            let to = if is_bid { standing.saturating_sub(step) } else { standing.saturating_add(step) };
            let to = to.clamp(lowest, highest);
            let moved = |of| if of == variable { Some(to) } else { price(of) };
            let left = holdings.results(part.positions.iter().copied(), moved)?.saturating_sub(part.low);
            let lost = part.room.saturating_add(1).saturating_sub(left);
            loses = loses.min(points(part.room, lost));
        }
        let (fall, rise) = if is_bid { (loses, gains) } else { (gains, loses) };
        // No worth is known to be exact beyond the range of a price.
        let fall = fall.min(standing.saturating_sub(lowest)).max(0);
        let rise = rise.min(highest.saturating_sub(standing)).max(0);
        sides.push((variable, standing, fall, rise));
    }
    for attempt in 0..=TRIES {
        let shrunk = |points: i64| if attempt == TRIES { 0 } else { points >> attempt };
        let end = |of: Variable, worst: bool| {
            let found = sides.iter().find(|(variable, ..)| *variable == of);
            found.map(|(variable, standing, fall, rise)| {
                if variable.is_multiple_of(2) == worst {
                    standing.saturating_sub(shrunk(*fall))
                } else {
                    standing.saturating_add(shrunk(*rise))
                }
            })
        };
        let worst = holdings.worth(|of| end(of, true))?;
        let best = holdings.worth(|of| end(of, false))?;
        let mut kept = equity.saturating_sub(worst) <= down && best.saturating_sub(equity) <= up;
        for part in parts {
            kept = kept && holdings.results(part.positions.iter().copied(), |of| end(of, true))? > part.low;
        }
        if kept {
            let interval = |(variable, standing, fall, rise): &(Variable, i64, i64, i64)| {
                let (below, above) = triggers.get(variable).copied().unwrap_or_default();
                let lo = standing.saturating_sub(shrunk(*fall)).saturating_sub(1);
                let hi = standing.saturating_add(shrunk(*rise)).saturating_add(1);
                (*variable, lo.max(below.unwrap_or(i64::MIN)), hi.min(above.unwrap_or(i64::MAX)))
            };
            return Ok(sides.iter().map(interval).collect());
        }
    }
    // The standing prices alone change nothing.
    Err(Overflow)
}
