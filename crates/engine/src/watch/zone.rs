//! Intervals of one price, and which of them a new price leaves.

/// The interval that no price leaves; also what pads a block.
const NEVER: (i32, i32) = (i32::MIN, i32::MAX);
/// Nobody's posting.
const NOBODY: u32 = u32::MAX;
/// Entries that are read together.
const FAN: usize = 16;
/// Postings below one entry of the second summary.
const BLOCK: usize = 256;

/// Open intervals around one price, each with its owner: a price fires those with `price <= lo` or `price >= hi`.
///
/// Two summaries hold the highest `lo` and the lowest `hi` of 16 and of 256 postings; a query reads the second one from
/// end to end and opens only what answers. A posting that moves outwards is told to its summaries at once. One that moves
/// inwards is not: its summaries say more than is there until a query opens them in vain and corrects them. A price beyond
/// 32 bits fires more than it must and never less.
#[derive(Debug, Clone, Default)]
pub(super) struct Zone {
    postings: Vec<Sixteen>,
    owners: Vec<u32>,
    sixteens: Vec<Sixteen>,
    blocks: Vec<Sixteen>,
    free: Vec<u32>,
}

/// Sixteen intervals in two neighbouring lines of the cache, so that vector instructions test them in one go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(align(128))]
struct Sixteen {
    lo: [i32; FAN],
    hi: [i32; FAN],
}

impl Sixteen {
    const EMPTY: Self = Self { lo: [NEVER.0; FAN], hi: [NEVER.1; FAN] };

    /// Whether a price fires any of them.
    #[expect(
        clippy::needless_bitwise_bool,
        reason = "without a branch the sixteen are compared by vector instructions"
    )]
    fn answers(&self, price: i32) -> bool {
        let lo = self.lo.iter().fold(false, |any, lo| any | (*lo >= price));
        self.hi.iter().fold(lo, |any, hi| any | (*hi <= price))
    }

    /// Those that a price fires.
    fn fired(&self, price: i32) -> impl Iterator<Item = usize> {
        let pairs = self.lo.iter().zip(&self.hi).enumerate();
        pairs.filter(move |(_, (lo, hi))| **lo >= price || **hi <= price).map(|(place, _)| place)
    }

    /// The highest `lo` and the lowest `hi`.
    fn summary(&self) -> (i32, i32) {
        let lo = self.lo.iter().fold(NEVER.0, |most, lo| most.max(*lo));
        (lo, self.hi.iter().fold(NEVER.1, |least, hi| least.min(*hi)))
    }

    fn set(&mut self, place: usize, (lo, hi): (i32, i32)) {
        if let (Some(old_lo), Some(old_hi)) = (self.lo.get_mut(place), self.hi.get_mut(place)) {
            (*old_lo, *old_hi) = (lo, hi);
        }
    }

    /// Widens what one of them says until it covers an interval.
    fn cover(&mut self, place: usize, (lo, hi): (i32, i32)) {
        if let (Some(old_lo), Some(old_hi)) = (self.lo.get_mut(place), self.hi.get_mut(place)) {
            (*old_lo, *old_hi) = (lo.max(*old_lo), hi.min(*old_hi));
        }
    }
}

/// A price in 32 bits. Whatever lies beyond stands at the end: an interval that ends there is fired by every such
/// price.
pub(super) fn narrow(price: i64) -> i32 {
    i32::try_from(price).unwrap_or(if price < 0 { i32::MIN } else { i32::MAX })
}

/// A place split into the group of sixteen and the place in it.
fn split(place: usize) -> (usize, usize) {
    (place >> 4_u32, place & 15)
}

impl Zone {
    /// A posting of an owner, that never fires.
    pub fn post(&mut self, owner: u32) -> u32 {
        if self.free.is_empty() {
            let start = self.owners.len();
            let end = start.saturating_add(BLOCK);
            self.owners.resize(end, NOBODY);
            self.postings.resize(end >> 4_u32, Sixteen::EMPTY);
            self.sixteens.push(Sixteen::EMPTY);
            if self.sixteens.len() > self.blocks.len().saturating_mul(FAN) {
                self.blocks.push(Sixteen::EMPTY);
            }
            self.free.extend((start..end).rev().filter_map(|place| u32::try_from(place).ok()));
        }
        let posting = self.free.pop().unwrap_or(NOBODY);
        if let Some(place) = self.owners.get_mut(index(posting)) {
            *place = owner;
        }
        posting
    }

