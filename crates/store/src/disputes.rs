//! Disputes, what was answered to them, and whose payouts wait because of them. A row changes under the lock of its purchase, with what
//! becomes of that.

use std::collections::BTreeMap;

use app::AppError;
use app::disputes::{
    Answer, AnswerKind, AnswerState, Change, Decide, Decided, Dispute, DisputeStore, Hold, HoldStore, Level,
    Rate, Records, STATES, Stand, Traded, word,
};
use app::ledger::Provider;
use app::payments::port::DisputeState;
use app::purchases::Purchase;
use app::refunds::RefundStore as _;
use app::trading::{AuditEntry, OutboxEntry};
use async_trait::async_trait;
use kernel::{AccountId, DisputeId, FirmId, Money, PersonId, PurchaseId, Timestamp};
use uuid::Uuid;

use crate::error::Doing;
use crate::payouts::{block_in_tx, unblock_in_tx};
use crate::purchases::{locked_in_tx, provider, settle_in_tx};
use crate::records::{finish, record_in_tx};
use crate::row::{At, by_word, money};
use crate::{Inconsistent, Store, Tx};

const DISPUTES: &str = "disputes";
const ANSWERS: &str = "dispute_answers";

struct DisputeRow {
    id: Uuid,
    provider: String,
    known_as: String,
    purchase_id: Uuid,
    person_id: Uuid,
    payment: String,
    amount_minor: i64,
    currency: String,
    fee_minor: Option<i64>,
    fee_currency: Option<String>,
    reason: String,
    state: String,
    inquiry: bool,
    answer_by: Option<At>,
    opened_at: At,
    changed_at: At,
    next_at: Option<At>,
    explanation: Option<String>,
    held_since: Option<At>,
}

impl DisputeRow {
    fn read(self) -> Result<Dispute, Inconsistent> {
        let fee = self.fee_minor.zip(self.fee_currency);
        Ok(Dispute {
            id: DisputeId::from_uuid(self.id),
            provider: provider(DISPUTES, &self.provider)?,
            known_as: self.known_as,
            purchase: PurchaseId::from_uuid(self.purchase_id),
            person: PersonId::from_uuid(self.person_id),
            payment: self.payment,
            amount: money(DISPUTES, self.amount_minor, &self.currency)?,
            fee: fee.map(|(minor, currency)| money(DISPUTES, minor, &currency)).transpose()?,
            reason: self.reason,
            stand: Stand {
                state: by_word(DISPUTES, &STATES, word, &self.state)?,
                inquiry: self.inquiry,
                answer_by: self.answer_by.map(Timestamp::from),
            },
            opened_at: self.opened_at.into(),
            changed_at: self.changed_at.into(),
            next_at: self.next_at.map(Timestamp::from),
            explanation: self.explanation,
            held_since: self.held_since.map(Timestamp::from),
        })
    }
}

/// Which disputes: those for which everything that is said holds.
#[derive(Default)]
struct Which {
    id: Option<DisputeId>,
    state: Option<DisputeState>,
    behind: Option<DisputeId>,
    due: Option<Timestamp>,
}

/// The newest first; those that are due in the order in which they are.
async fn disputes_in_tx(tx: &mut Tx, which: Which, most: i64) -> Result<Vec<Dispute>, AppError> {
    let firm = tx.firm();
    let rows = sqlx::query_as!(
        DisputeRow,
        r#"select dispute.id, dispute.provider, dispute.known_as, dispute.purchase_id, dispute.person_id, dispute.payment,
                  dispute.amount_minor, dispute.currency, dispute.fee_minor, dispute.fee_currency, dispute.reason, dispute.state,
                  dispute.inquiry,
                  dispute.answer_by as "answer_by: At", dispute.opened_at as "opened_at: At",
                  dispute.changed_at as "changed_at: At", dispute.next_at as "next_at: At", dispute.explanation,
                  hold.at as "held_since?: At"
           from disputes dispute
           left join payout_blocks hold
                  on hold.firm_id = dispute.firm_id and hold.person_id = dispute.person_id
                 and hold.cause = 'dispute:' || dispute.id
           where dispute.firm_id = $1 and ($2::uuid is null or dispute.id = $2) and ($3::text is null or dispute.state = $3)
             and ($4::uuid is null or (dispute.opened_at, dispute.id) < (select last.opened_at, last.id from disputes last
                                                                         where last.firm_id = $1 and last.id = $4))
             and ($5::timestamptz is null or dispute.next_at <= $5)
           order by case when $5::timestamptz is null then null else dispute.next_at end, dispute.opened_at desc, dispute.id desc
           limit $6"#,
        firm.uuid(),
        which.id.map(DisputeId::uuid),
        which.state.map(word),
        which.behind.map(DisputeId::uuid),
        which.due.map(At) as _,
        most,
    )
    .fetch_all(tx.connection())
    .await
    .doing("reading disputes")?;
    rows.into_iter().map(|row| Ok(row.read()?)).collect()
}

