//! Payouts, attempts to send them, who looked at them, files for banks, certificates.

use std::collections::BTreeSet;

use app::AppError;
use app::kyc::{Known, Standing};
use app::payouts::{
    Answer, Attempt, AttemptState, BankAccount, BankLine, Certificate, CertificateStore, Decide, Fingerprint,
    Happened, Happening, Locked, Method, NewBatch, NewRow, Payee, Paying, Payout, PayoutState, PayoutStore,
    Proven, Review, Settings, Subject, Wanted, in_money,
};
use app::trading::{AuditEntry, Digests};
use async_trait::async_trait;
use engine::{Done, Key, Outcome, Refusal};
use kernel::{
    AccountId, Amount, Currency, FirmId, Money, PayoutBatchId, PayoutId, PersonId, Rounding, Timestamp,
};
use rules::{Figure, Objective};
use uuid::Uuid;

use crate::error::Doing;
use crate::ledger::{end_hold_in_tx, open_hold_in_tx, post_in_tx};
use crate::records::record_in_tx;
use crate::row::{At, by_word, column, counter, from_json, money, to_json, version};
use crate::shard::read_evidence;
use crate::{Inconsistent, Store, Tx};

const PAYOUTS: &str = "payouts";
const ATTEMPTS: &str = "payout_attempts";
const EVENTS: &str = "payout_events";
const SETTINGS: &str = "payout_settings";
const CERTIFICATES: &str = "certificates";

/// What a payee is sealed as, in whichever table.
const PAYEE: &str = "payouts.payee";

struct PayoutRow {
    id: Uuid,
    person_id: Uuid,
    account_id: Uuid,
    program_name: String,
    currency: String,
    asked_micros: i64,
    precheck: String,
    expected_minor: i64,
    state: String,
    method: String,
    tries: i32,
    take_began_at: Option<At>,
    verdict: Option<i64>,
    taken_micros: Option<i64>,
    share_minor: Option<i64>,
    attempt: i32,
    reason: Option<String>,
    fingerprint: Vec<u8>,
    requested_at: At,
    moved_at: At,
}

impl PayoutRow {
    fn read(self) -> Result<(Payout, Fingerprint), Inconsistent> {
        let table = PAYOUTS;
        let fingerprint =
            Fingerprint::try_from(self.fingerprint.as_slice()).map_err(Inconsistent::from(table))?;
        let share = self.share_minor.map(|share| money(table, share, &self.currency)).transpose()?;
        let payout = Payout {
            id: PayoutId::from_uuid(self.id),
            person: PersonId::from_uuid(self.person_id),
            account: AccountId::from_uuid(self.account_id),
            program_name: self.program_name,
            currency: Currency::parse(&self.currency).map_err(Inconsistent::from(table))?,
            asked: Amount::from_micros(self.asked_micros),
            precheck: from_json(table, &self.precheck)?,
            expected: money(table, self.expected_minor, &self.currency)?,
            state: by_word(table, &PayoutState::ALL, PayoutState::word, &self.state)?,
            method: method(table, &self.method)?,
            tries: number(table, self.tries)?,
            take_began_at: self.take_began_at.map(Timestamp::from),
            verdict: self.verdict.map(|verdict| counter(table, verdict)).transpose()?,
            taken: self.taken_micros.map(Amount::from_micros),
            share,
            attempt: number(table, self.attempt)?,
            reason: self.reason,
            requested_at: self.requested_at.into(),
            moved_at: self.moved_at.into(),
        };
        Ok((payout, fingerprint))
    }
}

fn method(table: &'static str, word: &str) -> Result<Method, Inconsistent> {
    by_word(table, &Method::ALL, Method::word, word)
}

fn number(table: &'static str, number: i32) -> Result<u32, Inconsistent> {
    u32::try_from(number).map_err(Inconsistent::from(table))
}

fn to_number(table: &'static str, number: u32) -> Result<i32, Inconsistent> {
    i32::try_from(number).map_err(Inconsistent::from(table))
}

#[async_trait]
impl PayoutStore for Store {
    async fn payout_settings(&self, firm: FirmId) -> Result<Option<Settings>, AppError> {
        let doing = "reading how a firm pays";
        let mut tx = self.begin(firm).await?;
        let row = sqlx::query!(
            "select methods, identity_needed, bank_name, bank_iban, bank_bic from payout_settings where firm_id = $1",
            firm.uuid(),
        )
        .fetch_optional(tx.connection())
        .await
        .doing(doing)?;
        let Some(row) = row else { return Ok(None) };
        let limits = sqlx::query!(
            "select currency, one_reviewer_minor from payout_limits where firm_id = $1 order by currency",
            firm.uuid(),
        )
        .fetch_all(tx.connection())
        .await
        .doing(doing)?;
        let methods: Result<BTreeSet<Method>, Inconsistent> =
            row.methods.iter().map(|word| method(SETTINGS, word)).collect();
        let limits: Result<Vec<Money>, Inconsistent> =
            limits.iter().map(|limit| money(SETTINGS, limit.one_reviewer_minor, &limit.currency)).collect();
        let bank = row.bank_name.zip(row.bank_iban);
        Ok(Some(Settings {
            methods: methods?,
            identity_needed: row.identity_needed,
            bank: bank.map(|(name, iban)| BankAccount { name, iban, bic: row.bank_bic }),
            one_reviewer: limits?,
        }))
    }

