//! The closed sets of words in requests and answers. Every other text of the API is free.
//!
//! Each set is its own enum, so that the OpenAPI document lists its words. A conversion names every variant of what
//! it comes from: a new one does not compile until its word is decided.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Which way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// Long.
    Buy,
    /// Short.
    Sell,
}

impl From<kernel::Side> for Side {
    fn from(side: kernel::Side) -> Self {
        match side {
            kernel::Side::Buy => Self::Buy,
            kernel::Side::Sell => Self::Sell,
        }
    }
}

impl From<Side> for kernel::Side {
    fn from(side: Side) -> Self {
        match side {
            Side::Buy => Self::Buy,
            Side::Sell => Self::Sell,
        }
    }
}

/// How an order is to be filled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum OrderKind {
    /// At once.
    Market,
    /// At the price or better.
    Limit,
    /// Once the market reaches the price.
    Stop,
}

impl From<engine::OrderKind> for OrderKind {
    fn from(kind: engine::OrderKind) -> Self {
        match kind {
            engine::OrderKind::Market => Self::Market,
            engine::OrderKind::Limit(_) => Self::Limit,
            engine::OrderKind::Stop(_) => Self::Stop,
        }
    }
}

/// Where an order stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum OrderState {
    /// Waits for its price.
    Working,
    /// Opened a position.
    Filled,
    /// Taken back.
    Cancelled,
    /// Fired, but could not be filled.
    Rejected,
}

impl From<engine::OrderState> for OrderState {
    fn from(state: engine::OrderState) -> Self {
        match state {
            engine::OrderState::Working => Self::Working,
            engine::OrderState::Filled => Self::Filled,
            engine::OrderState::Cancelled
            | engine::OrderState::AccountEnded
            | engine::OrderState::HeldBack
            | engine::OrderState::AccountHeld => Self::Cancelled,
            engine::OrderState::NoMargin | engine::OrderState::AgainstRule => Self::Rejected,
        }
    }
}

/// Why an order ended without a fill.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum OrderReason {
    /// Its owner took it back.
    ByTrader,
    /// The account ended.
    AccountEnded,
    /// A rule holds the account back until the next reset, or closed everything.
    AccountLocked,
    /// The account was put on hold.
    AccountHeld,
    /// The margin did not suffice when it fired.
    InsufficientMargin,
    /// A rule refused the position when it fired.
    AgainstRule,
}

impl OrderReason {
    /// None while it works and when it is filled.
    pub const fn of(state: engine::OrderState) -> Option<Self> {
        match state {
            engine::OrderState::Working | engine::OrderState::Filled => None,
            engine::OrderState::Cancelled => Some(Self::ByTrader),
            engine::OrderState::AccountEnded => Some(Self::AccountEnded),
            engine::OrderState::HeldBack => Some(Self::AccountLocked),
            engine::OrderState::AccountHeld => Some(Self::AccountHeld),
            engine::OrderState::NoMargin => Some(Self::InsufficientMargin),
            engine::OrderState::AgainstRule => Some(Self::AgainstRule),
        }
    }
}

/// Why a fill happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum FillReason {
    /// A market order.
    Market,
    /// A limit order.
    Limit,
    /// A stop order.
    Stop,
    /// The trader closed.
    Close,
    /// The stop loss was reached.
    StopLoss,
    /// The take profit was reached.
    TakeProfit,
    /// The margin was used up.
    StopOut,
    /// The account ended.
    Liquidation,
}

impl From<engine::FillReason> for FillReason {
    fn from(reason: engine::FillReason) -> Self {
        match reason {
            engine::FillReason::Market => Self::Market,
            engine::FillReason::Limit => Self::Limit,
            engine::FillReason::Stop => Self::Stop,
            engine::FillReason::Close => Self::Close,
            engine::FillReason::StopLoss => Self::StopLoss,
            engine::FillReason::TakeProfit => Self::TakeProfit,
            engine::FillReason::StopOut => Self::StopOut,
            engine::FillReason::Liquidation => Self::Liquidation,
        }
    }
}

/// Where an account stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum AccountStatus {
    /// It trades.
    Active,
    /// Its phase is passed.
    Passed,
    /// It crossed a floor.
    Breached,
    /// A deadline was reached.
    Expired,
}

impl From<engine::Status> for AccountStatus {
    fn from(status: engine::Status) -> Self {
        match status {
            engine::Status::Active => Self::Active,
            engine::Status::Passed => Self::Passed,
            engine::Status::Breached => Self::Breached,
            engine::Status::Expired => Self::Expired,
        }
    }
}