async fn dispute_in_tx(tx: &mut Tx, id: DisputeId) -> Result<Option<Dispute>, AppError> {
    Ok(disputes_in_tx(tx, Which { id: Some(id), ..Which::default() }, 1).await?.pop())
}

async fn answers_in_tx(tx: &mut Tx, id: DisputeId) -> Result<Vec<Answer>, AppError> {
    let firm = tx.firm();
    let rows = sqlx::query!(
        r#"select number, kind, state, explanation, digest, said, asked_by, first_asked_at as "first_asked_at: At",
                  changed_at as "changed_at: At"
           from dispute_answers where firm_id = $1 and dispute_id = $2 order by number"#,
        firm.uuid(),
        id.uuid(),
    )
    .fetch_all(tx.connection())
    .await
    .doing("reading answers to a dispute")?;
    let mut answers = Vec::with_capacity(rows.len());
    for row in rows {
        let digest = row.digest.as_deref().map(<[u8; 32]>::try_from).transpose();
        answers.push(Answer {
            dispute: id,
            number: row.number,
            kind: by_word(ANSWERS, &AnswerKind::ALL, AnswerKind::word, &row.kind)?,
            state: by_word(ANSWERS, &AnswerState::ALL, AnswerState::word, &row.state)?,
            explanation: row.explanation,
            digest: digest.map_err(Inconsistent::from(ANSWERS))?,
            said: row.said,
            asked_by: PersonId::from_uuid(row.asked_by),
            first_asked_at: row.first_asked_at.into(),
            changed_at: row.changed_at.into(),
        });
    }
    Ok(answers)
}

#[async_trait]
impl DisputeStore for Store {
    async fn dispute(&self, firm: FirmId, id: DisputeId) -> Result<Option<Dispute>, AppError> {
        let mut tx = self.begin(firm).await?;
        dispute_in_tx(&mut tx, id).await
    }

    async fn disputes(
        &self,
        firm: FirmId,
        state: Option<DisputeState>,
        behind: Option<DisputeId>,
        most: i64,
    ) -> Result<Vec<Dispute>, AppError> {
        let mut tx = self.begin(firm).await?;
        disputes_in_tx(&mut tx, Which { state, behind, ..Which::default() }, most).await
    }

    async fn answers(&self, firm: FirmId, id: DisputeId) -> Result<Vec<Answer>, AppError> {
        let mut tx = self.begin(firm).await?;
        answers_in_tx(&mut tx, id).await
    }

    async fn disputed_purchase(
        &self,
        firm: FirmId,
        provider: &Provider,
        payment: &str,
    ) -> Result<Option<PurchaseId>, AppError> {
        self.paid_by(firm, provider, payment).await
    }

