//! What would other rules have said? The history of a program's accounts, judged again by another program.
//!
//! `docs/adr/0011` says what is compared with what. Every number here is counted from two replays side by side, the one
//! under the accounts' own rules and the one under the other; nothing is estimated.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use engine::{Account, Engine, EngineError, Event, Instruments, Status, What};
use kernel::{AccountId, Amount, ChallengeId, Currency, Overflow, Timestamp};
use rules::{Program, ProgramError, VersionHash};
use tokio::sync::Semaphore;

use crate::trading::{
    By, HistoryError, HistoryStore, Places, ReadQuotes, Replay, ReplayError, RowsOf, ShardError, Snapshot,
    Told, Whereabouts, Whose, Witness, go_through,
};
use crate::{AppError, Context, FieldError, Permission};

/// A verdict as it is compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Its word, such as `breach`.
    pub kind: &'static str,
    /// The rule's kind.
    pub rule: String,
    /// The instant judged.
    pub at: Timestamp,
    /// The last quote before it, or the one that caused it.
    pub quote: u64,
    /// Equity then.
    pub equity: Amount,
    /// Balance then.
    pub balance: Amount,
    /// The floor, for a loss.
    pub floor: Option<Amount>,
}

/// What became of an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fate {
    /// Whether it trades, and if not, why.
    pub status: Status,
    /// When it opened.
    pub opened_at: Timestamp,
    /// When it ended.
    pub closed_at: Option<Timestamp>,
    /// Closed results.
    pub balance: Amount,
    /// Balance and open results.
    pub equity: Amount,
    /// Equity above the highest floor, while it trades and has one.
    pub room: Option<Amount>,
    /// What was taken out, payout by payout.
    pub paid: Vec<Amount>,
    /// What the trader would get now, if every condition of a payout holds.
    pub payable: Option<Amount>,
    /// Every verdict, in order.
    pub findings: Vec<Finding>,
}

impl Fate {
    /// The verdict that ended it.
    pub fn end(&self) -> Option<&Finding> {
        let ends = |finding: &&Finding| matches!(finding.kind, "breach" | "pass" | "expiry");
        self.findings.iter().rfind(ends)
    }

    /// In words, without a full stop.
    pub fn sentence(&self, currency: Currency) -> String {
        let text = |amount: Amount| amount.grouped(currency);
        if let Some(Finding { rule, at, quote, equity, floor, .. }) = self.end() {
            let floor = floor.map(|floor| format!(", floor {}", text(floor))).unwrap_or_default();
            let (status, equity) = (self.status.word(), text(*equity));
            return format!("{status} {rule} at {at} (quote {quote}, equity {equity}{floor})");
        }
        let room = self.room.map(|room| format!(", room {}", text(room))).unwrap_or_default();
        let (status, balance, equity) = (self.status.word(), text(self.balance), text(self.equity));
        format!("{status}, balance {balance}, equity {equity}{room}")
    }
}

/// One account under both programs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judged {
    /// The account.
    pub account: AccountId,
    /// Its challenge.
    pub challenge: ChallengeId,
    /// The version it was bought with.
    pub version: VersionHash,
    /// Its phase, from 0.
    pub phase: usize,
    /// Under its own rules; nothing if it was never opened.
    pub own: Option<Fate>,
    /// Under the other rules; nothing if it would never have been opened.
    pub other: Option<Fate>,
    /// Commands that would have got another answer.
    pub other_answers: u64,
}

impl Judged {
    /// Whether the other rules say something else about the account, or it would have been answered otherwise.
    pub fn differs(&self) -> bool {
        self.own != self.other || self.other_answers > 0
    }

    /// Whether it would stand elsewhere: another status, or there and not here.
    pub fn turns(&self) -> bool {
        self.own.as_ref().map(|fate| fate.status) != self.other.as_ref().map(|fate| fate.status)
    }

    /// The difference as a sentence.
    pub fn sentence(&self, currency: Currency) -> String {
        let fate = |fate: &Option<Fate>| {
            fate.as_ref().map_or_else(|| "not reached".to_owned(), |fate| fate.sentence(currency))
        };
        let answers = match self.other_answers {
            0 => String::new(),
            1 => "; 1 command is answered otherwise".to_owned(),
            more => format!("; {more} commands are answered otherwise"),
        };
        format!("{} | under the other program: {}{answers}", fate(&self.own), fate(&self.other))
    }
}

