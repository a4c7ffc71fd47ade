//! The names that people show, remembered for a moment: a board names a hundred of them at once.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use app::AppError;
use kernel::{FirmId, PersonId, Span, Timestamp};
use store::{Store, analytics};

/// A name is read again after it.
const FRESH: Span = Span::from_seconds(30);
/// Beyond this many the memory starts anew.
const MOST: usize = 200_000;

#[derive(Default)]
pub(crate) struct Names(Mutex<HashMap<(FirmId, PersonId), (String, Timestamp)>>);

impl Names {
    /// The names of people of a firm; nobody's who is not there.
    pub(crate) async fn of(
        &self,
        store: &Store,
        firm: FirmId,
        people: impl Iterator<Item = PersonId>,
        now: Timestamp,
    ) -> Result<HashMap<PersonId, String>, AppError> {
        let (mut names, mut missing) = (HashMap::new(), Vec::new());
        {
            let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            for person in people {
                match known.get(&(firm, person)) {
                    Some((name, at)) if now.since(*at).is_ok_and(|age| age >= Span::ZERO && age < FRESH) => {
                        names.insert(person, name.clone());
                    }
                    Some(_) | None => missing.push(person),
                }
            }
        }
        if !missing.is_empty() {
            let read = analytics::names(store, firm, &missing).await?;
            let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if known.len().saturating_add(read.len()) > MOST {
                known.clear();
            }
            for (person, name) in read {
                known.insert((firm, person), (name.clone(), now));
                names.insert(person, name);
            }
        }
        Ok(names)
    }
}