    async fn set_payout_settings(
        &self,
        firm: FirmId,
        settings: &Settings,
        audit: &AuditEntry,
    ) -> Result<(), AppError> {
        let doing = "saying how a firm pays";
        let mut tx = self.begin(firm).await?;
        let methods: Vec<String> = settings.methods.iter().map(|method| method.word().to_owned()).collect();
        let bank = settings.bank.as_ref();
        sqlx::query!(
            "insert into payout_settings (firm_id, methods, identity_needed, bank_name, bank_iban, bank_bic, changed_at)
             values ($1, $2, $3, $4, $5, $6, $7)
             on conflict on constraint payout_settings_key do update
             set methods = excluded.methods, identity_needed = excluded.identity_needed, bank_name = excluded.bank_name,
                 bank_iban = excluded.bank_iban, bank_bic = excluded.bank_bic, changed_at = excluded.changed_at",
            firm.uuid(),
            &methods,
            settings.identity_needed,
            bank.map(|bank| bank.name.as_str()),
            bank.map(|bank| bank.iban.as_str()),
            bank.and_then(|bank| bank.bic.as_deref()),
            At(audit.at) as _,
        )
        .execute(tx.connection())
        .await
        .doing(doing)?;
        sqlx::query!("delete from payout_limits where firm_id = $1", firm.uuid())
            .execute(tx.connection())
            .await
            .doing(doing)?;
        sqlx::query!(
            "insert into payout_limits (firm_id, currency, one_reviewer_minor)
             select $1, currency, minor from unnest($2::text[], $3::bigint[]) as own (currency, minor)",
            firm.uuid(),
            column(&settings.one_reviewer, |limit| limit.currency().code()) as _,
            &column(&settings.one_reviewer, |limit| limit.minor()),
        )
        .execute(tx.connection())
        .await
        .doing(doing)?;
        record_in_tx(tx.connection(), std::slice::from_ref(audit), &[]).await?;
        let _proof = tx.commit().await?;
        Ok(())
    }

    async fn paying(&self, firm: FirmId, account: AccountId) -> Result<Option<Paying>, AppError> {
        let mut tx = self.begin(firm).await?;
        let row = sqlx::query!(
            "select challenge.person_id, version.name, account.currency
             from accounts account
             join challenges challenge on challenge.firm_id = account.firm_id and challenge.id = account.challenge_id
             join program_versions version on version.firm_id = account.firm_id and version.version = account.version
             where account.firm_id = $1 and account.id = $2",
            firm.uuid(),
            account.uuid(),
        )
        .fetch_optional(tx.connection())
        .await
        .doing("looking whose an account is")?;
        let Some(row) = row else { return Ok(None) };
        Ok(Some(Paying {
            person: PersonId::from_uuid(row.person_id),
            program_name: row.name,
            currency: Currency::parse(&row.currency).map_err(Inconsistent::from("accounts"))?,
        }))
    }

    async fn payout_by_key(
        &self,
        firm: FirmId,
        person: PersonId,
        key: &Key,
    ) -> Result<Option<(Payout, Fingerprint)>, AppError> {
        let mut tx = self.begin(firm).await?;
        by_key_in_tx(&mut tx, person, key).await
    }

