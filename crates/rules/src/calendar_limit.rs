//! How long a phase may take.

use std::borrow::Cow;

use kernel::{Overflow, Span};
use serde::{Deserialize, Serialize};

use crate::{Deadline, Track};

/// Settings. Days are calendar days of 24 hours from the opening of the account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CalendarLimit {
    /// Days within which the phase must be passed.
    pub days: u32,
}

pub(crate) fn deadline(rule: &CalendarLimit, index: usize, track: &Track) -> Result<Deadline, Overflow> {
    let at = track.opened_at.after(Span::from_days(rule.days)?)?;
    Ok(Deadline { rule: index, kind: Cow::Borrowed("calendar_limit"), at })
}

pub(crate) fn sentence(rule: &CalendarLimit) -> String {
    format!("The phase must be passed within {} calendar days.", rule.days)
}