/// One phase of a program, counted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PhaseCount {
    /// Accounts that reached it.
    pub accounts: u64,
    /// By where they stand: `active`, `passed`, `breached`, `expired`.
    pub by_status: BTreeMap<&'static str, u64>,
    /// Those that ended, by where they stand and the rule that ended them.
    pub by_rule: BTreeMap<(&'static str, String), u64>,
}

impl PhaseCount {
    /// Accounts with this status.
    pub fn with(&self, status: Status) -> u64 {
        self.by_status.get(status.word()).copied().unwrap_or_default()
    }

    /// Accounts that no longer trade.
    pub fn ended(&self) -> u64 {
        self.accounts.saturating_sub(self.with(Status::Active))
    }
}

/// What one program says about all accounts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Column {
    /// Challenges.
    pub challenges: u64,
    /// Challenges whose last phase is passed.
    pub completed: u64,
    /// By phase, the first one first.
    pub phases: Vec<PhaseCount>,
    /// Verdicts by kind and rule, those that end nothing as well.
    pub verdicts: BTreeMap<(&'static str, String), u64>,
    /// Payouts that were made.
    pub payouts: u64,
    /// What they took out in all.
    pub paid: Amount,
    /// Accounts that could be paid at the end of the history.
    pub payable_accounts: u64,
    /// What their traders would get.
    pub payable: Amount,
}

impl Column {
    fn add(&mut self, phase: usize, last: bool, fate: &Fate) -> Result<(), Overflow> {
        let missing = phase.saturating_add(1).saturating_sub(self.phases.len());
        self.phases.extend(std::iter::repeat_n(PhaseCount::default(), missing));
        let Some(count) = self.phases.get_mut(phase) else { return Ok(()) };
        increase(&mut count.accounts);
        increase(count.by_status.entry(fate.status.word()).or_default());
        if let Some(end) = fate.end() {
            increase(count.by_rule.entry((fate.status.word(), end.rule.clone())).or_default());
        }
        for finding in &fate.findings {
            increase(self.verdicts.entry((finding.kind, finding.rule.clone())).or_default());
        }
        self.challenges = self.challenges.saturating_add(u64::from(phase == 0));
        self.completed = self.completed.saturating_add(u64::from(last && fate.status == Status::Passed));
        for amount in &fate.paid {
            increase(&mut self.payouts);
            self.paid = self.paid.plus(*amount)?;
        }
        if let Some(amount) = fate.payable {
            increase(&mut self.payable_accounts);
            self.payable = self.payable.plus(amount)?;
        }
        Ok(())
    }
}

fn increase(count: &mut u64) {
    *count = count.saturating_add(1);
}

/// Part of a whole in per cent with two digits, such as `12.50`; nothing of nothing. Rounded down.
pub fn percent(part: u64, whole: u64) -> Option<String> {
    let hundredths = u128::from(part).checked_mul(10_000)?.checked_div(u128::from(whole))?;
    Some(format!("{}.{:02}", hundredths.checked_div(100)?, hundredths.checked_rem(100)?))
}

/// All accounts under both programs.
#[derive(Debug, Clone)]
pub struct Report {
    /// The versions that the accounts were bought with.
    pub versions: Vec<(VersionHash, Arc<Program>)>,
    /// Versions that cannot be compared with the other program, and why. Their accounts are left out.
    pub left_out: Vec<(VersionHash, String)>,
    /// The other program.
    pub other: Arc<Program>,
    /// Differences of the programs that go beyond rules, in words.
    pub remarks: Vec<String>,
    /// Under their own rules.
    pub own: Column,
    /// Under the other rules.
    pub by_other: Column,
    /// Every account for which something differs, those that would stand elsewhere first.
    pub differing: Vec<Judged>,
    /// Accounts that would stand elsewhere.
    pub turned: u64,
    /// Accounts that come out the same in everything.
    pub same: u64,
    /// Commands applied.
    pub commands: u64,
    /// Quotes applied.
    pub quotes: u64,
    /// Places that the quote log does not hold.
    pub missing_quotes: Vec<Places>,
    /// Accounts whose replay under their own rules is not what is stored. Unless it is none, nothing here is to be
    /// relied on.
    pub not_as_stored: u64,
}

