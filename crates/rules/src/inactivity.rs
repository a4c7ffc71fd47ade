//! How long an account may rest.

use std::borrow::Cow;

use kernel::{Overflow, Span};
use serde::{Deserialize, Serialize};

use crate::{Deadline, Track};

/// Settings. Opening a position is activity; days are calendar days of 24 hours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Inactivity {
    /// Days without a new position after which the account ends.
    pub days: u32,
}

pub(crate) fn deadline(rule: &Inactivity, index: usize, track: &Track) -> Result<Deadline, Overflow> {
    let at = track.last_activity.after(Span::from_days(rule.days)?)?;
    Ok(Deadline { rule: index, kind: Cow::Borrowed("inactivity"), at })
}

pub(crate) fn sentence(rule: &Inactivity) -> String {
    format!("The account ends after {} days without opening a position.", rule.days)
}
