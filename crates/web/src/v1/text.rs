//! Small texts that several answers share.

use kernel::Timestamp;

/// An instant in RFC 3339 with microseconds.
pub fn time(at: Timestamp) -> String {
    at.to_string()
}