/// Why nothing was judged.
#[derive(Debug, thiserror::Error)]
pub enum WhatIfError {
    /// The other program makes no sense.
    #[error("the other program cannot be used")]
    Program(#[from] ProgramError),
    /// None of the accounts can be compared under it.
    #[error("{0}")]
    NotComparable(String),
    /// The history.
    #[error(transparent)]
    History(#[from] HistoryError),
}

impl From<ShardError> for WhatIfError {
    fn from(error: ShardError) -> Self {
        Self::History(error.into())
    }
}

impl From<ReplayError> for WhatIfError {
    fn from(error: ReplayError) -> Self {
        Self::History(error.into())
    }
}

/// Why accounts of one program cannot be judged by another.
pub fn comparable(own: &Program, other: &Program) -> Result<(), String> {
    if own.currency == other.currency {
        return Ok(());
    }
    Err(format!(
        "The accounts are kept in {}, the other program in {}: amounts in two currencies do not compare.",
        own.currency, other.currency
    ))
}

/// What a reader has to know before comparing numbers.
fn remarks(own: &Program, other: &Program) -> Vec<String> {
    let (name, mut remarks) = (&own.name, Vec::new());
    if own.initial_balance != other.initial_balance {
        remarks.push(format!(
            "{name} accounts open with {} instead of {} {}; the sizes of their orders stay as they were.",
            other.initial_balance.grouped(other.currency),
            own.initial_balance.grouped(own.currency),
            own.currency,
        ));
    }
    let traded = &other.terms.instruments;
    let gone: Vec<&str> = own
        .terms
        .instruments
        .iter()
        .filter(|symbol| !traded.contains(symbol))
        .map(kernel::Symbol::as_str)
        .collect();
    if !gone.is_empty() {
        remarks.push(format!(
            "{name} accounts trade {}, the other program does not: such orders are refused.",
            gone.join(", ")
        ));
    }
    if own.phases.len() != other.phases.len() {
        remarks.push(format!(
            "{name} has {} phase(s), the other program {}; phases are compared by their number.",
            own.phases.len(),
            other.phases.len(),
        ));
    }
    if own.terms != other.terms {
        remarks.push(format!(
            "{name} has other terms of trading: prices stay as they were, but commission, margin or what is accepted may change."
        ));
    }
    remarks
}

/// Two engines and their verdicts.
#[derive(Debug, Default)]
struct Tally {
    findings: BTreeMap<(AccountId, By), Vec<Finding>>,
    own_answer: Option<engine::Outcome>,
    other_answers: BTreeMap<AccountId, u64>,
}

impl Witness for Tally {
    fn told(&mut self, told: Told<'_>) {
        match told {
            Told::Answer { by: By::Own, now, .. } => self.own_answer = now,
            Told::Answer { by: By::Other, entry, now } => {
                let own = self.own_answer.take();
                if !alike(own, now) {
                    increase(self.other_answers.entry(entry.command.account).or_default());
                }
            }
            Told::Event { by, event, quote } => {
                if let Some(finding) = finding(event, quote) {
                    self.findings.entry((event.account, by)).or_default().push(finding);
                }
            }
        }
    }
}

/// Whether two answers say the same: tickets have other numbers once an order was refused on one side only.
fn alike(own: Option<engine::Outcome>, other: Option<engine::Outcome>) -> bool {
    match (own, other) {
        (Some(Ok(own)), Some(Ok(other))) => std::mem::discriminant(&own) == std::mem::discriminant(&other),
        (own, other) => own == other,
    }
}

fn finding(event: &Event, quote: u64) -> Option<Finding> {
    let What::Verdict(verdict) = &event.what else { return None };
    Some(Finding {
        kind: verdict.kind.word(),
        rule: verdict.rule.to_string(),
        at: event.at,
        quote,
        equity: verdict.equity,
        balance: verdict.balance,
        floor: verdict.floor.as_ref().map(|floor| floor.amount),
    })
}

fn fate(engine: &Engine, account: &Account, findings: Vec<Finding>) -> Result<Fate, EngineError> {
    let view = engine.view(account.id)?.ok_or(EngineError::UnknownProgram)?;
    let worth = rules::Worth { balance: account.balance, equity: view.equity, at_reset: false };
    let acts = |floor: &&rules::Floor| floor.effect != rules::Effect::Warn && !floor.cap;
    let mut room = None;
    for floor in view.floors.iter().filter(acts).filter(|_| account.status == Status::Active) {
        let left = floor.room(worth)?;
        room = Some(room.map_or(left, |least: kernel::Amount| least.min(left)));
    }
    Ok(Fate {
        status: account.status,
        opened_at: account.track.opened_at,
        closed_at: account.closed_at,
        balance: account.balance,
        equity: view.equity,
        room,
        paid: account.track.payouts.iter().map(|paid| paid.amount).collect(),
        payable: view.payout.filter(|precheck| precheck.eligible).map(|precheck| precheck.payout),
        findings,
    })
}

/// Judges accounts of one or more shards again. All accounts of a challenge belong together. Whether the caller may is
/// not asked here.
pub async fn judge(
    store: &dyn HistoryStore,
    quotes: &ReadQuotes,
    instruments: &Arc<Instruments>,
    accounts: &[Whereabouts],
    other: Arc<Program>,
) -> Result<Report, WhatIfError> {
    other.check()?;
    let mut by_shard: BTreeMap<i16, BTreeSet<AccountId>> = BTreeMap::new();
    for Whereabouts { shard, account } in accounts {
        by_shard.entry(*shard).or_default().insert(*account);
    }
    let mut report = Report::new(Arc::clone(&other));
    for (shard, accounts) in by_shard {
        let Some(snapshot) = store.snapshot(shard, RowsOf::Nobody).await? else { continue };
        judge_shard(store, quotes, instruments, snapshot, accounts, &mut report).await?;
    }
    if report.versions.is_empty()
        && let Some((_, say)) = report.left_out.first()
    {
        return Err(WhatIfError::NotComparable(say.clone()));
    }
    report.differing.sort_by_key(|judged| (!judged.turns(), judged.challenge, judged.phase));
    Ok(report)
}

/// Every account of a shard, by where it is.
pub async fn whole_shard(
    store: &dyn HistoryStore,
    shard: i16,
) -> Result<Option<Vec<Whereabouts>>, ShardError> {
    let snapshot = store.snapshot(shard, RowsOf::Nobody).await?;
    Ok(snapshot.map(|snapshot| {
        let accounts = snapshot.state.accounts.iter();
        accounts.map(|(account, _)| Whereabouts { shard, account: account.id }).collect()
    }))
}

async fn judge_shard(
    store: &dyn HistoryStore,
    quotes: &ReadQuotes,
    instruments: &Arc<Instruments>,
    snapshot: Snapshot,
    accounts: BTreeSet<AccountId>,
    report: &mut Report,
) -> Result<(), WhatIfError> {
    let Snapshot { shard, seq, quote_position, state, .. } = snapshot;
    let wanted: BTreeSet<&VersionHash> = state
        .accounts
        .iter()
        .filter(|(account, _)| accounts.contains(&account.id))
        .map(|(account, _)| &account.version)
        .collect();
    let mut own = Engine::new(Arc::clone(instruments));
    let mut by_other = Engine::new(Arc::clone(instruments));
    let mut judged_versions = BTreeSet::new();
    for (version, program) in state.programs.iter().filter(|(version, _)| wanted.contains(version)) {
        match comparable(program, &report.other) {
            Ok(()) => {
                own.learn(version.clone(), Arc::clone(program));
                by_other.learn(version.clone(), Arc::clone(&report.other));
                judged_versions.insert(version.clone());
                report.take_version(version, program);
            }
            Err(say) => report.leave_out(version, say),
        }
    }
    let stored: BTreeMap<AccountId, &Account> = state
        .accounts
        .iter()
        .map(|(account, _)| (account.id, account))
        .filter(|(id, account)| accounts.contains(id) && judged_versions.contains(&account.version))
        .collect();
    if stored.is_empty() {
        return Ok(());
    }
    let only = stored.keys().copied().collect();
    let log = quotes(1).map_err(ReplayError::Reading)?;
    let replay = Replay::new(own, log, quote_position).only(only).beside(by_other);
    let (replay, tally) = go_through(store, shard, seq, state.at, replay, Tally::default()).await?;
    report.commands = report.commands.saturating_add(replay.commands());
    report.quotes = report.quotes.saturating_add(replay.quotes());
    report.missing_quotes.extend_from_slice(replay.missing());
    report.take(&replay, tally, &stored)?;
    Ok(())
}

impl Report {
    fn new(other: Arc<Program>) -> Self {
        Self {
            versions: Vec::new(),
            left_out: Vec::new(),
            other,
            remarks: Vec::new(),
            own: Column::default(),
            by_other: Column::default(),
            differing: Vec::new(),
            turned: 0,
            same: 0,
            commands: 0,
            quotes: 0,
            missing_quotes: Vec::new(),
            not_as_stored: 0,
        }
    }

    fn take_version(&mut self, version: &VersionHash, program: &Arc<Program>) {
        if self.versions.iter().any(|(known, _)| known == version) {
            return;
        }
        self.versions.push((version.clone(), Arc::clone(program)));
        for remark in remarks(program, &self.other) {
            if !self.remarks.contains(&remark) {
                self.remarks.push(remark);
            }
        }
    }

    fn leave_out(&mut self, version: &VersionHash, say: String) {
        if !self.left_out.iter().any(|(known, _)| known == version) {
            self.left_out.push((version.clone(), say));
        }
    }

    /// Accounts that were judged under at least one of the programs.
    pub fn accounts(&self) -> u64 {
        u64::try_from(self.differing.len()).unwrap_or(u64::MAX).saturating_add(self.same)
    }

    fn take(
        &mut self,
        replay: &Replay,
        mut tally: Tally,
        stored: &BTreeMap<AccountId, &Account>,
    ) -> Result<(), WhatIfError> {
        let (own, Some(other)) = (replay.own(), replay.other()) else { return Ok(()) };
        let replayed = |id| own.account(id).map(Account::without_answers);
        for (id, account) in stored {
            let differs = !same_state(account, replayed(*id).as_ref());
            self.not_as_stored = self.not_as_stored.saturating_add(u64::from(differs));
        }
        let ids: BTreeSet<AccountId> =
            own.accounts().chain(other.accounts()).map(|account| account.id).collect();
        for id in ids {
            let mut fate_in = |engine: &Engine, by| -> Result<Option<Fate>, EngineError> {
                let findings = tally.findings.remove(&(id, by)).unwrap_or_default();
                engine.account(id).map(|account| fate(engine, account, findings)).transpose()
            };
            let own_fate = fate_in(own, By::Own).map_err(ReplayError::Engine)?;
            let other_fate = fate_in(other, By::Other).map_err(ReplayError::OtherEngine)?;
            let Some(account) = own.account(id).or_else(|| other.account(id)) else { continue };
            let phase = account.phase;
            let own_phases = self.versions.iter().find(|(version, _)| *version == account.version);
            let own_phases = own_phases.map_or(0, |(_, program)| program.phases.len());
            let is_last = |phases: usize| phase.saturating_add(1) >= phases;
            if let Some(fate) = &own_fate {
                self.own
                    .add(phase, is_last(own_phases), fate)
                    .map_err(EngineError::from)
                    .map_err(ReplayError::Engine)?;
            }
            if let Some(fate) = &other_fate {
                self.by_other
                    .add(phase, is_last(self.other.phases.len()), fate)
                    .map_err(EngineError::from)
                    .map_err(ReplayError::OtherEngine)?;
            }
            let judged = Judged {
                account: id,
                challenge: account.challenge,
                version: account.version.clone(),
                phase,
                own: own_fate,
                other: other_fate,
                other_answers: tally.other_answers.get(&id).copied().unwrap_or_default(),
            };
            if judged.differs() {
                self.turned = self.turned.saturating_add(u64::from(judged.turns()));
                self.differing.push(judged);
            } else {
                increase(&mut self.same);
            }
        }
        Ok(())
    }
}

/// Whether a replayed account is what is stored, but for its answers.
fn same_state(stored: &Account, replayed: Option<&Account>) -> bool {
    let text = |account: &Account| serde_json::to_string(account).ok();
    replayed.is_some_and(|replayed| text(&stored.without_answers()) == text(replayed))
}

/// Which accounts an operator asks about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Of {
    /// Bought with this version.
    Version(VersionHash),
    /// Bought under this slug, whatever the version.
    Slug(String),
}

/// The operator's use case. One history is gone through at a time: it keeps a processor busy that the shards need too.
pub struct WhatIf {
    store: Arc<dyn HistoryStore>,
    quotes: ReadQuotes,
    instruments: Arc<Instruments>,
    one: Arc<Semaphore>,
}

impl fmt::Debug for WhatIf {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("WhatIf").field("free", &self.one.available_permits()).finish_non_exhaustive()
    }
}

