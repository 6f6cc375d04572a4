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
    /// The key's hash, and in [`USED`] whether it was asked for since the last look for slots to drop.
    hash_and_used: u32,
}

/// The bit of a slot that the hash leaves free.
const USED: u32 = 1 << 31;

impl<K: Eq, V> Slot<K, V> {
    fn new(key: K, value: Option<ValueAndTimestamp<V>>, hash: KeyHash) -> Self {
        Self { key, value, dirty: CLEAN, hash_and_used: hash.0 | USED }
    }

    /// A growing table moves slots by it: to hash their keys again would read the bytes of each,
    /// which lie elsewhere in memory.
    fn hash(&self) -> KeyHash {
        KeyHash(self.hash_and_used & !USED)
    }

    fn has(&self, hash: KeyHash, key: &K) -> bool {
        self.hash() == hash && self.key == *key
    }
}

/// 31 bits of a key's hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct KeyHash(u32);

impl KeyHash {
    fn of<K: Hash>(hasher: &DefaultHashBuilder, key: &K) -> Self {
        let hash = hasher.hash_one(key);
        #[expect(clippy::cast_possible_truncation, reason = "both halves are in the lower one")]
        let folded = (hash ^ (hash >> 32)) as u32;
        Self(folded & !USED)
    }

    /// As the table takes it, which finds the place by the lowest bits and compares the highest.
    fn spread(self) -> u64 {
        u64::from(self.0) << 33 | u64::from(self.0)
    }
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

    /// As [`change`](Self::change); the committed value of a key that is not here comes from `load`.
    #[inline]
    pub(crate) fn change_or_load(
        &mut self,
        key: &K,
        load: impl FnOnce() -> Option<ValueAndTimestamp<V>>,
    ) -> &mut Option<ValueAndTimestamp<V>> {
        self.change_slot(key, load, &mut 0)
    }

    /// As [`change`](Self::change), and counts a key that was not changed before since the commit.
    #[inline]
    pub(crate) fn change_counted(
        &mut self,
        key: &K,
        dirty_keys: &mut usize,
    ) -> &mut Option<ValueAndTimestamp<V>> {
        self.change_slot(key, || None, dirty_keys)
    }

    #[inline]
    fn change_slot(
        &mut self,
        key: &K,
        load: impl FnOnce() -> Option<ValueAndTimestamp<V>>,
        dirty_keys: &mut usize,
    ) -> &mut Option<ValueAndTimestamp<V>> {
        let hash = KeyHash::of(&self.hasher, key);
        let entry = self.slots.entry(
            hash.spread(),
            |slot| slot.has(hash, key),
            |slot| slot.hash().spread(),
        );
        let slot = match entry {
            TableEntry::Occupied(occupied) => occupied.into_mut(),
            TableEntry::Vacant(vacant) => {
                vacant.insert(Slot::new(key.clone(), load(), hash)).into_mut()
            }
        };
        slot.hash_and_used |= USED;
        if slot.dirty == CLEAN {
            // This is the caller's clone: if it panics, nothing has changed yet.
            let committed = slot.value.clone();
            slot.dirty = place(self.dirty.len());
            self.dirty.push(Dirty { hash: hash.spread(), committed });
            *dirty_keys += 1;
        }
        &mut slot.value
    }

    pub(crate) fn get(&self, key: &K, isolation: Isolation) -> Option<&ValueAndTimestamp<V>> {
        self.read(self.find(key)?, isolation)
    }

    /// All keys with a value, in no order.
    pub(crate) fn iter(
        &self,
        isolation: Isolation,
    ) -> impl Iterator<Item = (&K, &ValueAndTimestamp<V>)> {
        self.slots.iter().filter_map(move |slot| Some((&slot.key, self.read(slot, isolation)?)))
    }

    fn find(&self, key: &K) -> Option<&Slot<K, V>> {
        let hash = KeyHash::of(&self.hasher, key);
        self.slots.find(hash.spread(), |slot| slot.has(hash, key))
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
        let hash = KeyHash::of(&self.hasher, &key);
        let entry = self.slots.entry(
            hash.spread(),
            |slot| slot.has(hash, &key),
            |slot| slot.hash().spread(),
        );
        match entry {
            TableEntry::Occupied(occupied) => {
                let slot = occupied.into_mut();
                slot.value = Some(value);
                slot.dirty = CLEAN;
            }
            TableEntry::Vacant(vacant) => drop(vacant.insert(Slot::new(key, Some(value), hash))),
        }
    }

    /// Whether the table knows of a key, be it that it was deleted; notes that it is in use.
    pub(crate) fn touch(&mut self, key: &K) -> bool {
        let hash = KeyHash::of(&self.hasher, key);
        let found = self.slots.find_mut(hash.spread(), |slot| slot.has(hash, key));
        found.is_some_and(|slot| {
            slot.hash_and_used |= USED;
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
                let is_used = slot.hash_and_used & USED != 0;
                let is_dropped = excess > 0 && slot.dirty == CLEAN && !is_used;
                excess -= usize::from(is_dropped);
                slot.hash_and_used &= !USED;
                !is_dropped
            });
        }
    }

    /// Whether a key was changed since the last commit.
    pub(crate) fn is_dirty(&self, key: &K) -> bool {
        self.find(key).is_some_and(|slot| slot.dirty != CLEAN)
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
        let hash = KeyHash::of(&self.hasher, key);
        if let Ok(occupied) = self.slots.find_entry(hash.spread(), |slot| slot.has(hash, key)) {
            occupied.remove();
        }
    }
}

