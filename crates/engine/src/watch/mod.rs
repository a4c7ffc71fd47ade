//! Which accounts a price concerns, found without asking all of them.
//!
//! What an account is worth is linear in the prices of what it holds: `base + Σ weight · price`. Around the prices of
//! the last look lies a box, one open interval for each price, inside which nothing can happen: no floor is crossed and
//! no level reached, wherever in the box the prices wander. A price that leaves its interval fires; only then is the
//! account looked at, exactly, and gets a new box. So just before any price the prices lie inside the box of every
//! account, and whatever happens at that price happens to an account whose interval is left at it: nothing is missed,
//! nothing is late, and since a look is exact, nothing is false.
//!
//! Floors that follow the highest equity need its peak at every price, without a look at every price: [`History`] keeps
//! the prices since the last look and bounds what they can have brought.
//!
//! A message that leaves very many boxes is not followed by as many new ones: those accounts stay without, are looked at with
//! every message, and get their boxes back over the next ones. So the worst message costs a scan of those it concerns.
//!
//! An account whose worth is not linear (results in another currency), or whose rules must be asked at the next price
//! whatever that is, is watched by a box that its owner draws: [`Watch::guard`]. What rules have to say of single positions
//! waits at prices like an order.

mod history;
mod zone;

use history::History;
use kernel::{Overflow, Timestamp};
use zone::{Zone, narrow};

/// The price of one side of an instrument.
pub type Variable = u32;

/// The variable of an instrument's bid.
pub fn bid(instrument: u16) -> Variable {
    u32::from(instrument).saturating_mul(2)
}

/// The variable of an instrument's ask.
pub fn ask(instrument: u16) -> Variable {
    bid(instrument).saturating_add(1)
}

/// How an account's worth moves with one price, and where on that price something else waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exposure {
    /// The price: of the bid for what is held, of the ask for what is owed.
    pub variable: Variable,
    /// Micro-units per point: above zero on a bid, below zero on an ask, zero where only a trigger waits.
    pub weight: i64,
    /// The price at or below which an order or an exit fires.
    pub below: Option<i64>,
    /// The price at or above which an order or an exit fires.
    pub above: Option<i64>,
}

/// What an account's worth must not reach unseen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Levels {
    /// At or below it something happens.
    pub low: i64,
    /// At or above it something happens.
    pub high: i64,
    /// What follows the peak, if anything does.
    pub trail: Option<Trail>,
}

impl Levels {
    /// What may be lost from a worth between the levels, and what may be gained, in any order, before one is reached.
    pub fn limits(&self, worth: i64) -> (i64, i64) {
        let mut down = worth.saturating_sub(self.low).saturating_sub(1);
        let mut up = self.high.saturating_sub(worth).saturating_sub(1);
        if let Some(Trail { peak, distance }) = self.trail {
            // On a way that first gains `up` and then loses `down` the peak rises to at most `worth + up`.
            let half = distance.checked_div(2).unwrap_or_default();
            let new_peak = peak.saturating_sub(worth).max(half);
            up = up.min(new_peak);
            down = down.min(distance.saturating_sub(new_peak).saturating_sub(1));
        }
        (down.max(0), up.max(0))
    }
}

/// A floor that rises with the highest worth, by no more than that rises.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trail {
    /// The highest worth so far.
    pub peak: i64,
    /// How far below it something happens; above zero.
    pub distance: i64,
}

/// The highest worth, when it was reached, and the highest before that instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peak {
    /// The highest worth.
    pub highest: i64,
    /// The highest before [`Peak::at`].
    pub before: i64,
    /// The instant at which the highest was first reached; none if it has not risen.
    pub at: Option<Timestamp>,
}

impl Peak {
    const fn standing(highest: i64) -> Self {
        Self { highest, before: highest, at: None }
    }

    fn raise(&mut self, worth: i64, at: Timestamp) {
        if worth > self.highest {
            if self.at != Some(at) {
                self.before = self.highest;
            }
            (self.highest, self.at) = (worth, Some(at));
        }
    }
}

/// What an account has at stake on one price.
#[derive(Debug, Clone, Copy)]
struct Leg {
    weight: i64,
    /// Where something else waits.
    below: i32,
    above: i32,
    posting: u32,
    variable: u16,
    /// Of what may happen to the account, the part that this price may use up, in 65,536ths.
    share: u16,
}