    async fn create_payout(&self, firm: FirmId, new: &NewRow) -> Result<(Payout, Fingerprint), AppError> {
        let doing = "creating a payout";
        let payout = &new.payout;
        let sealed = self.seal_payee(firm, payout.person, &new.payee).await?;
        let mut tx = self.begin(firm).await?;
        let created = sqlx::query!(
            "insert into payouts (firm_id, id, person_id, account_id, program_name, currency, asked_micros, precheck,
                                  expected_minor, state, method, payee_sealed, idempotency_key, fingerprint, requested_at,
                                  moved_at, looked_at)
             values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $15, $15)
             on conflict on constraint payouts_once do nothing",
            firm.uuid(),
            payout.id.uuid(),
            payout.person.uuid(),
            payout.account.uuid(),
            payout.program_name,
            payout.currency.code(),
            payout.asked.micros(),
            to_json(PAYOUTS, &payout.precheck)?,
            payout.expected.minor(),
            payout.state.word(),
            payout.method.word(),
            sealed,
            new.key.as_str(),
            new.fingerprint.as_slice(),
            At(payout.requested_at) as _,
        )
        .execute(tx.connection())
        .await
        .doing(doing)?;
        if created.rows_affected() == 0 {
            let found = by_key_in_tx(&mut tx, payout.person, &new.key).await?;
            return found.ok_or_else(|| Inconsistent::new(PAYOUTS, "a key conflicts with no row").into());
        }
        let owed = sqlx::query_scalar!(
            r#"select exists (select from payouts where firm_id = $1 and account_id = $2 and state = 'returned') as "owed!""#,
            firm.uuid(),
            payout.account.uuid(),
        )
        .fetch_one(tx.connection())
        .await
        .doing(doing)?;
        if owed {
            let say = "A payout of this account came back and is owed. Ask again when it is finished.";
            return Err(AppError::refused("payout_open", say));
        }
        let happened = Happened {
            what: Happening::Requested,
            attempt: 0,
            detail: None,
            at: payout.requested_at,
            from: payout.state,
            to: payout.state,
        };
        write_event_in_tx(&mut tx, payout, &happened).await?;
        record_in_tx(tx.connection(), std::slice::from_ref(&new.audit), std::slice::from_ref(&new.outbox))
            .await?;
        let _proof = tx.commit().await?;
        Ok((payout.clone(), new.fingerprint))
    }

    async fn payout(&self, firm: FirmId, id: PayoutId) -> Result<Option<Payout>, AppError> {
        let mut tx = self.begin(firm).await?;
        payout_in_tx(&mut tx, id).await
    }

    async fn payouts(
        &self,
        firm: FirmId,
        wanted: &Wanted,
        behind: Option<PayoutId>,
        most: i64,
    ) -> Result<Vec<Payout>, AppError> {
        let mut tx = self.begin(firm).await?;
        let state = wanted.state.map(PayoutState::word);
        let rows = rows_in_tx(&mut tx, None, wanted.person, None, state, behind, most).await?;
        rows.into_iter().map(|row| Ok(row.read()?.0)).collect()
    }

    async fn payout_whole(&self, firm: FirmId, id: PayoutId) -> Result<Option<Locked>, AppError> {
        let mut tx = self.begin(firm).await?;
        whole_in_tx(&mut tx, id).await
    }

    async fn payout_history(&self, firm: FirmId, id: PayoutId) -> Result<Vec<Happened>, AppError> {
        let mut tx = self.begin(firm).await?;
        let rows = sqlx::query!(
            r#"select what, attempt, detail, at as "at: At", from_state, to_state from payout_events
               where firm_id = $1 and payout_id = $2 order by number"#,
            firm.uuid(),
            id.uuid(),
        )
        .fetch_all(tx.connection())
        .await
        .doing("reading what happened to a payout")?;
        let mut history = Vec::with_capacity(rows.len());
        for row in rows {
            history.push(Happened {
                what: by_word(EVENTS, &Happening::ALL, Happening::word, &row.what)?,
                attempt: number(EVENTS, row.attempt)?,
                detail: row.detail,
                at: row.at.into(),
                from: by_word(EVENTS, &PayoutState::ALL, PayoutState::word, &row.from_state)?,
                to: by_word(EVENTS, &PayoutState::ALL, PayoutState::word, &row.to_state)?,
            });
        }
        Ok(history)
    }

    async fn change_payout(
        &self,
        firm: FirmId,
        id: PayoutId,
        decide: &Decide<'_>,
    ) -> Result<Option<Payout>, AppError> {
        let doing = "moving a payout";
        let mut tx = self.begin(firm).await?;
        sqlx::query!(
            "select id from payouts where firm_id = $1 and id = $2 for update",
            firm.uuid(),
            id.uuid()
        )
        .fetch_optional(tx.connection())
        .await
        .doing(doing)?;
        let Some(locked) = whole_in_tx(&mut tx, id).await? else { return Ok(None) };
        let change = match decide(&locked) {
            Ok(Some(change)) => change,
            nothing => {
                // Whoever looks for work next passes over what is locked.
                tx.let_go().await?;
                return nothing.map(|_| Some(locked.payout));
            }
        };
        let (decision, at) = (&change.decision, change.recorded_at);
        let payout = &decision.payout;
        let sealed = match &change.payee {
            Some(payee) => Some(self.seal_payee(firm, payout.person, payee).await?),
            None => None,
        };
        sqlx::query!(
            "update payouts
             set state = $3, method = $4, payee_sealed = coalesce($5, payee_sealed), tries = $6, take_began_at = $7,
                 verdict = $8, taken_micros = $9, share_minor = $10, attempt = $11, reason = $12, moved_at = $13
             where firm_id = $1 and id = $2",
            firm.uuid(),
            id.uuid(),
            payout.state.word(),
            payout.method.word(),
            sealed,
            to_number(PAYOUTS, payout.tries)?,
            payout.take_began_at.map(At) as _,
            payout.verdict.map(i64::from),
            payout.taken.map(Amount::micros),
            payout.share.map(Money::minor),
            to_number(PAYOUTS, payout.attempt)?,
            payout.reason,
            At(payout.moved_at) as _,
        )
        .execute(tx.connection())
        .await
        .doing(doing)?;
        if let Some(attempt) = &decision.attempt {
            write_attempt_in_tx(&mut tx, id, attempt).await?;
        }
        if let Some(review) = &decision.review {
            sqlx::query!(
                "insert into payout_reviews (firm_id, payout_id, reviewer_id, approves, reason, at)
                 values ($1, $2, $3, $4, $5, $6)",
                firm.uuid(),
                id.uuid(),
                review.reviewer.uuid(),
                review.approves,
                review.reason,
                At(review.at) as _,
            )
            .execute(tx.connection())
            .await
            .doing(doing)?;
        }
        let happened = Happened {
            what: decision.what,
            attempt: payout.attempt,
            detail: decision.detail.clone(),
            at,
            from: locked.payout.state,
            to: payout.state,
        };
        write_event_in_tx(&mut tx, payout, &happened).await?;
        // What is owed comes before what is kept back of it.
        post_in_tx(&mut tx, &decision.entries, at).await?;
        if let Some(hold) = &decision.opens {
            open_hold_in_tx(&mut tx, hold, at).await?;
        }
        if let Some((hold, outcome)) = &decision.ends {
            let ended = end_hold_in_tx(&mut tx, *hold, outcome, at).await?;
            ended.ok_or_else(|| Inconsistent::new(PAYOUTS, "an attempt has no hold"))?;
        }
        record_in_tx(tx.connection(), std::slice::from_ref(&change.audit), change.outbox.as_slice()).await?;
        let _proof = tx.commit().await?;
        Ok(Some(payout.clone()))
    }

    async fn payee(
        &self,
        firm: FirmId,
        id: PayoutId,
        attempt: Option<u32>,
        look: Option<&AuditEntry>,
    ) -> Result<Option<Payee>, AppError> {
        let doing = "reading whom a payout goes to";
        let mut tx = self.begin(firm).await?;
        let row = sqlx::query!(
            r#"select payout.person_id,
                      case when $3::integer is null then payout.payee_sealed
                           else (select tried.payee_sealed from payout_attempts tried
                                 where tried.firm_id = $1 and tried.payout_id = $2 and tried.number = $3)
                      end as sealed
               from payouts payout where payout.firm_id = $1 and payout.id = $2"#,
            firm.uuid(),
            id.uuid(),
            attempt.map(|attempt| to_number(ATTEMPTS, attempt)).transpose()?,
        )
        .fetch_optional(tx.connection())
        .await
        .doing(doing)?;
        if let Some(look) = look {
            record_in_tx(tx.connection(), std::slice::from_ref(look), &[]).await?;
            let _proof = tx.commit().await?;
        } else {
            drop(tx);
        }
        let Some((person, sealed)) = row.and_then(|row| Some((row.person_id, row.sealed?))) else {
            return Ok(None);
        };
        self.open_payee(firm, PersonId::from_uuid(person), &sealed).await
    }

    async fn due_payouts(&self, firm: FirmId, at: Timestamp, most: i64) -> Result<Vec<PayoutId>, AppError> {
        let asked_before = at
            .before(app::payouts::ASKED_AGAIN_AFTER)
            .map_err(|error| AppError::bug("reading the clock")(Box::new(error)))?;
        let mut tx = self.begin(firm).await?;
        let due = sqlx::query_scalar!(
            "with due as (
                 select payout.id
                 from payouts payout
                 join people person on person.firm_id = payout.firm_id and person.id = payout.person_id
                 left join payout_settings settings on settings.firm_id = payout.firm_id
                 cross join lateral (
                     select person.held_at is not null
                         or exists (select from payout_blocks block
                                    where block.firm_id = payout.firm_id and block.person_id = payout.person_id) as held
                 ) waits
                 where payout.firm_id = $1
                   and payout.state in ('requested', 'awaiting_identity', 'approved', 'taken', 'reserved', 'sending')
                   and case payout.state
                           when 'awaiting_identity' then
                               settings.identity_needed is false
                               or exists (select from identity_checks known
                                          where known.firm_id = payout.firm_id and known.person_id = payout.person_id
                                            and known.state = 'verified' and known.expires_at > $2)
                           when 'approved' then payout.take_began_at is not null or not waits.held
                           when 'reserved' then payout.method in ('stripe', 'paypal') and not waits.held
                           when 'sending' then
                               exists (select from payout_attempts tried
                                       where tried.firm_id = payout.firm_id and tried.payout_id = payout.id
                                         and tried.number = payout.attempt and tried.asked_at <= $3)
                           else true
                       end
                 order by payout.looked_at, payout.id limit $4
                 for update of payout skip locked
             )
             update payouts set looked_at = $2 from due where payouts.firm_id = $1 and payouts.id = due.id
             returning payouts.id as \"id!\"",
            firm.uuid(),
            At(at) as _,
            At(asked_before) as _,
            most,
        )
        .fetch_all(tx.connection())
        .await
        .doing("looking for payouts that wait for us")?;
        let _proof = tx.commit().await?;
        Ok(due.into_iter().map(PayoutId::from_uuid).collect())
    }

    async fn pending_payouts(
        &self,
        firm: FirmId,
        before: Timestamp,
        at: Timestamp,
        most: i64,
    ) -> Result<Vec<(PayoutId, u32, Method, String)>, AppError> {
        let mut tx = self.begin(firm).await?;
        let rows = sqlx::query!(
            r#"with pending as (
                   select payout.id, tried.number, tried.method, tried.reference
                   from payouts payout
                   join payout_attempts tried on tried.firm_id = payout.firm_id and tried.payout_id = payout.id
                                             and tried.number = payout.attempt
                   where payout.firm_id = $1 and payout.state = 'sent' and payout.looked_at <= $2
                     and tried.method in ('stripe', 'paypal') and tried.reference is not null
                   order by payout.looked_at, payout.id limit $4
                   for update of payout skip locked
               )
               update payouts set looked_at = $3 from pending where payouts.firm_id = $1 and payouts.id = pending.id
               returning payouts.id as "id!", pending.number as "number!", pending.method as "method!",
                         pending.reference as "reference!""#,
            firm.uuid(),
            At(before) as _,
            At(at) as _,
            most,
        )
        .fetch_all(tx.connection())
        .await
        .doing("looking for payouts on their way")?;
        let _proof = tx.commit().await?;
        let mut pending = Vec::with_capacity(rows.len());
        for row in rows {
            let attempt = number(ATTEMPTS, row.number)?;
            pending.push((
                PayoutId::from_uuid(row.id),
                attempt,
                method(ATTEMPTS, &row.method)?,
                row.reference,
            ));
        }
        Ok(pending)
    }

    async fn attempt_called(
        &self,
        firm: FirmId,
        method: Method,
        reference: &str,
    ) -> Result<Option<(PayoutId, u32)>, AppError> {
        let mut tx = self.begin(firm).await?;
        let row = sqlx::query!(
            "select payout_id, number from payout_attempts where firm_id = $1 and method = $2 and reference = $3
             and method in ('stripe', 'paypal')",
            firm.uuid(),
            method.word(),
            reference,
        )
        .fetch_optional(tx.connection())
        .await
        .doing("looking for an attempt at a payout")?;
        row.map(|row| Ok((PayoutId::from_uuid(row.payout_id), number(ATTEMPTS, row.number)?))).transpose()
    }

    async fn engine_answer(
        &self,
        firm: FirmId,
        account: AccountId,
        key: &Key,
        currency: Currency,
    ) -> Result<Option<Answer>, AppError> {
        let mut tx = self.begin(firm).await?;
        let row = sqlx::query!(
            r#"select outcome as "outcome!", number, at as "at!: At", evidence, digest
               from tradesense_payout_answer($1, $2)"#,
            account.uuid(),
            key.as_str(),
        )
        .fetch_optional(tx.connection())
        .await
        .doing("reading what the engine answered")?;
        let Some(row) = row else { return Ok(None) };
        let outcome: Outcome = from_json("journal", &row.outcome)?;
        let verdict = match (row.number, row.evidence, row.digest) {
            (Some(number), Some(evidence), Some(digest)) => {
                let digest =
                    <[u8; 32]>::try_from(digest.as_slice()).map_err(Inconsistent::from("verdicts"))?;
                let verdict = read_evidence(firm, account, row.at.into(), &evidence, digest)?;
                Some((counter("verdicts", number)?, verdict))
            }
            _ => None,
        };
        let answer = match (outcome, verdict) {
            (Ok(Done::Paid(taken)), Some((number, verdict))) => {
                let all = verdict.objectives.iter().any(|objective| objective.kind == "ended_by");
                let share = if all { taken } else { figure(&verdict.figures)? };
                Answer::Taken {
                    verdict: Some(number),
                    taken,
                    share: in_money(share, currency, Rounding::Floor)?,
                }
            }
            (Ok(done), _) => {
                return Err(Inconsistent::new("journal", format!("{done:?} answers a payout")).into());
            }
            (Err(Refusal::MarketStale), _) => Answer::Later,
            (Err(refusal), verdict) => {
                let unmet = |objectives: &[Objective]| {
                    let unmet = objectives.iter().filter(|objective| !objective.met);
                    let words: Vec<_> = unmet.map(|it| engine::label(&it.kind).to_lowercase()).collect();
                    format!("Not every condition of the payout holds: {}.", words.join(", "))
                };
                let reason =
                    verdict.as_ref().map_or_else(|| refusal.to_string(), |(_, said)| unmet(&said.objectives));
                Answer::Refused { verdict: verdict.map(|(number, _)| number), reason }
            }
        };
        Ok(Some(answer))
    }

    async fn sign_ins(&self, firm: FirmId, person: PersonId) -> Result<Vec<Timestamp>, AppError> {
        let mut tx = self.begin(firm).await?;
        let rows =
            sqlx::query_scalar!(r#"select at as "at!: At" from tradesense_sign_ins($1, 20)"#, person.uuid())
                .fetch_all(tx.connection())
                .await
                .doing("reading when somebody signed in")?;
        Ok(rows.into_iter().map(Timestamp::from).collect())
    }

    async fn blocks(&self, firm: FirmId, person: PersonId) -> Result<Vec<(String, String)>, AppError> {
        let mut tx = self.begin(firm).await?;
        let rows = sqlx::query!(
            "select cause, reason from payout_blocks where firm_id = $1 and person_id = $2 order by at, cause",
            firm.uuid(),
            person.uuid(),
        )
        .fetch_all(tx.connection())
        .await
        .doing("reading why somebody is not paid")?;
        Ok(rows.into_iter().map(|row| (row.cause, row.reason)).collect())
    }

    async fn for_bank(&self, firm: FirmId, currency: Currency, most: i64) -> Result<Vec<PayoutId>, AppError> {
        let mut tx = self.begin(firm).await?;
        let rows = sqlx::query_scalar!(
            "select payout.id from payouts payout
             join people person on person.firm_id = payout.firm_id and person.id = payout.person_id
             where payout.firm_id = $1 and payout.currency = $2 and payout.state = 'reserved'
               and payout.method = 'bank_file' and person.held_at is null
               and not exists (select from payout_blocks block
                               where block.firm_id = payout.firm_id and block.person_id = payout.person_id)
             order by payout.requested_at, payout.id limit $3",
            firm.uuid(),
            currency.code(),
            most,
        )
        .fetch_all(tx.connection())
        .await
        .doing("looking for payouts for the bank")?;
        Ok(rows.into_iter().map(PayoutId::from_uuid).collect())
    }

    async fn create_batch(&self, firm: FirmId, new: &NewBatch, audit: &AuditEntry) -> Result<(), AppError> {
        let mut tx = self.begin(firm).await?;
        sqlx::query!(
            "insert into payout_batches (firm_id, id, currency, created_at, maker_id) values ($1, $2, $3, $4, $5)",
            firm.uuid(),
            new.id.uuid(),
            new.currency.code(),
            At(new.at) as _,
            new.person.uuid(),
        )
        .execute(tx.connection())
        .await
        .doing("making a file for the bank")?;
        record_in_tx(tx.connection(), std::slice::from_ref(audit), &[]).await?;
        let _proof = tx.commit().await?;
        Ok(())
    }

    async fn batches(
        &self,
        firm: FirmId,
        most: i64,
    ) -> Result<Vec<(PayoutBatchId, Timestamp, u32, Money)>, AppError> {
        let mut tx = self.begin(firm).await?;
        let rows = sqlx::query!(
            r#"select batch.id, batch.currency, batch.created_at as "created_at: At", count(tried.number) as "count!",
                      coalesce(sum(tried.amount_minor), 0)::bigint as "sum!"
               from payout_batches batch
               left join payout_attempts tried on tried.firm_id = batch.firm_id and tried.batch_id = batch.id
               where batch.firm_id = $1
               group by batch.id, batch.currency, batch.created_at
               order by batch.created_at desc, batch.id limit $2"#,
            firm.uuid(),
            most,
        )
        .fetch_all(tx.connection())
        .await
        .doing("reading files for the bank")?;
        let mut batches = Vec::with_capacity(rows.len());
        for row in rows {
            let count = counter("payout_batches", row.count)?;
            let sum = money("payout_batches", row.sum, &row.currency)?;
            batches.push((PayoutBatchId::from_uuid(row.id), row.created_at.into(), count, sum));
        }
        Ok(batches)
    }

    async fn batch(
        &self,
        firm: FirmId,
        id: PayoutBatchId,
        look: &AuditEntry,
    ) -> Result<Option<(Timestamp, Vec<BankLine>)>, AppError> {
        let doing = "reading a file for the bank";
        let mut tx = self.begin(firm).await?;
        let created_at = sqlx::query_scalar!(
            r#"select created_at as "created_at: At" from payout_batches where firm_id = $1 and id = $2"#,
            firm.uuid(),
            id.uuid(),
        )
        .fetch_optional(tx.connection())
        .await
        .doing(doing)?;
        let Some(created_at) = created_at else { return Ok(None) };
        let rows = sqlx::query!(
            "select payout_id, person_id, number, amount_minor, currency, payee_sealed from payout_attempts
             where firm_id = $1 and batch_id = $2 order by payout_id, number",
            firm.uuid(),
            id.uuid(),
        )
        .fetch_all(tx.connection())
        .await
        .doing(doing)?;
        record_in_tx(tx.connection(), std::slice::from_ref(look), &[]).await?;
        let _proof = tx.commit().await?;
        let mut lines = Vec::with_capacity(rows.len());
        for row in rows {
            let payee = self.open_payee(firm, PersonId::from_uuid(row.person_id), &row.payee_sealed).await?;
            let payee = match payee {
                Some(Payee::BankFile(account)) => Some(account),
                Some(Payee::Stripe { .. } | Payee::Paypal { .. } | Payee::Manual { .. }) | None => None,
            };
            lines.push(BankLine {
                payout: PayoutId::from_uuid(row.payout_id),
                attempt: number(ATTEMPTS, row.number)?,
                amount: money(ATTEMPTS, row.amount_minor, &row.currency)?,
                payee,
            });
        }
        Ok(Some((created_at.into(), lines)))
    }
}

