//! A mailbox for demonstrations: mails are kept in memory, for a page that shows them, and sent to nobody.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use kernel::{Clock, FirmId, MailId, Timestamp};

use super::{Letter, MailError, Mailer};

/// Beyond so many the oldest ones are thrown away.
const MOST_LETTERS: usize = 500;

/// The mailbox.
pub struct Mailbox {
    clock: Arc<dyn Clock>,
    letters: Mutex<VecDeque<Kept>>,
}

impl fmt::Debug for Mailbox {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Mailbox").finish_non_exhaustive()
    }
}

/// A mail in the mailbox.
#[derive(Debug, Clone)]
pub struct Kept {
    /// When it came.
    pub at: Timestamp,
    /// The mail.
    pub letter: Letter,
}

impl Mailbox {
    /// An empty one.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, letters: Mutex::default() }
    }

    /// The mails of a firm, the newest first.
    pub fn letters(&self, firm: FirmId) -> Vec<Kept> {
        let letters = self.letters.lock().unwrap_or_else(PoisonError::into_inner);
        letters.iter().rev().filter(|kept| kept.letter.firm == firm).cloned().collect()
    }

    /// One of them.
    pub fn letter(&self, firm: FirmId, id: MailId) -> Option<Kept> {
        let letters = self.letters.lock().unwrap_or_else(PoisonError::into_inner);
        letters.iter().find(|kept| kept.letter.firm == firm && kept.letter.id == id).cloned()
    }
}

#[async_trait]
impl Mailer for Mailbox {
    async fn send(&self, letter: &Letter) -> Result<String, MailError> {
        let mut letters = self.letters.lock().unwrap_or_else(PoisonError::into_inner);
        // What comes twice is there once, as with a receiver that looks at Message-IDs.
        if !letters.iter().any(|kept| kept.letter.id == letter.id) {
            letters.push_back(Kept { at: self.clock.now(), letter: letter.clone() });
        }
        if letters.len() > MOST_LETTERS {
            letters.pop_front();
        }
        Ok("kept for the sandbox's page".to_owned())
    }
}
