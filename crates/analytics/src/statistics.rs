//! What trading was like: exact sums of closed positions, and the usual figures of a series of days.
//!
//! Sums, averages and ratios of money are integers, rounded once, half to even. Figures over returns are floats: they feed a
//! chart and decide nothing. Conventions, because others have others:
//!
//! - results are after commission; a position counts when it is closed, once, whole;
//! - a day is a trading day of the account's program, from reset to reset; its return is the change of equity without what
//!   was paid out or added, over the equity it began with;
//! - a year has 252 trading days where returns are scaled ([`sharpe_252`], [`sortino_252`], [`cagr_252`]) and 365.25 days of the
//!   calendar in [`cagr_calendar`]; the risk-free rate is 0; deviations are those of a sample (n − 1);
//! - value at risk is historical ([`value_at_risk_95`], interpolated between the two nearest) unless it says
//!   [`value_at_risk_95_normal`].
//!
//! `examples/reference.rs` compares them with the values of the usual Python packages over twenty years of an index.

use kernel::{Amount, Overflow, Rounding, Timestamp, divide};
use store::analytics::{DayRow, SymbolRow};

/// Closed positions, in one symbol or in several.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Trades {
    /// How many.
    pub closed: u64,
    /// With a gain.
    pub wins: u64,
    /// With a loss.
    pub losses: u64,
    /// Micro-units gained, together.
    pub won: i128,
    /// Micro-units lost, together; not negative.
    pub lost: i128,
    /// Microseconds held, together.
    pub held_us: i128,
    /// The best result.
    pub best: Option<Amount>,
    /// The worst result.
    pub worst: Option<Amount>,
}

impl Trades {
    /// The same with those of a row.
    #[must_use]
    pub fn with(self, row: &SymbolRow) -> Self {
        self.and(&Self {
            closed: row.closed,
            wins: row.wins,
            losses: row.losses,
            won: i128::from(row.won.micros()),
            lost: i128::from(row.lost.micros()),
            held_us: i128::from(row.held_us),
            best: Some(row.best),
            worst: Some(row.worst),
        })
    }

    /// Both together.
    #[must_use]
    pub fn and(self, other: &Self) -> Self {
        Self {
            closed: self.closed.saturating_add(other.closed),
            wins: self.wins.saturating_add(other.wins),
            losses: self.losses.saturating_add(other.losses),
            won: self.won.saturating_add(other.won),
            lost: self.lost.saturating_add(other.lost),
            held_us: self.held_us.saturating_add(other.held_us),
            best: self.best.max(other.best),
            worst: match (self.worst, other.worst) {
                (Some(one), Some(other)) => Some(one.min(other)),
                (one, other) => one.or(other),
            },
        }
    }

    /// The winning ones among all, in millionths.
    pub fn win_rate(&self) -> Result<Option<i64>, Overflow> {
        let wins = i128::from(self.wins).checked_mul(1_000_000).ok_or(Overflow)?;
        ratio(wins, i128::from(self.closed))
    }

    /// What was gained over what was lost, in millionths; none if nothing was lost.
    pub fn profit_factor(&self) -> Result<Option<i64>, Overflow> {
        ratio(self.won.checked_mul(1_000_000).ok_or(Overflow)?, self.lost)
    }

    /// The average result.
    pub fn expectancy(&self) -> Result<Option<Amount>, Overflow> {
        average(self.won.checked_sub(self.lost).ok_or(Overflow)?, self.closed)
    }

    /// The average gain of a winning position.
    pub fn average_win(&self) -> Result<Option<Amount>, Overflow> {
        average(self.won, self.wins)
    }

    /// The average loss of a losing position, not negative.
    pub fn average_loss(&self) -> Result<Option<Amount>, Overflow> {
        average(self.lost, self.losses)
    }

    /// Gains without losses.
    pub fn net(&self) -> Result<Amount, Overflow> {
        let net = self.won.checked_sub(self.lost).ok_or(Overflow)?;
        Ok(Amount::from_micros(i64::try_from(net).map_err(|_| Overflow)?))
    }