/// The trader's share by the numbers of a verdict.
fn figure(figures: &[rules::Figured]) -> Result<Amount, Inconsistent> {
    let found = figures.iter().find(|figured| figured.name == "payout");
    match found.map(|figured| &figured.value) {
        Some(Figure::Amount(amount)) => Ok(*amount),
        _ => Err(Inconsistent::new("verdicts", "a payout says no share")),
    }
}

impl Store {
    async fn seal_payee(&self, firm: FirmId, person: PersonId, payee: &Payee) -> Result<Vec<u8>, AppError> {
        let text = to_json(PAYOUTS, payee)?;
        let sealed = self.vault.seal_for(firm, person, PAYEE, text.as_bytes()).await?;
        sealed.ok_or(AppError::NotFound("person"))
    }

    async fn open_payee(
        &self,
        firm: FirmId,
        person: PersonId,
        sealed: &[u8],
    ) -> Result<Option<Payee>, AppError> {
        let Some(text) = self.vault.open_for(firm, person, PAYEE, sealed).await? else { return Ok(None) };
        let text = std::str::from_utf8(&text).map_err(Inconsistent::from(PAYOUTS))?;
        Ok(Some(from_json(PAYOUTS, text)?))
    }

    /// As [`block_in_tx`], in a transaction of its own.
    pub async fn block_payouts(
        &self,
        firm: FirmId,
        person: PersonId,
        cause: &str,
        reason: &str,
        at: Timestamp,
    ) -> Result<(), AppError> {
        let mut tx = self.begin(firm).await?;
        block_in_tx(&mut tx, person, cause, reason, at).await?;
        let _proof = tx.commit().await?;
        Ok(())
    }

