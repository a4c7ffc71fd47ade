//! What people are told: inboxes, choices, mails, and addresses that take none.

use std::collections::{BTreeMap, BTreeSet};

use app::AppError;
use app::events::Message;
use app::notifications::{
    Concerned, Group, Kind, Note, Notification, NotificationStore, Preference, Queued, SECRET_BYTES, Secret,
    Settled, Suppression, Told, Wording, send_mail,
};
use async_trait::async_trait;
use kernel::{AccountId, FirmId, MailId, NotificationId, PersonId, PurchaseId, Timestamp};

use crate::error::Doing;
use crate::row::{At, by_word, column, from_json, size, to_json, version};
use crate::shard::read_evidence;
use crate::{Inconsistent, Store, Tx};

/// The accounts that messages are about, each with the verdict that they name; and purchases.
async fn concerned_in_tx(
    store: &Store,
    tx: &mut Tx,
    subjects: &BTreeSet<Subject>,
) -> Result<BTreeMap<Subject, Concerned>, AppError> {
    let firm = tx.firm();
    let mut concerned = BTreeMap::new();
    let of_account = |subject: &Subject| match subject {
        Subject::Account(account, verdict) => Some((account.uuid(), verdict.map(i64::from))),
        Subject::Purchase(_) => None,
    };
    let (accounts, numbers): (Vec<_>, Vec<_>) = subjects.iter().filter_map(of_account).unzip();
    let rows = sqlx::query!(
        r#"select account.id, challenge.person_id, account.version, account.phase, wanted.number as "number?",
                  verdict.at as "at?: At", verdict.evidence as "evidence?", verdict.digest as "digest?"
           from unnest($2::uuid[], $3::bigint[]) wanted (account_id, number)
           join accounts account on account.firm_id = $1 and account.id = wanted.account_id
           join challenges challenge on challenge.firm_id = account.firm_id and challenge.id = account.challenge_id
           left join verdicts verdict on verdict.firm_id = account.firm_id and verdict.account_id = account.id
                                     and verdict.number = wanted.number"#,
        firm.uuid(),
        &accounts,
        &numbers as _,
    )
    .fetch_all(tx.connection())
    .await
    .doing("reading the accounts that messages are about")?;
    for row in rows {
        let id = AccountId::from_uuid(row.id);
        let number = row.number.map(u32::try_from).transpose().map_err(Inconsistent::from("verdicts"))?;
        let verdict = match (row.at, row.evidence, row.digest) {
            (Some(at), Some(evidence), Some(digest)) => {
                let digest = <[u8; 32]>::try_from(digest)
                    .map_err(|_| Inconsistent::new("verdicts", "a digest has 32 bytes"))?;
                Some(Box::new(read_evidence(firm, id, at.into(), &evidence, digest)?))
            }
            _ => None,
        };
        let of_account = Concerned::Account {
            id,
            person: PersonId::from_uuid(row.person_id),
            program: store.program(tx, &version("accounts", &row.version)?).await?,
            phase: size("accounts", row.phase)?,
            verdict,
        };
        concerned.insert(Subject::Account(id, number), of_account);
    }

    let of_purchase = |subject: &Subject| match subject {
        Subject::Purchase(purchase) => Some(purchase.uuid()),
        Subject::Account(..) => None,
    };
    let purchases: Vec<_> = subjects.iter().filter_map(of_purchase).collect();
    let rows = sqlx::query!(
        "select id, person_id, version from purchases where firm_id = $1 and id = any($2::uuid[])",
        firm.uuid(),
        &purchases,
    )
    .fetch_all(tx.connection())
    .await
    .doing("reading the purchases that messages are about")?;
    for row in rows {
        let id = PurchaseId::from_uuid(row.id);
        let program = store.program(tx, &version("purchases", &row.version)?).await?;
        let person = PersonId::from_uuid(row.person_id);
        concerned.insert(Subject::Purchase(id), Concerned::Purchase { id, person, program });
    }
    Ok(concerned)
}

