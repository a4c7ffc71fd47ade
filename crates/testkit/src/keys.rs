//! The keys of people in memory.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use app::AppError;
use app::privacy::{DataKey, Erased, Kept, KeyStore, Vault};
use async_trait::async_trait;
use kernel::{FirmId, PersonId, Rng, SeededRng};

/// Keys that end with the test, and outlive every database in it.
#[derive(Debug, Default)]
pub struct MemoryKeys(Mutex<Remembered>);

#[derive(Debug, Default)]
struct Remembered {
    people: BTreeMap<(FirmId, PersonId), Kept>,
    firms: BTreeMap<FirmId, DataKey>,
    ledger: Vec<Erased>,
}

/// A vault over keys of its own.
pub fn vault() -> Vault {
    vault_over(Arc::new(MemoryKeys::default()))
}

/// A vault over these keys.
pub fn vault_over(keys: Arc<MemoryKeys>) -> Vault {
    Vault::new(keys, Arc::new(SeededRng::new(7)))
}

impl MemoryKeys {
    fn with<T>(&self, work: impl FnOnce(&mut Remembered) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[async_trait]
impl KeyStore for MemoryKeys {
    async fn keys(&self, firm: FirmId, people: &[PersonId]) -> Result<BTreeMap<PersonId, Kept>, AppError> {
        Ok(self.with(|all| {
            let found = |person: &PersonId| Some((*person, all.people.get(&(firm, *person))?.clone()));
            people.iter().filter_map(found).collect()
        }))
    }

    async fn create(
        &self,
        firm: FirmId,
        person: PersonId,
        key: &DataKey,
        _: &dyn Rng,
    ) -> Result<(), AppError> {
        let before = self.with(|all| all.people.insert((firm, person), Kept::Here(key.clone())));
        assert!(before.is_none(), "{person:?} has a key");
        Ok(())
    }

    async fn destroy(&self, firm: FirmId, person: PersonId) -> Result<(), AppError> {
        self.with(|all| all.people.insert((firm, person), Kept::Destroyed));
        Ok(())
    }

    async fn index_key(&self, firm: FirmId, rng: &dyn Rng) -> Result<DataKey, AppError> {
        Ok(self.with(|all| all.firms.entry(firm).or_insert_with(|| DataKey::random(rng)).clone()))
    }

    async fn promise(&self, erased: &Erased) -> Result<(), AppError> {
        self.with(|all| {
            if !all.ledger.iter().any(|known| (known.firm, known.person) == (erased.firm, erased.person)) {
                all.ledger.push(*erased);
            }
        });
        Ok(())
    }

    async fn promised(&self) -> Result<Vec<Erased>, AppError> {
        Ok(self.with(|all| all.ledger.clone()))
    }
}
