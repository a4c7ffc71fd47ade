//! The inbox: what providers have said and signed. An event is kept once, and its provider hears so only after the commit; what
//! it is about is pulled later.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use kernel::{FirmId, PersonId, Span, Timestamp};
use tokio::sync::{mpsc, oneshot, watch};

use super::port::{About, Notice, ProviderName};
use crate::{AppError, Context, Permission};

/// An event that was believed, with the bytes that came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewNotice {
    /// What it says.
    pub notice: Notice,
    /// What came.
    pub body: Vec<u8>,
    /// When.
    pub received_at: Timestamp,
}

/// A text of a notice is longer than any provider's, or holds what no text of theirs holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0} is no text of a provider")]
pub struct Unfit(&'static str);

/// The longest name or word of a provider's that is kept.
const MOST_LETTERS: usize = 255;

impl NewNotice {
    /// Checks that it can be kept.
    pub fn new(notice: Notice, body: Vec<u8>, received_at: Timestamp) -> Result<Self, Unfit> {
        let (_, about) = words_of(&notice.about);
        for (what, text, least) in
            [("its id", &*notice.id, 1), ("its type", &*notice.kind, 1), ("a name", about, 0)]
        {
            let fits = (least..=MOST_LETTERS).contains(&text.chars().count());
            if !fits || text.chars().any(char::is_control) {
                return Err(Unfit(what));
            }
        }
        Ok(Self { notice, body, received_at })
    }
}

/// What a notice is about, as it is stored: the kind of the thing and its name.
pub fn words_of(about: &About) -> (&'static str, &str) {
    match about {
        About::Checkout(id) => ("checkout", id),
        About::Payment(id) => ("payment", id),
        About::Refund(id) => ("refund", id),
        About::Dispute(id) => ("dispute", id),
        About::Payout(id) => ("payout", id),
        About::Other => ("other", ""),
    }
}

/// The reverse of [`words_of`].
pub fn about_of(kind: &str, name: &str) -> Option<About> {
    let name = name.to_owned();
    Some(match kind {
        "checkout" => About::Checkout(name),
        "payment" => About::Payment(name),
        "refund" => About::Refund(name),
        "dispute" => About::Dispute(name),
        "payout" => About::Payout(name),
        "other" => About::Other,
        _ => return None,
    })
}

/// How far an event has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoticeState {
    /// What it is about is still to be pulled.
    Waiting,
    /// Pulled.
    Done,
    /// Of a kind that nothing follows from.
    Kept,
    /// Pulled so often without success that a person has to look.
    Stuck,
}

impl NoticeState {
    /// All.
    pub const ALL: [Self; 4] = [Self::Waiting, Self::Done, Self::Kept, Self::Stuck];

    /// The word in rows and answers.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Done => "done",
            Self::Kept => "kept",
            Self::Stuck => "stuck",
        }
    }
}

/// An event whose thing is to be pulled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claimed {
    /// Whose.
    pub firm: FirmId,
    /// Who says so.
    pub provider: ProviderName,
    /// The event.
    pub event: String,
    /// What to pull.
    pub about: About,
    /// How often that was tried, this time included.
    pub attempts: u32,
}

/// What became of trying.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tried {
    /// It is known what happened, and to whom if it is about somebody.
    Done(Option<PersonId>),
    /// Not now: again so much later, or not by itself any more.
    Failed {
        /// How much later; nothing if a person has to look.
        again: Option<Span>,
        /// What stood in the way.
        error: String,
    },
}

/// An event as operators see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoticeRow {
    /// Who said so.
    pub provider: ProviderName,
    /// The event.
    pub event: String,
    /// The provider's word for what happened.
    pub kind: String,
    /// What it is about.
    pub about: About,
    /// When it happened.
    pub happened_at: Timestamp,
    /// When it came.
    pub received_at: Timestamp,
    /// How far it has come.
    pub state: NoticeState,
    /// How often it was tried.
    pub attempts: u32,
    /// What stood in the way the last time.
    pub error: Option<String>,
}

