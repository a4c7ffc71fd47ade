//! Who may call which operation: the table that tests walk through.
//!
//! The handlers decide by themselves; this says what they are to decide. A test here compares the table with the
//! OpenAPI document, so that no operation is added without a row.

/// Who gets an answer other than `unauthenticated`, `forbidden` or `not_found`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Everybody.
    Public,
    /// Whoever is signed in; they see what is theirs.
    SignedIn,
    /// Whoever is signed in and may trade.
    Trader,
    /// The owner of what the address names; for everybody else it is not found.
    Owner,
    /// The owner and those of the firm who may read every account; for everybody else it is not found.
    OwnerOrStaff,
    /// Those of the firm who watch its risk; where something is changed, of them whoever may.
    Risk,
    /// Whoever runs the firm.
    Admin,
    /// Those of the firm who read its audit log.
    Audit,
    /// Whoever has the address or the signature; for everybody else it is not found.
    Secret,
    /// Those of the firm who see what goes on behind the requests; where something is done, of them whoever may operate.
    Operations,
    /// Those of the firm who look at payouts: they let them go, or not.
    Payouts,
    /// Those of the firm who handle its money.
    Money,
    /// Those of the firm who look after people; where something is done or everything is given, whoever runs the firm. Each says
    /// why, and it is written into the audit log before they see anything.
    People,
}

