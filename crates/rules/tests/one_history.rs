//! One history under the rules of several firms: the different verdicts that their pages publish.
#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

use rules::ProgramError;
use rules::example::{Checked, ExampleFile, check};

/// Runs the same steps under a phase; the last step's values of these names.
fn under(rules: &str, steps: &str, names: &[&str]) -> Vec<String> {
    let expect: Vec<_> = names.iter().map(|name| format!("{name:?} = \"none\"")).collect();
    let text = format!(
        "[program]\ninitial_balance = \"100000\"\nrules = [{rules}]\n[[example]]\nid = \"history\"\n{steps}\nexpect = {{ {} }}\n",
        expect.join(", ")
    );
    let file = ExampleFile::from_toml(&text).unwrap();
    let load = |_: &str| -> Result<rules::Program, ProgramError> { panic!("no file is named") };
    let checked: Vec<Checked> = check(&file, &load).unwrap();
    names.iter().map(|name| checked.iter().find(|it| it.name == *name).unwrap().found.clone()).collect()
}

/// Initial 100,000; the day begins with a balance of 105,000 and an equity of 107,000; then the equity falls to 101,600.
#[test]
fn one_day_six_firms_four_floors_and_two_verdicts() {
    let steps = r#"
        [[example.step]]
        closed = "5000"
        floating = "2000"
        [[example.step]]
        reset = true
        [[example.step]]
        equity = "101600"
    "#;
    let daily = |reference: &str, limit: &str| {
        format!(
            r#"{{ kind = "daily_loss", reference = "{reference}", limit = {{ {limit} }}, breach = "below" }}"#
        )
    };
    for (firm, reference, limit, floor, verdict) in [
        ("FTMO", "balance", r#"percent_of_initial = "5""#, "100000.00", "ok"),
        ("FundedNext", "balance", r#"percent_of_initial = "5""#, "100000.00", "ok"),
        ("The5ers High Stakes", "higher_of", r#"percent_of_reference = "5""#, "101650.00", "breach"),
        ("FundingPips", "higher_of", r#"percent_of_reference = "5""#, "101650.00", "breach"),
        ("Alpha Capital", "balance", r#"percent_of_reference = "5""#, "99750.00", "ok"),
        ("Blue Guardian", "higher_of", r#"percent_of_initial = "4""#, "103000.00", "breach"),
    ] {
        let found = under(&daily(reference, limit), steps, &["daily_loss.floor", "verdict"]);
        assert_eq!(found, [floor, verdict], "{firm}");
    }
}

/// A position opened on Monday and closed on Thursday, another opened and closed on Thursday.
#[test]
fn one_week_counts_one_to_four_trading_days() {
    let steps = r#"
        [[example.step]]
        open = [{ position = "swing" }]
        [[example.step]]
        at = "2026-01-08T12:00:00Z"
        close = [{ position = "swing", profit = "-600" }]
        trade = [{ profit = "50" }]
    "#;
    for (firm, counts, days) in [
        ("FTMO: the day of an opening", r#""opens_position""#, "2"),
        ("City Traders Imperium: every day held", r#""position_held""#, "4"),
        ("Alpha Capital: opened and closed, counted once", r#""open_and_close""#, "2"),
        (
            "Xpert Funding: a change of half a per cent",
            r#"{ day_change = { percent_of_initial = "0.5" } }"#,
            "1",
        ),
    ] {
        let rule = format!(r#"{{ kind = "min_trading_days", days = 4, counts = {counts} }}"#);
        assert_eq!(under(&rule, steps, &["min_trading_days.current"]), [days], "{firm}");
    }
}
