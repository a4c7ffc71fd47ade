//! Intervals of one price, and which of them a new price leaves.

/// The interval that no price leaves; also what pads a block.
const NEVER: (i32, i32) = (i32::MIN, i32::MAX);
/// Nobody's posting.
const NOBODY: u32 = u32::MAX;
/// Postings below one entry of the first summary, and entries of it below one of the second.
const FAN: usize = 16;
/// Postings below one entry of the second summary.
const BLOCK: usize = 256;
/// Entries of the second summary that are tested together, without a branch.
const STRIP: usize = 64;

/// Open intervals around one price, each with its owner: a price fires those with `price <= lo` or `price >= hi`.
///
/// Two summaries hold the highest `lo` and the lowest `hi` of 16 and of 256 postings; a query reads the second one from
/// end to end and opens only what answers. A price beyond 32 bits fires more than it must and never less.
#[derive(Debug, Clone, Default)]
pub(super) struct Zone {
    postings: Bounds,
    owners: Vec<u32>,
    sixteens: Bounds,
    blocks: Bounds,
    free: Vec<u32>,
}

/// The two ends of intervals, each in its own array, as a query reads them.
#[derive(Debug, Clone, Default)]
struct Bounds {
    lo: Vec<i32>,
    hi: Vec<i32>,
}

impl Bounds {
    fn extend(&mut self, count: usize) {
        self.lo.resize(self.lo.len().saturating_add(count), NEVER.0);
        self.hi.resize(self.hi.len().saturating_add(count), NEVER.1);
    }

    /// Sets one entry; what stood there.
    fn set(&mut self, place: usize, lo: i32, hi: i32) -> Option<(i32, i32)> {
        let old_lo = std::mem::replace(self.lo.get_mut(place)?, lo);
        let old_hi = std::mem::replace(self.hi.get_mut(place)?, hi);
        Some((old_lo, old_hi))
    }

    fn get(&self, place: usize) -> Option<(i32, i32)> {
        Some((*self.lo.get(place)?, *self.hi.get(place)?))
    }

    /// The highest `lo` and the lowest `hi` of the entries below one of the next summary.
    fn summary(&self, above: usize) -> (i32, i32) {
        let from = above.saturating_mul(FAN);
        let to = from.saturating_add(FAN);
        let lo = self.lo.get(from..to).unwrap_or_default().iter().copied().max();
        let hi = self.hi.get(from..to).unwrap_or_default().iter().copied().min();
        (lo.unwrap_or(NEVER.0), hi.unwrap_or(NEVER.1))
    }

    /// The places in a range that a price fires.
    fn fired(&self, from: usize, count: usize, price: i32) -> impl Iterator<Item = usize> {
        let to = from.saturating_add(count);
        let lo = self.lo.get(from..to).unwrap_or_default();
        let hi = self.hi.get(from..to).unwrap_or_default();
        let pairs = lo.iter().zip(hi).enumerate();
        pairs
            .filter(move |(_, (lo, hi))| **lo >= price || **hi <= price)
            .map(move |(at, _)| from.saturating_add(at))
    }
}

/// A price in 32 bits. Whatever lies beyond stands at the end: an interval that ends there is fired by every such
/// price.
pub(super) fn narrow(price: i64) -> i32 {
    i32::try_from(price).unwrap_or(if price < 0 { i32::MIN } else { i32::MAX })
}

impl Zone {
    /// A posting of an owner, that never fires.
    pub fn post(&mut self, owner: u32) -> u32 {
        if self.free.is_empty() {
            let start = self.owners.len();
            self.owners.resize(start.saturating_add(BLOCK), NOBODY);
            self.postings.extend(BLOCK);
            self.sixteens.extend(FAN);
            self.blocks.extend(1);
            let new = (start..start.saturating_add(BLOCK)).rev();
            self.free.extend(new.filter_map(|place| u32::try_from(place).ok()));
        }
        let posting = self.free.pop().unwrap_or(NOBODY);
        if let Some(place) = self.owners.get_mut(index(posting)) {
            *place = owner;
        }
        posting
    }

    /// Takes a posting back.
    pub fn retract(&mut self, posting: u32) {
        self.set(posting, NEVER.0, NEVER.1);
        if let Some(place) = self.owners.get_mut(index(posting)) {
            *place = NOBODY;
            self.free.push(posting);
        }
    }

