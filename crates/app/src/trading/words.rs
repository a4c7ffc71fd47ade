//! What a batch means in the words of the audit log and of the outbox.

use engine::{Act, Event, Key, Outcome, VerdictKind, What};
use kernel::FirmId;
use serde_json::json;

use super::port::{AuditEntry, Decided, Journaled, OutboxEntry};

/// Who did what, for auditors.
pub(super) fn audit(journal: &[Journaled], events: &[Decided]) -> Vec<AuditEntry> {
    let commands = journal.iter().map(|entry| AuditEntry {
        firm: entry.firm,
        at: entry.at,
        actor: entry.origin.person,
        action: format!("command.{}", act_word(&entry.command.act)),
        object_kind: "account",
        object: entry.command.account.to_string(),
        request: entry.origin.request,
        detail: json!({
            "seq": entry.seq,
            "key": Key::as_str(&entry.command.key),
            "outcome": outcome_word(&entry.outcome),
            // What was decided about one account by hand is told in full.
            "act": matches!(entry.command.act, Act::Override { .. } | Act::Payout { .. }).then_some(&entry.command.act),
        }),
    });
    let verdicts = events.iter().filter_map(|Decided { firm, event, .. }| match &event.what {
        What::Verdict(verdict) => Some(AuditEntry {
            firm: *firm,
            at: event.at,
            actor: None,
            action: format!("verdict.{}", verdict.kind.word()),
            object_kind: "account",
            object: event.account.to_string(),
            request: None,
            detail: json!({ "number": verdict.number, "rule": verdict.rule, "version": verdict.version }),
        }),
        What::Opened
        | What::Order(_)
        | What::Position(_)
        | What::Fill(_)
        | What::Entry(_)
        | What::Override(_)
        | What::Reset(_) => None,
    });
    commands.chain(verdicts).collect()
}

/// What the world is told.
pub(super) fn outbox(events: &[Decided]) -> Vec<OutboxEntry> {
    let message = |firm: FirmId, event: &Event, topic, payload| OutboxEntry {
        firm,
        at: event.at,
        aggregate: format!("account:{}", event.account),
        topic,
        payload,
    };
    events
        .iter()
        .filter_map(|Decided { firm, event, .. }| match &event.what {
            What::Opened => {
                Some(message(*firm, event, "account.opened", json!({ "account": event.account })))
            }
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
        })
        .collect()
}

fn act_word(act: &Act) -> &'static str {
    match act {
        Act::Open(_) => "open",
        Act::Place(_) => "place",
        Act::Cancel { .. } => "cancel",
        Act::ChangeOrder { .. } => "change_order",
        Act::ChangePosition { .. } => "change_position",
        Act::Close { .. } => "close",
        Act::Promote => "promote",
        Act::Payout { .. } => "payout",
        Act::Grow => "grow",
        Act::Override { .. } => "override",
        Act::Calendar(_) => "calendar",
    }
}

fn outcome_word(outcome: &Outcome) -> &'static str {
    match outcome {
        Ok(_) => "done",
        Err(refusal) => refusal.code(),
    }
}