/// A place in the dirty set, as slots note it.
fn place(index: usize) -> u32 {
    u32::try_from(index).ok().filter(|place| *place != CLEAN).expect("a commit changes < 2^32 keys")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use headwater_log_store::Timestamp;

    use super::{Isolation, KeyHash, Table, USED, ValueAndTimestamp};

    fn row(value: u32) -> ValueAndTimestamp<u32> {
        ValueAndTimestamp { value, timestamp: Timestamp::from_millis(0) }
    }

    type Rows = BTreeMap<String, u32>;

    fn rows(table: &Table<String, u32>, isolation: Isolation) -> Rows {
        table.iter(isolation).map(|(key, row)| (key.clone(), row.value)).collect()
    }

    /// The same random work on a table and on two plain maps, with so many keys that the table
    /// grows several times while keys are changed.
    #[test]
    fn a_table_is_what_its_committed_rows_and_the_changes_since_are() {
        for seed in 0..20 {
            let mut random = fastrand::Rng::with_seed(seed);
            let mut table = Table::new();
            let (mut current, mut committed) = (Rows::new(), Rows::new());
            for step in 0..4_000 {
                let key = format!("key {}", random.u32(0..2_000));
                match random.u32(0..100) {
                    0..=39 => {
                        *table.change(&key) = Some(row(step));
                        current.insert(key, step);
                    }
                    40..=49 => {
                        *table.change(&key) = None;
                        current.remove(&key);
                    }
                    50..=59 => {
                        // As of a store on disk whose row of this key, if the table lacks it, is 7.
                        let is_here = table.touch(&key);
                        assert!(is_here || !current.contains_key(&key), "seed {seed}");
                        let loaded = *table.change_or_load(&key, || Some(row(7))) == Some(row(7));
                        if !is_here {
                            assert!(loaded, "seed {seed}");
                            committed.insert(key.clone(), 7);
                            current.insert(key, 7);
                        }
                    }
                    60..=96 => {
                        let expected = (current.get(&key), committed.get(&key));
                        let [now, before] = [Isolation::Current, Isolation::Committed]
                            .map(|isolation| table.get(&key, isolation).map(|row| &row.value));
                        assert_eq!((now, before), expected, "seed {seed}");
                    }
                    97 => {
                        let changed = table.dirty().map(|(key, row)| (key, row.map(|r| r.value)));
                        let changed: BTreeMap<_, _> = changed.collect();
                        assert_eq!(changed.len(), table.dirty_len(), "seed {seed}");
                        for (key, value) in changed {
                            assert_eq!(value, current.get(key).copied(), "seed {seed}");
                        }
                        table.commit(|key| assert!(!current.contains_key(key), "seed {seed}"));
                        committed = current.clone();
                    }
                    98 => {
                        table.abort(|key| assert!(!committed.contains_key(key), "seed {seed}"));
                        current = committed.clone();
                    }
                    _ => {
                        // What a restore does, which finds nothing changed.
                        table.abort(|_| {});
                        let value = random.bool().then_some(step);
                        table.restore(key.clone(), value.map(row));
                        match value {
                            Some(value) => committed.insert(key, value),
                            None => committed.remove(&key),
                        };
                        current = committed.clone();
                    }
                }
            }
            assert_eq!(rows(&table, Isolation::Current), current, "seed {seed}");
            assert_eq!(rows(&table, Isolation::Committed), committed, "seed {seed}");
        }
    }

    #[test]
    fn clean_slots_are_dropped_from_above_the_limit_and_changed_ones_stay() {
        let mut table = Table::new();
        for key in 0..1_000_u32 {
            table.restore(key, Some(row(key)));
        }
        for key in 0..10 {
            *table.change(&key) = Some(row(key + 5_000));
        }
        table.drop_clean(1_000);
        assert_eq!(table.len(), 1_000);
        // All are in use the first time.
        table.drop_clean(100);
        assert_eq!(table.len(), 75);
        let touched: Vec<u32> = table.iter(Isolation::Current).map(|(key, _)| *key).collect();
        let touched = &touched[..40];
        assert!(touched.iter().all(|key| table.touch(key)));
        table.drop_clean(64);
        assert_eq!(table.len(), 48);
        assert!(touched.iter().all(|key| table.touch(key)), "those that were asked for stay");
        assert!((0..10).all(|key| table.get(&key, Isolation::Current) == Some(&row(key + 5_000))));
    }

    #[test]
    fn a_hash_leaves_a_bit_free_and_is_spread_over_place_and_tag() {
        let hasher = hashbrown::DefaultHashBuilder::default();
        for key in 0..10_000_u32 {
            let hash = KeyHash::of(&hasher, &key);
            assert_eq!(hash.0 & USED, 0);
            let spread = hash.spread();
            assert_eq!(
                (spread & u64::from(u32::MAX), spread >> 33),
                (hash.0.into(), hash.0.into())
            );
        }
    }
}
