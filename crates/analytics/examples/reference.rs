//! Compares the figures over returns with those of empyrical 0.7.1, quantstats 0.0.86 and ffn 1.4.1 over the S&P 500 from 1999 to
//! 2018 as the Python package arch 8.0.0 has it (`arch.data.sp500`, column Adj Close):
//!
//! ```sh
//! cargo run -p analytics --example reference -- sp500.csv
//! ```
//!
//! The prices are not ours to copy: the file, lines of `2018-12-31,2506.85`, is to be made from an installed package.
#![expect(
    clippy::float_arithmetic,
    clippy::disallowed_types,
    clippy::print_stdout,
    reason = "the figures compared are floats, and a person reads the comparison"
)]

use std::process::ExitCode;

use analytics::statistics::{
    cagr_252, cagr_calendar, conditional_value_at_risk_95, max_drawdown, sharpe_252, sortino_252,
    value_at_risk_95, value_at_risk_95_normal,
};
use kernel::Timestamp;

fn main() -> Result<ExitCode, Box<dyn std::error::Error>> {
    let path = std::env::args().nth(1).ok_or("name the file")?;
    let (mut days, mut prices) = (Vec::new(), Vec::new());
    for line in std::fs::read_to_string(path)?.lines() {
        let (day, price) = line.split_once(',').ok_or("a line without a comma")?;
        days.push(Timestamp::parse(&format!("{day}T00:00:00Z"))?);
        prices.push(price.parse::<f64>()?);
    }
    let returns: Vec<f64> =
        prices.iter().zip(prices.iter().skip(1)).map(|(one, next)| next / one - 1.0).collect();
    let (first, last) = days.first().copied().zip(days.last().copied()).ok_or("an empty file")?;
    let mut same = true;
    for (name, found, wanted, digits) in [
        ("Sharpe, 252 days (empyrical)", sharpe_252(&returns), 0.282_739_229_044_60, 1e-12),
        ("Sortino, 252 days (empyrical)", sortino_252(&returns), 0.398_614_029_856_39, 1e-12),
        ("maximal drawdown (empyrical)", max_drawdown(&returns), -0.567_753_877_503_055_5, 1e-12),
        ("CAGR, 252 days (empyrical)", cagr_252(&returns), 0.036_395_543_3, 1e-9),
        ("CAGR, calendar (ffn)", cagr_calendar(&returns, first, last), 0.036_342_291_1, 1e-9),
        ("value at risk 95, historical (empyrical)", value_at_risk_95(&returns), -0.018_643_3, 5e-8),
        ("value at risk 95, normal (quantstats)", value_at_risk_95_normal(&returns), -0.019_574_5, 5e-8),
        (
            "conditional value at risk 95 (empyrical)",
            conditional_value_at_risk_95(&returns),
            -0.028_609_3,
            5e-8,
        ),
    ] {
        let agrees = found.is_some_and(|found| (found - wanted).abs() <= digits);
        same = same && agrees;
        println!("{name}: {found:?}, reference {wanted}: {}", if agrees { "the same" } else { "different" });
    }
    Ok(if same { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
