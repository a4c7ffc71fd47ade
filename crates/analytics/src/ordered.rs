//! Values in their order, and the place of each: what a rank is counted with.
//!
//! Parts of some hundred values in one list. A value is found by halving, its place by adding up how many stand in the
//! parts before it: about a microsecond at a million values, without pointers to follow. No crate that keeps places was worth
//! its dependency for this.

/// A part that has so many is split. The cost of an insertion is moving the part's tail, the cost of a place is one addition
/// for each part; at a million values the two meet about here.
const MOST: usize = 1_024;

/// Distinct values, the smallest first.
#[derive(Debug, Clone)]
pub struct Ordered<T> {
    /// None is empty; together in order.
    parts: Vec<Vec<T>>,
    len: usize,
}

impl<T> Default for Ordered<T> {
    fn default() -> Self {
        Self { parts: Vec::new(), len: 0 }
    }
}

impl<T: Ord + Copy> Ordered<T> {
    /// How many.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The first part with a value that is not less, and where in it.
    fn find(&self, value: &T) -> (usize, Result<usize, usize>) {
        let part = self.parts.partition_point(|part| part.last().is_some_and(|last| last < value));
        (part, self.parts.get(part).map_or(Err(0), |part| part.binary_search(value)))
    }

    /// Adds a value; false if it was there.
    pub fn insert(&mut self, value: T) -> bool {
        let (found, within) = self.find(&value);
        let Err(mut within) = within else { return false };
        // Beyond all: at the end of the last part.
        let index = found.min(self.parts.len().saturating_sub(1));
        if self.parts.is_empty() {
            self.parts.push(Vec::with_capacity(MOST));
        }
        let Some(part) = self.parts.get_mut(index) else { return false };
        if found > index {
            within = part.len();
        }
        part.insert(within, value);
        if part.len() >= MOST {
            let tail = part.split_off(MOST / 2);
            self.parts.insert(index.saturating_add(1), tail);
        }
        self.len = self.len.saturating_add(1);
        true
    }

    /// Takes a value away; false if it was not there.
    pub fn remove(&mut self, value: &T) -> bool {
        let (index, within) = self.find(value);
        let (Ok(within), Some(part)) = (within, self.parts.get_mut(index)) else { return false };
        part.remove(within);
        if part.is_empty() {
            self.parts.remove(index);
        }
        self.len = self.len.saturating_sub(1);
        true
    }

    /// How many values are less.
    pub fn place(&self, value: &T) -> usize {
        let (index, within) = self.find(value);
        let before: usize = self.parts.iter().take(index).map(Vec::len).sum();
        before.saturating_add(within.unwrap_or_else(|place| place))
    }

    /// The values from a place on.
    pub fn from(&self, place: usize) -> impl Iterator<Item = T> + '_ {
        let mut skip = place;
        let mut index = 0_usize;
        while let Some(part) = self.parts.get(index)
            && part.len() <= skip
        {
            skip = skip.saturating_sub(part.len());
            index = index.saturating_add(1);
        }
        self.parts.iter().skip(index).flatten().copied().skip(skip)
    }

    /// Bytes on the heap.
    pub fn bytes(&self) -> usize {
        let values: usize = self.parts.iter().map(Vec::capacity).sum();
        let lists = self.parts.capacity().saturating_mul(size_of::<Vec<T>>());
        values.saturating_mul(size_of::<T>()).saturating_add(lists)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::arithmetic_side_effects, reason = "tests")]

    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

        #[test]
        fn places_are_those_of_a_sorted_set(steps in prop::collection::vec((any::<bool>(), 0_u32..6_000), 1..9_000)) {
            let (mut ordered, mut set) = (Ordered::default(), BTreeSet::new());
            for (add, value) in steps {
                if add {
                    prop_assert_eq!(ordered.insert(value), set.insert(value));
                } else {
                    prop_assert_eq!(ordered.remove(&value), set.remove(&value));
                }
            }
            prop_assert_eq!(ordered.len(), set.len());
            prop_assert!(ordered.from(0).eq(set.iter().copied()));
            for value in (0..6_000).step_by(97) {
                prop_assert_eq!(ordered.place(&value), set.range(..value).count());
            }
            for place in (0..set.len() + 3).step_by(501) {
                prop_assert!(ordered.from(place).take(3).eq(set.iter().copied().skip(place).take(3)));
            }
        }
    }

    #[test]
    fn rising_and_falling_values_are_kept_in_full_parts() {
        let (mut rising, mut falling) = (Ordered::default(), Ordered::default());
        for value in 0..100_000_u32 {
            assert!(rising.insert(value) && falling.insert(100_000 - value));
        }
        assert!(rising.from(99_999).eq([99_999]));
        assert_eq!(falling.place(&50_000), 49_999);
        assert!(rising.bytes() < 100_000 * 4 * 3 && falling.bytes() < 100_000 * 4 * 3);
        for value in 0..100_000_u32 {
            assert!(rising.remove(&value));
        }
        assert!(rising.is_empty() && rising.bytes() < 10_000);
    }
}