/// Method, path and who may, in the order of the paths.
pub const ACCESS: [(&str, &str, Access); 121] = [
    ("GET", "/v1/accounts/{id}", Access::OwnerOrStaff),
    ("GET", "/v1/accounts/{id}/certificate", Access::Owner),
    ("GET", "/v1/accounts/{id}/fills", Access::OwnerOrStaff),
    ("GET", "/v1/accounts/{id}/forecast", Access::OwnerOrStaff),
    ("GET", "/v1/accounts/{id}/latencies", Access::OwnerOrStaff),
    ("GET", "/v1/accounts/{id}/orders", Access::OwnerOrStaff),
    ("POST", "/v1/accounts/{id}/orders", Access::Owner),
    ("DELETE", "/v1/accounts/{id}/orders/{ticket}", Access::Owner),
    ("PATCH", "/v1/accounts/{id}/orders/{ticket}", Access::Owner),
    ("GET", "/v1/accounts/{id}/overrides", Access::OwnerOrStaff),
    ("POST", "/v1/accounts/{id}/overrides", Access::Risk),
    ("GET", "/v1/accounts/{id}/payout-check", Access::Owner),
    ("POST", "/v1/accounts/{id}/payouts", Access::Owner),
    ("GET", "/v1/accounts/{id}/positions", Access::OwnerOrStaff),
    ("PATCH", "/v1/accounts/{id}/positions/{ticket}", Access::Owner),
    ("POST", "/v1/accounts/{id}/positions/{ticket}/close", Access::Owner),
    ("POST", "/v1/accounts/{id}/promotion", Access::Owner),
    ("GET", "/v1/accounts/{id}/receipts/{number}", Access::OwnerOrStaff),
    ("GET", "/v1/accounts/{id}/receipts/{number}/document", Access::OwnerOrStaff),
    ("GET", "/v1/accounts/{id}/receipts/{number}/proof", Access::OwnerOrStaff),
    ("GET", "/v1/accounts/{id}/stream", Access::OwnerOrStaff),
    ("GET", "/v1/accounts/{id}/verdicts", Access::OwnerOrStaff),
    ("GET", "/v1/audit/checkpoint", Access::Public),
    ("GET", "/v1/audit/checkpoints/{size}", Access::Public),
    ("POST", "/v1/audit/checkpoints/{size}/cosignatures", Access::Audit),
    ("GET", "/v1/audit/consistency", Access::Public),
    ("GET", "/v1/audit/entries", Access::Audit),
    ("GET", "/v1/audit/entries/{index}", Access::Audit),
    ("GET", "/v1/audit/export", Access::Audit),
    ("GET", "/v1/audit/keys", Access::Public),
    ("POST", "/v1/auth/register", Access::Public),
    ("POST", "/v1/auth/sign-in", Access::Public),
    ("POST", "/v1/auth/sign-out", Access::Public),
    ("GET", "/v1/certificates/{token}", Access::Secret),
    ("GET", "/v1/challenges", Access::SignedIn),
    ("GET", "/v1/firm", Access::Public),
    ("GET", "/v1/identity-reviews", Access::Payouts),
    ("GET", "/v1/identity-reviews/{id}", Access::Payouts),
    ("POST", "/v1/identity-reviews/{id}/decision", Access::Payouts),
    ("GET", "/v1/identity-reviews/{id}/documents/{document}", Access::Payouts),
    ("GET", "/v1/leaderboard", Access::Public),
    ("POST", "/v1/mail/bounces/{token}", Access::Secret),
    ("GET", "/v1/market/candles", Access::Public),
    ("GET", "/v1/market/instruments", Access::Public),
    ("GET", "/v1/market/quotes", Access::Public),
    ("GET", "/v1/market/stream", Access::Public),
    ("GET", "/v1/me", Access::SignedIn),
    ("POST", "/v1/me/erasure", Access::SignedIn),
    ("GET", "/v1/me/export", Access::SignedIn),
    ("GET", "/v1/me/identity", Access::SignedIn),
    ("POST", "/v1/me/identity/documents", Access::SignedIn),
    ("POST", "/v1/me/identity/submission", Access::SignedIn),
    ("GET", "/v1/notifications", Access::SignedIn),
    ("GET", "/v1/notifications/preferences", Access::SignedIn),
    ("PUT", "/v1/notifications/preferences", Access::SignedIn),
    ("POST", "/v1/notifications/read-all", Access::SignedIn),
    ("POST", "/v1/notifications/{id}/read", Access::Owner),
    ("GET", "/v1/operations", Access::Operations),
    ("GET", "/v1/operations/jobs", Access::Operations),
    ("POST", "/v1/operations/jobs/send-again", Access::Operations),
    ("GET", "/v1/operations/jobs/{id}", Access::Operations),
    ("POST", "/v1/operations/jobs/{id}/cancel", Access::Operations),
    ("POST", "/v1/operations/jobs/{id}/send-again", Access::Operations),
    ("GET", "/v1/operations/messages", Access::Operations),
    ("POST", "/v1/operations/messages/{group}/send-again", Access::Operations),
    ("GET", "/v1/operations/messages/{group}/{id}", Access::Operations),
    ("POST", "/v1/operations/messages/{group}/{id}/send-again", Access::Operations),
    ("POST", "/v1/operations/queues/{queue}/pause", Access::Operations),
    ("POST", "/v1/operations/queues/{queue}/resume", Access::Operations),
    ("GET", "/v1/payout-batches", Access::Money),
    ("POST", "/v1/payout-batches", Access::Money),
    ("GET", "/v1/payout-batches/{id}/csv", Access::Money),
    ("GET", "/v1/payout-batches/{id}/pain001", Access::Money),
    ("GET", "/v1/payout-reviews", Access::Payouts),
    ("GET", "/v1/payout-reviews/{id}", Access::Payouts),
    ("POST", "/v1/payout-reviews/{id}/approval", Access::Payouts),
    ("POST", "/v1/payout-reviews/{id}/new-attempt", Access::Money),
    ("POST", "/v1/payout-reviews/{id}/payment", Access::Money),
    ("POST", "/v1/payout-reviews/{id}/rejection", Access::Payouts),
    ("POST", "/v1/payout-reviews/{id}/return", Access::Money),
    ("GET", "/v1/payout-settings", Access::Payouts),
    ("PUT", "/v1/payout-settings", Access::Money),
    ("GET", "/v1/payouts", Access::SignedIn),
    ("GET", "/v1/payouts/{id}", Access::Owner),
    ("GET", "/v1/payouts/{id}/certificate", Access::Owner),
    ("POST", "/v1/payouts/{id}/withdrawal", Access::Owner),
    ("POST", "/v1/people/find", Access::People),
    ("GET", "/v1/people/{id}", Access::People),
    ("POST", "/v1/people/{id}/erasure", Access::People),
    ("GET", "/v1/people/{id}/export", Access::People),
    ("PUT", "/v1/people/{id}/hold", Access::People),
    ("PUT", "/v1/people/{id}/restriction", Access::People),
    ("GET", "/v1/programs", Access::Public),
    ("POST", "/v1/programs/check", Access::Risk),
    ("GET", "/v1/programs/versions/{hash}", Access::Public),
    ("GET", "/v1/programs/{slug}", Access::Public),
    ("PUT", "/v1/programs/{slug}", Access::Risk),
    ("GET", "/v1/programs/{slug}/difference", Access::Public),
    ("GET", "/v1/programs/{slug}/versions", Access::Public),
    ("GET", "/v1/purchases", Access::SignedIn),
    ("POST", "/v1/purchases", Access::Trader),
    ("GET", "/v1/purchases/{id}", Access::Owner),
    ("GET", "/v1/receipt-keys", Access::Public),
    ("GET", "/v1/releases", Access::Public),
    ("POST", "/v1/releases", Access::Risk),
    ("DELETE", "/v1/releases/{id}", Access::Risk),
    ("GET", "/v1/schemas/program", Access::Public),
    ("GET", "/v1/unsubscribe/{token}", Access::Secret),
    ("POST", "/v1/unsubscribe/{token}", Access::Secret),
    ("GET", "/v1/webhooks", Access::Admin),
    ("POST", "/v1/webhooks", Access::Admin),
    ("DELETE", "/v1/webhooks/{id}", Access::Admin),
    ("GET", "/v1/webhooks/{id}", Access::Admin),
    ("PATCH", "/v1/webhooks/{id}", Access::Admin),
    ("GET", "/v1/webhooks/{id}/deliveries", Access::Admin),
    ("GET", "/v1/webhooks/{id}/deliveries/{delivery}", Access::Admin),
    ("POST", "/v1/webhooks/{id}/deliveries/{delivery}/resend", Access::Admin),
    ("POST", "/v1/webhooks/{id}/recover", Access::Admin),
    ("POST", "/v1/webhooks/{id}/rotate-secret", Access::Admin),
    ("POST", "/v1/webhooks/{id}/test", Access::Admin),
    ("POST", "/v1/what-if", Access::Risk),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operation_has_its_row() {
        let rows = ACCESS.map(|(method, path, _)| (path.to_owned(), method.to_owned()));
        assert_eq!(testkit::operations(&crate::openapi().unwrap()), rows);
    }
}