/// Where a challenge stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ChallengeState {
    /// An account of it trades, or is about to.
    Running,
    /// Its last phase is passed.
    Passed,
    /// An account of it ended otherwise.
    Failed,
}

impl From<store::read::ChallengeState> for ChallengeState {
    fn from(state: store::read::ChallengeState) -> Self {
        match state {
            store::read::ChallengeState::Running => Self::Running,
            store::read::ChallengeState::Passed => Self::Passed,
            store::read::ChallengeState::Failed => Self::Failed,
        }
    }
}

/// Where a purchase stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum PurchaseState {
    /// Nobody has paid yet.
    AwaitingPayment,
    /// Paid; its challenge exists.
    Paid,
    /// The payment failed.
    Declined,
    /// Taken back by the buyer before paying.
    Cancelled,
    /// Nobody paid in time.
    Expired,
    /// Everything was given back.
    Refunded,
    /// The buyer's bank asks for the money.
    Disputed,
    /// The buyer's bank has taken the money back.
    ChargedBack,
}

impl From<app::purchases::PurchaseState> for PurchaseState {
    fn from(state: app::purchases::PurchaseState) -> Self {
        match state {
            app::purchases::PurchaseState::Created | app::purchases::PurchaseState::AwaitingPayment => {
                Self::AwaitingPayment
            }
            app::purchases::PurchaseState::Captured | app::purchases::PurchaseState::Fulfilled => Self::Paid,
            app::purchases::PurchaseState::Failed => Self::Declined,
            app::purchases::PurchaseState::Cancelled => Self::Cancelled,
            app::purchases::PurchaseState::Expired => Self::Expired,
            app::purchases::PurchaseState::Refunded => Self::Refunded,
            app::purchases::PurchaseState::Disputed => Self::Disputed,
            app::purchases::PurchaseState::ChargedBack => Self::ChargedBack,
        }
    }
}

/// How a refund stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RefundState {
    /// Written down; the provider may or may not know of it, and is asked again.
    Asked,
    /// The provider has it, and the money is on its way.
    Pending,
    /// The buyer's bank has it.
    Done,
    /// It came back, or never left.
    Failed,
}

impl From<app::refunds::RefundState> for RefundState {
    fn from(state: app::refunds::RefundState) -> Self {
        match state {
            app::refunds::RefundState::Asked => Self::Asked,
            app::refunds::RefundState::Pending => Self::Pending,
            app::refunds::RefundState::Done => Self::Done,
            app::refunds::RefundState::Failed => Self::Failed,
        }
    }
}

impl From<RefundState> for app::refunds::RefundState {
    fn from(state: RefundState) -> Self {
        match state {
            RefundState::Asked => Self::Asked,
            RefundState::Pending => Self::Pending,
            RefundState::Done => Self::Done,
            RefundState::Failed => Self::Failed,
        }
    }
}

/// Who wanted a refund.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RefundOrigin {
    /// Somebody of the firm.
    Asked,
    /// Nobody: it was paid twice.
    Overpaid,
    /// Somebody at the provider's own screen.
    AtProvider,
}

impl From<app::refunds::Origin> for RefundOrigin {
    fn from(origin: app::refunds::Origin) -> Self {
        match origin {
            app::refunds::Origin::Asked => Self::Asked,
            app::refunds::Origin::Overpaid => Self::Overpaid,
            app::refunds::Origin::AtProvider => Self::AtProvider,
        }
    }
}

/// What has happened to a purchase.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum PurchaseHappening {
    /// A provider's page was opened for it.
    Begun,
    /// There was nothing to pay.
    NothingDue,
    /// It was paid.
    Paid,
    /// Money came that it has no use for; it is given back.
    PaidAgain,
    /// Its account is open.
    Fulfilled,
    /// The buyer took it back.
    Cancelled,
    /// The time to pay was over.
    Expired,
    /// The payment failed.
    Declined,
    /// A part of what was paid was given back.
    RefundedInPart,
    /// Everything that was paid was given back.
    RefundedInWhole,
    /// Money that it had no use for was given back.
    OverpaymentRefunded,
    /// A refund did not arrive.
    RefundFailed,
    /// The buyer's bank asked for the money.
    DisputeOpened,
    /// The money stayed.
    DisputeWon,
    /// The buyer's bank took the money back.
    DisputeLost,
}

