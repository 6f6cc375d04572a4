//! A hash table that remembers, for each key changed since the last commit, the committed value.

use std::hash::{BuildHasher, Hash};

use hashbrown::DefaultHashBuilder;
use hashbrown::hash_table::{Entry as TableEntry, HashTable};
use headwater_log_store::Timestamp;

/// A value with the timestamp of the latest record that it is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValueAndTimestamp<V> {
    /// The value.
    pub value: V,
    /// The timestamp.
    pub timestamp: Timestamp,
}

/// What a slot of a table says where the key was not changed since the last commit.
const CLEAN: u32 = u32::MAX;

#[derive(Debug)]
struct Slot<K, V> {
    key: K,
    /// `None` from a deletion to its commit.
    value: Option<ValueAndTimestamp<V>>,
    /// The place in the dirty set, or [`CLEAN`].
    dirty: u32,
    /// Whether it was asked for since the last look for slots to drop.
    used: bool,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Table<K, V> {
    slots: HashTable<Slot<K, V>>,
    hasher: DefaultHashBuilder,
    /// The changed keys, each once, in the order of its first change.
    dirty: Vec<Dirty<V>>,
}

/// A changed key: the slot that has its place in the dirty set, and this hash. To find it takes no
/// look at keys, whose bytes lie elsewhere in memory.
#[derive(Debug)]
struct Dirty<V> {
    hash: u64,
    committed: Option<ValueAndTimestamp<V>>,
}

/// A table's values by key: either those that operators see, or the committed ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Isolation {
    Current,
    Committed,
}

impl<K: Hash + Eq + Clone, V: Clone> Table<K, V> {
    pub(crate) fn new() -> Self {
        Self { slots: HashTable::new(), hasher: DefaultHashBuilder::default(), dirty: Vec::new() }
    }

    /// The value of a key to be changed in place: its committed value is remembered first, so
    /// that an abort finds it even if the caller never returns.
    #[inline]
    pub(crate) fn change(&mut self, key: &K) -> &mut Option<ValueAndTimestamp<V>> {
        self.change_counted(key, &mut 0)
    }

    /// As [`change`](Self::change), and counts a key that was not changed before since the commit.
    #[inline]
    pub(crate) fn change_counted(
        &mut self,
        key: &K,
        dirty_keys: &mut usize,
    ) -> &mut Option<ValueAndTimestamp<V>> {
        let hasher = &self.hasher;
        let hash = hasher.hash_one(key);
        let entry =
            self.slots.entry(hash, |slot| slot.key == *key, |slot| hasher.hash_one(&slot.key));
        let slot = match entry {
            TableEntry::Occupied(occupied) => occupied.into_mut(),
            TableEntry::Vacant(vacant) => vacant
                .insert(Slot { key: key.clone(), value: None, dirty: CLEAN, used: true })
                .into_mut(),
        };
        slot.used = true;
        if slot.dirty == CLEAN {
            // This is the caller's clone: if it panics, nothing has changed yet.
            let committed = slot.value.clone();
            slot.dirty = place(self.dirty.len());
            self.dirty.push(Dirty { hash, committed });
            *dirty_keys += 1;
        }
        &mut slot.value
    }

    pub(crate) fn get(&self, key: &K, isolation: Isolation) -> Option<&ValueAndTimestamp<V>> {
        let slot = self.slots.find(self.hasher.hash_one(key), |slot| slot.key == *key)?;
        self.read(slot, isolation)
    }

    /// All keys with a value, in no order.
    pub(crate) fn iter(
        &self,
        isolation: Isolation,
    ) -> impl Iterator<Item = (&K, &ValueAndTimestamp<V>)> {
        self.slots.iter().filter_map(move |slot| Some((&slot.key, self.read(slot, isolation)?)))
    }

