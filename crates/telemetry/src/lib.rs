//! What a process tells whoever runs it.
//!
//! **For:** figures ([`metrics`]), log lines for machines ([`ecs`]), and what must not be in them ([`redact`]).
//!
//! **Must not know:** HTTP, SQL, what the business means by a figure. Nothing here is an audit: that is the store's.
//!
//! **To add a figure that is counted:** a field of [`metrics::Counted`]. **To add one that is read when somebody asks:** a line
//! where the role writes its page. Either way its labels have few values; tests hold the list to that. **To add a secret's
//! form:** a rule in [`redact`] and a canary in its test. **To name a field otherwise in log lines:** a line in [`ecs`].

pub mod ecs;
pub mod metrics;
pub mod redact;
