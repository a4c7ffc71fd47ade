//! Tells people what happens: takes messages into inboxes and mails, and sends the mails.

use std::fmt;
use std::sync::Arc;

use app::AppError;
use app::events::{Consumer, Message};
use app::jobs::{Job, JobError, JobHandler};
use app::notifications::{
    AccountRef, Concerned, Kind, MailError, Mailer, Note, NotificationStore, Notifications, SEND_MAIL,
    Settled, Site, Told, letter, of_payout, of_purchase,
};
use async_trait::async_trait;
use kernel::{Clock, FirmId, MailId, PayoutId, Span};
use rules::Program;
use serde::Deserialize;

use crate::schedules::{CatchUp, NoSchedule, Schedule};
use crate::upkeep;

/// The group that takes messages to tell people of them.
pub const GROUP: &str = "notifications";

/// Takes messages into inboxes and mails.
pub struct Notifier {
    store: Arc<dyn NotificationStore>,
    clock: Arc<dyn Clock>,
}

impl fmt::Debug for Notifier {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Notifier").finish_non_exhaustive()
    }
}

impl Notifier {
    /// Over a store.
    pub fn new(store: Arc<dyn NotificationStore>, clock: Arc<dyn Clock>) -> Self {
        Self { store, clock }
    }
}

#[async_trait]
impl Consumer for Notifier {
    fn group(&self) -> &'static str {
        GROUP
    }

    fn passes_over(&self) -> &'static [&'static str] {
        &[app::webhooks::WITH_EVERY_TRADE]
    }

    async fn take(&self, firm: FirmId, messages: &[Message]) -> Result<(), AppError> {
        self.store.take_notes(firm, GROUP, messages, &note, self.clock.now()).await
    }
}

/// What a message tells somebody.
fn note(message: &Message, concerned: &Concerned) -> Option<Note> {
    let kind = Kind::of_topic(&message.topic)?;
    let (person, told, mail_once) = match concerned {
        Concerned::Account { id, person, program, phase, verdict } => {
            let account = AccountRef {
                id: *id,
                number: id.label(),
                phase: program.phases.get(*phase).map(|phase| phase.name.clone()).unwrap_or_default(),
                verdict: verdict.as_ref().map(|verdict| verdict.number),
            };
            let payout = payout(message);
            let (headline, sentences) = match (&payout, verdict) {
                (Some((_, amount)), _) => of_payout(kind, amount),
                (None, Some(verdict)) => {
                    (engine::headline(program, verdict), engine::explain(program, verdict))
                }
                (None, None) => (String::new(), Vec::new()),
            };
            let told = Told {
                headline,
                sentences,
                account: Some(account),
                payout: payout.map(|(id, _)| id),
                program: program.name.clone(),
                local_time: local_time(program, message),
                ..Told::default()
            };
            // A limit that is crossed to and fro all day is one mail; the inbox tells each time.
            let once =
                (kind == Kind::AccountWarned).then_some(verdict.as_ref()).flatten().and_then(|verdict| {
                    let day = program.reset.day_of(message.at).ok()?;
                    Some(format!("warned {id} {} {} {day}", verdict.phase, verdict.rule_index))
                });
            (*person, told, once)
        }
        Concerned::Purchase { id, person, program } => {
            let told = Told {
                sentences: of_purchase(kind),
                purchase: Some(*id),
                program: program.name.clone(),
                local_time: local_time(program, message),
                ..Told::default()
            };
            (*person, told, None)
        }
    };
    let id = Note::id_of(message.firm, message.id, person);
    Some(Note { id, person, kind, at: message.at, told, mail_once })
}

/// The payout that a message is about, and how much it is.
fn payout(message: &Message) -> Option<(PayoutId, String)> {
    let id = message.aggregate.strip_prefix("payout:")?.parse().ok()?;
    let text = |name: &str| message.payload.get("amount")?.get(name)?.as_str();
    Some((id, format!("{} {}", text("amount")?, text("currency")?)))
}

/// When it happened, as the program's own clock says.
fn local_time(program: &Program, message: &Message) -> String {
    let local = program.reset.local(message.at).unwrap_or_default();
    format!("{local} {}", program.reset.zone())
}

/// Sends mails: the handler of jobs of kind [`SEND_MAIL`].
pub struct SendMail {
    store: Arc<dyn NotificationStore>,
    notifications: Arc<Notifications>,
    mailer: Arc<dyn Mailer>,
    clock: Arc<dyn Clock>,
    /// Where a firm without a host name of its own is reached, such as `http://127.0.0.1:8000`.
    otherwise: String,
}

