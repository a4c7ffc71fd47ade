//! What goes on behind the requests: messages are relayed and taken.
//!
//! **For:** the leases of a process ([`leader`]), the relay from the outbox to the streams ([`relay`]), the groups that take
//! messages from there ([`consume`]).
//!
//! **Must not know:** SQL, Redis, HTTP; which adapter fills a port.
//!
//! **To add a consumer:** an [`app::events::Consumer`] and a line where the binary wires the role.

pub mod consume;
pub mod leader;
pub mod relay;

/// For the log.
fn as_error(error: &(impl std::error::Error + 'static)) -> &(dyn std::error::Error + 'static) {
    error
}
