//! The name that somebody may have meant.

/// The candidate that differs least from a word, if it differs by little: by at most a third of its letters.
pub(crate) fn nearest<'a>(word: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let most = word.chars().count().div_euclid(3).max(1);
    candidates
        .map(|candidate| (distance(word, candidate), candidate))
        .filter(|(distance, _)| *distance <= most)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// How many letters must be put in, taken out or replaced to get from one word to the other.
fn distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut costs: Vec<usize> = (0..=to.len()).collect();
    for (row, letter) in from.chars().enumerate() {
        let mut diagonal = row;
        let mut left = row.saturating_add(1);
        let mut next = vec![left];
        for (place, other) in to.iter().enumerate() {
            let above = costs.get(place.saturating_add(1)).copied().unwrap_or(usize::MAX);
            let replaced = diagonal.saturating_add(usize::from(letter != *other));
            left = replaced.min(above.saturating_add(1)).min(left.saturating_add(1));
            diagonal = above;
            next.push(left);
        }
        costs = next;
    }
    costs.last().copied().unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_pen_is_understood_and_another_word_is_not() {
        let names = ["daily_loss.floor", "daily_loss.room", "verdict"];
        assert_eq!(nearest("daily_los.floor", names.into_iter()), Some("daily_loss.floor"));
        assert_eq!(nearest("verdikt", names.into_iter()), Some("verdict"));
        assert_eq!(nearest("balance", names.into_iter()), None);
        assert_eq!(distance("kitten", "sitting"), 3);
    }
}