impl WhatIf {
    /// Over a store and a quote log.
    pub fn new(store: Arc<dyn HistoryStore>, quotes: ReadQuotes, instruments: Arc<Instruments>) -> Self {
        Self { store, quotes, instruments, one: Arc::new(Semaphore::new(1)) }
    }

    /// Judges the firm's accounts of a program by another. It goes on to its end if nobody waits for it any more.
    pub async fn judge(&self, context: &Context, of: Of, other: Program) -> Result<Report, AppError> {
        context.demand(Permission::JudgeAgain)?;
        other.check().map_err(faults)?;
        let whose = match of {
            Of::Version(version) => Whose::Version(Some(context.firm), version),
            Of::Slug(slug) => Whose::Slug(context.firm, slug),
        };
        let found = self.store.find(&whose).await.map_err(history_error)?;
        let accounts = found.ok_or(AppError::NotFound("program"))?;
        let permit = Arc::clone(&self.one).try_acquire_owned().map_err(|_| {
            AppError::refused("too_many_requests", "Another history is being judged; try again in a while.")
        })?;
        let (store, quotes) = (Arc::clone(&self.store), Arc::clone(&self.quotes));
        let instruments = Arc::clone(&self.instruments);
        let judging = tokio::spawn(async move {
            let judged = judge(&*store, &quotes, &instruments, &accounts, Arc::new(other)).await;
            drop(permit);
            judged
        });
        let judged = judging.await.map_err(|error| AppError::bug("judging a history")(Box::new(error)))?;
        judged.map_err(|error| match error {
            WhatIfError::Program(error) => faults(error),
            WhatIfError::NotComparable(say) => AppError::refused("programs_not_comparable", say),
            WhatIfError::History(HistoryError::Store(error)) => history_error(error),
            WhatIfError::History(HistoryError::Replay(ReplayError::OtherEngine(error))) => AppError::refused(
                "programs_not_comparable",
                format!("Under the other program the history leaves what can be computed: {error}."),
            ),
            WhatIfError::History(error) => AppError::bug("judging a history")(Box::new(error)),
        })
    }
}