impl Leg {
    /// A sum and what it is worth at a price.
    fn added_to(&self, sum: i64, price: i64) -> Result<i64, Overflow> {
        self.weight.checked_mul(price).and_then(|part| sum.checked_add(part)).ok_or(Overflow)
    }

    fn price(&self, prices: &[i64]) -> Result<i64, Overflow> {
        prices.get(usize::from(self.variable)).copied().ok_or(Overflow)
    }
}

/// An account as it is watched.
#[derive(Debug, Clone)]
struct Watched {
    base: i64,
    low: i64,
    high: i64,
    /// Zero if nothing follows the peak.
    distance: i64,
    /// The highest worth up to [`Watched::seen`].
    peak: i64,
    /// What the peak cannot have exceeded in the box.
    reach: i64,
    /// The message up to which the peak is known.
    seen: u64,
    /// The message since which nothing but prices moved the worth, and the peak up to it.
    since: (u64, i64),
    legs: Box<[Leg]>,
    /// Whether its owner draws its box.
    guarded: bool,
    /// Whether it is among [`Watch::unboxed`].
    unboxed: bool,
    /// The last message that fired it.
    fired: u64,
}

/// Accounts in their boxes. They are known by the slots they were given.
#[derive(Debug, Clone)]
pub struct Watch {
    zones: Vec<Zone>,
    prices: Vec<i64>,
    watched: Vec<Watched>,
    free: Vec<u32>,
    history: History,
    place: u64,
    looks: u64,
    /// Accounts without a box: they are looked at with every message. Whoever got a box since, or left, is still here and
    /// dropped at the next one.
    unboxed: Vec<Slot>,
    sweeps: u64,
    found: Vec<u32>,
    /// Keeps [`Watch::touch`] from being dropped as useless.
    seen: i32,
}

/// Accounts fired by one message from which on they are looked at in the order of their slots.
const MANY: usize = 512;

/// Boxes drawn with one message. If it fires more accounts, and more than this part of all, as a power of a half, they are
/// swept: looked at and left unboxed, and the next messages draw so many boxes each.
const BOXED_AT_ONCE: usize = 1_000;
const SWEPT: u32 = 7;

/// Accounts that are read from memory together before they are looked at.
const TOGETHER: usize = 16;

/// The part of the distance to what follows the peak, as a power of a half, that is room enough not to read the history.
const ROOM: u32 = 4;

/// A slot of a [`Watch`].
pub type Slot = u32;

fn index(slot: u32) -> usize {
    usize::try_from(slot).unwrap_or(usize::MAX)
}

/// What a look at an account found.
enum Look {
    /// It was looked at with this message already.
    Again,
    /// Something happens to it.
    Happens,
    /// Nothing happens to it, and it is worth so much.
    Worth(i64),
}

/// Something that is worth something at prices.
pub trait Valued {
    /// The prices it depends on.
    fn variables(&self) -> impl Iterator<Item = Variable>;
    /// What it is worth at given prices: more with every higher bid, less with every higher ask.
    fn worth(&self, price: impl Fn(Variable) -> Option<i64>) -> Result<i64, Overflow>;
    /// The same at the prices of [`Valued::variables`], in their order.
    fn worth_standing(&self, standing: &[(Variable, i64)]) -> Result<i64, Overflow> {
        self.worth(|variable| standing.iter().find(|(of, _)| *of == variable).map(|(_, price)| *price))
    }
}

/// What is linear in its prices: it gains with bids and loses with asks.
struct Linear<'a> {
    base: i64,
    legs: &'a [Leg],
}

impl Valued for Linear<'_> {
    fn variables(&self) -> impl Iterator<Item = Variable> {
        self.legs.iter().map(|leg| Variable::from(leg.variable))
    }

    fn worth(&self, price: impl Fn(Variable) -> Option<i64>) -> Result<i64, Overflow> {
        let mut sum = self.base;
        for leg in self.legs {
            let price = price(Variable::from(leg.variable)).ok_or(Overflow)?;
            sum = leg.added_to(sum, price)?;
        }
        Ok(sum)
    }

    fn worth_standing(&self, standing: &[(Variable, i64)]) -> Result<i64, Overflow> {
        let mut both = self.legs.iter().zip(standing);
        both.try_fold(self.base, |sum, (leg, (_, price))| leg.added_to(sum, *price))
    }
}

