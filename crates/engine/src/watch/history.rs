//! The prices of the recent past, so that the highest worth between two looks is found without a look at every price.

use std::ops::Range;

use kernel::{Overflow, Timestamp};

use super::{Peak, Valued, Variable, index};

/// Changes in one block.
const BLOCK: usize = 256;
/// Blocks in one chapter.
const CHAPTER: usize = 16;

/// Every change of a price since a place, in blocks, with the extremes that stood in each.
///
/// The place of a change counts messages: all changes of one message have one place, and nothing is worth anything
/// between them. Each price keeps its own changes, so that whoever depends on few prices reads no others.
#[derive(Debug, Clone)]
pub(super) struct History {
    variables: Vec<Moved>,
    /// The place of the last change of each block. At least one block, the last of which grows.
    blocks: Vec<u64>,
    /// Changes in the last block.
    filled: usize,
}

/// A price, its changes, and its extremes: the highest of a bid, which counts for those who hold, the lowest of an ask,
/// which counts for those who owe.
#[derive(Debug, Clone, Default)]
struct Moved {
    price: i64,
    /// The price before the first change.
    first: i64,
    changes: Vec<Change>,
    /// Where the changes of each block begin.
    starts: Vec<usize>,
    /// One for each block, the price at its start included.
    blocks: Vec<i64>,
    /// One for each chapter.
    chapters: Vec<i64>,
}

#[derive(Debug, Clone, Copy)]
struct Change {
    place: u64,
    at: Timestamp,
    price: i64,
}

impl Moved {
    /// The price before a block, and the changes in it.
    fn block(&self, number: usize) -> Option<(i64, &[Change])> {
        let start = *self.starts.get(number)?;
        let end = number.checked_add(1).and_then(|next| self.starts.get(next).copied());
        let changes = self.changes.get(start..end.unwrap_or(self.changes.len()))?;
        let before = start.checked_sub(1).and_then(|before| self.changes.get(before));
        Some((before.map_or(self.first, |before| before.price), changes))
    }

    /// Drops the changes of the first so many blocks.
    fn forget(&mut self, blocks: usize, chapters: usize) {
        let gone = self.starts.get(blocks).copied().unwrap_or_default();
        if let Some(last) = self.changes.drain(..gone).next_back() {
            self.first = last.price;
        }
        self.starts.drain(..blocks);
        for start in &mut self.starts {
            *start = start.saturating_sub(gone);
        }
        self.blocks.drain(..blocks);
        self.chapters.drain(..chapters);
    }
}

impl History {
    /// Nothing has happened, and no price is known.
    pub fn new(variables: usize) -> Self {
        let mut history =
            Self { variables: vec![Moved::default(); variables], blocks: Vec::new(), filled: 0 };
        history.begin(0);
        history
    }

    /// Begins a block, and a chapter if the last one is full.
    fn begin(&mut self, place: u64) {
        let starts_chapter = self.blocks.len().is_multiple_of(CHAPTER);
        for variable in &mut self.variables {
            variable.starts.push(variable.changes.len());
            variable.blocks.push(variable.price);
            if starts_chapter {
                variable.chapters.push(variable.price);
            }
        }
        self.blocks.push(place);
        self.filled = 0;
    }

    /// Adds a change. Blocks end between messages.
    pub fn push(&mut self, place: u64, at: Timestamp, variable: Variable, price: i64) {
        if self.filled >= BLOCK && self.blocks.last() != Some(&place) {
            self.begin(place);
        }
        let bid = variable.is_multiple_of(2);
        let Some(moved) = self.variables.get_mut(index(variable)) else { return };
        // The first price of all has no earlier one to be better than.
        let first = moved.price == 0;
        moved.price = price;
        for extreme in [moved.blocks.last_mut(), moved.chapters.last_mut()].into_iter().flatten() {
            *extreme = match (first, bid) {
                (true, _) => price,
                (false, true) => price.max(*extreme),
                (false, false) => price.min(*extreme),
            };
        }
        moved.changes.push(Change { place, at, price });
        if let Some(last) = self.blocks.last_mut() {
            *last = place;
        }
        self.filled = self.filled.saturating_add(1);
    }

    /// Drops what no look needs any more: everything up to a place, as far as whole chapters go.
    pub fn forget(&mut self, place: u64) {
        // The last block stays: it grows.
        let blocks = self.first_after(place).min(self.blocks.len().saturating_sub(1));
        let chapters = blocks.checked_div(CHAPTER).unwrap_or_default();
        if chapters == 0 {
            return;
        }
        let blocks = chapters.saturating_mul(CHAPTER);
        self.blocks.drain(..blocks);
        for variable in &mut self.variables {
            variable.forget(blocks, chapters);
        }
    }