    /// As [`unblock_in_tx`], in a transaction of its own.
    pub async fn unblock_payouts(
        &self,
        firm: FirmId,
        person: PersonId,
        cause: &str,
        at: Timestamp,
    ) -> Result<(), AppError> {
        let mut tx = self.begin(firm).await?;
        unblock_in_tx(&mut tx, person, cause, at).await?;
        let _proof = tx.commit().await?;
        Ok(())
    }
}

/// From now on nothing is sent to somebody, for a cause such as `dispute:...`. Again changes nothing. What has been sent goes on.
pub(crate) async fn block_in_tx(
    tx: &mut Tx,
    person: PersonId,
    cause: &str,
    reason: &str,
    at: Timestamp,
) -> Result<(), AppError> {
    let firm = tx.firm();
    let written = sqlx::query!(
        "insert into payout_blocks (firm_id, person_id, cause, reason, at) values ($1, $2, $3, $4, $5)
         on conflict on constraint payout_blocks_key do nothing",
        firm.uuid(),
        person.uuid(),
        cause,
        reason,
        At(at) as _,
    )
    .execute(tx.connection())
    .await
    .doing("holding somebody's payouts")?;
    if written.rows_affected() > 0 {
        let entry = block_audit(firm, person, "payout.block", cause, at);
        record_in_tx(tx.connection(), &[entry], &[]).await?;
    }
    Ok(())
}

