//! What a batch means in the words of the outbox.

use std::collections::BTreeMap;

use engine::{Event, VerdictKind, What};
use kernel::FirmId;
use serde_json::json;

use super::port::{Decided, OutboxEntry};

/// What the world is told.
pub(super) fn outbox(events: &[Decided]) -> Vec<OutboxEntry> {
    let message = |firm: FirmId, event: &Event, topic, payload| OutboxEntry {
        firm,
        at: event.at,
        aggregate: format!("account:{}", event.account),
        topic,
        payload,
    };
    // Accounts whose realised result changed, each once for all that changed it in the batch.
    let traded = events.iter().filter_map(|Decided { firm, event, .. }| match &event.what {
        What::Entry(_) => Some((event.account, (*firm, event))),
        What::Opened
        | What::Verdict(_)
        | What::Order(_)
        | What::Position(_)
        | What::Fill(_)
        | What::Override(_)
        | What::Reset(_) => None,
    });
    let traded: BTreeMap<_, _> = traded.collect();
    let traded = traded
        .into_values()
        .map(|(firm, event)| message(firm, event, "account.traded", json!({ "account": event.account })));
    let said = events.iter().filter_map(|Decided { firm, event, .. }| match &event.what {
        What::Opened => Some(message(*firm, event, "account.opened", json!({ "account": event.account }))),
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
                json!({ "account": event.account, "verdict": verdict.number, "rule": verdict.rule });
            Some(message(*firm, event, topic, payload))
        }
        What::Order(_)
        | What::Position(_)
        | What::Fill(_)
        | What::Entry(_)
        | What::Override(_)
        | What::Reset(_) => None,
    });
    said.chain(traded).collect()
}