    /// The highest worth over the messages after a place, if it is above one that is known, or else that.
    ///
    /// A chapter or block whose extremes, all at once, would not exceed what is known cannot raise it. The most promising
    /// is opened first: of the others few are left then.
    pub fn highest(&self, after: u64, valued: &impl Valued, known: i64) -> Result<i64, Overflow> {
        let first = self.first_after(after);
        let mut peak = Peak::standing(known);
        let chapters = first.checked_div(CHAPTER).unwrap_or_default()..self.blocks.len().div_ceil(CHAPTER);
        for (bound, chapter) in self.most_promising(chapters, valued, known, |it| &it.chapters)? {
            if bound <= peak.highest {
                break;
            }
            let blocks =
                self.most_promising(self.of_chapter(chapter, first), valued, peak.highest, |it| &it.blocks)?;
            for (bound, block) in blocks {
                if bound <= peak.highest {
                    break;
                }
                self.read(block, after, valued, &mut peak)?;
            }
        }
        Ok(peak.highest)
    }

    /// Raises a peak by the messages after a place, in their order.
    pub fn raise(&self, after: u64, valued: &impl Valued, peak: &mut Peak) -> Result<(), Overflow> {
        let first = self.first_after(after);
        let chapters = first.checked_div(CHAPTER).unwrap_or_default()..self.blocks.len().div_ceil(CHAPTER);
        for chapter in chapters {
            if self.most(valued, chapter, |it| &it.chapters)? > peak.highest {
                for block in self.of_chapter(chapter, first) {
                    if self.most(valued, block, |it| &it.blocks)? > peak.highest {
                        self.read(block, after, valued, peak)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn first_after(&self, after: u64) -> usize {
        self.blocks.partition_point(|last| *last <= after)
    }

    /// The blocks of a chapter, from one on.
    fn of_chapter(&self, chapter: usize, first: usize) -> Range<usize> {
        let start = chapter.saturating_mul(CHAPTER);
        start.max(first)..start.saturating_add(CHAPTER).min(self.blocks.len())
    }

    /// Those of some blocks or chapters that might exceed what is known, each after its bound, the highest first.
    fn most_promising(
        &self,
        numbers: Range<usize>,
        valued: &impl Valued,
        known: i64,
        extremes: impl Fn(&Moved) -> &[i64],
    ) -> Result<Vec<(i64, usize)>, Overflow> {
        let mut promising = Vec::new();
        for number in numbers {
            let bound = self.most(valued, number, &extremes)?;
            if bound > known {
                promising.push((bound, number));
            }
        }
        promising.sort_unstable_by(|left, right| right.cmp(left));
        Ok(promising)
    }

    /// What it was worth at most in a block or chapter.
    fn most(
        &self,
        valued: &impl Valued,
        number: usize,
        extremes: impl Fn(&Moved) -> &[i64],
    ) -> Result<i64, Overflow> {
        valued.worth(|variable| {
            let moved = self.variables.get(index(variable))?;
            extremes(moved).get(number).copied()
        })
    }

    /// Raises a peak by the messages of one block after a place.
    fn read(&self, number: usize, after: u64, valued: &impl Valued, peak: &mut Peak) -> Result<(), Overflow> {
        let mut standing: Vec<(Variable, i64)> = Vec::new();
        let mut coming: Vec<&[Change]> = Vec::new();
        for variable in valued.variables() {
            let moved = self.variables.get(index(variable)).ok_or(Overflow)?;
            let (price, changes) = moved.block(number).ok_or(Overflow)?;
            standing.push((variable, price));
            coming.push(changes);
        }
        // Message by message, the changes of all its prices at once.
        while let Some(next) = coming.iter().filter_map(|changes| changes.first()).min_by_key(|it| it.place) {
            let Change { place, at, .. } = *next;
            for ((_, price), changes) in standing.iter_mut().zip(&mut coming) {
                while let Some((change, rest)) = changes.split_first()
                    && change.place == place
                {
                    (*price, *changes) = (change.price, rest);
                }
            }
            if place > after {
                peak.raise(valued.worth_standing(&standing)?, at);
            }
        }
        Ok(())
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        let of_variable = |variable: &Moved| {
            let numbers = variable.blocks.capacity().saturating_add(variable.chapters.capacity());
            let numbers = numbers.saturating_add(variable.starts.capacity());
            let changes = variable.changes.capacity().saturating_mul(size_of::<Change>());
            changes.saturating_add(numbers.saturating_mul(size_of::<u64>()))
        };
        let blocks = self.blocks.capacity().saturating_mul(size_of::<u64>());
        blocks.saturating_add(self.variables.iter().map(of_variable).sum())
    }
}