/// What a message is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Subject {
    Account(AccountId, Option<u32>),
    Purchase(PurchaseId),
}

impl Subject {
    /// From the aggregate, `account:ID` or `purchase:ID`, and the number of the verdict in the payload; of a payout from the account
    /// there.
    fn of(message: &Message) -> Option<Self> {
        let (kind, id) = message.aggregate.split_once(':')?;
        match kind {
            "account" => {
                let verdict = message.payload.get("verdict").and_then(serde_json::Value::as_u64);
                Some(Self::Account(id.parse().ok()?, verdict.and_then(|number| u32::try_from(number).ok())))
            }
            "purchase" => Some(Self::Purchase(id.parse().ok()?)),
            "payout" => {
                let account = message.payload.get("account").and_then(serde_json::Value::as_str)?;
                Some(Self::Account(account.parse().ok()?, None))
            }
            _ => None,
        }
    }
}

impl Tx {
    /// Tells people: in the inboxes of those who want it there, and by mails that are queued with it. A note that was written
    /// before is not written again.
    pub(crate) async fn tell(&mut self, notes: &[Note], now: Timestamp) -> Result<(), AppError> {
        if notes.is_empty() {
            return Ok(());
        }
        let doing = "telling people";
        let firm = self.firm();
        let people: BTreeSet<_> = notes.iter().map(|note| note.person.uuid()).collect();
        // Locked, so that nobody is erased between this and the notes.
        let people = sqlx::query_scalar!(
            "select id from people where firm_id = $1 and id = any($2::uuid[]) and erased_at is null for key share",
            firm.uuid(),
            &people.into_iter().collect::<Vec<_>>(),
        )
        .fetch_all(self.connection())
        .await
        .doing(doing)?;
        let notes: Vec<&Note> = notes.iter().filter(|note| people.contains(&note.person.uuid())).collect();
        let rows = sqlx::query!(
            "select person_id, group_name, in_app, mail from notification_preferences
             where firm_id = $1 and person_id = any($2::uuid[])",
            firm.uuid(),
            &people,
        )
        .fetch_all(self.connection())
        .await
        .doing(doing)?;
        let mut chosen = BTreeMap::new();
        for row in rows {
            let group = group(&row.group_name)?;
            let preference = Preference { group, in_app: row.in_app, mail: row.mail };
            chosen.insert((PersonId::from_uuid(row.person_id), group), preference);
        }
        let wish = |note: &Note| {
            let group = note.kind.group();
            chosen.get(&(note.person, group)).copied().unwrap_or(Preference::of_nobody(group))
        };
        let in_app: Vec<&Note> = notes
            .iter()
            .copied()
            .filter(|note| wish(note).in_app || note.kind.group().is_mandatory())
            .collect();
        sqlx::query!(
            "insert into notifications (firm_id, person_id, id, kind, at, told)
             select $1, person_id, id, kind, at, told
             from unnest($2::uuid[], $3::uuid[], $4::text[], $5::timestamptz[], $6::text[])
                  as note (person_id, id, kind, at, told)
             on conflict on constraint notifications_key do nothing",
            firm.uuid(),
            &column(&in_app, |note| note.person.uuid()),
            &column(&in_app, |note| note.id.uuid()),
            column(&in_app, |note| note.kind.word()) as _,
            column(&in_app, |note| At(note.at)) as _,
            &told_of(&in_app)?,
        )
        .execute(self.connection())
        .await
        .doing(doing)?;

        let mailed: Vec<&Note> = notes.iter().copied().filter(|note| wish(note).mail).collect();
        let queued = sqlx::query_scalar!(
            "insert into mails (firm_id, id, person_id, kind, at, told, once_key, state)
             select $1, id, person_id, kind, at, told, once_key, 'queued'
             from unnest($2::uuid[], $3::uuid[], $4::text[], $5::timestamptz[], $6::text[], $7::text[])
                  as mail (id, person_id, kind, at, told, once_key)
             on conflict do nothing
             returning id",
            firm.uuid(),
            &column(&mailed, |note| note.mail().uuid()),
            &column(&mailed, |note| note.person.uuid()),
            column(&mailed, |note| note.kind.word()) as _,
            column(&mailed, |note| At(note.at)) as _,
            &told_of(&mailed)?,
            column(&mailed, |note| note.mail_once.as_deref()) as _,
        )
        .fetch_all(self.connection())
        .await
        .doing(doing)?;
        let queued: BTreeSet<_> = queued.into_iter().map(MailId::from_uuid).collect();
        let jobs: Vec<_> = mailed
            .iter()
            .filter(|note| queued.contains(&note.mail()))
            .map(|note| send_mail(firm, note.mail(), note.kind, now))
            .collect();
        self.enqueue(&jobs, now).await
    }
}

