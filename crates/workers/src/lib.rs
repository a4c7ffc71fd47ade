//! What goes on behind the requests: messages are relayed and taken.
//!
//! **For:** the leases of a process ([`leader`]), the relay from the outbox to the streams ([`relay`]), the groups that take
//! messages from there ([`consume`]); doing jobs ([`runner`]), firing schedules ([`schedules`]), removing what nobody needs any
//! longer ([`upkeep`]); what people ([`notifications`]) and the firms' own systems ([`webhooks`]) are told; sealing the audit log ([`sealer`]) and
//! verifying it again and again ([`verifier`]), archiving its months ([`archivist`]); comparing the firms' books ([`reconciliation`]).
//!
//! **Must not know:** SQL, Redis, HTTP; which adapter fills a port.
//!
//! **To add a consumer:** an [`app::events::Consumer`] and a line where the binary wires the role. **To add a kind of job:** an
//! [`app::jobs::JobHandler`] and a line there. **To add a schedule:** a line in [`schedules::platform`].

pub mod archivist;
pub mod consume;
mod gaps;
pub mod leader;
pub mod metrics;
pub mod notifications;
pub mod payments;
pub mod reconciliation;
pub mod relay;
pub mod runner;
pub mod schedules;
pub mod sealer;
pub mod upkeep;
pub mod verifier;
pub mod webhooks;

/// For the log.
fn as_error(error: &(impl std::error::Error + 'static)) -> &(dyn std::error::Error + 'static) {
    error
}
