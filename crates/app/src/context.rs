//! Who asks, for which firm.

use kernel::{FirmId, PersonId, RequestId, Rng, Timestamp};
use serde::{Deserialize, Serialize};

/// What a person is to a firm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Buys and trades.
    Trader,
    /// Helps traders.
    Support,
    /// Watches limits.
    Risk,
    /// Handles money.
    Finance,
    /// Runs the firm.
    Admin,
    /// Reads everything, changes nothing.
    Auditor,
}

impl Role {
    /// All, in the order above.
    pub const ALL: [Self; 6] =
        [Self::Trader, Self::Support, Self::Risk, Self::Finance, Self::Admin, Self::Auditor];

    /// The word in rows and answers.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Trader => "trader",
            Self::Support => "support",
            Self::Risk => "risk",
            Self::Finance => "finance",
            Self::Admin => "admin",
            Self::Auditor => "auditor",
        }
    }
}

/// What a use case demands of its caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Permission {
    /// Buy, and trade one's own accounts.
    Trade,
    /// See every account of the firm.
    ReadAccounts,
    /// Judge the history of the firm's accounts by other rules.
    JudgeAgain,
    /// Check programs and put them on sale.
    EditPrograms,
    /// Let another rule hold for one account.
    OverrideRules,
    /// Change the firm's calendar of releases.
    EditReleases,
    /// Say where the firm's own systems are told what happens.
    ManageWebhooks,
    /// See what waits, runs and failed behind the requests.
    ReadOperations,
    /// Cancel, send again, pause and resume it, and see what it is about.
    Operate,
    /// See what the firm sells, earns and pays.
    ReadBusiness,
    /// Give money back, answer disputes, resolve differences in the books.
    ManageMoney,
    /// Look at who asks for a payout, and let it go or not.
    ReviewPayouts,
    /// Search, export and prove what is in the firm's audit log.
    ReadAudit,
    /// See who somebody is, for a reason that is written down.
    ReadPeople,
    /// Export, restrict, hold and erase what is known of somebody.
    ManagePrivacy,
}

/// Somebody signed in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor {
    /// Who.
    pub person: PersonId,
    /// As what.
    pub roles: Vec<Role>,
}

impl Actor {
    /// Whether one of the roles grants it.
    pub fn may(&self, permission: Permission) -> bool {
        self.roles.iter().any(|role| match permission {
            Permission::Trade => matches!(role, Role::Trader),
            Permission::ReadAccounts => {
                matches!(role, Role::Support | Role::Risk | Role::Admin | Role::Auditor)
            }
            Permission::ReadBusiness => {
                matches!(role, Role::Risk | Role::Finance | Role::Admin | Role::Auditor)
            }
            Permission::JudgeAgain => matches!(role, Role::Risk | Role::Admin | Role::Auditor),
            Permission::EditPrograms | Permission::OverrideRules | Permission::EditReleases => {
                matches!(role, Role::Risk | Role::Admin)
            }
            Permission::ManageMoney => matches!(role, Role::Finance | Role::Admin),
            Permission::ReviewPayouts => matches!(role, Role::Risk | Role::Finance | Role::Admin),
            // Payloads may name people: nobody sees them who does not have to.
            Permission::ReadOperations => matches!(role, Role::Risk | Role::Admin | Role::Auditor),
            Permission::ReadAudit => matches!(role, Role::Admin | Role::Auditor),
            Permission::ReadPeople => matches!(role, Role::Support | Role::Admin | Role::Auditor),
            Permission::ManageWebhooks | Permission::Operate | Permission::ManagePrivacy => {
                matches!(role, Role::Admin)
            }
        })
    }
}

/// The circumstances of one request. The firm comes from the host name or the installation, never from the body.
#[derive(Debug, Clone)]
pub struct Context {
    /// Whose data may be touched.
    pub firm: FirmId,
    /// Who asks; nobody before signing in.
    pub actor: Option<Actor>,
    /// Ties log lines, audit entries and answers together.
    pub request: RequestId,
}

impl Context {
    /// Nobody asks: the platform itself acts for a firm, as a request of its own.
    pub fn of_platform(firm: FirmId, at: Timestamp, rng: &dyn Rng) -> Self {
        Self { firm, actor: None, request: RequestId::random(at, rng) }
    }

    /// The caller, if signed in.
    pub fn actor(&self) -> Result<&Actor, crate::AppError> {
        self.actor.as_ref().ok_or(crate::AppError::Unauthenticated)
    }

    /// The caller, if signed in and allowed.
    pub fn demand(&self, permission: Permission) -> Result<&Actor, crate::AppError> {
        let actor = self.actor()?;
        if actor.may(permission) { Ok(actor) } else { Err(crate::AppError::Forbidden) }
    }
}