impl Watch {
    /// Nobody is watched, and no price is known.
    pub fn new(instruments: usize) -> Self {
        let variables = instruments.saturating_mul(2);
        Self {
            zones: vec![Zone::default(); variables],
            prices: vec![0; variables],
            watched: Vec::new(),
            free: Vec::new(),
            history: History::new(variables),
            place: 0,
            looks: 0,
            unboxed: Vec::new(),
            sweeps: 0,
            found: Vec::new(),
            seen: 0,
        }
    }

    /// A slot for an account that nothing happens to yet.
    pub fn enter(&mut self) -> Slot {
        let nobody = Watched {
            base: 0,
            low: i64::MIN,
            high: i64::MAX,
            distance: 0,
            peak: i64::MIN,
            reach: i64::MAX,
            seen: self.place,
            since: (self.place, i64::MIN),
            legs: Box::default(),
            guarded: false,
            unboxed: false,
            fired: 0,
        };
        if let Some(slot) = self.free.pop() {
            if let Some(watched) = self.watched.get_mut(index(slot)) {
                *watched = nobody;
            }
            return slot;
        }
        let slot = u32::try_from(self.watched.len()).unwrap_or(u32::MAX);
        self.watched.push(nobody);
        slot
    }

    /// Nothing happens to the account any more.
    pub fn leave(&mut self, slot: Slot) {
        let Some(watched) = self.watched.get_mut(index(slot)) else { return };
        watched.unboxed = false;
        // Their room is given back when the slot is used again: when all leave at once, that would take longest.
        for leg in &mut watched.legs {
            if let Some(zone) = self.zones.get_mut(usize::from(leg.variable)) {
                zone.retract(std::mem::replace(&mut leg.posting, u32::MAX));
            }
        }
        self.free.push(slot);
    }

    /// Takes an account's postings back.
    fn clear(&mut self, slot: Slot) {
        let Some(watched) = self.watched.get_mut(index(slot)) else { return };
        for leg in std::mem::take(&mut watched.legs) {
            if let Some(zone) = self.zones.get_mut(usize::from(leg.variable)) {
                zone.retract(leg.posting);
            }
        }
    }

    /// Watches an account's worth anew: its exposures, one for each price at most, what it is worth beside them, and what
    /// that must not reach. The peak is taken as known up to the last message.
    pub fn set(
        &mut self,
        slot: Slot,
        base: i64,
        exposures: &[Exposure],
        levels: Levels,
    ) -> Result<(), Overflow> {
        self.post(slot, exposures);
        let place = self.place;
        let watched = self.watched.get_mut(index(slot)).ok_or(Overflow)?;
        watched.base = base;
        watched.low = levels.low;
        watched.high = levels.high;
        let peak = levels.trail.map_or(i64::MIN, |trail| trail.peak);
        watched.distance = levels.trail.map_or(0, |trail| trail.distance);
        watched.peak = peak;
        watched.reach = peak;
        watched.seen = place;
        watched.since = (place, peak);
        watched.guarded = false;
        let worth = watched.worth(&self.prices)?;
        self.draw(slot, worth)
    }

    /// Watches an account by intervals that its owner draws, one for each price at most: it is fired as soon as a price
    /// leaves one of them, and at every message about a price whose interval is empty. The peak is taken as known up to
    /// the last message.
    pub fn guard(
        &mut self,
        slot: Slot,
        intervals: &[(Variable, i64, i64)],
        peak: Option<i64>,
    ) -> Result<(), Overflow> {
        let exposure = |(variable, _, _): &(Variable, i64, i64)| Exposure {
            variable: *variable,
            weight: 0,
            below: None,
            above: None,
        };
        let exposures: Vec<Exposure> = intervals.iter().map(exposure).collect();
        self.post(slot, &exposures);
        let place = self.place;
        let watched = self.watched.get_mut(index(slot)).ok_or(Overflow)?;
        watched.guarded = true;
        watched.since = (place, peak.unwrap_or(i64::MIN));
        for (leg, (_, lo, hi)) in watched.legs.iter().zip(intervals) {
            leg.put(&mut self.zones, narrow(*lo), narrow(*hi))?;
        }
        Ok(())
    }