impl From<app::purchases::Happening> for PurchaseHappening {
    fn from(what: app::purchases::Happening) -> Self {
        match what {
            app::purchases::Happening::Begun => Self::Begun,
            app::purchases::Happening::NothingDue => Self::NothingDue,
            app::purchases::Happening::Captured => Self::Paid,
            app::purchases::Happening::PaidAgain => Self::PaidAgain,
            app::purchases::Happening::Fulfilled => Self::Fulfilled,
            app::purchases::Happening::Cancelled => Self::Cancelled,
            app::purchases::Happening::Expired => Self::Expired,
            app::purchases::Happening::Failed => Self::Declined,
            app::purchases::Happening::RefundedInPart => Self::RefundedInPart,
            app::purchases::Happening::RefundedInWhole => Self::RefundedInWhole,
            app::purchases::Happening::OverpaymentRefunded => Self::OverpaymentRefunded,
            app::purchases::Happening::RefundFailed => Self::RefundFailed,
            app::purchases::Happening::DisputeOpened => Self::DisputeOpened,
            app::purchases::Happening::DisputeWon => Self::DisputeWon,
            app::purchases::Happening::DisputeLost => Self::DisputeLost,
        }
    }
}

/// How a dispute stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DisputeState {
    /// It is the firm's turn to answer.
    NeedsAnswer,
    /// Somebody else's turn.
    UnderReview,
    /// Ended for the firm.
    Won,
    /// Ended for the buyer.
    Lost,
}

impl From<app::payments::port::DisputeState> for DisputeState {
    fn from(state: app::payments::port::DisputeState) -> Self {
        match state {
            app::payments::port::DisputeState::NeedsAnswer => Self::NeedsAnswer,
            app::payments::port::DisputeState::UnderReview => Self::UnderReview,
            app::payments::port::DisputeState::Won => Self::Won,
            app::payments::port::DisputeState::Lost => Self::Lost,
        }
    }
}

impl From<DisputeState> for app::payments::port::DisputeState {
    fn from(state: DisputeState) -> Self {
        match state {
            DisputeState::NeedsAnswer => Self::NeedsAnswer,
            DisputeState::UnderReview => Self::UnderReview,
            DisputeState::Won => Self::Won,
            DisputeState::Lost => Self::Lost,
        }
    }
}

/// What a line of a price is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum PriceLineKind {
    /// The program.
    Program,
    /// A reset of it.
    Reset,
    /// Something added to it.
    Addon,
    /// Something let off.
    Coupon,
    /// Tax.
    Tax,
}

impl PriceLineKind {
    /// All.
    pub const ALL: [Self; 5] = [Self::Program, Self::Reset, Self::Addon, Self::Coupon, Self::Tax];

    /// The word in stored lines.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Program => "program",
            Self::Reset => "reset",
            Self::Addon => "addon",
            Self::Coupon => "coupon",
            Self::Tax => "tax",
        }
    }
}

/// What a verdict means for its account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum VerdictKind {
    /// A hard floor was crossed or a hard rule broken: the account is over.
    Breach,
    /// A soft one: the account is locked until the next reset, or everything was closed.
    SoftBreach,
    /// A rule was broken that is recorded only.
    Violation,
    /// A limit is near, or a rule warns.
    Warning,
    /// Every objective holds: the phase is passed.
    Pass,
    /// The account was opened because the phase before it was passed.
    Promotion,
    /// A deadline was reached: the account is over.
    Expiry,
    /// Money left the account.
    Payout,
    /// Money was asked for and a condition does not hold.
    PayoutRefusal,
}

impl From<engine::VerdictKind> for VerdictKind {
    fn from(kind: engine::VerdictKind) -> Self {
        match kind {
            engine::VerdictKind::Breach => Self::Breach,
            engine::VerdictKind::SoftBreach => Self::SoftBreach,
            engine::VerdictKind::Violation => Self::Violation,
            engine::VerdictKind::Warning => Self::Warning,
            engine::VerdictKind::Pass => Self::Pass,
            engine::VerdictKind::Promotion => Self::Promotion,
            engine::VerdictKind::Expiry => Self::Expiry,
            engine::VerdictKind::Payout => Self::Payout,
            engine::VerdictKind::PayoutRefusal => Self::PayoutRefusal,
        }
    }
}

/// What a rule does when it fires.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// The trader is told.
    Warn,
    /// It is recorded for a review by hand.
    Flag,
    /// It is recorded, and what the trade earns is not paid out.
    Deduct,
    /// The order is refused.
    Refuse,
    /// Everything is closed.
    Close,
    /// No position may be opened until the next reset.
    Pause,
    /// Everything is closed and the account is locked until the next reset.
    Soft,
    /// The account ends, without a breach.
    Expire,
    /// The account ends.
    Hard,
}

