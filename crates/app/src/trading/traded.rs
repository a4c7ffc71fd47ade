//! Whose realised results have changed, told at most once a second and account.
//!
//! Whoever is told looks the account up, so a second message that soon would tell nothing new, and an account that is
//! traded by a machine would make more messages than orders. The first change is told at once, those of the second after
//! it with one message at its end.
//!
//! What is still owed is in memory only. Nothing is lost with it: a change that is owed came with a command, was stored
//! less than a second before whatever was stored last, and the journal remembers it ([`Loaded::traded`]). The next owner
//! owes what its predecessor may have owed. A change that no command caused, as when a quote fills a stop, is in no
//! journal and is never owed.
//!
//! [`Loaded::traded`]: super::port::Loaded::traded

use std::collections::{BTreeMap, VecDeque};

use engine::{EntryKind, What};
use kernel::{AccountId, FirmId, RequestId, Span, Timestamp};
use serde_json::json;

use super::port::{Decided, OutboxEntry};

/// So long after a message about an account the next one waits.
pub const TRADED_PAUSE: Span = Span::from_seconds(1);

/// What was told within the last second, and what is owed at its end.
#[derive(Debug, Default)]
pub(super) struct Traded {
    /// Who was told of, the oldest first, each once.
    told: VecDeque<(Timestamp, AccountId)>,
    /// For each of them what has changed since.
    owed: BTreeMap<AccountId, Option<Change>>,
}

/// A change of an account's realised result.
#[derive(Debug, Clone, Copy)]
struct Change {
    firm: FirmId,
    at: Timestamp,
    request: Option<RequestId>,
}

impl Traded {
    /// What the owner before may have owed when it stored its last batch: due with the next.
    pub(super) fn taken_over(stored: Timestamp, accounts: &[(FirmId, AccountId)]) -> Self {
        let change = |firm| Some(Change { firm, at: stored, request: None });
        let told = stored.before(TRADED_PAUSE).unwrap_or(stored);
        Self {
            told: accounts.iter().map(|(_, account)| (told, *account)).collect(),
            owed: accounts.iter().map(|(firm, account)| (*account, change(*firm))).collect(),
        }
    }

    /// Whether something owed is due.
    pub(super) fn is_due(&self, now: Timestamp) -> bool {
        let mut over = self.told.iter().take_while(|(at, _)| is_over(*at, now));
        over.any(|(_, account)| self.owed.get(account).is_some_and(Option::is_some))
    }

    /// The messages of a batch cut at `now`: of its changes those that need not wait, and what is due.
    pub(super) fn told(&mut self, now: Timestamp, events: &[Decided]) -> Vec<OutboxEntry> {
        // Each account once for all that changed it in the batch, as its last change.
        let changes = events.iter().filter_map(|decided| match &decided.event.what {
            What::Entry(entry) if entry.kind != EntryKind::Initial => {
                let Decided { firm, request, event, .. } = decided;
                Some((event.account, Change { firm: *firm, at: event.at, request: *request }))
            }
            // A new account is told of by a message of its own.
            What::Entry(_)
            | What::Opened
            | What::Verdict(_)
            | What::Order(_)
            | What::Position(_)
            | What::Fill(_)
            | What::Override(_)
            | What::Held { .. }
            | What::Reset(_) => None,
        });
        let mut changes: BTreeMap<_, _> = changes.collect();
        let mut messages = Vec::new();
        while let Some((_, account)) = self.told.pop_front_if(|(at, _)| is_over(*at, now)) {
            let owed = self.owed.remove(&account).flatten();
            if let Some(change) = changes.remove(&account).or(owed) {
                self.tell(now, account, change, &mut messages);
            }
        }
        for (account, change) in changes {
            match self.owed.get_mut(&account) {
                Some(owed) if change.request.is_some() => *owed = Some(change),
                Some(owed) => {
                    *owed = None;
                    messages.push(message(account, change));
                }
                None => self.tell(now, account, change, &mut messages),
            }
        }
        messages
    }