    /// Gives an account one posting for each of its prices, keeping those it has.
    fn post(&mut self, slot: Slot, exposures: &[Exposure]) {
        let Some(watched) = self.watched.get_mut(index(slot)) else { return };
        watched.unboxed = false;
        let same = watched.legs.len() == exposures.len()
            && watched.legs.iter().zip(exposures).all(|(leg, new)| u32::from(leg.variable) == new.variable);
        if !same {
            self.clear(slot);
        }
        let parts = exposures.iter().map(|exposure| part(exposure.weight));
        let whole = parts.clone().fold(0_u64, u64::saturating_add).max(1);
        let Some(watched) = self.watched.get_mut(index(slot)) else { return };
        let mut legs = Vec::with_capacity(exposures.len());
        for (place, (exposure, part)) in exposures.iter().zip(parts).enumerate() {
            let posting = match watched.legs.get(place) {
                Some(leg) => leg.posting,
                None => self.zones.get_mut(index(exposure.variable)).map_or(u32::MAX, |zone| zone.post(slot)),
            };
            let share = part.saturating_mul(65_535).checked_div(whole).unwrap_or_default();
            legs.push(Leg {
                weight: exposure.weight,
                below: exposure.below.map_or(i32::MIN, narrow),
                above: exposure.above.map_or(i32::MAX, narrow),
                posting,
                variable: u16::try_from(exposure.variable).unwrap_or(u16::MAX),
                share: u16::try_from(share).unwrap_or(u16::MAX),
            });
        }
        watched.legs = legs.into_boxed_slice();
    }

    /// Applies a message whole and tells whose levels or triggers it reached, or whose interval it left where the owner
    /// draws them; each once. They are to be watched anew or to leave. The others were looked at if need be and wait in new
    /// boxes or among the unboxed. The place of the message is above that of every earlier one.
    pub fn apply(
        &mut self,
        place: u64,
        at: Timestamp,
        moved: &[(Variable, i64)],
        fired: &mut Vec<Slot>,
    ) -> Result<(), Overflow> {
        self.place = place;
        for (variable, price) in moved {
            let standing = self.prices.get_mut(index(*variable)).ok_or(Overflow)?;
            *standing = *price;
            self.history.push(self.place, at, *variable, *price);
        }
        let mut found = std::mem::take(&mut self.found);
        found.clear();
        for (variable, price) in moved {
            self.zones.get_mut(index(*variable)).ok_or(Overflow)?.fire(narrow(*price), &mut found);
        }
        let sweeps = found.len() > most_boxed().max(self.watched.len() >> SWEPT);
        self.look_at_unboxed(if sweeps { 0 } else { most_boxed() }, fired)?;
        if sweeps {
            self.sweep(&found, fired)?;
        } else {
            self.box_anew(&mut found, fired)?;
        }
        self.found = found;
        Ok(())
    }

    /// Looks at those without a box, and gives boxes to so many of them.
    fn look_at_unboxed(&mut self, mut boxes: usize, fired: &mut Vec<Slot>) -> Result<(), Overflow> {
        let mut unboxed = std::mem::take(&mut self.unboxed);
        let mut looked = Ok(());
        unboxed.retain(|slot| {
            let waits = self.watched.get(index(*slot)).is_some_and(|watched| watched.unboxed);
            let stays = if waits { self.look_unboxed(*slot, &mut boxes, fired) } else { Ok(false) };
            stays.unwrap_or_else(|overflow| {
                looked = Err(overflow);
                false
            })
        });
        self.unboxed = unboxed;
        looked
    }

    /// Looks at an account without a box; true if it stays without one.
    fn look_unboxed(
        &mut self,
        slot: Slot,
        boxes: &mut usize,
        fired: &mut Vec<Slot>,
    ) -> Result<bool, Overflow> {
        match self.look(slot)? {
            Look::Again => return Ok(false),
            Look::Happens => fired.push(slot),
            Look::Worth(worth) => match boxes.checked_sub(1) {
                Some(left) => {
                    *boxes = left;
                    self.draw(slot, worth)?;
                }
                None => return Ok(true),
            },
        }
        Ok(false)
    }