impl From<rules::Effect> for Effect {
    fn from(effect: rules::Effect) -> Self {
        match effect {
            rules::Effect::Warn => Self::Warn,
            rules::Effect::Flag => Self::Flag,
            rules::Effect::Deduct => Self::Deduct,
            rules::Effect::Refuse => Self::Refuse,
            rules::Effect::Close => Self::Close,
            rules::Effect::Pause => Self::Pause,
            rules::Effect::Soft => Self::Soft,
            rules::Effect::Expire => Self::Expire,
            rules::Effect::Hard => Self::Hard,
        }
    }
}

/// When equity has crossed a floor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Comparison {
    /// Touching the floor is safe.
    Below,
    /// Touching the floor breaches.
    AtOrBelow,
}

impl From<rules::Comparison> for Comparison {
    fn from(comparison: rules::Comparison) -> Self {
        match comparison {
            rules::Comparison::Below => Self::Below,
            rules::Comparison::AtOrBelow => Self::AtOrBelow,
        }
    }
}

/// What somebody may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
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

impl From<app::Role> for Role {
    fn from(role: app::Role) -> Self {
        match role {
            app::Role::Trader => Self::Trader,
            app::Role::Support => Self::Support,
            app::Role::Risk => Self::Risk,
            app::Role::Finance => Self::Finance,
            app::Role::Admin => Self::Admin,
            app::Role::Auditor => Self::Auditor,
        }
    }
}

/// Where a job stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum JobState {
    /// For its time, or for a worker.
    Waiting,
    /// In the hands of a worker.
    Running,
    /// Kept for a day.
    Done,
    /// Given up; waits for somebody who sends it again.
    #[default]
    Dead,
    /// No longer wanted; kept for a day.
    Cancelled,
}

impl From<app::operations::JobState> for JobState {
    fn from(state: app::operations::JobState) -> Self {
        match state {
            app::operations::JobState::Waiting => Self::Waiting,
            app::operations::JobState::Running => Self::Running,
            app::operations::JobState::Done => Self::Done,
            app::operations::JobState::Dead => Self::Dead,
            app::operations::JobState::Cancelled => Self::Cancelled,
        }
    }
}

impl From<JobState> for app::operations::JobState {
    fn from(state: JobState) -> Self {
        match state {
            JobState::Waiting => Self::Waiting,
            JobState::Running => Self::Running,
            JobState::Done => Self::Done,
            JobState::Dead => Self::Dead,
            JobState::Cancelled => Self::Cancelled,
        }
    }
}

/// What became of a wish to cancel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Cancelling {
    /// It waited and will not run.
    Cancelled,
    /// It runs; its worker is asked to stop.
    Asked,
}

/// How a rate was applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RateUse {
    /// The result was multiplied by it.
    Times,
    /// The result was divided by it.
    DividedBy,
}

/// The length of a candle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
pub enum Interval {
    /// Five seconds.
    #[serde(rename = "5s")]
    FiveSeconds,
    /// A minute.
    #[serde(rename = "1m")]
    Minute,
    /// Five minutes.
    #[serde(rename = "5m")]
    FiveMinutes,
    /// A quarter of an hour.
    #[serde(rename = "15m")]
    QuarterHour,
}

impl Interval {
    /// All, the shortest first.
    pub const ALL: [Self; app::market::INTERVALS.len()] =
        [Self::FiveSeconds, Self::Minute, Self::FiveMinutes, Self::QuarterHour];

    /// The word that the market keeps the candles under.
    pub const fn word(self) -> &'static str {
        match self {
            Self::FiveSeconds => "5s",
            Self::Minute => "1m",
            Self::FiveMinutes => "5m",
            Self::QuarterHour => "15m",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_intervals_are_those_that_the_market_keeps() {
        let kept = app::market::INTERVALS.map(|(word, _)| word);
        assert_eq!(Interval::ALL.map(Interval::word), kept);
        for word in kept {
            let read: Interval = serde_json::from_value(word.into()).unwrap();
            assert_eq!(read.word(), word);
        }
    }
}

/// What a notification is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum NotificationKind {
    /// A purchase was paid.
    PurchasePaid,
    /// A payment was declined.
    PurchaseFailed,
    /// A payment is disputed, and the accounts that it bought are on hold.
    PurchaseDisputed,
    /// Nothing is held for a dispute any more.
    DisputeReleased,
    /// An account may trade.
    AccountOpened,
    /// A hard limit was crossed.
    AccountBreached,
    /// A soft limit was crossed.
    AccountLocked,
    /// A limit is near.
    AccountWarned,
    /// A phase was passed.
    AccountPassed,
    /// The next phase was opened by hand.
    AccountPromoted,
    /// A deadline passed.
    AccountExpired,
    /// A payout was made.
    AccountPaid,
    /// A payout was refused.
    PayoutRefused,
    /// The firm did not let a payout go.
    PayoutRejected,
    /// A payout has arrived.
    PayoutSettled,
    /// A payout did not arrive, or came back.
    PayoutReturned,
    /// A webhook was disabled.
    WebhookDisabled,
}