    async fn change_dispute(
        &self,
        firm: FirmId,
        purchase: PurchaseId,
        id: DisputeId,
        decide: &Decide<'_>,
    ) -> Result<Option<Dispute>, AppError> {
        let mut tx = self.begin(firm).await?;
        let Some((mut purchase, history)) = locked_in_tx(&mut tx, purchase).await? else { return Ok(None) };
        let known = dispute_in_tx(&mut tx, id).await?;
        let answers = answers_in_tx(&mut tx, id).await?;
        let Some(change) = decide(&purchase, &history, known.as_ref(), &answers)? else { return Ok(None) };
        let Change { dispute, settlements, hold, answer, audit, outbox } = change;
        write_in_tx(&mut tx, &dispute).await?;
        if let Some(answer) = &answer {
            write_answer_in_tx(&mut tx, answer).await?;
        }
        hold_payouts_in_tx(&mut tx, &dispute, hold).await?;
        for settlement in &settlements {
            purchase = settle_in_tx(&mut tx, purchase, settlement).await?;
        }
        record_in_tx(tx.connection(), audit.as_slice(), outbox.as_slice()).await?;
        let _proof = tx.commit().await?;
        Ok(Some(dispute))
    }

    async fn disputes_due(&self, firm: FirmId, at: Timestamp, most: i64) -> Result<Vec<Dispute>, AppError> {
        let mut tx = self.begin(firm).await?;
        disputes_in_tx(&mut tx, Which { due: Some(at), ..Which::default() }, most).await
    }

    async fn records(
        &self,
        firm: FirmId,
        purchase: &Purchase,
        until: Timestamp,
        most_visits: i32,
    ) -> Result<Records, AppError> {
        let doing = "reading what speaks for a payment";
        let mut tx = self.begin(firm).await?;
        let bought = sqlx::query!(
            r#"select version.body, person.email_sealed, person.name_sealed
               from people person
               join program_versions version on version.firm_id = person.firm_id and version.version = $3
               where person.firm_id = $1 and person.id = $2"#,
            firm.uuid(),
            purchase.person.uuid(),
            purchase.version.as_str(),
        )
        .fetch_one(tx.connection())
        .await
        .doing(doing)?;
        let visits = sqlx::query!(
            r#"select at as "at!: At", action as "action!" from tradesense_visits_of($1, $2, $3)"#,
            purchase.person.uuid(),
            At(until) as _,
            most_visits,
        )
        .fetch_all(tx.connection())
        .await
        .doing(doing)?;
        let accounts = accounts_in_tx(&mut tx, purchase.id, until).await?;
        drop(tx);
        let buyer = match (bought.email_sealed, bought.name_sealed) {
            (Some(email), Some(name)) => self.vault.identify(firm, purchase.person, &email, &name).await?,
            _ => None,
        };
        Ok(Records {
            buyer: buyer.map(|(email, name)| (name, email)),
            terms: bought.body,
            visits: visits.into_iter().map(|row| (row.at.into(), row.action)).collect(),
            accounts,
        })
    }

