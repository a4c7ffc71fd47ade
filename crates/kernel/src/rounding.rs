//! The only division in the system.

use crate::Overflow;

/// What happens to the remainder of a division. Every place that rounds names one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rounding {
    /// Towards negative infinity: never values a holding above its worth.
    Floor,
    /// Towards positive infinity: never asks too little.
    Ceiling,
    /// To the nearest, ties to the even neighbour: realised results, so that neither side gains over many trades.
    HalfEven,
}

/// `numerator / denominator`, rounded as named.
pub fn divide(numerator: i128, denominator: i128, rounding: Rounding) -> Result<i128, Overflow> {
    let floor = numerator.checked_div_euclid(denominator).ok_or(Overflow)?;
    let rest = numerator.checked_rem_euclid(denominator).ok_or(Overflow)?;
    // div_euclid leaves a remainder >= 0, so for a negative denominator the quotient is the ceiling.
    let (floor, rest) = if denominator < 0 && rest != 0 {
        (floor.checked_sub(1).ok_or(Overflow)?, rest.checked_add(denominator).ok_or(Overflow)?)
    } else {
        (floor, rest)
    };
    let up = match rounding {
        Rounding::Floor => false,
        Rounding::Ceiling => rest != 0,
        Rounding::HalfEven => {
            let twice = rest.unsigned_abs().checked_mul(2).ok_or(Overflow)?;
            match twice.cmp(&denominator.unsigned_abs()) {
                std::cmp::Ordering::Less => false,
                std::cmp::Ordering::Greater => true,
                std::cmp::Ordering::Equal => floor.checked_rem(2).ok_or(Overflow)? != 0,
            }
        }
    };
    if up { floor.checked_add(1).ok_or(Overflow) } else { Ok(floor) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn rounds_as_named() {
        for (numerator, floor, ceiling, even) in
            [(7, 3, 4, 4), (5, 2, 3, 2), (-5, -3, -2, -2), (-7, -4, -3, -4), (6, 3, 3, 3), (-1, -1, 0, 0)]
        {
            assert_eq!(divide(numerator, 2, Rounding::Floor), Ok(floor));
            assert_eq!(divide(numerator, 2, Rounding::Ceiling), Ok(ceiling));
            assert_eq!(divide(numerator, 2, Rounding::HalfEven), Ok(even));
        }
        assert_eq!(divide(1, 0, Rounding::Floor), Err(Overflow));
        assert_eq!(divide(i128::MIN, -1, Rounding::Floor), Err(Overflow));
    }

    proptest! {
        #[test]
        fn a_sign_on_both_sides_changes_nothing(numerator in -1_000_000_i128..1_000_000, denominator in 1_i128..10_000) {
            let (negative, divisor) = (numerator.saturating_neg(), denominator.saturating_neg());
            for rounding in [Rounding::Floor, Rounding::Ceiling, Rounding::HalfEven] {
                prop_assert_eq!(divide(numerator, denominator, rounding), divide(negative, divisor, rounding));
            }
        }
    }
}