/// Where events are kept.
#[async_trait]
pub trait NoticeStore: Send + Sync {
    /// Keeps events of a firm, all or none; what is there already stays as it is. Gives how many are new.
    async fn keep_notices(&self, firm: FirmId, new: &[NewNotice]) -> Result<usize, AppError>;
    /// Takes events of all firms that are due, the oldest first. Nobody else takes them until the lease is over.
    async fn claim_notices(&self, lease: Span, most: i64) -> Result<Vec<Claimed>, AppError>;
    /// Writes what became of one.
    async fn settle_notice(&self, claimed: &Claimed, tried: &Tried, at: Timestamp) -> Result<(), AppError>;
    /// The last ones in a state, or in any.
    async fn notices(
        &self,
        firm: FirmId,
        state: Option<NoticeState>,
        most: i64,
    ) -> Result<Vec<NoticeRow>, AppError>;
    /// Lets one that is stuck be pulled again. Whether there was one.
    async fn again(&self, firm: FirmId, provider: ProviderName, event: &str) -> Result<bool, AppError>;
}

/// So many events wait to be stored; more are refused.
const MOST_WAITING: usize = 4_096;
/// So many are stored at once.
const MOST_AT_ONCE: usize = 256;
/// So many such transactions are under way.
const WRITERS: usize = 2;

struct Waiting {
    firm: FirmId,
    new: NewNotice,
    done: oneshot::Sender<Result<(), AppError>>,
}

/// Stores events as they come, many in one transaction.
#[derive(Clone)]
pub struct Intake(mpsc::Sender<Waiting>);

impl fmt::Debug for Intake {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Intake").finish_non_exhaustive()
    }
}

impl Intake {
    /// With whoever writes, which is to be run; it ends when told to, after what it has taken is written.
    pub fn new(
        store: Arc<dyn NoticeStore>,
        stopping: watch::Receiver<bool>,
    ) -> (Self, impl Future<Output = ()> + Send) {
        let (sender, receiver) = mpsc::channel(MOST_WAITING);
        (Self(sender), write(store, receiver, stopping))
    }

    /// Returns when it is committed that the event was here.
    pub async fn keep(&self, firm: FirmId, new: NewNotice) -> Result<(), AppError> {
        let busy = || AppError::Unavailable {
            doing: "keeping what a provider says",
            source: "too much waits".into(),
        };
        let (done, kept) = oneshot::channel();
        self.0.try_send(Waiting { firm, new, done }).map_err(|_| busy())?;
        kept.await.map_err(|_| busy())?
    }
}

async fn write(
    store: Arc<dyn NoticeStore>,
    receiver: mpsc::Receiver<Waiting>,
    stopping: watch::Receiver<bool>,
) {
    let receiver = Arc::new(tokio::sync::Mutex::new(receiver));
    let mut writers = tokio::task::JoinSet::new();
    for _ in 0..WRITERS {
        writers.spawn(write_batches(Arc::clone(&store), Arc::clone(&receiver), stopping.clone()));
    }
    while writers.join_next().await.is_some() {}
}

async fn write_batches(
    store: Arc<dyn NoticeStore>,
    receiver: Arc<tokio::sync::Mutex<mpsc::Receiver<Waiting>>>,
    mut stopping: watch::Receiver<bool>,
) {
    loop {
        let mut batch = Vec::new();
        {
            let mut receiver = receiver.lock().await;
            let taken = tokio::select! {
                taken = receiver.recv_many(&mut batch, MOST_AT_ONCE) => Some(taken),
                _ = stopping.wait_for(|stop| *stop) => None,
            };
            let taken = if let Some(taken) = taken {
                taken
            } else {
                // What was accepted before is still written.
                receiver.close();
                receiver.recv_many(&mut batch, MOST_AT_ONCE).await
            };
            if taken == 0 {
                return;
            }
        }
        batch.sort_by_key(|waiting| waiting.firm);
        while let Some(first) = batch.first().map(|waiting| waiting.firm) {
            let others = batch.partition_point(|waiting| waiting.firm == first);
            let of_others = batch.split_off(others);
            write_batch(&*store, first, std::mem::replace(&mut batch, of_others)).await;
        }
    }
}