    async fn counted(
        &self,
        firm: FirmId,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<Vec<(Provider, i64, i64)>, AppError> {
        let mut tx = self.begin(firm).await?;
        let rows = sqlx::query!(
            r#"select coalesce(disputed.provider, paid.provider) as "provider!", coalesce(disputed.count, 0) as "disputes!",
                      coalesce(paid.count, 0) as "payments!"
               from (select provider, count(*) as count from disputes
                     where firm_id = $1 and not inquiry and opened_at >= $2 and opened_at < $3
                     group by provider) disputed
               full join (select provider, count(*) as count from purchase_events
                          where firm_id = $1 and what in ('captured', 'paid_again') and at >= $2 and at < $3
                            and provider is not null
                          group by provider) paid on paid.provider = disputed.provider
               order by 1"#,
            firm.uuid(),
            At(from) as _,
            At(to) as _,
        )
        .fetch_all(tx.connection())
        .await
        .doing("counting disputes and payments")?;
        let read = |name: &str, disputes, payments| Ok((provider(DISPUTES, name)?, disputes, payments));
        rows.into_iter().map(|row| read(&row.provider, row.disputes, row.payments)).collect()
    }

    async fn tell_rate(
        &self,
        firm: FirmId,
        rate: &Rate,
        level: Level,
        outbox: &OutboxEntry,
    ) -> Result<bool, AppError> {
        let mut tx = self.begin(firm).await?;
        let told = sqlx::query!(
            "insert into dispute_rate_alerts (firm_id, provider, month, level, disputes, payments, at)
             values ($1, $2, $3, $4, $5, $6, $7) on conflict on constraint dispute_rate_alerts_key do nothing",
            firm.uuid(),
            rate.provider.as_str(),
            rate.month.to_string(),
            level.word(),
            rate.disputes,
            rate.payments,
            At(outbox.at) as _,
        )
        .execute(tx.connection())
        .await
        .doing("telling of a rate of disputes")?;
        if told.rows_affected() == 0 {
            return Ok(false);
        }
        record_in_tx(tx.connection(), &[], std::slice::from_ref(outbox)).await?;
        let _proof = tx.commit().await?;
        Ok(true)
    }

    async fn looked(&self, audit: &AuditEntry) -> Result<(), AppError> {
        let tx = self.begin(audit.firm).await?;
        finish(tx, audit, &[]).await
    }
}

#[async_trait]
impl HoldStore for Store {
    async fn misheld(&self, firm: FirmId, most: i64) -> Result<Vec<(AccountId, bool)>, AppError> {
        let mut tx = self.begin(firm).await?;
        let rows = sqlx::query!(
            r#"with disputed as (
                   select dispute.purchase_id as id
                   from payout_blocks block
                   join disputes dispute
                     on dispute.firm_id = block.firm_id
                    and dispute.id = case when block.cause like 'dispute:%' then substr(block.cause, 9)::uuid end
                   where block.firm_id = $1
               ), wanted as (
                   select challenge.id
                   from disputed
                   join challenges challenge on challenge.firm_id = $1 and challenge.purchase_id = disputed.id
                   union
                   select challenge.id
                   from disputed
                   join purchases again
                     on again.firm_id = $1 and again.root_id = disputed.id and again.bought = 'reset'
                   join challenges challenge on challenge.firm_id = $1 and challenge.purchase_id = again.id
               )
               select account.id as "id!", true as "held!"
               from wanted
               join accounts account on account.firm_id = $1 and account.challenge_id = wanted.id
               where not account.held
               union all
               select account.id, false
               from accounts account
               where account.firm_id = $1 and account.held
                 and not exists (select from wanted where wanted.id = account.challenge_id)
               order by 1 limit $2"#,
            firm.uuid(),
            most,
        )
        .fetch_all(tx.connection())
        .await
        .doing("looking for accounts to hold")?;
        Ok(rows.into_iter().map(|row| (AccountId::from_uuid(row.id), row.held)).collect())
    }
}

/// The accounts of a purchase's challenge, with what happened on them until an instant.
async fn accounts_in_tx(
    tx: &mut Tx,
    purchase: PurchaseId,
    until: Timestamp,
) -> Result<Vec<Traded>, AppError> {
    let doing = "reading what speaks for a payment";
    let firm = tx.firm();
    let accounts = sqlx::query!(
        r#"select account.id, account.phase, account.status, account.opened_at as "opened_at: At", done.fills as "fills!",
                  done.first as "first?: At", done.last as "last?: At"
           from challenges challenge
           join accounts account on account.firm_id = challenge.firm_id and account.challenge_id = challenge.id
           cross join lateral (select count(*) as fills, min(at) as first, max(at) as last from fills
                               where fills.firm_id = account.firm_id and fills.account_id = account.id
                                 and fills.at <= $3) done
           where challenge.firm_id = $1 and challenge.purchase_id = $2 and account.opened_at <= $3
           order by account.phase"#,
        firm.uuid(),
        purchase.uuid(),
        At(until) as _,
    )
    .fetch_all(tx.connection())
    .await
    .doing(doing)?;
    let ids: Vec<Uuid> = accounts.iter().map(|account| account.id).collect();
    let verdicts = sqlx::query!(
        r#"select verdict.account_id, verdict.at as "at: At", verdict.kind, verdict.rule,
                  encode(verdict.digest, 'hex') as "digest!",
                  exists (select from receipts receipt
                          where receipt.firm_id = verdict.firm_id and receipt.account_id = verdict.account_id
                            and receipt.number = verdict.number and receipt.issued_at <= $3) as "receipt!"
           from verdicts verdict
           where verdict.firm_id = $1 and verdict.account_id = any ($2) and verdict.at <= $3
           order by verdict.account_id, verdict.number"#,
        firm.uuid(),
        &ids,
        At(until) as _,
    )
    .fetch_all(tx.connection())
    .await
    .doing(doing)?;
    let mut decided: BTreeMap<Uuid, Vec<Decided>> = BTreeMap::new();
    for row in verdicts {
        let verdict = Decided {
            at: row.at.into(),
            kind: row.kind,
            rule: row.rule,
            digest: row.digest,
            receipt: row.receipt,
        };
        decided.entry(row.account_id).or_default().push(verdict);
    }
    let traded = accounts.into_iter().map(|row| Traded {
        account: AccountId::from_uuid(row.id),
        phase: row.phase,
        status: row.status,
        opened_at: row.opened_at.into(),
        fills: row.fills,
        between: row.first.map(Timestamp::from).zip(row.last.map(Timestamp::from)),
        verdicts: decided.remove(&row.id).unwrap_or_default(),
    });
    Ok(traded.collect())
}