fn told_of(notes: &[&Note]) -> Result<Vec<String>, Inconsistent> {
    notes.iter().map(|note| to_json("notifications", &note.told)).collect()
}

fn kind(word: &str) -> Result<Kind, Inconsistent> {
    by_word("notifications", &Kind::ALL, Kind::word, word)
}

/// The kinds that this program can show. A later one may have written others, before somebody went back to this one: they wait.
fn known_kinds() -> [&'static str; Kind::ALL.len()] {
    Kind::ALL.map(Kind::word)
}

fn group(word: &str) -> Result<Group, Inconsistent> {
    by_word("notification_preferences", &Group::ALL, Group::word, word)
}

#[async_trait]
impl NotificationStore for Store {
    async fn take_notes(
        &self,
        firm: FirmId,
        group: &str,
        messages: &[Message],
        wording: Wording<'_>,
        now: Timestamp,
    ) -> Result<(), AppError> {
        let mut tx = self.begin(firm).await?;
        let ids = column(messages, |message| message.id);
        let taken: BTreeSet<_> = tx.take_messages(group, &ids).await?.into_iter().collect();
        let told =
            |message: &&Message| taken.contains(&message.id) && Kind::of_topic(&message.topic).is_some();
        let told: Vec<_> = messages.iter().filter(told).collect();
        let subjects: BTreeSet<_> = told.iter().filter_map(|message| Subject::of(message)).collect();
        if !subjects.is_empty() {
            let concerned = concerned_in_tx(self, &mut tx, &subjects).await?;
            let note = |message: &&Message| {
                let subject = Subject::of(message)?;
                wording(message, concerned.get(&subject)?)
            };
            let notes: Vec<_> = told.iter().filter_map(note).collect();
            tx.tell(&notes, now).await?;
        }
        let _proof = tx.commit().await?;
        Ok(())
    }

    async fn notifications(
        &self,
        firm: FirmId,
        person: PersonId,
        after: Option<(Timestamp, NotificationId)>,
        limit: i64,
    ) -> Result<Vec<Notification>, AppError> {
        let mut tx = self.begin(firm).await?;
        let rows = sqlx::query!(
            r#"select id, kind, at as "at: At", told, read_at as "read_at: At" from notifications
               where firm_id = $1 and person_id = $2 and ($3::timestamptz is null or (at, id) < ($3, $4::uuid))
                 and kind = any($6)
               order by at desc, id desc limit $5"#,
            firm.uuid(),
            person.uuid(),
            after.map(|(at, _)| At(at)) as _,
            after.map(|(_, id)| id.uuid()) as _,
            limit,
            &known_kinds() as _,
        )
        .fetch_all(tx.connection())
        .await
        .doing("reading an inbox")?;
        let mut notifications = Vec::with_capacity(rows.len());
        for row in rows {
            notifications.push(Notification {
                id: NotificationId::from_uuid(row.id),
                kind: kind(&row.kind)?,
                at: row.at.into(),
                told: from_json("notifications", &row.told)?,
                read_at: row.read_at.map(Timestamp::from),
            });
        }
        Ok(notifications)
    }