    /// How long a position was held on average, in microseconds.
    pub fn average_held_us(&self) -> Result<Option<i64>, Overflow> {
        ratio(self.held_us, i128::from(self.closed))
    }
}

fn ratio(numerator: i128, denominator: i128) -> Result<Option<i64>, Overflow> {
    if denominator == 0 {
        return Ok(None);
    }
    let quotient = divide(numerator, denominator, Rounding::HalfEven)?;
    i64::try_from(quotient).map(Some).map_err(|_| Overflow)
}

fn average(sum: i128, count: u64) -> Result<Option<Amount>, Overflow> {
    Ok(ratio(sum, i128::from(count))?.map(Amount::from_micros))
}

/// A moment on the curve of an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Point {
    /// When.
    pub at: Timestamp,
    /// Closed results.
    pub balance: Amount,
    /// Balance and open results; at the last point of an account that trades it is not known here.
    pub equity: Option<Amount>,
    /// How far equity is below its highest so far, without what was paid out or added; not negative.
    pub drawdown: Option<Amount>,
    /// The same in millionths of that highest.
    pub drawdown_ppm: Option<i64>,
}

/// The curve from the opening over the resets to now. `flows` are what was paid out (negative) or added.
pub fn curve(
    opened_at: Timestamp,
    initial: Amount,
    days: &[DayRow],
    flows: &[(Timestamp, Amount)],
    now: (Timestamp, Amount, bool),
) -> Result<Vec<Point>, Overflow> {
    let (now, balance, is_over) = now;
    let resets = days.iter().map(|day| (day.started_at, day.balance, Some(day.equity)));
    // Whoever is over holds nothing: equity is the balance.
    let last = (now, balance, is_over.then_some(balance));
    let mut points = Vec::with_capacity(days.len().saturating_add(2));
    let (mut flowed, mut highest) = (Amount::ZERO, None);
    let mut flows = flows.iter().peekable();
    for (at, balance, equity) in
        std::iter::once((opened_at, initial, Some(initial))).chain(resets).chain([last])
    {
        while let Some((_, amount)) = flows.next_if(|(flow, _)| *flow <= at) {
            flowed = flowed.plus(*amount)?;
        }
        let traded = equity.map(|equity| equity.minus(flowed)).transpose()?;
        highest = highest.max(traded);
        let drawdown = traded.zip(highest).map(|(traded, highest)| highest.minus(traded)).transpose()?;
        let drawdown_ppm = match drawdown.zip(highest).filter(|(_, highest)| *highest > Amount::ZERO) {
            Some((drawdown, highest)) => {
                let millionths = i128::from(drawdown.micros()).checked_mul(1_000_000).ok_or(Overflow)?;
                ratio(millionths, i128::from(highest.micros()))?
            }
            None => None,
        };
        points.push(Point { at, balance, equity, drawdown, drawdown_ppm });
    }
    Ok(points)
}

pub use series::{
    cagr_252, cagr_calendar, conditional_value_at_risk_95, max_drawdown, returns, sharpe_252, sortino_252,
    value_at_risk_95, value_at_risk_95_normal,
};

