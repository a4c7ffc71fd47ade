//! What a batch means in the words of the outbox.

use engine::{VerdictKind, What};
use serde_json::json;

use super::port::{Decided, OutboxEntry};

/// What the world is told, but for changed results, which wait for each other ([`Traded`](super::traded::Traded)).
pub(super) fn outbox(events: &[Decided]) -> impl Iterator<Item = OutboxEntry> {
    let message = |Decided { firm, request, event, .. }: &Decided, topic, payload| OutboxEntry {
        firm: *firm,
        at: event.at,
        aggregate: format!("account:{}", event.account),
        topic,
        payload,
        request: *request,
    };
    events.iter().filter_map(move |decided| match &decided.event.what {
        What::Opened => Some(message(decided, "account.opened", json!({ "account": decided.event.account }))),
        What::Verdict(verdict) => {
            let topic = match verdict.kind {
                VerdictKind::Breach => "account.breached",
                VerdictKind::SoftBreach => "account.locked",
                VerdictKind::Violation => "account.violation",
                VerdictKind::Warning => "account.warned",
                VerdictKind::Pass => "account.passed",
                VerdictKind::Promotion => "account.promoted",
                VerdictKind::Expiry => "account.expired",
                VerdictKind::Payout => "account.paid",
                VerdictKind::PayoutRefusal => "account.payout_refused",
            };
            let payload =
                json!({ "account": decided.event.account, "verdict": verdict.number, "rule": verdict.rule });
            Some(message(decided, topic, payload))
        }
        What::Order(_)
        | What::Position(_)
        | What::Fill(_)
        | What::Entry(_)
        | What::Override(_)
        | What::Held { .. }
        | What::Reset(_) => None,
    })
}
