//! The prices of the recent past, so that the highest worth between two looks is found without a look at every price.

use kernel::{Overflow, Timestamp};

use super::{Peak, Valued, Variable, index};

/// Changes in one block.
const BLOCK: usize = 256;
/// Blocks in one chapter.
const CHAPTER: usize = 32;

/// Every change of a price since a place, in blocks, with the extremes that stood in each.
///
/// The place of a change counts messages: all changes of one message have one place, and nothing is worth anything
/// between them.
#[derive(Debug, Clone)]
pub(super) struct History {
    variables: Vec<Moved>,
    /// At least one, the last of which grows.
    blocks: Vec<Block>,
}

/// A price and its extremes: the highest of a bid, which counts for those who hold, the lowest of an ask, which counts
/// for those who owe.
#[derive(Debug, Clone, Default)]
struct Moved {
    price: i64,
    /// One for each block, the price at its start included.
    blocks: Vec<i64>,
    /// One for each chapter.
    chapters: Vec<i64>,
}

/// Changes one after the other.
#[derive(Debug, Clone)]
struct Block {
    /// The prices before its first change.
    start: Box<[i64]>,
    changes: Vec<Change>,
}

#[derive(Debug, Clone, Copy)]
struct Change {
    place: u64,
    at: Timestamp,
    variable: Variable,
    price: i64,
}

impl Block {
    fn last(&self) -> u64 {
        self.changes.last().map_or(0, |change| change.place)
    }
}

impl History {
    /// Nothing has happened, and no price is known.
    pub fn new(variables: usize) -> Self {
        let mut history = Self { variables: vec![Moved::default(); variables], blocks: Vec::new() };
        history.begin();
        history
    }

    /// Begins a block, and a chapter if the last one is full.
    fn begin(&mut self) {
        let starts_chapter = self.blocks.len().is_multiple_of(CHAPTER);
        let start = self.variables.iter().map(|variable| variable.price).collect();
        for variable in &mut self.variables {
            variable.blocks.push(variable.price);
            if starts_chapter {
                variable.chapters.push(variable.price);
            }
        }
        self.blocks.push(Block { start, changes: Vec::with_capacity(BLOCK) });
    }

    /// Adds a change. Blocks end between messages.
    pub fn push(&mut self, place: u64, at: Timestamp, variable: Variable, price: i64) {
        if self.blocks.last().is_some_and(|block| block.changes.len() >= BLOCK && block.last() != place) {
            self.begin();
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
        if let Some(block) = self.blocks.last_mut() {
            block.changes.push(Change { place, at, variable, price });
        }
    }

    /// Drops what no look needs any more: everything up to a place, as far as whole chapters go.
    pub fn forget(&mut self, place: u64) {
        let blocks = self.blocks.partition_point(|block| !block.changes.is_empty() && block.last() <= place);
        // The last block stays: it grows.
        let blocks = blocks.min(self.blocks.len().saturating_sub(1));
        let chapters = blocks.checked_div(CHAPTER).unwrap_or_default();
        if chapters == 0 {
            return;
        }
        let blocks = chapters.saturating_mul(CHAPTER);
        self.blocks.drain(..blocks);
        for variable in &mut self.variables {
            variable.blocks.drain(..blocks);
            variable.chapters.drain(..chapters);
        }
    }

    /// The highest worth over the messages after a place, if it is above one that is known, or else that.
    ///
    /// A chapter or block whose extremes, all at once, would not exceed what is known cannot raise it. The most promising
    /// block is read first: of the others few are left then.
    pub fn highest(&self, after: u64, valued: &impl Valued, known: i64) -> Result<i64, Overflow> {
        let mut promising: Vec<(i64, usize)> = Vec::new();
        self.promising(self.first_after(after), valued, known, |_, bound, number| {
            promising.push((bound, number));
            Ok(())
        })?;
        promising.sort_unstable_by(|left, right| right.cmp(left));
        let mut peak = Peak::standing(known);
        for (bound, number) in promising {
            if bound <= peak.highest {
                break;
            }
            self.read(number, after, valued, &mut peak)?;
        }
        Ok(peak.highest)
    }

    /// Raises a peak by the messages after a place, in their order.
    pub fn raise(&self, after: u64, valued: &impl Valued, peak: &mut Peak) -> Result<(), Overflow> {
        self.promising(self.first_after(after), valued, peak.highest, |history, bound, number| {
            if bound > peak.highest { history.read(number, after, valued, peak) } else { Ok(()) }
        })
    }

    fn first_after(&self, after: u64) -> usize {
        self.blocks.partition_point(|block| !block.changes.is_empty() && block.last() <= after)
    }

    /// The blocks from one on that might exceed what is known, each with its bound.
    fn promising(
        &self,
        first: usize,
        valued: &impl Valued,
        known: i64,
        mut each: impl FnMut(&Self, i64, usize) -> Result<(), Overflow>,
    ) -> Result<(), Overflow> {
        let mut number = first;
        while number < self.blocks.len() {
            let chapter = number.checked_div(CHAPTER).unwrap_or_default();
            let next = chapter.saturating_add(1).saturating_mul(CHAPTER).min(self.blocks.len());
            if self.most(valued, |variable| variable.chapters.get(chapter))? > known {
                for block in number..next {
                    let bound = self.most(valued, |variable| variable.blocks.get(block))?;
                    if bound > known {
                        each(self, bound, block)?;
                    }
                }
            }
            number = next;
        }
        Ok(())
    }

    fn most(&self, valued: &impl Valued, extreme: impl Fn(&Moved) -> Option<&i64>) -> Result<i64, Overflow> {
        valued.worth(|variable| self.variables.get(index(variable)).and_then(&extreme).copied())
    }

    /// Raises a peak by the messages of one block after a place.
    fn read(&self, number: usize, after: u64, valued: &impl Valued, peak: &mut Peak) -> Result<(), Overflow> {
        let block = self.blocks.get(number).ok_or(Overflow)?;
        let mut standing: Vec<(Variable, i64)> = Vec::new();
        for variable in valued.variables() {
            standing.push((variable, *block.start.get(index(variable)).ok_or(Overflow)?));
        }
        let mut touched = false;
        let mut changes = block.changes.iter().peekable();
        while let Some(change) = changes.next() {
            for (variable, price) in &mut standing {
                if *variable == change.variable {
                    (*price, touched) = (change.price, true);
                }
            }
            let ends = changes.peek().is_none_or(|next| next.place != change.place);
            if ends && std::mem::take(&mut touched) && change.place > after {
                let worth = valued.worth(|variable| {
                    standing.iter().find(|(standing, _)| *standing == variable).map(|(_, price)| *price)
                })?;
                peak.raise(worth, change.at);
            }
        }
        Ok(())
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        let of_block = |block: &Block| {
            let changes = block.changes.capacity().saturating_mul(size_of::<Change>());
            block.start.len().saturating_mul(size_of::<i64>()).saturating_add(changes)
        };
        let of_variable = |variable: &Moved| {
            let prices = variable.blocks.capacity().saturating_add(variable.chapters.capacity());
            prices.saturating_mul(size_of::<i64>())
        };
        let blocks: usize = self.blocks.iter().map(of_block).sum();
        blocks.saturating_add(self.variables.iter().map(of_variable).sum())
    }
}