mod series {
    #![expect(
        clippy::float_arithmetic,
        clippy::disallowed_types,
        reason = "figures over returns feed a chart and decide nothing"
    )]

    use kernel::{Amount, Timestamp};

    use super::Point;

    const DAYS_A_YEAR: f64 = 252.0;
    const SECONDS_A_YEAR: f64 = 365.25 * 86_400.0;
    /// Of the standard normal distribution at 5 %.
    const NORMAL_5_PERCENT: f64 = -1.644_853_626_951_472_7;

    fn float(value: i64) -> f64 {
        // Exact up to 2^53, rounded beyond, as a conversion would.
        let high = i32::try_from(value >> 32).map_or(0.0, f64::from);
        let low = u32::try_from(value & 0xffff_ffff).map_or(0.0, f64::from);
        high * 4_294_967_296.0 + low
    }

    fn count(values: &[f64]) -> f64 {
        u32::try_from(values.len()).map_or(f64::INFINITY, f64::from)
    }

    fn mean(values: &[f64]) -> f64 {
        values.iter().sum::<f64>() / count(values)
    }

    fn deviation(values: &[f64]) -> f64 {
        let mean = mean(values);
        (values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (count(values) - 1.0)).sqrt()
    }

    fn defined(value: f64) -> Option<f64> {
        value.is_finite().then_some(value)
    }

    /// What equity was multiplied by from one known point to the next, less 1, without what was paid out or added between
    /// them.
    pub fn returns(points: &[Point], flows: &[(Timestamp, Amount)]) -> Vec<f64> {
        let known: Vec<(Timestamp, f64)> = points
            .iter()
            .filter_map(|point| point.equity.map(|equity| (point.at, float(equity.micros()))))
            .collect();
        let steps = known.iter().zip(known.iter().skip(1));
        let mut returns = Vec::with_capacity(known.len());
        for ((from, before), (to, after)) in steps {
            let flowed: f64 = flows
                .iter()
                .filter(|(at, _)| from < at && at <= to)
                .map(|(_, amount)| float(amount.micros()))
                .sum();
            if *before > 0.0 {
                returns.push((after - flowed) / before - 1.0);
            }
        }
        returns
    }

    /// Sharpe's ratio over a year of 252 days.
    pub fn sharpe_252(returns: &[f64]) -> Option<f64> {
        let deviation = deviation(returns);
        (returns.len() >= 2 && deviation > 0.0)
            .then(|| mean(returns) / deviation * DAYS_A_YEAR.sqrt())
            .and_then(defined)
    }

    /// Sortino's ratio over a year of 252 days; the downside is the root of the mean square of the losses over all days.
    pub fn sortino_252(returns: &[f64]) -> Option<f64> {
        let squares: Vec<f64> = returns.iter().map(|value| value.min(0.0).powi(2)).collect();
        let downside = mean(&squares).sqrt();
        (returns.len() >= 2 && downside > 0.0)
            .then(|| mean(returns) / downside * DAYS_A_YEAR.sqrt())
            .and_then(defined)
    }

    /// The deepest fall below a highest, negative, as a share of it.
    pub fn max_drawdown(returns: &[f64]) -> Option<f64> {
        let (mut value, mut highest, mut deepest) = (1.0_f64, 1.0_f64, 0.0_f64);
        for one in returns {
            value *= 1.0 + one;
            highest = highest.max(value);
            deepest = deepest.min(value / highest - 1.0);
        }
        (!returns.is_empty()).then_some(deepest).and_then(defined)
    }

    fn growth(returns: &[f64]) -> f64 {
        returns.iter().map(|one| 1.0 + one).product()
    }

    /// The yearly rate of growth where 252 days are a year.
    pub fn cagr_252(returns: &[f64]) -> Option<f64> {
        let rate = growth(returns).powf(DAYS_A_YEAR / count(returns)) - 1.0;
        (!returns.is_empty()).then_some(rate).and_then(defined)
    }

    /// The yearly rate of growth over the time that has passed; a year has 365.25 days.
    pub fn cagr_calendar(returns: &[f64], from: Timestamp, to: Timestamp) -> Option<f64> {
        let seconds = to.since(from).map_or(0.0, |span| float(span.micros()) / 1_000_000.0);
        (seconds > 0.0 && !returns.is_empty())
            .then(|| growth(returns).powf(SECONDS_A_YEAR / seconds) - 1.0)
            .and_then(defined)
    }

    fn sorted(returns: &[f64]) -> Vec<f64> {
        let mut sorted = returns.to_vec();
        sorted.sort_by(f64::total_cmp);
        sorted
    }

    /// The return that one day in twenty falls below, found in the days themselves.
    pub fn value_at_risk_95(returns: &[f64]) -> Option<f64> {
        let sorted = sorted(returns);
        // The twentieth part of the way from the first to the last.
        let (steps, twentieth) = (sorted.len().checked_sub(1)?, 20_usize);
        let (whole, rest) = (steps.checked_div(twentieth)?, steps.checked_rem(twentieth)?);
        let low = *sorted.get(whole)?;
        let high = sorted.get(whole.saturating_add(1)).copied().unwrap_or(low);
        let part = u32::try_from(rest).map_or(0.0, f64::from) / 20.0;
        defined(low + (high - low) * part)
    }

    /// The mean of the worst twentieth of the days.
    pub fn conditional_value_at_risk_95(returns: &[f64]) -> Option<f64> {
        let sorted = sorted(returns);
        let worst = sorted.len().checked_sub(1)?.checked_div(20)?.saturating_add(1);
        defined(mean(sorted.get(..worst)?))
    }

    /// The return that one day in twenty falls below, if returns were distributed normally.
    pub fn value_at_risk_95_normal(returns: &[f64]) -> Option<f64> {
        (returns.len() >= 2).then(|| mean(returns) + NORMAL_5_PERCENT * deviation(returns)).and_then(defined)
    }
}

