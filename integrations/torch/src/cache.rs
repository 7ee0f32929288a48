//! A map of bounded size: what was used longest ago makes room.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// At most `most` values, shared between threads.
pub(crate) struct Cache<K, V> {
    most: usize,
    entries: Mutex<Entries<K, V>>,
}

struct Entries<K, V> {
    values: HashMap<K, (V, u64)>,
    uses: u64,
}

impl<K: Hash + Eq + Copy, V: Clone> Cache<K, V> {
    pub(crate) fn new(most: usize) -> Self {
        Self { most, entries: Mutex::new(Entries { values: HashMap::new(), uses: 0 }) }
    }

    fn entries(&self) -> MutexGuard<'_, Entries<K, V>> {
        // A panic while the lock was held leaves the map as it was before or after an insertion.
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The value of a key, made if it isn't there; other threads don't wait while it is made.
    pub(crate) fn get_or<E>(&self, key: K, make: impl FnOnce() -> Result<V, E>) -> Result<V, E> {
        {
            let mut entries = self.entries();
            entries.uses += 1;
            let now = entries.uses;
            if let Some((value, used)) = entries.values.get_mut(&key) {
                *used = now;
                return Ok(value.clone());
            }
        }
        let value = make()?;
        let mut entries = self.entries();
        let now = entries.uses;
        if entries.values.len() >= self.most && !entries.values.contains_key(&key) {
            let oldest =
                entries.values.iter().min_by_key(|(_, (_, used))| *used).map(|(&key, _)| key);
            oldest.map(|key| entries.values.remove(&key));
        }
        entries.values.insert(key, (value.clone(), now));
        Ok(value)
    }

    pub(crate) fn len(&self) -> usize {
        self.entries().values.len()
    }

    pub(crate) fn clear(&self) {
        self.entries().values.clear();
    }
}