impl From<app::notifications::Kind> for NotificationKind {
    fn from(kind: app::notifications::Kind) -> Self {
        use app::notifications::Kind;
        match kind {
            Kind::PurchasePaid => Self::PurchasePaid,
            Kind::PurchaseFailed => Self::PurchaseFailed,
            Kind::PurchaseDisputed => Self::PurchaseDisputed,
            Kind::DisputeReleased => Self::DisputeReleased,
            Kind::AccountOpened => Self::AccountOpened,
            Kind::AccountBreached => Self::AccountBreached,
            Kind::AccountLocked => Self::AccountLocked,
            Kind::AccountWarned => Self::AccountWarned,
            Kind::AccountPassed => Self::AccountPassed,
            Kind::AccountPromoted => Self::AccountPromoted,
            Kind::AccountExpired => Self::AccountExpired,
            Kind::AccountPaid => Self::AccountPaid,
            Kind::PayoutRefused => Self::PayoutRefused,
            Kind::PayoutRejected => Self::PayoutRejected,
            Kind::PayoutSettled => Self::PayoutSettled,
            Kind::PayoutReturned => Self::PayoutReturned,
            Kind::WebhookDisabled => Self::WebhookDisabled,
        }
    }
}

/// Notifications that are switched on and off together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum NotificationGroup {
    /// What ends, locks or promotes an account.
    Results,
    /// Payouts and refusals to pay.
    Payouts,
    /// Limits that are near.
    Warnings,
    /// Accounts that were opened.
    Accounts,
    /// Purchases.
    Purchases,
    /// What the firm's people have to look after.
    Operations,
}

impl From<app::notifications::Group> for NotificationGroup {
    fn from(group: app::notifications::Group) -> Self {
        use app::notifications::Group;
        match group {
            Group::Results => Self::Results,
            Group::Payouts => Self::Payouts,
            Group::Warnings => Self::Warnings,
            Group::Accounts => Self::Accounts,
            Group::Purchases => Self::Purchases,
            Group::Operations => Self::Operations,
        }
    }
}

impl From<NotificationGroup> for app::notifications::Group {
    fn from(group: NotificationGroup) -> Self {
        match group {
            NotificationGroup::Results => Self::Results,
            NotificationGroup::Payouts => Self::Payouts,
            NotificationGroup::Warnings => Self::Warnings,
            NotificationGroup::Accounts => Self::Accounts,
            NotificationGroup::Purchases => Self::Purchases,
            NotificationGroup::Operations => Self::Operations,
        }
    }
}

/// Why a webhook is sent nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum WebhookDisabled {
    /// Somebody of the firm disabled it.
    ByHand,
    /// It failed for days.
    Failing,
    /// It answered that it is gone.
    Gone,
}

impl From<app::webhooks::Disabled> for WebhookDisabled {
    fn from(why: app::webhooks::Disabled) -> Self {
        match why {
            app::webhooks::Disabled::ByHand => Self::ByHand,
            app::webhooks::Disabled::Failing => Self::Failing,
            app::webhooks::Disabled::Gone => Self::Gone,
        }
    }
}

/// Where a delivery stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryState {
    /// An attempt is to come.
    Waiting,
    /// The receiver has it.
    Delivered,
    /// Every attempt failed, or the webhook was disabled.
    Failed,
}

impl From<app::webhooks::DeliveryState> for DeliveryState {
    fn from(state: app::webhooks::DeliveryState) -> Self {
        match state {
            app::webhooks::DeliveryState::Waiting => Self::Waiting,
            app::webhooks::DeliveryState::Delivered => Self::Delivered,
            app::webhooks::DeliveryState::Failed => Self::Failed,
        }
    }
}

impl From<DeliveryState> for app::webhooks::DeliveryState {
    fn from(state: DeliveryState) -> Self {
        match state {
            DeliveryState::Waiting => Self::Waiting,
            DeliveryState::Delivered => Self::Delivered,
            DeliveryState::Failed => Self::Failed,
        }
    }
}