fn history_error(error: ShardError) -> AppError {
    let doing = "reading a shard's history";
    match error {
        ShardError::Storage(source) => AppError::Unavailable { doing, source },
        error @ (ShardError::Deposed | ShardError::Inconsistent { .. }) => {
            AppError::Bug { doing, source: Box::new(error) }
        }
    }
}

/// A program's faults as fields of the request: `phases[0].name` is `/other/phases/0/name`.
fn faults(error: ProgramError) -> AppError {
    match error {
        ProgramError::Invalid(faults) => AppError::Invalid(
            faults
                .into_iter()
                .map(|fault| FieldError {
                    pointer: format!("/other/{}", fault.path.replace(['.', '['], "/").replace(']', "")),
                    code: "validation_failed",
                    say: fault.say,
                })
                .collect(),
        ),
        error @ (ProgramError::Unreadable { .. } | ProgramError::Encoding(_)) => {
            AppError::field("/other", crate::with_causes(&error))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_have_two_digits_and_nothing_has_none() {
        assert_eq!(percent(1, 8).as_deref(), Some("12.50"));
        assert_eq!(percent(2, 3).as_deref(), Some("66.66"));
        assert_eq!(percent(5, 5).as_deref(), Some("100.00"));
        assert_eq!(percent(0, 0), None);
    }

    #[test]
    fn a_fault_names_its_field_in_the_request() {
        let path = "phases[0].rules[2].limit".to_owned();
        let error = ProgramError::Invalid(vec![rules::Invalid { path, say: "no".to_owned() }]);
        let AppError::Invalid(fields) = faults(error) else { panic!("expected fields") };
        assert_eq!(fields[0].pointer, "/other/phases/0/rules/2/limit");
    }
}
