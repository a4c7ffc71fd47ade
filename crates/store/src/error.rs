//! What the database says, in the words of the business.

use app::AppError;
use app::trading::ShardError;

/// Why the store could not be opened or set up.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The URL is none, or nobody answers there.
    #[error("connecting to the database")]
    Connect(#[source] sqlx::Error),
    /// The schema could not be brought up to date.
    #[error("migrating the database")]
    Migrate(#[source] sqlx::migrate::MigrateError),
    /// Which schema it is could not be read or written.
    #[error("looking at which schema the database has")]
    Schema(#[source] sqlx::Error),
    /// The database was not migrated for this program.
    #[error(
        "the database's schema ends with migration {found} and this program needs {ours}: run `tradesense migrate` first"
    )]
    SchemaTooOld {
        /// The program's last migration.
        ours: i64,
        /// The database's.
        found: i64,
    },
    /// The database was migrated for later programs.
    #[error(
        "the database's schema needs programs with migration {oldest} or later and this one ends with {ours}: start a newer one"
    )]
    SchemaTooNew {
        /// The program's last migration.
        ours: i64,
        /// That of the oldest program that works.
        oldest: i64,
    },
    /// One of the two clocks is wrong, and deadlines and leases go by both.
    #[error("this machine's clock and the database's differ by {} s: set the wrong one right first", .0.micros().unsigned_abs().div_ceil(1_000_000))]
    Clock(kernel::Span),
    /// The login of the running platform could not be made.
    #[error("making the login that the platform runs with")]
    Login(#[source] sqlx::Error),
    /// A firm could not be written.
    #[error("setting up a firm")]
    Firm(#[source] sqlx::Error),
    /// What lies in a database could not be read.
    #[error("looking at what is in the database")]
    Contents(#[source] sqlx::Error),
    /// Policies hide rows from whoever counts them.
    #[error("this login does not see every firm's rows: give one of a superuser")]
    SeesLittle,
}

/// A stored row that the domain refuses: the database was changed by other hands, or a migration forgot it.
#[derive(Debug, thiserror::Error)]
#[error("a row of {table} cannot be read: {say}")]
pub struct Inconsistent {
    /// Where.
    pub table: &'static str,
    /// What is wrong.
    pub say: String,
}

impl Inconsistent {
    pub(crate) fn new(table: &'static str, say: impl Into<String>) -> Self {
        Self { table, say: say.into() }
    }

    /// For `map_err` on a parser.
    pub(crate) fn from<E: std::fmt::Display>(table: &'static str) -> impl Fn(E) -> Self {
        move |error| Self::new(table, error.to_string())
    }
}

impl From<Inconsistent> for AppError {
    fn from(error: Inconsistent) -> Self {
        Self::Bug { doing: "reading a stored row", source: Box::new(error) }
    }
}

impl From<Inconsistent> for ShardError {
    fn from(Inconsistent { table, say }: Inconsistent) -> Self {
        Self::Inconsistent { table, say }
    }
}

/// Names the operation that failed.
pub(crate) trait Doing<T> {
    fn doing(self, doing: &'static str) -> Result<T, AppError>;
}

impl<T> Doing<T> for Result<T, sqlx::Error> {
    fn doing(self, doing: &'static str) -> Result<T, AppError> {
        self.map_err(|error| {
            let constraint = error.as_database_error().and_then(sqlx::error::DatabaseError::constraint);
            if let Some((code, say)) = constraint.and_then(refusal) {
                return AppError::refused(code, say);
            }
            if may_pass(&error) {
                AppError::Unavailable { doing, source: Box::new(error) }
            } else {
                AppError::Bug { doing, source: Box::new(error) }
            }
        })
    }
}

/// The constraints that a person's request can meet. All others guard against ourselves.
fn refusal(constraint: &str) -> Option<(&'static str, &'static str)> {
    match constraint {
        "people_email_once" | "people_email_index_once" => {
            Some(("email_taken", "Somebody has registered with this email."))
        }
        "coupons_used_within" => Some(("coupon_used_up", "The coupon has been used as often as it may be.")),
        "coupons_person" => Some(("conflict", "There is no such person.")),
        "purchases_reset_once" => Some(("reset_refused", "The challenge has begun anew already.")),
        "purchases_trial_once" => Some(("trial_used", "You have had this trial.")),
        "purchase_events_payment_once" => Some(("conflict", "The payment is of another purchase.")),
        "refunds_asked_once" => {
            Some(("idempotency_key_reused", "The Idempotency-Key was used for another refund."))
        }
        "dispute_answers_once" => Some(("dispute_answered", "The dispute was answered already.")),
        "payouts_one_open" => {
            Some(("payout_open", "A payout of this account is under way. Ask again when it is finished."))
        }
        "people_region_here" => Some(("wrong_region", "This installation keeps people of another region.")),
        _ => None,
    }
}

/// Whether the same request may succeed later: the server was away, restarting, overloaded or chose another
/// transaction.
fn may_pass(error: &sqlx::Error) -> bool {
    let sqlx::Error::Database(error) = error else {
        return matches!(
            error,
            sqlx::Error::Io(_) | sqlx::Error::Tls(_) | sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed
        );
    };
    error
        .code()
        .is_some_and(|code| ["08", "40", "53", "55", "57"].iter().any(|class| code.starts_with(class)))
}

/// What `tradesense_demand` raises.
const NOT_ALL_WRITTEN: &str = "TS001";

/// For `map_err` in the shard's path.
pub(crate) fn storage(error: sqlx::Error) -> ShardError {
    if let sqlx::Error::Database(refused) = &error
        && refused.code().as_deref() == Some(NOT_ALL_WRITTEN)
    {
        // The shard's row moves for its owner alone.
        if refused.message() == "shards" {
            return ShardError::Deposed;
        }
        let say = format!("not every row of {} was written", refused.message());
        return ShardError::Inconsistent { table: "the batch", say };
    }
    ShardError::Storage(Box::new(error))
}