/// A cause is over. What waits goes on unless there is another one.
pub(crate) async fn unblock_in_tx(
    tx: &mut Tx,
    person: PersonId,
    cause: &str,
    at: Timestamp,
) -> Result<(), AppError> {
    let firm = tx.firm();
    let removed = sqlx::query!(
        "delete from payout_blocks where firm_id = $1 and person_id = $2 and cause = $3",
        firm.uuid(),
        person.uuid(),
        cause,
    )
    .execute(tx.connection())
    .await
    .doing("letting somebody's payouts go on")?;
    if removed.rows_affected() > 0 {
        let entry = block_audit(firm, person, "payout.unblock", cause, at);
        record_in_tx(tx.connection(), &[entry], &[]).await?;
    }
    Ok(())
}

fn block_audit(firm: FirmId, person: PersonId, action: &str, cause: &str, at: Timestamp) -> AuditEntry {
    AuditEntry {
        firm,
        at,
        actor: None,
        action: action.to_owned(),
        object_kind: "person",
        object: person.to_string(),
        request: None,
        purpose: String::new(),
        digests: Digests::default(),
        detail: serde_json::json!({ "cause": cause }),
    }
}

async fn by_key_in_tx(
    tx: &mut Tx,
    person: PersonId,
    key: &Key,
) -> Result<Option<(Payout, Fingerprint)>, AppError> {
    let mut rows = rows_in_tx(tx, None, Some(person), Some(key), None, None, 1).await?;
    Ok(rows.pop().map(PayoutRow::read).transpose()?)
}

