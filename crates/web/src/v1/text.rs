//! Small texts that several answers share.

use kernel::Timestamp;

/// An instant in RFC 3339 with microseconds.
pub fn time(at: Timestamp) -> String {
    at.to_string()
}

/// A rule's kind in words.
pub fn rule_label(kind: &str) -> &'static str {
    match kind {
        "daily_loss" => "Daily loss",
        "max_loss" => "Total loss",
        "profit_target" => "Profit target",
        "min_trading_days" => "Trading days",
        "inactivity" => "Inactivity",
        "calendar_limit" => "Time limit",
        "ruin" => "Nothing left",
        _ => "Rule",
    }
}