    fn tell(&mut self, now: Timestamp, account: AccountId, change: Change, messages: &mut Vec<OutboxEntry>) {
        messages.push(message(account, change));
        self.told.push_back((now, account));
        self.owed.insert(account, None);
    }
}

/// A clock that was set back ends the pause too: better told twice than late.
fn is_over(told: Timestamp, now: Timestamp) -> bool {
    !now.since(told).is_ok_and(|pause| Span::ZERO <= pause && pause < TRADED_PAUSE)
}

fn message(account: AccountId, Change { firm, at, request }: Change) -> OutboxEntry {
    OutboxEntry {
        firm,
        at,
        aggregate: format!("account:{account}"),
        topic: "account.traded",
        payload: json!({ "account": account }),
        request,
    }
}

#[cfg(test)]
#[expect(clippy::arithmetic_side_effects, reason = "tests")]
mod tests {
    use engine::{Entry, Event};
    use kernel::Amount;
    use proptest::prelude::*;

    use super::*;

    /// Of some account, by a command or not.
    type Changed = (u8, bool);

    fn decided(at: Timestamp, (account, by_command): Changed) -> Decided {
        let entry = Entry {
            number: 0,
            kind: EntryKind::Commission,
            amount: Amount::ZERO,
            balance: Amount::ZERO,
            fill: None,
        };
        Decided {
            firm: FirmId::derived(&[b"firm"]),
            at,
            request: by_command.then(|| RequestId::derived(&[b"request"])),
            event: Event { at, account: id(account), what: What::Entry(entry) },
        }
    }

    fn id(account: u8) -> AccountId {
        AccountId::derived(&[&[account]])
    }

    proptest! {
        /// Batches at random times, an owner that dies before some of them: each change is told once it is a second old at
        /// the latest, what only commands changed at most once a second, and what is owed is what a journal of the last
        /// second names.
        #[test]
        fn each_change_is_told_in_time_and_not_too_often(
            batches in prop::collection::vec(
                (0_i64..700, prop::collection::vec((0_u8..4, prop::bool::weighted(0.8)), 0..4), prop::bool::weighted(0.1)),
                1..60,
            )
        ) {
            let mut now = Timestamp::parse("2026-01-05T10:00:00Z").unwrap();
            let mut stored = now;
            let mut traded = Traded::default();
            // Per account: changes not told of yet; when it was told of after a command, by this owner.
            let mut untold: BTreeMap<AccountId, Vec<Timestamp>> = BTreeMap::new();
            let mut told_at: BTreeMap<AccountId, Timestamp> = BTreeMap::new();
            for (millis, changes, dies) in batches {
                if dies {
                    let since = stored.before(TRADED_PAUSE).unwrap();
                    for (account, times) in &untold {
                        prop_assert!(times.iter().all(|at| *at > since), "no journal names {account}");
                    }
                    let accounts: Vec<_> = untold.keys().map(|account| (FirmId::derived(&[b"firm"]), *account)).collect();
                    traded = Traded::taken_over(stored, &accounts);
                    told_at.clear();
                }
                now = now.after(Span::from_micros(millis * 1_000)).unwrap();
                let events: Vec<Decided> = changes.iter().map(|changed| decided(now, *changed)).collect();
                let by_quotes: Vec<_> =
                    events.iter().filter(|event| event.request.is_none()).map(|event| event.event.account).collect();
                for event in &events {
                    untold.entry(event.event.account).or_default().push(now);
                }
                let was_due = traded.is_due(now);
                let messages = traded.told(now, &events);
                prop_assert!(!was_due || !messages.is_empty());
                for message in messages {
                    let account: AccountId = serde_json::from_value(message.payload["account"].clone()).unwrap();
                    prop_assert!(untold.remove(&account).is_some(), "told of nothing");
                    if !by_quotes.contains(&account) {
                        let last = told_at.insert(account, now);
                        prop_assert!(last.is_none_or(|last| now.since(last).unwrap() >= TRADED_PAUSE));
                    }
                }
                for (account, times) in &untold {
                    prop_assert!(times.iter().all(|at| now.since(*at).unwrap() < TRADED_PAUSE), "{account} waits too long");
                }
                stored = now;
            }
        }
    }
}