async fn payout_in_tx(tx: &mut Tx, id: PayoutId) -> Result<Option<Payout>, AppError> {
    let mut rows = rows_in_tx(tx, Some(id), None, None, None, None, 1).await?;
    Ok(rows.pop().map(PayoutRow::read).transpose()?.map(|(payout, _)| payout))
}

/// The firm's payouts with this id, of this person, under this key, in this state, behind that one; the newest first.
async fn rows_in_tx(
    tx: &mut Tx,
    id: Option<PayoutId>,
    person: Option<PersonId>,
    key: Option<&Key>,
    state: Option<&str>,
    behind: Option<PayoutId>,
    most: i64,
) -> Result<Vec<PayoutRow>, AppError> {
    let firm = tx.firm();
    let rows = sqlx::query_as!(
        PayoutRow,
        r#"select id, person_id, account_id, program_name, currency, asked_micros, precheck, expected_minor, state, method,
                  tries, take_began_at as "take_began_at: At", verdict, taken_micros, share_minor, attempt, reason,
                  fingerprint, requested_at as "requested_at: At", moved_at as "moved_at: At"
           from payouts
           where firm_id = $1 and ($2::uuid is null or id = $2) and ($3::uuid is null or person_id = $3)
             and ($4::text is null or idempotency_key = $4) and ($5::text is null or state = $5)
             and ($6::uuid is null or id < $6)
           order by id desc limit $7"#,
        firm.uuid(),
        id.map(PayoutId::uuid),
        person.map(PersonId::uuid),
        key.map(Key::as_str),
        state,
        behind.map(PayoutId::uuid),
        most,
    )
    .fetch_all(tx.connection())
    .await;
    rows.doing("reading payouts")
}

async fn whole_in_tx(tx: &mut Tx, id: PayoutId) -> Result<Option<Locked>, AppError> {
    let doing = "reading everything about a payout";
    let firm = tx.firm();
    let Some(payout) = payout_in_tx(tx, id).await? else { return Ok(None) };
    let rows = sqlx::query!(
        r#"select number, method, amount_minor, currency, state, reference, batch_id, first_asked_at as "first_asked_at: At",
                  asked_at as "asked_at: At", fee_minor, fee_currency, reason
           from payout_attempts where firm_id = $1 and payout_id = $2 order by number"#,
        firm.uuid(),
        id.uuid(),
    )
    .fetch_all(tx.connection())
    .await
    .doing(doing)?;
    let mut attempts = Vec::with_capacity(rows.len());
    for row in rows {
        let fee = row.fee_minor.zip(row.fee_currency);
        attempts.push(Attempt {
            number: number(ATTEMPTS, row.number)?,
            method: method(ATTEMPTS, &row.method)?,
            amount: money(ATTEMPTS, row.amount_minor, &row.currency)?,
            state: by_word(ATTEMPTS, &AttemptState::ALL, AttemptState::word, &row.state)?,
            reference: row.reference,
            batch: row.batch_id.map(PayoutBatchId::from_uuid),
            first_asked_at: row.first_asked_at.into(),
            asked_at: row.asked_at.into(),
            fee: fee.map(|(minor, currency)| money(ATTEMPTS, minor, &currency)).transpose()?,
            reason: row.reason,
        });
    }
    let reviews = sqlx::query!(
        r#"select reviewer_id, approves, reason, at as "at: At" from payout_reviews
           where firm_id = $1 and payout_id = $2 order by at, reviewer_id"#,
        firm.uuid(),
        id.uuid(),
    )
    .fetch_all(tx.connection())
    .await
    .doing(doing)?;
    let reviews = reviews.into_iter().map(|row| Review {
        reviewer: PersonId::from_uuid(row.reviewer_id),
        approves: row.approves,
        reason: row.reason,
        at: row.at.into(),
    });
    let around = sqlx::query!(
        r#"select coalesce(settings.identity_needed, true) as "identity_needed!",
                  limits.one_reviewer_minor as "one_reviewer_minor?", known.state as "standing?",
                  known.expires_at as "expires_at?: At",
                  case when person.held_at is not null then 'a legal hold'
                       else (select block.reason from payout_blocks block
                             where block.firm_id = person.firm_id and block.person_id = person.id
                             order by block.at, block.cause limit 1)
                  end as blocked
           from people person
           left join payout_settings settings on settings.firm_id = person.firm_id
           left join payout_limits limits on limits.firm_id = person.firm_id and limits.currency = $3
           left join identity_checks known on known.firm_id = person.firm_id and known.person_id = person.id
           where person.firm_id = $1 and person.id = $2"#,
        firm.uuid(),
        payout.person.uuid(),
        payout.currency.code(),
    )
    .fetch_one(tx.connection())
    .await
    .doing(doing)?;
    let standing = match &around.standing {
        None => Standing::None,
        Some(word) => by_word("identity_checks", &Standing::ALL, Standing::word, word)?,
    };
    Ok(Some(Locked {
        attempts,
        reviews: reviews.collect(),
        identity: Known { standing, expires_at: around.expires_at.map(Timestamp::from) },
        identity_needed: around.identity_needed,
        one_reviewer: around.one_reviewer_minor.map(|minor| Money::from_minor(minor, payout.currency)),
        blocked: around.blocked,
        payout,
    }))
}