async fn write_in_tx(tx: &mut Tx, dispute: &Dispute) -> Result<(), AppError> {
    let firm = tx.firm();
    sqlx::query!(
        "insert into disputes (firm_id, id, provider, known_as, purchase_id, person_id, payment, amount_minor, currency, fee_minor,
                               reason, state, inquiry, answer_by, opened_at, changed_at, next_at, explanation, fee_currency)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19)
         on conflict on constraint disputes_key do update
         set amount_minor = excluded.amount_minor, fee_minor = excluded.fee_minor, fee_currency = excluded.fee_currency,
             reason = excluded.reason, state = excluded.state,
             inquiry = excluded.inquiry, answer_by = excluded.answer_by, changed_at = excluded.changed_at,
             next_at = excluded.next_at, explanation = excluded.explanation",
        firm.uuid(),
        dispute.id.uuid(),
        dispute.provider.as_str(),
        dispute.known_as,
        dispute.purchase.uuid(),
        dispute.person.uuid(),
        dispute.payment,
        dispute.amount.minor(),
        dispute.amount.currency().code(),
        dispute.fee.map(Money::minor),
        dispute.reason,
        word(dispute.stand.state),
        dispute.stand.inquiry,
        dispute.stand.answer_by.map(At) as _,
        At(dispute.opened_at) as _,
        At(dispute.changed_at) as _,
        dispute.next_at.map(At) as _,
        dispute.explanation,
        dispute.fee.map(|fee| fee.currency().code()),
    )
    .execute(tx.connection())
    .await
    .doing("writing a dispute")?;
    Ok(())
}

async fn write_answer_in_tx(tx: &mut Tx, answer: &Answer) -> Result<(), AppError> {
    let firm = tx.firm();
    sqlx::query!(
        "insert into dispute_answers (firm_id, dispute_id, number, kind, state, explanation, digest, said, asked_by, first_asked_at,
                                      changed_at)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
         on conflict on constraint dispute_answers_key do update
         set state = excluded.state, said = excluded.said, changed_at = excluded.changed_at",
        firm.uuid(),
        answer.dispute.uuid(),
        answer.number,
        answer.kind.word(),
        answer.state.word(),
        answer.explanation,
        answer.digest.as_ref().map(<[u8; 32]>::as_slice),
        answer.said,
        answer.asked_by.uuid(),
        At(answer.first_asked_at) as _,
        At(answer.changed_at) as _,
    )
    .execute(tx.connection())
    .await
    .doing("writing an answer to a dispute")?;
    Ok(())
}

/// Nothing is paid out to whoever disputes, or something again.
async fn hold_payouts_in_tx(tx: &mut Tx, dispute: &Dispute, hold: Hold) -> Result<(), AppError> {
    let cause = format!("dispute:{}", dispute.id);
    let (person, at) = (dispute.person, dispute.changed_at);
    match hold {
        Hold::Keep => Ok(()),
        Hold::Begin => block_in_tx(tx, person, &cause, "A payment of theirs is disputed.", at).await,
        Hold::End => unblock_in_tx(tx, person, &cause, at).await,
    }
}