    /// Takes a posting back.
    pub fn retract(&mut self, posting: u32) {
        let (sixteen, place) = split(index(posting));
        if let (Some(sixteen), Some(owner)) =
            (self.postings.get_mut(sixteen), self.owners.get_mut(index(posting)))
        {
            sixteen.set(place, NEVER);
            *owner = NOBODY;
            self.free.push(posting);
        }
    }

    /// Moves a posting.
    pub fn set(&mut self, posting: u32, lo: i32, hi: i32) {
        let (sixteen, place) = split(index(posting));
        let (block, among) = split(sixteen);
        let (strip, in_strip) = split(block);
        if let (Some(postings), Some(sixteens), Some(blocks)) =
            (self.postings.get_mut(sixteen), self.sixteens.get_mut(block), self.blocks.get_mut(strip))
        {
            postings.set(place, (lo, hi));
            sixteens.cover(among, (lo, hi));
            blocks.cover(in_strip, (lo, hi));
        }
    }

    /// Something of what [`Zone::set`] will need: reading it for many postings first lets the memory answer them together.
    pub fn touch(&self, posting: u32) -> i32 {
        let (sixteen, _) = split(index(posting));
        let (block, _) = split(sixteen);
        let postings = self.postings.get(sixteen).map_or(0, |it| it.lo[0] ^ it.hi[0]);
        postings ^ self.sixteens.get(block).map_or(0, |it| it.lo[0] ^ it.hi[0])
    }

    /// The owners that a price fires; one with several postings may come more than once. Their postings never fire again
    /// until they are moved.
    pub fn fire(&mut self, price: i32, owners: &mut Vec<u32>) {
        for (strip, blocks) in self.blocks.iter_mut().enumerate() {
            if !blocks.answers(price) {
                continue;
            }
            let first = strip.saturating_mul(FAN);
            let answering = *blocks;
            for block in answering.fired(price) {
                let Some(sixteens) = self.sixteens.get_mut(first.saturating_add(block)) else { break };
                let first = first.saturating_add(block).saturating_mul(FAN);
                let answering = *sixteens;
                for sixteen in answering.fired(price) {
                    let Some(postings) = self.postings.get_mut(first.saturating_add(sixteen)) else { break };
                    let first = first.saturating_add(sixteen).saturating_mul(FAN);
                    let answering = *postings;
                    for posting in answering.fired(price) {
                        let owner = self.owners.get(first.saturating_add(posting));
                        owners.extend(owner.filter(|owner| **owner != NOBODY));
                        postings.set(posting, NEVER);
                    }
                    sixteens.set(sixteen, postings.summary());
                }
                blocks.set(block, sixteens.summary());
            }
        }
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        let groups = [&self.postings, &self.sixteens, &self.blocks];
        let groups = groups.iter().map(|it| it.capacity().saturating_mul(size_of::<Sixteen>()));
        let words = self.owners.capacity().saturating_add(self.free.capacity());
        groups.sum::<usize>().saturating_add(words.saturating_mul(size_of::<u32>()))
    }

    /// Whether no summary says less than is there.
    #[cfg(test)]
    fn holds(&self) -> bool {
        let covers = |below: &[Sixteen], above: &[Sixteen]| {
            below.iter().enumerate().all(|(number, group)| {
                let ((lo, hi), above) = (group.summary(), above[number / FAN]);
                above.lo[number % FAN] >= lo && above.hi[number % FAN] <= hi
            })
        };
        covers(&self.postings, &self.sixteens) && covers(&self.sixteens, &self.blocks)
    }
}

fn index(posting: u32) -> usize {
    usize::try_from(posting).unwrap_or(usize::MAX)
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
            for price in prices {
                prop_assert!(zone.holds());
                let mut found = Vec::new();
                zone.fire(price, &mut found);
                found.sort_unstable();
                let mut scanned = Vec::new();
                for (owner, (_, lo, hi)) in held.iter_mut().enumerate() {
                    if *lo >= price || *hi <= price {
                        scanned.push(u32::try_from(owner).unwrap());
                        (*lo, *hi) = NEVER;
                    }
                }
                prop_assert_eq!(found, scanned);
            }
        }
    }
}