    /// Looks at accounts whose interval was left and gives them new boxes.
    fn box_anew(&mut self, found: &mut [Slot], fired: &mut Vec<Slot>) -> Result<(), Overflow> {
        let many = found.len() >= MANY;
        if many {
            // In the order in which they lie in memory.
            found.sort_unstable();
        }
        for some in found.chunks(TOGETHER) {
            if !many {
                self.touch(some);
            }
            for slot in some {
                match self.look(*slot)? {
                    Look::Again => {}
                    Look::Happens => fired.push(*slot),
                    Look::Worth(worth) => self.draw(*slot, worth)?,
                }
            }
        }
        Ok(())
    }

    /// Looks at very many accounts whose interval was left, in the order in which they lie in memory, and leaves them
    /// without boxes: the worst message is a scan of those it concerns.
    fn sweep(&mut self, found: &[Slot], fired: &mut Vec<Slot>) -> Result<(), Overflow> {
        self.sweeps = self.sweeps.wrapping_add(1);
        let mut words = vec![0_u64; self.watched.len().div_ceil(64)];
        for slot in found {
            if let Some(word) = words.get_mut(index(*slot >> 6_u32)) {
                *word |= 1 << (*slot & 63);
            }
        }
        for (first, mut word) in (0_u32..).step_by(64).zip(words) {
            while word != 0 {
                let slot = first.saturating_add(word.trailing_zeros());
                word &= word.wrapping_sub(1);
                match self.look(slot)? {
                    Look::Again => {}
                    Look::Happens => fired.push(slot),
                    Look::Worth(_) => {
                        self.watched.get_mut(index(slot)).ok_or(Overflow)?.unboxed = true;
                        self.unboxed.push(slot);
                    }
                }
            }
        }
        Ok(())
    }

    /// Reads what the looks at some accounts will need, so that the memory answers for all of them together.
    fn touch(&mut self, slots: &[Slot]) {
        let mut seen = self.seen;
        for slot in slots {
            let Some(watched) = self.watched.get(index(*slot)) else { continue };
            for leg in &watched.legs {
                let zone = self.zones.get(usize::from(leg.variable));
                seen ^= zone.map_or(0, |zone| zone.touch(leg.posting));
            }
        }
        self.seen = seen;
    }

    /// Looks at an account that may have left its box.
    fn look(&mut self, slot: Slot) -> Result<Look, Overflow> {
        let place = self.place;
        let watched = self.watched.get_mut(index(slot)).ok_or(Overflow)?;
        if watched.fired == place {
            return Ok(Look::Again);
        }
        watched.fired = place;
        self.looks = self.looks.wrapping_add(1);
        if watched.guarded {
            return Ok(Look::Happens);
        }
        let worth = watched.worth(&self.prices)?;
        // What follows the peak comes last: it may have to read the history.
        if worth <= watched.low || worth >= watched.high || watched.follows(worth, place, &self.history)? {
            return Ok(Look::Happens);
        }
        for leg in &watched.legs {
            let price = narrow(leg.price(&self.prices)?);
            if (leg.below > i32::MIN && price <= leg.below) || (leg.above < i32::MAX && price >= leg.above) {
                return Ok(Look::Happens);
            }
        }
        Ok(Look::Worth(worth))
    }

    /// Draws an account's box around the standing prices: what it may lose and what it may gain, split over its prices.
    fn draw(&mut self, slot: Slot, worth: i64) -> Result<(), Overflow> {
        let watched = self.watched.get_mut(index(slot)).ok_or(Overflow)?;
        watched.unboxed = false;
        let (down, up) = watched.limits(worth);
        for leg in &watched.legs {
            let price = leg.price(&self.prices)?;
            leg.around(&mut self.zones, price, (leg.part(down), leg.part(up)))?;
        }
        Ok(())
    }

    /// The peak of what an account has been worth up to the last message, since it was last set.
    pub fn peak(&self, slot: Slot, valued: &impl Valued) -> Result<Peak, Overflow> {
        let (since, known) = self.watched.get(index(slot)).ok_or(Overflow)?.since;
        let mut peak = Peak::standing(known);
        self.history.raise(since, valued, &mut peak)?;
        Ok(peak)
    }