    /// Moves a posting.
    pub fn set(&mut self, posting: u32, lo: i32, hi: i32) {
        let place = index(posting);
        let Some(old) = self.postings.set(place, lo, hi) else { return };
        let sixteen = place.checked_div(FAN).unwrap_or_default();
        let Some(old) = raise(&self.postings, &mut self.sixteens, sixteen, old, (lo, hi)) else { return };
        let block = sixteen.checked_div(FAN).unwrap_or_default();
        let new = self.sixteens.get(sixteen).unwrap_or(NEVER);
        raise(&self.sixteens, &mut self.blocks, block, old, new);
    }

    /// The owners that a price fires; one with several postings may come more than once.
    pub fn fire(&self, price: i32, owners: &mut Vec<u32>) {
        let strips = self.blocks.lo.chunks(STRIP).zip(self.blocks.hi.chunks(STRIP));
        for (strip, (lo, hi)) in strips.enumerate() {
            #[expect(
                clippy::needless_bitwise_bool,
                reason = "without a branch the strip is compared by vector instructions"
            )]
            let answers =
                lo.iter().zip(hi).fold(false, |any, (lo, hi)| any | (*lo >= price) | (*hi <= price));
            if !answers {
                continue;
            }
            for block in self.blocks.fired(strip.saturating_mul(STRIP), lo.len(), price) {
                for sixteen in self.sixteens.fired(block.saturating_mul(FAN), FAN, price) {
                    let fired = self.postings.fired(sixteen.saturating_mul(FAN), FAN, price);
                    owners.extend(
                        fired.filter_map(|posting| self.owners.get(posting)).filter(|it| **it != NOBODY),
                    );
                }
            }
        }
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        let entries = [&self.postings, &self.sixteens, &self.blocks];
        let bounds = entries.iter().map(|it| it.lo.capacity().saturating_add(it.hi.capacity()));
        let words = bounds.sum::<usize>().saturating_add(self.owners.capacity());
        words.saturating_add(self.free.capacity()).saturating_mul(size_of::<u32>())
    }

    /// Whether every summary is what it says.
    #[cfg(test)]
    fn holds(&self) -> bool {
        let right = |below: &Bounds, above: &Bounds| {
            (0..above.lo.len()).all(|entry| above.get(entry) == Some(below.summary(entry)))
        };
        right(&self.postings, &self.sixteens) && right(&self.sixteens, &self.blocks)
    }
}

fn index(posting: u32) -> usize {
    usize::try_from(posting).unwrap_or(usize::MAX)
}

/// Brings a summary up to date after one entry below it moved from `old` to `new`; the summary's entry before, if it
/// moved. It is computed anew only if the entry that moved inwards was its end.
fn raise(
    below: &Bounds,
    above: &mut Bounds,
    entry: usize,
    old: (i32, i32),
    new: (i32, i32),
) -> Option<(i32, i32)> {
    let before = above.get(entry)?;
    let lo_falls = new.0 < old.0 && old.0 == before.0;
    let hi_rises = new.1 > old.1 && old.1 == before.1;
    let after =
        if lo_falls || hi_rises { below.summary(entry) } else { (before.0.max(new.0), before.1.min(new.1)) };
    if after == before {
        return None;
    }
    above.set(entry, after.0, after.1)
}

#[cfg(test)]
#[expect(clippy::arithmetic_side_effects, reason = "a test may panic")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_price_fires_what_a_scan_finds(
            moves in prop::collection::vec((0_usize..700, -40_i32..40, 0_i32..30, any::<bool>()), 1..400),
            prices in prop::collection::vec(-50_i32..50, 1..40),
        ) {
            let mut zone = Zone::default();
            let mut held: Vec<(u32, i32, i32)> = (0..600).map(|owner| (zone.post(owner), i32::MIN, i32::MAX)).collect();
            for (place, at, width, gone) in moves {
                let place = place % held.len();
                let (posting, lo, hi) = &mut held[place];
                if gone {
                    zone.retract(*posting);
                    *posting = zone.post(u32::try_from(place).unwrap());
                    (*lo, *hi) = NEVER;
                } else {
                    (*lo, *hi) = (at - width, at + width);
                    zone.set(*posting, *lo, *hi);
                }
            }
            prop_assert!(zone.holds());
            for price in prices {
                let mut found = Vec::new();
                zone.fire(price, &mut found);
                found.sort_unstable();
                let fires = |(_, (_, lo, hi)): &(usize, &(u32, i32, i32))| *lo >= price || *hi <= price;
                let scanned: Vec<u32> =
                    held.iter().enumerate().filter(fires).map(|(owner, _)| u32::try_from(owner).unwrap()).collect();
                prop_assert_eq!(found, scanned);
            }
        }
    }
}