impl fmt::Debug for SendMail {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("SendMail").finish_non_exhaustive()
    }
}

#[derive(Deserialize)]
struct Payload {
    mail: MailId,
}

impl SendMail {
    /// `otherwise` is where a firm without a host name of its own is reached, such as `http://127.0.0.1:8000`.
    pub fn new(
        store: Arc<dyn NotificationStore>,
        notifications: Arc<Notifications>,
        mailer: Arc<dyn Mailer>,
        clock: Arc<dyn Clock>,
        otherwise: String,
    ) -> Self {
        Self { store, notifications, mailer, clock, otherwise }
    }

    async fn send(&self, firm: FirmId, id: MailId) -> Result<(), JobError> {
        // One that was settled before was sent before.
        let Some(mail) = self.store.queued_mail(firm, id).await? else { return Ok(()) };
        let settled = if mail.suppressed {
            Settled::Suppressed
        } else if !mail.wanted {
            Settled::Unwanted
        } else {
            let unsubscribe_token =
                self.notifications.unsubscribe_token(firm, mail.person, mail.kind.group()).await?;
            let base =
                mail.host.as_ref().map_or_else(|| self.otherwise.clone(), |host| format!("https://{host}"));
            match self.mailer.send(&letter(firm, &mail, &Site { base, unsubscribe_token })).await {
                Ok(said) => Settled::Sent(without(&said, &mail.email)),
                Err(MailError::Refused { say, suppress }) => {
                    Settled::Refused { error: without(&say, &mail.email), suppress }
                }
                Err(error @ MailError::Later(_)) => {
                    let source = without(&app::with_causes(&error), &mail.email).into();
                    return Err(JobError::Again { after: None, source });
                }
            }
        };
        self.store.settle_mail(firm, &mail, &settled, self.clock.now()).await?;
        match settled {
            Settled::Refused { error, .. } => Err(JobError::Never(error.into())),
            Settled::Sent(_) | Settled::Suppressed | Settled::Unwanted => Ok(()),
        }
    }
}

/// What a mail server says often names the address, which stands nowhere in clear.
fn without(say: &str, address: &str) -> String {
    let (lower, address) = (say.to_ascii_lowercase(), address.to_ascii_lowercase());
    let mut text = String::with_capacity(say.len());
    let mut from = 0;
    for (place, found) in lower.match_indices(&address) {
        text.push_str(say.get(from..place).unwrap_or_default());
        text.push_str("(the address)");
        from = place.saturating_add(found.len());
    }
    text.push_str(say.get(from..).unwrap_or_default());
    text
}

#[async_trait]
impl JobHandler for SendMail {
    fn kind(&self) -> &'static str {
        SEND_MAIL
    }

    fn longest(&self) -> Span {
        Span::from_seconds(120)
    }

    async fn run(&self, job: &Job) -> Result<(), JobError> {
        let firm = job.firm.ok_or_else(|| JobError::Never("a mail of no firm".into()))?;
        let payload = Payload::deserialize(&job.payload).map_err(|error| JobError::Never(error.into()))?;
        self.send(firm, payload.mail).await
    }
}

/// The kind of the job that takes old notes and mails away, and old deliveries.
pub const FORGET: &str = "notifications.forget";

/// When that job is done: once a day, in the queue of upkeep.
pub fn forgetting() -> Result<Schedule, NoSchedule> {
    let job = (upkeep::QUEUE, FORGET);
    Schedule::new("forget-notes", "57 3 * * *", "UTC", CatchUp::Once, job, serde_json::json!({}))
}

/// Takes away what is older than it is kept: the handler of jobs of kind [`FORGET`], once a day.
#[derive(Debug)]
pub struct Forget {
    /// Notes and mails.
    pub notifications: Arc<Notifications>,
    /// Deliveries and secrets.
    pub webhooks: Arc<app::webhooks::Webhooks>,
}

#[async_trait]
impl JobHandler for Forget {
    fn kind(&self) -> &'static str {
        FORGET
    }

    fn longest(&self) -> Span {
        Span::from_seconds(600)
    }

    async fn run(&self, _: &Job) -> Result<(), JobError> {
        let notes = self.notifications.forget().await?;
        let deliveries = self.webhooks.forget().await?;
        tracing::info!(notes, deliveries, "old notes, mails and deliveries were taken away");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_taken_out_of_what_a_server_says() {
        let say = without("550 5.1.1 <Ann@Example.com>: no ann@example.com here", "ann@example.com");
        assert_eq!(say, "550 5.1.1 <(the address)>: no (the address) here");
        assert_eq!(without("250 Grüße, taken", "ann@example.com"), "250 Grüße, taken");
    }
}