    /// The standing price; 0 before the first.
    pub fn price(&self, variable: Variable) -> Option<i64> {
        self.prices.get(index(variable)).copied()
    }

    /// Takes the peak of an account as known up to the message at a place. Its box stays as it is.
    pub fn know(&mut self, slot: Slot, peak: i64, place: u64) -> Result<(), Overflow> {
        let watched = self.watched.get_mut(index(slot)).ok_or(Overflow)?;
        watched.since = (place, peak);
        watched.seen = place;
        watched.peak = watched.peak.max(peak);
        Ok(())
    }

    /// Drops the prices up to a place. The peaks of all accounts that follow or ask for one are known up to it.
    pub fn forget(&mut self, place: u64) {
        self.history.forget(place);
    }

    /// What an account is worth at the standing prices.
    pub fn worth(&self, slot: Slot) -> Result<i64, Overflow> {
        self.watched.get(index(slot)).ok_or(Overflow)?.worth(&self.prices)
    }

    /// How often an account was looked at.
    pub const fn looks(&self) -> u64 {
        self.looks
    }

    /// How many messages fired so many accounts that they were left without boxes.
    pub const fn sweeps(&self) -> u64 {
        self.sweeps
    }

    /// Accounts without a box.
    pub fn unboxed(&self) -> usize {
        self.watched.iter().filter(|watched| watched.unboxed).count()
    }

    /// Bytes held for accounts, without the history of prices.
    pub fn bytes(&self) -> usize {
        let zones: usize = self.zones.iter().map(Zone::bytes).sum();
        let legs = |watched: &Watched| watched.legs.len().saturating_mul(size_of::<Leg>());
        let watched = self.watched.capacity().saturating_mul(size_of::<Watched>());
        zones.saturating_add(watched).saturating_add(self.watched.iter().map(legs).sum())
    }

    /// Those of [`Watch::bytes`] that are there for single positions and orders.
    pub fn bytes_of_positions(&self) -> usize {
        let zones: usize = self.zones.iter().map(Zone::bytes).sum();
        let legs = |watched: &Watched| watched.legs.len().saturating_mul(size_of::<Leg>());
        zones.saturating_add(self.watched.iter().map(legs).sum())
    }

    /// Bytes held for the history of prices.
    pub fn history_bytes(&self) -> usize {
        self.history.bytes()
    }
}

impl Leg {
    /// Gives it an interval.
    fn put(&self, zones: &mut [Zone], lo: i32, hi: i32) -> Result<(), Overflow> {
        let zone = zones.get_mut(usize::from(self.variable)).ok_or(Overflow)?;
        zone.set(self.posting, lo.max(self.below), hi.min(self.above));
        Ok(())
    }

    /// Gives it the interval around a price in which it neither loses nor gains more than so much.
    fn around(&self, zones: &mut [Zone], price: i64, (down, up): (i64, i64)) -> Result<(), Overflow> {
        let (fall, rise) = if self.weight < 0 { (up, down) } else { (down, up) };
        let size = self.weight.saturating_abs();
        let points = |amount: i64| amount.checked_div(size).unwrap_or(i64::MAX);
        let lo = price.saturating_sub(points(fall)).saturating_sub(1);
        let hi = price.saturating_add(points(rise)).saturating_add(1);
        #[cfg(test)]
        let (lo, hi) = tests::widened(lo, hi);
        self.put(zones, narrow(lo), narrow(hi))
    }

    /// The part of an amount that is meant for it.
    fn part(&self, amount: i64) -> i64 {
        let share = i64::from(self.share);
        // In 64 bits, because this is done at every look; of the largest amounts the last bits are given up.
        amount
            .checked_mul(share)
            .map_or_else(|| (amount >> 16_u32).saturating_mul(share), |whole| whole >> 16_u32)
    }
}