    fn read<'a>(
        &'a self,
        slot: &'a Slot<K, V>,
        isolation: Isolation,
    ) -> Option<&'a ValueAndTimestamp<V>> {
        if isolation == Isolation::Current || slot.dirty == CLEAN {
            return slot.value.as_ref();
        }
        self.dirty.get(slot.dirty as usize)?.committed.as_ref()
    }

    /// Sets or removes a value as committed.
    pub(crate) fn restore(&mut self, key: K, value: Option<ValueAndTimestamp<V>>) {
        let Some(value) = value else {
            self.remove(&key);
            return;
        };
        let hash = self.hasher.hash_one(&key);
        match self.slots.find_mut(hash, |slot| slot.key == key) {
            Some(slot) => {
                slot.value = Some(value);
                slot.dirty = CLEAN;
            }
            None => {
                let slot = Slot { key, value: Some(value), dirty: CLEAN, used: true };
                let hasher = &self.hasher;
                self.slots.insert_unique(hash, slot, |slot| hasher.hash_one(&slot.key));
            }
        }
    }

    /// Whether the table knows of a key, be it that it was deleted; notes that it is in use.
    pub(crate) fn touch(&mut self, key: &K) -> bool {
        let hash = self.hasher.hash_one(key);
        let found = self.slots.find_mut(hash, |slot| slot.key == *key);
        found.is_some_and(|slot| {
            slot.used = true;
            true
        })
    }

    /// Drops slots that were not changed since the last commit, where there are more than that:
    /// down to three quarters, those first that were not asked for since the last time.
    pub(crate) fn drop_clean(&mut self, slots_max: usize) {
        if self.slots.len() <= slots_max {
            return;
        }
        let keep = slots_max / 4 * 3;
        for _ in 0..2 {
            let mut excess = self.slots.len().saturating_sub(keep);
            self.slots.retain(|slot| {
                let is_dropped = excess > 0 && slot.dirty == CLEAN && !slot.used;
                excess -= usize::from(is_dropped);
                slot.used = false;
                !is_dropped
            });
        }
    }

    /// Whether a key was changed since the last commit.
    pub(crate) fn is_dirty(&self, key: &K) -> bool {
        let slot = self.slots.find(self.hasher.hash_one(key), |slot| slot.key == *key);
        slot.is_some_and(|slot| slot.dirty != CLEAN)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// How many slots there are, those of keys deleted since the last commit included.
    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    pub(crate) fn dirty_len(&self) -> usize {
        self.dirty.len()
    }

    /// The keys changed since the last commit, by first change, with their current values.
    pub(crate) fn dirty(&self) -> impl Iterator<Item = (&K, Option<&ValueAndTimestamp<V>>)> {
        self.dirty.iter().enumerate().filter_map(|(index, dirty)| {
            let place = place(index);
            let slot = self.slots.find(dirty.hash, |slot| slot.dirty == place)?;
            Some((&slot.key, slot.value.as_ref()))
        })
    }

    /// Makes the current values the committed ones; `removed` is told of keys that are gone.
    pub(crate) fn commit(&mut self, mut removed: impl FnMut(&K)) {
        for (index, dirty) in self.dirty.drain(..).enumerate() {
            let place = place(index);
            if let Ok(mut occupied) = self.slots.find_entry(dirty.hash, |slot| slot.dirty == place)
            {
                if occupied.get().value.is_some() {
                    occupied.get_mut().dirty = CLEAN;
                } else {
                    removed(&occupied.remove().0.key);
                }
            }
        }
    }

    /// Puts the committed values back; `removed` is told of keys that had none.
    pub(crate) fn abort(&mut self, mut removed: impl FnMut(&K)) {
        for (index, dirty) in std::mem::take(&mut self.dirty).into_iter().enumerate() {
            let place = place(index);
            if let Ok(mut occupied) = self.slots.find_entry(dirty.hash, |slot| slot.dirty == place)
            {
                if dirty.committed.is_some() {
                    let slot = occupied.get_mut();
                    slot.value = dirty.committed;
                    slot.dirty = CLEAN;
                } else {
                    removed(&occupied.remove().0.key);
                }
            }
        }
    }

    fn remove(&mut self, key: &K) {
        let hash = self.hasher.hash_one(key);
        if let Ok(occupied) = self.slots.find_entry(hash, |slot| slot.key == *key) {
            occupied.remove();
        }
    }
}

/// A place in the dirty set, as slots note it.
fn place(index: usize) -> u32 {
    u32::try_from(index).ok().filter(|place| *place != CLEAN).expect("a commit changes < 2^32 keys")
}
