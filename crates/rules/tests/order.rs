//! An example decides in the platform's order, and a file of examples goes on where one of them cannot.
#![expect(clippy::panic, reason = "tests")]

use rules::example::{ExampleError, ExampleFile, check, run};
use rules::{Program, ProgramError};

fn load(path: &str) -> Result<Program, ProgramError> {
    panic!("no file {path} is named")
}

fn holds(examples: &str) {
    let file = ExampleFile::from_toml(examples).unwrap_or_else(|error| panic!("{error}"));
    for it in check(&file, &load).unwrap_or_else(|error| panic!("{error}")) {
        assert!(
            it.holds,
            "{} step {}: {} is {}, not {}",
            it.example, it.step, it.name, it.found, it.expected
        );
    }
}

#[test]
fn a_payout_asks_for_the_least_amount_and_whole_cents() {
    holds(
        r#"
        [[example]]
        id = "least and cents"
        program.payout = { split = "80", min_amount = "50" }
        step = [
          { closed = "1000" },
          { payout = "49.99", expect = { verdict = "refused", rule = "asked_at_least", account.balance = 101000 } },
          { payout = "50.005", expect = { verdict = "refused" } },
          { payout = "50", expect = { verdict = "ok", account.balance = 100950 } },
        ]
        "#,
    );
}

#[test]
fn an_account_grows_only_when_its_plan_allows_it_and_passes_when_it_is_asked() {
    holds(
        r#"
        [[example]]
        id = "growth"
        program.scaling = { every_months = 1, profit = { percent_of_initial = "5" }, step = { linear = "50" } }
        step = [
          { closed = "5000", grow = 1, expect = { verdict = "refused", rule = "scaling", scaling.size = 100000 } },
          { at = "2026-02-05", grow = 1, expect = { verdict = "ok", scaling.size = 150000 } },
        ]
        [[example]]
        id = "promotion"
        program.promotion = "on_request"
        program.rules = [{ kind = "profit_target", limit = { amount = "1000" }, flat = true }]
        step = [
          { closed = "999.99", promote = true, expect = { verdict = "refused", rule = "promotion" } },
          { closed = "0.01", expect = { verdict = "ok" } },
          { promote = true, expect = { verdict = "passed" } },
        ]
        "#,
    );
}

#[test]
fn a_rule_that_closes_everything_may_pass_the_phase_and_takes_orders_back() {
    holds(
        r#"
        [[example]]
        id = "closed into the target"
        program.rules = [
          { kind = "flat_by", zone = "Etc/UTC", time = "15:45", weekdays = ["mon"], effect = "close" },
          { kind = "profit_target", limit = { amount = "1000" }, flat = true, no_orders = true },
        ]
        step = [
          { open = [{ position = "a" }], order = true, working_orders = 1, open_profit = { a = "1000" }, expect = { verdict = "ok" } },
          { at = "2026-01-05T15:45:00Z", expect = { verdict = "passed", account.balance = 101000 } },
        ]
        "#,
    );
}

#[test]
fn what_a_rule_closes_is_told_to_the_others() {
    holds(
        r#"
        [[example]]
        id = "an idea that the daily loss closes"
        program.rules = [
          { kind = "daily_loss", reference = "balance", limit = { amount = "1000" }, breach = "at_or_below", effect = "soft" },
          { kind = "risk_per_idea", limit = { amount = "1000" }, breach = "at_or_above", gap_minutes = 0, closed_only = true, effect = "hard" },
        ]
        step = [
          { open = [{ position = "a" }] },
          { open_profit = { a = "-1000" }, expect = { verdict = "breach", rule = "risk_per_idea", account.balance = 99000 } },
        ]
        "#,
    );
}

#[test]
fn the_day_that_ends_is_judged_for_losses_only() {
    holds(
        r#"
        [[example]]
        id = "the reset that ends the day is the first that could pass it"
        program.rules = [
          { kind = "max_loss", trail = "end_of_day_balance", limit = { amount = "2000" }, breach = "below" },
          { kind = "profit_target", limit = { amount = "1000" }, flat = false },
          { kind = "min_trading_days", days = 2, counts = "position_held" },
        ]
        step = [
          { open = [{ position = "a" }], closed = "4000", floating = "-2500", expect = { verdict = "ok" } },
          { reset = true, expect = { max_loss.floor = 102000, verdict = "breach", rule = "max_loss" } },
        ]
        "#,
    );
}