impl Watched {
    fn linear(&self) -> Linear<'_> {
        Linear { base: self.base, legs: &self.legs }
    }

    fn worth(&self, prices: &[i64]) -> Result<i64, Overflow> {
        self.linear().worth(|variable| prices.get(index(variable)).copied())
    }

    /// Whether it is worth no more than what follows its peak allows. As long as the highest that the peak can have
    /// reached leaves room below it that stands for the peak; only then is it read from the history.
    fn follows(&mut self, worth: i64, place: u64, history: &History) -> Result<bool, Overflow> {
        if self.distance == 0 {
            return Ok(false);
        }
        // The price that left the box may lie beyond its reach.
        self.reach = self.reach.max(self.peak).max(worth);
        let room = worth.saturating_sub(self.reach).saturating_add(self.distance);
        if room <= self.distance >> ROOM {
            if self.reach > self.peak {
                self.peak = history.highest(self.seen, &self.linear(), self.peak)?.max(worth);
                self.reach = self.peak;
            }
            self.seen = place;
        }
        Ok(worth <= self.reach.saturating_sub(self.distance))
    }

    /// What the account may lose, and what it may gain, before something happens to it.
    fn limits(&mut self, worth: i64) -> (i64, i64) {
        let trail = (self.distance > 0).then_some(Trail { peak: self.reach, distance: self.distance });
        let limits = Levels { low: self.low, high: self.high, trail }.limits(worth);
        self.reach = self.reach.max(worth.saturating_add(limits.1));
        limits
    }
}

/// How many boxes may be drawn with one message.
fn most_boxed() -> usize {
    #[cfg(test)]
    return tests::BOXED_AT_ONCE.get();
    #[cfg(not(test))]
    BOXED_AT_ONCE
}

/// The part of an amount that a leg should get: the two-thirds power of its weight makes the fewest looks, all prices
/// moving alike (the sum of the rates at which random walks leave their intervals is least). It moves speed, not truth.
fn part(weight: i64) -> u64 {
    let weight = weight.unsigned_abs();
    // The root of a square that fits; the last bits do not matter.
    let shift = u64::BITS.saturating_sub(weight.leading_zeros()).saturating_sub(31);
    let scaled = weight >> shift;
    let root = cube_root(scaled.saturating_mul(scaled));
    let back = shift.saturating_mul(2).checked_div(3).unwrap_or_default();
    if weight == 0 { 0 } else { (root << back).max(1) }
}

/// The whole part of a cube root.
fn cube_root(of: u64) -> u64 {
    let mut root = 0_u64;
    let mut bit = 1_u64 << 21;
    while bit > 0 {
        let next = root | bit;
        if next.checked_mul(next).and_then(|square| square.checked_mul(next)).is_some_and(|cube| cube <= of) {
            root = next;
        }
        bit >>= 1;
    }
    root
}

#[cfg(test)]
#[expect(clippy::arithmetic_side_effects, reason = "a test may panic")]
mod tests {
    use std::cell::Cell;

    use kernel::SeededRng;

    use super::*;

    thread_local! {
        /// Points by which boxes are drawn too wide.
        static SLACK: Cell<i64> = const { Cell::new(0) };
        /// Boxes drawn with one message.
        pub(super) static BOXED_AT_ONCE: Cell<usize> = const { Cell::new(super::BOXED_AT_ONCE) };
    }

    pub(super) fn widened(lo: i64, hi: i64) -> (i64, i64) {
        let slack = SLACK.get();
        (lo - slack, hi + slack)
    }

    struct Naive {
        base: i64,
        held: Vec<(Variable, i64)>,
        low: i64,
        high: i64,
        distance: i64,
        peak: i64,
    }

    impl Naive {
        /// Whether something happens to it at these prices.
        fn happens(&mut self, prices: &[i64]) -> bool {
            let worth =
                self.base + self.held.iter().map(|(of, weight)| weight * prices[index(*of)]).sum::<i64>();
            self.peak = self.peak.max(worth);
            let floor = if self.distance > 0 { self.low.max(self.peak - self.distance) } else { self.low };
            worth <= floor || worth >= self.high
        }
    }

    /// Over random prices, at how many messages the watch and a scan of everybody fire different accounts. Who is fired
    /// comes back elsewhere.
    fn differences(seed: u64, slack: i64) -> u32 {
        beside_a_scan(seed, slack).0
    }