    async fn unread(&self, firm: FirmId, person: PersonId, most: i64) -> Result<i64, AppError> {
        let mut tx = self.begin(firm).await?;
        sqlx::query_scalar!(
            r#"select count(*) as "count!" from (
                   select from notifications
                   where firm_id = $1 and person_id = $2 and read_at is null and kind = any($4) limit $3
               ) unread"#,
            firm.uuid(),
            person.uuid(),
            most,
            &known_kinds() as _,
        )
        .fetch_one(tx.connection())
        .await
        .doing("counting unread notes")
    }

    async fn mark_read(
        &self,
        firm: FirmId,
        person: PersonId,
        id: NotificationId,
        at: Timestamp,
    ) -> Result<bool, AppError> {
        let mut tx = self.begin(firm).await?;
        let done = sqlx::query!(
            "update notifications set read_at = coalesce(read_at, $4)
             where firm_id = $1 and person_id = $2 and id = $3",
            firm.uuid(),
            person.uuid(),
            id.uuid(),
            At(at) as _,
        )
        .execute(tx.connection())
        .await
        .doing("marking a note as read")?;
        let _proof = tx.commit().await?;
        Ok(done.rows_affected() > 0)
    }

    async fn mark_all_read(&self, firm: FirmId, person: PersonId, at: Timestamp) -> Result<(), AppError> {
        let mut tx = self.begin(firm).await?;
        sqlx::query!(
            "update notifications set read_at = $3 where firm_id = $1 and person_id = $2 and read_at is null",
            firm.uuid(),
            person.uuid(),
            At(at) as _,
        )
        .execute(tx.connection())
        .await
        .doing("marking notes as read")?;
        let _proof = tx.commit().await?;
        Ok(())
    }

    async fn preferences(&self, firm: FirmId, person: PersonId) -> Result<Vec<Preference>, AppError> {
        let mut tx = self.begin(firm).await?;
        let rows = sqlx::query!(
            "select group_name, in_app, mail from notification_preferences where firm_id = $1 and person_id = $2",
            firm.uuid(),
            person.uuid(),
        )
        .fetch_all(tx.connection())
        .await
        .doing("reading what somebody has chosen")?;
        let read = |name: String, in_app, mail| Ok(Preference { group: group(&name)?, in_app, mail });
        rows.into_iter().map(|row| read(row.group_name, row.in_app, row.mail)).collect()
    }

    async fn set_preferences(
        &self,
        firm: FirmId,
        person: PersonId,
        preferences: &[Preference],
    ) -> Result<bool, AppError> {
        let mut tx = self.begin(firm).await?;
        let done = sqlx::query!(
            "insert into notification_preferences (firm_id, person_id, group_name, in_app, mail)
             select person.firm_id, person.id, wish.group_name, wish.in_app, wish.mail
             from people person, unnest($3::text[], $4::bool[], $5::bool[]) as wish (group_name, in_app, mail)
             where person.firm_id = $1 and person.id = $2 and person.erased_at is null
             on conflict on constraint notification_preferences_key do update
             set in_app = excluded.in_app, mail = excluded.mail",
            firm.uuid(),
            person.uuid(),
            column(preferences, |wish| wish.group.word()) as _,
            &column(preferences, |wish| wish.in_app),
            &column(preferences, |wish| wish.mail),
        )
        .execute(tx.connection())
        .await
        .doing("keeping what somebody has chosen")?;
        let _proof = tx.commit().await?;
        Ok(preferences.is_empty() || done.rows_affected() > 0)
    }

    async fn no_more_mail(&self, firm: FirmId, person: PersonId, group: Group) -> Result<bool, AppError> {
        let mut tx = self.begin(firm).await?;
        let done = sqlx::query!(
            "insert into notification_preferences (firm_id, person_id, group_name, in_app, mail)
             select firm_id, id, $3, true, false from people where firm_id = $1 and id = $2 and erased_at is null
             on conflict on constraint notification_preferences_key do update set mail = false",
            firm.uuid(),
            person.uuid(),
            group.word(),
        )
        .execute(tx.connection())
        .await
        .doing("ending mails")?;
        let _proof = tx.commit().await?;
        Ok(done.rows_affected() > 0)
    }

    async fn firm_secret(
        &self,
        firm: FirmId,
        purpose: &str,
        fresh: Secret,
        at: Timestamp,
    ) -> Result<Secret, AppError> {
        let doing = "reading a secret of the firm";
        let mut tx = self.begin(firm).await?;
        if let Some(secret) = secret_in_tx(&mut tx, purpose).await? {
            return Ok(secret);
        }
        sqlx::query!(
            "insert into firm_secrets (firm_id, purpose, secret, created_at) values ($1, $2, $3, $4)
             on conflict on constraint firm_secrets_key do nothing",
            firm.uuid(),
            purpose,
            fresh.0.as_slice(),
            At(at) as _,
        )
        .execute(tx.connection())
        .await
        .doing(doing)?;
        // Whoever made it: of two at once, both take the one that there is.
        let kept = secret_in_tx(&mut tx, purpose).await?;
        let _proof = tx.commit().await?;
        kept.ok_or_else(|| Inconsistent::new("firm_secrets", "a secret that was just written is gone").into())
    }

    async fn queued_mail(&self, firm: FirmId, id: MailId) -> Result<Option<Queued>, AppError> {
        let mut tx = self.begin(firm).await?;
        let row = sqlx::query!(
            r#"select mail.person_id, mail.kind, mail.at as "at: At", mail.told, person.email_sealed, person.name_sealed,
                      person.restricted_at is not null as "restricted!", firm.name as firm_name,
                      (select domain from firm_domains where firm_id = mail.firm_id order by domain limit 1) as host,
                      exists (select from mail_suppressions suppressed
                              where suppressed.firm_id = mail.firm_id
                                and suppressed.address_hash = person.email_index) as "suppressed!"
               from mails mail
               join people person on person.firm_id = mail.firm_id and person.id = mail.person_id
               join firms firm on firm.firm_id = mail.firm_id
               where mail.firm_id = $1 and mail.id = $2 and mail.state = 'queued'"#,
            firm.uuid(),
            id.uuid(),
        )
        .fetch_optional(tx.connection())
        .await
        .doing("reading a mail")?;
        let Some(row) = row else { return Ok(None) };
        let kind = kind(&row.kind)?;
        let told: Told = from_json("mails", &row.told)?;
        let wanted = sqlx::query_scalar!(
            "select mail from notification_preferences where firm_id = $1 and person_id = $2 and group_name = $3",
            firm.uuid(),
            row.person_id,
            kind.group().word(),
        )
        .fetch_optional(tx.connection())
        .await
        .doing("reading what somebody has chosen")?;
        drop(tx);
        let person = PersonId::from_uuid(row.person_id);
        let known = match (row.email_sealed, row.name_sealed) {
            (Some(email), Some(name)) => self.vault.identify(firm, person, &email, &name).await?,
            _ => None,
        };
        // Nobody writes to somebody who was erased, or whose data is only kept.
        let reachable = known.is_some() && !row.restricted;
        let (email, name) = known.unwrap_or_default();
        Ok(Some(Queued {
            id,
            person,
            email,
            name,
            kind,
            at: row.at.into(),
            told,
            wanted: reachable && wanted.unwrap_or(true),
            suppressed: row.suppressed,
            firm_name: row.firm_name,
            host: row.host,
        }))
    }

    async fn settle_mail(
        &self,
        firm: FirmId,
        mail: &Queued,
        settled: &Settled,
        at: Timestamp,
    ) -> Result<(), AppError> {
        let doing = "settling a mail";
        let (provider, error, suppress) = match settled {
            Settled::Sent(said) => (Some(said.as_str()), None, false),
            Settled::Refused { error, suppress } => (None, Some(error.as_str()), *suppress),
            Settled::Suppressed | Settled::Unwanted => (None, None, false),
        };
        let address = match mail.email.as_str() {
            "" => None,
            email => Some(self.vault.index(firm, email).await?),
        };
        let mut tx = self.begin(firm).await?;
        sqlx::query!(
            "update mails set state = $3, address_hash = $4, provider_id = $5, error = $6, settled_at = $7
             where firm_id = $1 and id = $2 and state = 'queued'",
            firm.uuid(),
            mail.id.uuid(),
            settled.word(),
            address.as_ref().map(<[u8; 32]>::as_slice),
            provider,
            error,
            At(at) as _,
        )
        .execute(tx.connection())
        .await
        .doing(doing)?;
        if let Some(address) = address.filter(|_| suppress) {
            suppress_in_tx(&mut tx, address, Suppression::Refused, at).await?;
        }
        let _proof = tx.commit().await?;
        Ok(())
    }

    async fn address_index(&self, firm: FirmId, address: &str) -> Result<[u8; 32], AppError> {
        self.vault.index(firm, address).await
    }

    async fn suppress(
        &self,
        firm: FirmId,
        address: [u8; 32],
        why: Suppression,
        at: Timestamp,
    ) -> Result<(), AppError> {
        let mut tx = self.begin(firm).await?;
        suppress_in_tx(&mut tx, address, why, at).await?;
        let _proof = tx.commit().await?;
        Ok(())
    }

    async fn mailed_address(&self, firm: FirmId, id: MailId) -> Result<Option<[u8; 32]>, AppError> {
        let mut tx = self.begin(firm).await?;
        let hash = sqlx::query_scalar!(
            "select address_hash from mails where firm_id = $1 and id = $2",
            firm.uuid(),
            id.uuid(),
        )
        .fetch_optional(tx.connection())
        .await
        .doing("reading where a mail went")?;
        let wrong = |_| Inconsistent::new("mails", "a hash has 32 bytes");
        Ok(hash.flatten().map(<[u8; 32]>::try_from).transpose().map_err(wrong)?)
    }

    async fn forget_notes(&self, before: Timestamp) -> Result<u64, AppError> {
        let doing = "taking old notes away";
        let notes = sqlx::query!("delete from notifications where at < $1", At(before) as _)
            .execute(&self.worker)
            .await
            .doing(doing)?;
        let mails = sqlx::query!("delete from mails where at < $1", At(before) as _)
            .execute(&self.worker)
            .await
            .doing(doing)?;
        Ok(notes.rows_affected().saturating_add(mails.rows_affected()))
    }
}

async fn secret_in_tx(tx: &mut Tx, purpose: &str) -> Result<Option<Secret>, AppError> {
    let firm = tx.firm();
    let found = sqlx::query_scalar!(
        "select secret from firm_secrets where firm_id = $1 and purpose = $2",
        firm.uuid(),
        purpose,
    )
    .fetch_optional(tx.connection())
    .await
    .doing("reading a secret of the firm")?;
    let wrong = |_| Inconsistent::new("firm_secrets", "a secret has another length");
    Ok(found.map(<[u8; SECRET_BYTES]>::try_from).transpose().map_err(wrong)?.map(Secret))
}

async fn suppress_in_tx(
    tx: &mut Tx,
    address: [u8; 32],
    why: Suppression,
    at: Timestamp,
) -> Result<(), AppError> {
    let firm = tx.firm();
    sqlx::query!(
        "insert into mail_suppressions (firm_id, address_hash, reason, at) values ($1, $2, $3, $4)
         on conflict on constraint mail_suppressions_key do update set reason = excluded.reason, at = excluded.at",
        firm.uuid(),
        address.as_slice(),
        why.word(),
        At(at) as _,
    )
    .execute(tx.connection())
    .await
    .doing("suppressing an address")?;
    Ok(())
}