/// A new attempt goes to whom the payout goes to now; of an older one only what has become of it is written.
async fn write_attempt_in_tx(tx: &mut Tx, id: PayoutId, attempt: &Attempt) -> Result<(), AppError> {
    let firm = tx.firm();
    sqlx::query!(
        "insert into payout_attempts (firm_id, payout_id, person_id, number, method, payee_sealed, amount_minor, currency, state,
                                      reference, batch_id, first_asked_at, asked_at, fee_minor, fee_currency, reason)
         select firm_id, id, person_id, $3, $4, payee_sealed, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14
         from payouts where firm_id = $1 and id = $2
         on conflict on constraint payout_attempts_key do update
         set state = excluded.state, reference = excluded.reference, asked_at = excluded.asked_at,
             fee_minor = excluded.fee_minor, fee_currency = excluded.fee_currency, reason = excluded.reason",
        firm.uuid(),
        id.uuid(),
        to_number(ATTEMPTS, attempt.number)?,
        attempt.method.word(),
        attempt.amount.minor(),
        attempt.amount.currency().code(),
        attempt.state.word(),
        attempt.reference,
        attempt.batch.map(PayoutBatchId::uuid),
        At(attempt.first_asked_at) as _,
        At(attempt.asked_at) as _,
        attempt.fee.map(Money::minor),
        attempt.fee.map(|fee| fee.currency().code()),
        attempt.reason,
    )
    .execute(tx.connection())
    .await
    .doing("writing an attempt at a payout")?;
    Ok(())
}

async fn write_event_in_tx(tx: &mut Tx, payout: &Payout, happened: &Happened) -> Result<(), AppError> {
    let firm = tx.firm();
    sqlx::query!(
        "insert into payout_events (firm_id, payout_id, person_id, what, attempt, detail, at, from_state, to_state)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        firm.uuid(),
        payout.id.uuid(),
        payout.person.uuid(),
        happened.what.word(),
        to_number(EVENTS, happened.attempt)?,
        happened.detail,
        At(happened.at) as _,
        happened.from.word(),
        happened.to.word(),
    )
    .execute(tx.connection())
    .await
    .doing("writing what happened to a payout")?;
    Ok(())
}

#[async_trait]
impl CertificateStore for Store {
    async fn certify(
        &self,
        firm: FirmId,
        person: PersonId,
        subject: Subject,
        code: &str,
        at: Timestamp,
    ) -> Result<Option<Certificate>, AppError> {
        let doing = "issuing a certificate";
        let (payout, account) = match subject {
            Subject::Payout(id) => (Some(id.uuid()), None),
            Subject::Phase(id) => (None, Some(id.uuid())),
        };
        let mut tx = self.begin(firm).await?;
        sqlx::query!(
            "insert into certificates (firm_id, code, person_id, payout_id, account_id, issued_at)
             select $1, $2, $3, $4, $5, $6
             where exists (select from payouts where firm_id = $1 and id = $4 and person_id = $3 and state = 'settled')
                or exists (select from accounts account
                           join challenges challenge
                                on challenge.firm_id = account.firm_id and challenge.id = account.challenge_id
                           where account.firm_id = $1 and account.id = $5 and account.status = 'passed'
                             and challenge.person_id = $3)
             on conflict do nothing",
            firm.uuid(),
            code,
            person.uuid(),
            payout,
            account,
            At(at) as _,
        )
        .execute(tx.connection())
        .await
        .doing(doing)?;
        let found = sqlx::query_scalar!(
            "select code from certificates
             where firm_id = $1 and person_id = $2 and (payout_id = $3 or account_id = $4)",
            firm.uuid(),
            person.uuid(),
            payout,
            account,
        )
        .fetch_optional(tx.connection())
        .await
        .doing(doing)?;
        let _proof = tx.commit().await?;
        match found {
            Some(code) => self.certificate(firm, &code).await,
            None => Ok(None),
        }
    }

    async fn certificate(&self, firm: FirmId, code: &str) -> Result<Option<Certificate>, AppError> {
        let mut tx = self.begin(firm).await?;
        let row = sqlx::query!(
            r#"select own.person_id, firm.name as firm_name, payout.program_name as "program_name?",
                      payout.share_minor as "share_minor?", payout.currency as "currency?",
                      (select max(event.at) from payout_events event
                       where event.firm_id = own.firm_id and event.payout_id = own.payout_id
                         and event.what = 'settled') as "settled_at: At",
                      account.version as "version?", account.phase as "phase?", account.closed_at as "closed_at?: At"
               from certificates own
               join firms firm on firm.firm_id = own.firm_id
               left join payouts payout on payout.firm_id = own.firm_id and payout.id = own.payout_id
                                       and payout.state = 'settled'
               left join accounts account on account.firm_id = own.firm_id and account.id = own.account_id
                                         and account.status = 'passed'
               where own.firm_id = $1 and own.code = $2"#,
            firm.uuid(),
            code,
        )
        .fetch_optional(tx.connection())
        .await
        .doing("reading a certificate")?;
        let Some(row) = row else { return Ok(None) };
        let person = PersonId::from_uuid(row.person_id);
        let (proven, program, at) =
            match (row.share_minor.zip(row.currency), row.settled_at, row.version, row.closed_at) {
                (Some((share, currency)), Some(at), _, _) => {
                    let paid = Proven::Paid(money(CERTIFICATES, share, &currency)?);
                    (paid, row.program_name.unwrap_or_default(), at)
                }
                (_, _, Some(hash), Some(at)) => {
                    let program = self.program(&mut tx, &version(CERTIFICATES, &hash)?).await?;
                    let place = usize::try_from(row.phase.unwrap_or_default())
                        .map_err(Inconsistent::from(CERTIFICATES))?;
                    let phase = program.phases.get(place);
                    let phase =
                        phase.ok_or_else(|| Inconsistent::new(CERTIFICATES, "there is no such phase"))?;
                    (Proven::Passed(phase.name.clone()), program.name.clone(), at)
                }
                // It came back meanwhile.
                _ => return Ok(None),
            };
        drop(tx);
        let names = crate::analytics::names(self, firm, &[person]).await?;
        let trader = names.get(&person).cloned().unwrap_or_else(|| app::privacy::pseudonym(firm, person));
        Ok(Some(Certificate {
            code: code.to_owned(),
            proven,
            program,
            trader,
            firm: row.firm_name,
            at: at.into(),
        }))
    }
}