/// One transaction; if it fails, one for each, so that none fails because of another.
async fn write_batch(store: &dyn NoticeStore, firm: FirmId, batch: Vec<Waiting>) {
    let (new, done): (Vec<_>, Vec<_>) = batch.into_iter().map(|waiting| (waiting.new, waiting.done)).unzip();
    let together = new.len() > 1 && store.keep_notices(firm, &new).await.is_ok();
    for (new, done) in new.into_iter().zip(done) {
        let kept = if together { Ok(()) } else { store.keep_notices(firm, &[new]).await.map(|_| ()) };
        // Whoever asked may have gone; the event is kept.
        drop(done.send(kept));
    }
}

/// How long after an attempt the next one is made: 5 s, doubled each time, at most an hour.
pub fn pause_after(attempts: u32) -> Span {
    let doubled = 5_i32.saturating_mul(2_i32.saturating_pow(attempts.saturating_sub(1).min(16)));
    Span::from_seconds(doubled.min(3_600))
}

/// After so many attempts, some three days, a person has to look.
pub const MOST_ATTEMPTS: u32 = 80;

/// The operator's view of the inbox.
pub struct Notices(Arc<dyn NoticeStore>);

impl fmt::Debug for Notices {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Notices").finish_non_exhaustive()
    }
}

/// So many are shown.
const MOST_SHOWN: i64 = 200;

impl Notices {
    /// Over a store.
    pub fn new(store: Arc<dyn NoticeStore>) -> Self {
        Self(store)
    }

    /// The last ones in a state, or in any.
    pub async fn list(
        &self,
        context: &Context,
        state: Option<NoticeState>,
    ) -> Result<Vec<NoticeRow>, AppError> {
        context.demand(Permission::ReadOperations)?;
        self.0.notices(context.firm, state, MOST_SHOWN).await
    }

    /// Pulls what a stuck one is about again.
    pub async fn again(
        &self,
        context: &Context,
        provider: ProviderName,
        event: &str,
    ) -> Result<(), AppError> {
        context.demand(Permission::Operate)?;
        let found = self.0.again(context.firm, provider, event).await?;
        if found { Ok(()) } else { Err(AppError::NotFound("stuck event")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_an_hour_and_three_days_go_by_before_somebody_has_to_look() {
        let seconds = |attempts| pause_after(attempts).micros() / 1_000_000;
        assert_eq!([1, 2, 3, 10, 11, 1_000].map(seconds), [5, 10, 20, 2_560, 3_600, 3_600]);
        let whole: i64 = (1..=MOST_ATTEMPTS).map(seconds).sum();
        assert!((70..80).contains(&(whole / 3_600)), "{whole}");
    }

    #[test]
    fn what_no_provider_writes_is_not_kept() {
        let notice = |id: &str, about: About| Notice {
            provider: ProviderName::Stripe,
            id: id.to_owned(),
            kind: "charge.refunded".to_owned(),
            about,
            at: Timestamp::EPOCH,
        };
        let new = |id: &str, about| NewNotice::new(notice(id, about), Vec::new(), Timestamp::EPOCH);
        assert!(new("evt_1", About::Other).is_ok());
        assert_eq!(new("", About::Other), Err(Unfit("its id")));
        assert_eq!(new("evt\0", About::Other), Err(Unfit("its id")));
        assert_eq!(new("evt_1", About::Payment("x".repeat(256))), Err(Unfit("a name")));
        for about in [About::Other, About::Refund("re_1".to_owned())] {
            let (kind, name) = words_of(&about);
            assert_eq!(about_of(kind, name), Some(about));
        }
    }
}