    /// The same, and the watch as it stands at the end.
    fn beside_a_scan(seed: u64, slack: i64) -> (u32, Watch) {
        SLACK.set(slack);
        let rng = SeededRng::new(seed);
        let whole = |from: i64, to: i64| rng.between(from, to);
        let mut prices: Vec<i64> =
            (0..4).flat_map(|instrument| [1_000 + instrument, 1_002 + instrument]).collect();
        let mut watch = Watch::new(4);
        let start: Vec<_> = (0..).zip(prices.iter().copied()).collect();
        watch.apply(1, Timestamp::from_micros(0), &start, &mut Vec::new()).unwrap();
        let mut accounts: Vec<(Slot, Naive)> = Vec::new();
        let account = |watch: &mut Watch, slot: Slot, prices: &[i64]| {
            let count = whole(1, 3);
            let first = whole(0, 3);
            let held: Vec<(Variable, i64)> = (0..count)
                .map(|which| {
                    let instrument = u16::try_from((first + which) % 4).unwrap();
                    let size = whole(1, 60);
                    if whole(0, 1) == 0 { (bid(instrument), size) } else { (ask(instrument), -size) }
                })
                .collect();
            let worth: i64 = held.iter().map(|(of, weight)| weight * prices[index(*of)]).sum();
            let (equity, distance) =
                (whole(9_700, 10_300), [0, 500, 900][usize::try_from(whole(0, 2)).unwrap()]);
            let exposure = |(variable, weight): &(Variable, i64)| Exposure {
                variable: *variable,
                weight: *weight,
                below: None,
                above: None,
            };
            let exposures: Vec<_> = held.iter().map(exposure).collect();
            let (low, high) = (9_200, 10_900);
            let trail = (distance > 0).then_some(Trail { peak: equity, distance });
            watch.set(slot, equity - worth, &exposures, Levels { low, high, trail }).unwrap();
            Naive { base: equity - worth, held, low, high, distance, peak: equity }
        };
        for _ in 0..60 {
            let slot = watch.enter();
            let naive = account(&mut watch, slot, &prices);
            accounts.push((slot, naive));
        }
        let mut differing = 0;
        for place in 2..6_000 {
            let instrument = u16::try_from(whole(0, 3)).unwrap();
            let step = whole(-2, 2) * if whole(0, 99) == 0 { 10 } else { 1 };
            let at = index(bid(instrument));
            let price = (prices[at] + step).clamp(900, 1_100);
            (prices[at], prices[at + 1]) = (price, price + whole(1, 4));
            let moved = [(bid(instrument), prices[at]), (ask(instrument), prices[at + 1])];
            let mut fired = Vec::new();
            watch.apply(place, Timestamp::from_micros(0), &moved, &mut fired).unwrap();
            fired.sort_unstable();
            let mut expected = Vec::new();
            for (slot, naive) in &mut accounts {
                if naive.happens(&prices) {
                    expected.push(*slot);
                }
            }
            differing += u32::from(fired != expected);
            for (slot, naive) in &mut accounts {
                if fired.contains(slot) || expected.contains(slot) {
                    *naive = account(&mut watch, *slot, &prices);
                }
            }
        }
        SLACK.set(0);
        (differing, watch)
    }

    #[test]
    fn the_watch_fires_whom_a_scan_finds() {
        for seed in 1..=6 {
            assert_eq!(differences(seed, 0), 0, "seed {seed}");
        }
    }

    #[test]
    fn sweeps_fire_whom_a_scan_finds_and_everybody_gets_a_box_again() {
        BOXED_AT_ONCE.set(2);
        for seed in 1..=6 {
            let (differing, mut watch) = beside_a_scan(seed, 0);
            assert_eq!(differing, 0, "seed {seed}");
            assert!(watch.sweeps() > 100, "seed {seed}: {}", watch.sweeps());
            let mut before = watch.unboxed();
            for place in 6_000..6_031 {
                watch.apply(place, Timestamp::from_micros(0), &[], &mut Vec::new()).unwrap();
                assert_eq!(watch.unboxed(), before.saturating_sub(2), "two boxes with each message");
                before = watch.unboxed();
            }
            assert_eq!(before, 0);
        }
        BOXED_AT_ONCE.set(super::BOXED_AT_ONCE);
    }

    #[test]
    fn boxes_one_point_too_wide_are_found_out() {
        for seed in 1..=6 {
            assert!(differences(seed, 1) > 0, "seed {seed}");
        }
    }
}