#[cfg(test)]
mod tests {
    #![expect(
        clippy::float_arithmetic,
        clippy::disallowed_types,
        clippy::arithmetic_side_effects,
        reason = "the figures under test are floats"
    )]

    use proptest::prelude::*;

    use super::*;

    fn near(found: Option<f64>, wanted: f64, within: f64) {
        let found = found.unwrap();
        assert!((found - wanted).abs() <= within, "{found} and not {wanted}");
    }

    /// Values computed by hand.
    #[test]
    fn a_short_series_has_the_figures_of_a_calculator() {
        let returns = [0.10, -0.05, 0.02, -0.01];
        // Mean 0.015; squares of the distances 0.007225, 0.004225, 0.000025, 0.000625; 0.0121 / 3.
        near(sharpe_252(&returns), 0.015 / (0.0121_f64 / 3.0).sqrt() * 252_f64.sqrt(), 1e-12);
        near(sortino_252(&returns), 0.015 / (0.0026_f64 / 4.0).sqrt() * 252_f64.sqrt(), 1e-12);
        // 1.1, 1.045, 1.0659, 1.055241: the deepest is the second.
        near(max_drawdown(&returns), -0.05, 1e-12);
        near(cagr_252(&returns), 1.055_241_f64.powf(63.0) - 1.0, 1e-9);
        let (from, to) = (Timestamp::EPOCH, Timestamp::from_micros(31_557_600_000_000 * 2));
        near(cagr_calendar(&returns, from, to), 1.055_241_f64.sqrt() - 1.0, 1e-12);
        // 5 % of the way over three steps: 0.15 of the first one.
        near(value_at_risk_95(&returns), -0.05 + 0.15 * 0.04, 1e-12);
        near(conditional_value_at_risk_95(&returns), -0.05, 1e-12);
    }

    #[test]
    fn what_is_not_defined_is_not_said() {
        for returns in [&[][..], &[0.01]] {
            assert_eq!(sharpe_252(returns), None);
            assert_eq!(sortino_252(returns), None);
            assert_eq!(value_at_risk_95_normal(returns), None);
        }
        assert_eq!(sharpe_252(&[0.01, 0.01]), None, "nothing deviates");
        assert_eq!(sortino_252(&[0.01, 0.02]), None, "nothing was lost");
        assert_eq!(max_drawdown(&[]), None);
        assert_eq!(Trades::default().win_rate(), Ok(None));
        assert_eq!(Trades::default().profit_factor(), Ok(None));
    }

    proptest! {
        /// By other formulas: two passes become one, products become sums of logarithms, places become counts.
        #[test]
        fn every_figure_is_that_of_another_formula(returns in prop::collection::vec(-0.2_f64..0.2, 2..400)) {
            let n = f64::from(u32::try_from(returns.len()).unwrap());
            let (sum, squares) = returns.iter().fold((0.0, 0.0), |(sum, squares), r| (sum + r, squares + r * r));
            let variance = (squares - sum * sum / n) / (n - 1.0);
            prop_assume!(variance > 1e-9);
            near(sharpe_252(&returns), (sum * 252.0 / n) / (variance * 252.0).sqrt(), 1e-6);
            near(value_at_risk_95_normal(&returns), sum / n - 1.644_853_626_951_472_7 * variance.sqrt(), 1e-9);
            let logs: f64 = returns.iter().map(|r| r.ln_1p()).sum();
            near(cagr_252(&returns), (logs * 252.0 / n).exp() - 1.0, 1e-6 * (logs * 252.0 / n).exp());
            let levels: Vec<f64> = std::iter::once(0.0)
                .chain(returns.iter().scan(0.0, |level, r| { *level += r.ln_1p(); Some(*level) }))
                .collect();
            let deepest = levels.iter().enumerate()
                .flat_map(|(index, high)| levels[index..].iter().map(move |low| low - high))
                .fold(0.0_f64, f64::min);
            near(max_drawdown(&returns), deepest.exp() - 1.0, 1e-9);
            let at_risk = value_at_risk_95(&returns).unwrap();
            let below = returns.iter().filter(|r| **r < at_risk).count();
            let steps = returns.len() - 1;
            prop_assert!(below >= steps / 20 && below <= steps / 20 + 1);
            let tail = conditional_value_at_risk_95(&returns).unwrap();
            prop_assert!(tail <= at_risk + 1e-12);
        }
    }

    fn amount(units: i64) -> Amount {
        Amount::from_micros(units * 1_000_000)
    }

    fn at(day: i64) -> Timestamp {
        Timestamp::from_micros(day * 86_400_000_000)
    }

    fn reset(day: i32, equity: i64) -> DayRow {
        DayRow { day, started_at: at(i64::from(day)), balance: amount(equity), equity: amount(equity) }
    }

    #[test]
    fn what_is_paid_out_is_no_drawdown() {
        let days = [reset(1, 110_000), reset(2, 101_000), reset(3, 99_000)];
        let flows = [(Timestamp::from_micros(at(2).micros() - 1), amount(-8_000))];
        let points = curve(at(0), amount(100_000), &days, &flows, (at(4), amount(99_500), false)).unwrap();
        let fallen: Vec<Option<i64>> =
            points.iter().map(|point| point.drawdown.map(|it| it.micros() / 1_000_000)).collect();
        assert_eq!(fallen, [Some(0), Some(0), Some(1_000), Some(3_000), None]);
        assert_eq!(points[3].drawdown_ppm, Some(27_273));
        let returns = returns(&points, &flows);
        near(returns.first().copied(), 0.1, 1e-12);
        near(returns.get(1).copied(), 109_000.0 / 110_000.0 - 1.0, 1e-12);
        assert_eq!(returns.len(), 3);
        let ended = curve(at(0), amount(100_000), &days, &flows, (at(4), amount(99_500), true)).unwrap();
        assert_eq!(ended[4].equity, Some(amount(99_500)));
    }

    #[test]
    fn trades_are_summed_and_rounded_once() {
        let row = |symbol: &str, wins, losses, won, lost| SymbolRow {
            symbol: symbol.to_owned(),
            closed: wins + losses,
            wins,
            losses,
            won: amount(won),
            lost: amount(lost),
            held_us: 60_000_000,
            best: amount(won),
            worst: amount(-lost),
        };
        let all = Trades::default().with(&row("EURUSD", 2, 1, 500, 100)).with(&row("XAUUSD", 0, 3, 0, 250));
        assert_eq!(all.win_rate(), Ok(Some(333_333)));
        assert_eq!(all.profit_factor(), Ok(Some(1_428_571)));
        assert_eq!(all.expectancy(), Ok(Some(amount(25))));
        assert_eq!(all.average_win(), Ok(Some(amount(250))));
        assert_eq!(all.average_loss(), Ok(Some(Amount::from_micros(87_500_000))));
        assert_eq!(all.average_held_us(), Ok(Some(20_000_000)));
        assert_eq!((all.best, all.worst), (Some(amount(500)), Some(amount(-250))));
        assert_eq!(all.net(), Ok(amount(150)));
    }
}