#[test]
fn what_opens_at_the_market_is_an_order_too() {
    holds(
        r#"
        [[example]]
        id = "orders"
        program.rules = [{ kind = "inactivity", days = 5, activity = "order" }]
        step = [
          { at = "2026-01-08", trade = [{ profit = "1" }], expect = { inactivity.deadline = "2026-01-13T00:00:00Z" } },
          { at = "2026-01-09", open = [{ position = "a", pending = true }], expect = { inactivity.deadline = "2026-01-13T00:00:00Z" } },
        ]
        "#,
    );
}

#[test]
fn open_losses_follow_from_the_equity_where_that_tells_them() {
    holds(
        r#"
        [[example]]
        id = "the only position"
        program.rules = [{ kind = "open_loss", per = "trade", limit = { amount = "1000" }, effect = "flag" }]
        step = [
          { open = [{ position = "a" }], equity = "99000.01", expect = { violations = 0 } },
          { equities = ["99000"], expect = { violations = 1, open_loss.loss = 1000 } },
        ]
        [[example]]
        id = "all together"
        program.rules = [{ kind = "open_loss", per = "account", limit = { amount = "1000" }, effect = "close" }]
        step = [
          { open = [{ position = "a" }, { position = "b" }], floating = "-1000", expect = { verdict = "soft_breach", account.balance = 99000 } },
          { floating = "-1000", expect = { verdict = "soft_breach", account.balance = 98000 } },
        ]
        [[example]]
        id = "losses come before open losses"
        program.rules = [
          { kind = "open_loss", per = "account", limit = { amount = "1000" }, effect = "flag" },
          { kind = "max_loss", trail = "static", limit = { amount = "1000" }, breach = "at_or_below" },
        ]
        step = [{ open = [{ position = "a" }], open_profit = { a = "-1000" }, expect = { verdict = "breach", rule = "max_loss", violations = 0 } }]
        "#,
    );
    let file = ExampleFile::from_toml(
        r#"
        [[example]]
        id = "which of them?"
        program.rules = [{ kind = "open_loss", per = "trade", limit = { amount = "1000" }, effect = "flag" }]
        step = [{ open = [{ position = "a" }, { position = "b" }], equity = "99000", expect = { violations = 0 } }]
        "#,
    )
    .unwrap();
    let Err(ExampleError::Step { say, .. }) = check(&file, &load) else { panic!("it cannot be known") };
    assert!(say.contains("open_profit"), "{say}");
}

#[test]
fn a_step_that_cannot_be_taken_ends_its_example_only() {
    let file = ExampleFile::from_toml(
        r#"
        [[example]]
        id = "refused"
        program.rules = [{ kind = "max_size", per = "order", steps = [{ from_profit = "0", lots = "1" }], effect = "refuse" }]
        step = [
          { open = [{ position = "a", lots = "2" }], expect = { verdict = "refused" } },
          { close = [{ position = "a", profit = "1" }], expect = { verdict = "ok" } },
        ]
        [[example]]
        id = "no program"
        program.payout = { split = "0.8" }
        step = [{ expect = { verdict = "ok" } }]
        [[example]]
        id = "sound"
        step = [{ expect = { verdict = "ok" } }]
        "#,
    )
    .unwrap();
    let all = run(&file, &load);
    let said: Vec<_> = all
        .iter()
        .map(|it| match it {
            Ok(it) => format!("{} {} {}", it.example, it.step, it.holds),
            Err(error) => match std::error::Error::source(error) {
                Some(source) => format!("{error}: {source}"),
                None => error.to_string(),
            },
        })
        .collect();
    assert_eq!(
        said,
        [
            "refused 1 true",
            "example refused, step 2: no position a is open",
            "example no program: its program: a program with 1 fault(s): program.payout.split: 0.8 means 0.8 per cent; \
             write 80 for 80 per cent",
            "sound 1 true",
        ]
    );
}
