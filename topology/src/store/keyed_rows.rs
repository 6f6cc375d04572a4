//! Rows by key and slot in memory, and what has changed of them since the last commit.
//!
//! A key is hashed once for each change, and copied once for as long as it has rows: inside it goes
//! by a number, under which its rows, the order of time and the changes know it.

use std::hash::{BuildHasher, Hash};

use hashbrown::hash_table::{Entry, HashTable};
use hashbrown::{DefaultHashBuilder, HashMap};

use crate::store::key_rows::KeyRows;
use crate::store::slots::Slot;
use crate::store::table::ValueAndTimestamp;
use crate::store::time_order::{Place, TimeOrder};

/// How many rows a key without any keeps room for, for the next key of its number.
const SPARE_ROWS: usize = 16;

#[derive(Debug)]
struct Row<V> {
    row: ValueAndTimestamp<V>,
    /// Where its change stands, if it is the one that stands there.
    change: u32,
}

type RowsOfKey<S, V> = KeyRows<S, Row<V>>;

#[derive(Debug)]
struct KeySlot<K, S, V> {
    hash: u64,
    /// `None` where the number is free.
    key: Option<K>,
    rows: RowsOfKey<S, V>,
}

/// A changed row: where it is, and what was there at the last commit.
#[derive(Debug)]
struct Changed<S, V> {
    place: Place<S>,
    committed: Option<ValueAndTimestamp<V>>,
}

/// A changed row as a commit writes it.
#[derive(Debug)]
pub(crate) struct Change<'a, K, S, V> {
    pub(crate) key: &'a K,
    pub(crate) slot: S,
    pub(crate) row: Option<&'a ValueAndTimestamp<V>>,
    pub(crate) committed: Option<&'a ValueAndTimestamp<V>>,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct KeyedRows<K, S, V> {
    /// The numbers of the keys.
    numbers: HashTable<u32>,
    hasher: DefaultHashBuilder,
    keys: Vec<KeySlot<K, S, V>>,
    free: Vec<u32>,
    order: TimeOrder<S>,
    /// How many rows there are.
    len: usize,
    /// The changed rows, each once, in the order of its first change.
    changes: Vec<Changed<S, V>>,
    /// Those of them that are gone, with where they stand.
    removed: HashMap<Place<S>, u32>,
    /// Whether keys stay where they have no rows.
    keeps_keys: bool,
}

impl<K: Hash + Eq + Clone, S: Slot, V> KeyedRows<K, S, V> {
    pub(crate) fn new(retention_ms: i64) -> Self {
        Self {
            numbers: HashTable::new(),
            hasher: DefaultHashBuilder::default(),
            keys: Vec::new(),
            free: Vec::new(),
            order: TimeOrder::new(retention_ms),
            len: 0,
            changes: Vec::new(),
            removed: HashMap::new(),
            keeps_keys: false,
        }
    }

    /// Keys stay from now on until they are dropped, whether or not they have rows.
    pub(crate) fn keep_keys(&mut self) {
        self.keeps_keys = true;
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// How many rows there are, where a key without any counts as one.
    pub(crate) fn resident(&self) -> usize {
        let keys = self.keys.iter().filter(|slot| slot.key.is_some());
        keys.map(|slot| slot.rows.len().max(1)).sum()
    }

    fn number(&self, key: &K) -> Option<u32> {
        let hash = self.hasher.hash_one(key);
        self.numbers.find(hash, |number| key_at(&self.keys, *number) == Some(key)).copied()
    }

    /// The number of a key, which it gets if it has none.
    #[inline]
    fn intern(&mut self, key: &K) -> u32 {
        let Self { numbers, hasher, keys, free, .. } = self;
        let hash = hasher.hash_one(key);
        let hash_at = |number: &u32| keys.get(index(*number)).map_or(0, |slot| slot.hash);
        match numbers.entry(hash, |number| key_at(keys, *number) == Some(key), hash_at) {
            Entry::Occupied(occupied) => *occupied.get(),
            Entry::Vacant(vacant) => {
                // This is the caller's clone: if it panics, nothing has changed yet.
                let key = Some(key.clone());
                let number = match free.last() {
                    Some(number) => *number,
                    None => u32::try_from(keys.len()).expect("a task has < 2^32 keys"),
                };
                vacant.insert(number);
                match free.pop().and_then(|number| keys.get_mut(index(number))) {
                    Some(slot) => (slot.key, slot.hash) = (key, hash),
                    None => keys.push(KeySlot { hash, key, rows: KeyRows::new() }),
                }
                number
            }
        }
    }

    fn rows_at(&self, number: u32) -> Option<&RowsOfKey<S, V>> {
        self.keys.get(index(number)).map(|slot| &slot.rows)
    }

    pub(crate) fn contains_key(&self, key: &K) -> bool {
        self.number(key).is_some()
    }

    #[inline]
    pub(crate) fn get(&self, key: &K, slot: S) -> Option<&ValueAndTimestamp<V>> {
        self.rows_at(self.number(key)?)?.get(slot).map(|row| &row.row)
    }

    /// The rows of a key from a slot up to another one, which is not among them.
    #[inline]
    pub(crate) fn rows_of(
        &self,
        key: &K,
        from: S,
        to: S,
    ) -> impl DoubleEndedIterator<Item = (S, &ValueAndTimestamp<V>)> {
        let rows = self.number(key).and_then(|number| self.rows_at(number));
        rows.into_iter()
            .flat_map(move |rows| rows.range(from, to))
            .map(|(slot, row)| (slot, &row.row))
    }

    /// Sets or removes a row, so that an abort puts it back.
    pub(crate) fn change(&mut self, key: &K, slot: S, row: Option<ValueAndTimestamp<V>>) {
        let number = self.intern(key);
        let Self { keys, changes, removed, .. } = self;
        let Some(entry) = keys.get_mut(index(number)) else { return };
        let place = (slot, number);
        let Some(row) = row else {
            let (change, committed) = match entry.rows.remove(slot) {
                Some(Row { row, change }) => {
                    self.len -= 1;
                    self.order.remove(&place);
                    (standing(changes, change, place), Some(row))
                }
                None => (removed.get(&place).copied(), None),
            };
            let change = change.unwrap_or_else(|| push(changes, place, committed));
            removed.insert(place, change);
            return;
        };
        if let Some(found) = entry.rows.get_mut(slot) {
            let before = std::mem::replace(&mut found.row, row);
            if standing(changes, found.change, place).is_none() {
                found.change = push(changes, place, Some(before));
            }
            return;
        }
        let change = if removed.is_empty() { None } else { removed.remove(&place) };
        let change = change.unwrap_or_else(|| push(changes, place, None));
        entry.rows.insert(slot, Row { row, change });
        self.added(place);
    }

    /// Sets or removes a row as committed.
    pub(crate) fn restore(&mut self, key: &K, slot: S, row: Option<ValueAndTimestamp<V>>) {
        let number = self.intern(key);
        self.put_back((slot, number), row);
        self.free_if_empty(number);
    }

    /// Takes the committed rows of a key that has none here.
    pub(crate) fn load(&mut self, key: &K, rows: Vec<(S, ValueAndTimestamp<V>)>) {
        let number = self.intern(key);
        for (slot, row) in rows {
            self.put_back((slot, number), Some(row));
        }
    }

    fn put_back(&mut self, place: Place<S>, row: Option<ValueAndTimestamp<V>>) {
        let (slot, number) = place;
        let Some(entry) = self.keys.get_mut(index(number)) else { return };
        match row {
            Some(row) => {
                if entry.rows.insert(slot, Row { row, change: u32::MAX }).is_none() {
                    self.added(place);
                }
            }
            None => {
                if entry.rows.remove(slot).is_some() {
                    self.len -= 1;
                    self.order.remove(&place);
                }
            }
        }
    }

    fn added(&mut self, place: Place<S>) {
        self.len += 1;
        self.order.insert(place);
        self.order.tidy(self.len, |(slot, number)| has_row(&self.keys, *slot, *number));
    }

    /// How many rows were changed since the last commit.
    pub(crate) fn changes_len(&self) -> usize {
        self.changes.len()
    }

    /// The rows changed since the last commit, by first change.
    pub(crate) fn changes(&self) -> impl Iterator<Item = Change<'_, K, S, V>> {
        self.changes.iter().filter_map(|Changed { place: (slot, number), committed }| {
            let KeySlot { key, rows, .. } = self.keys.get(index(*number))?;
            let row = rows.get(*slot).map(|row| &row.row);
            Some(Change { key: key.as_ref()?, slot: *slot, row, committed: committed.as_ref() })
        })
    }

    /// All rows as they were at the last commit, in no order.
    pub(crate) fn committed(&self) -> impl Iterator<Item = (S, &K, &ValueAndTimestamp<V>)> {
        let rows = self.keys.iter().enumerate().map(|(index, KeySlot { key, rows, .. })| {
            rows.iter().map(move |(slot, row)| (slot, index, key.as_ref(), row))
        });
        let unchanged = rows.flatten().filter_map(|(slot, index, key, row)| {
            let place = (slot, u32::try_from(index).ok()?);
            let is_changed = standing(&self.changes, row.change, place).is_some();
            Some((slot, key?, &row.row)).filter(|_| !is_changed)
        });
        unchanged.chain(
            self.changes().filter_map(|change| Some((change.slot, change.key, change.committed?))),
        )
    }

    /// The rows from a time up to and including another one, by their slots.
    pub(crate) fn between(
        &self,
        from_ms: i64,
        to_ms: i64,
    ) -> impl Iterator<Item = (S, &K, &ValueAndTimestamp<V>)> {
        let mut places: Vec<Place<S>> = self.order.between(from_ms, to_ms).copied().collect();
        places.sort_unstable();
        places.dedup();
        places.into_iter().filter_map(|(slot, number)| {
            let KeySlot { key, rows, .. } = self.keys.get(index(number))?;
            Some((slot, key.as_ref()?, &rows.get(slot)?.row))
        })
    }

    /// The rows as they are become the committed ones.
    pub(crate) fn commit(&mut self) {
        self.changes.clear();
        // A key without rows has lost one.
        for ((_, number), _) in std::mem::take(&mut self.removed) {
            self.free_if_empty(number);
        }
    }

    /// Puts the committed rows back.
    pub(crate) fn abort(&mut self) {
        self.removed.clear();
        for Changed { place, committed } in std::mem::take(&mut self.changes) {
            self.put_back(place, committed);
            self.free_if_empty(place.1);
        }
    }

    /// Drops the rows up to and including a time, but for those to be kept. Nothing is changed
    /// since the last commit.
    pub(crate) fn expire(&mut self, expired_ms: i64, is_kept: impl Fn(&K, S) -> bool) {
        debug_assert!(self.changes.is_empty(), "an abort would look for what was dropped");
        let mut kept = Vec::new();
        let mut order = std::mem::replace(&mut self.order, TimeOrder::new(0));
        order.take_up_to(expired_ms, |place| {
            let (slot, number) = place;
            let Some(entry) = self.keys.get_mut(index(number)) else { return };
            if entry.key.as_ref().is_some_and(|key| is_kept(key, slot)) {
                kept.push(place);
            } else if entry.rows.remove(slot).is_some() {
                self.len -= 1;
                self.free_if_empty(number);
            }
        });
        kept.into_iter().for_each(|place| order.insert(place));
        self.order = order;
    }

    /// Drops the keys that are not to be kept. None of their rows is changed since the last commit.
    pub(crate) fn retain(&mut self, mut is_kept: impl FnMut(&K, usize) -> bool) {
        for number in 0..u32::try_from(self.keys.len()).unwrap_or(u32::MAX) {
            let Some(entry) = self.keys.get_mut(index(number)) else { return };
            if entry.key.as_ref().is_none_or(|key| is_kept(key, entry.rows.len())) {
                continue;
            }
            let rows = std::mem::replace(&mut entry.rows, KeyRows::new());
            self.len -= rows.len();
            rows.iter().for_each(|(slot, _)| self.order.remove(&(slot, number)));
            self.free(number);
        }
    }

    /// Drops everything, and forgets what was changed.
    pub(crate) fn clear(&mut self) {
        self.numbers.clear();
        self.keys.clear();
        self.free.clear();
        self.order.clear();
        self.len = 0;
        self.changes.clear();
        self.removed.clear();
    }

    fn free_if_empty(&mut self, number: u32) {
        let is_empty = self.rows_at(number).is_some_and(KeyRows::is_empty);
        if is_empty && !self.keeps_keys {
            self.free(number);
        }
    }

    fn free(&mut self, number: u32) {
        let Some(entry) = self.keys.get_mut(index(number)) else { return };
        if entry.key.take().is_none() {
            return;
        }
        entry.rows.shrink_to(SPARE_ROWS);
        if let Ok(found) = self.numbers.find_entry(entry.hash, |other| *other == number) {
            found.remove();
        }
        self.free.push(number);
    }
}

fn index(number: u32) -> usize {
    number as usize
}

#[inline]
fn key_at<K, S, V>(keys: &[KeySlot<K, S, V>], number: u32) -> Option<&K> {
    keys.get(index(number))?.key.as_ref()
}

fn has_row<K, S: Slot, V>(keys: &[KeySlot<K, S, V>], slot: S, number: u32) -> bool {
    keys.get(index(number)).is_some_and(|entry| entry.rows.get(slot).is_some())
}

/// Where the change of a row stands, if it has changed: there is the row's own place then.
#[inline]
fn standing<S: Slot, V>(changes: &[Changed<S, V>], change: u32, place: Place<S>) -> Option<u32> {
    changes.get(index(change)).filter(|changed| changed.place == place).map(|_| change)
}

fn push<S, V>(
    changes: &mut Vec<Changed<S, V>>,
    place: Place<S>,
    committed: Option<ValueAndTimestamp<V>>,
) -> u32 {
    let change = u32::try_from(changes.len()).expect("a commit changes < 2^32 rows");
    changes.push(Changed { place, committed });
    change
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use headwater_log_store::Timestamp;

    use super::KeyedRows;
    use crate::store::slots::{Slot, WindowStart};
    use crate::store::table::ValueAndTimestamp;

    type Rows = KeyedRows<String, WindowStart, u64>;
    type Model = BTreeMap<(i64, String), u64>;

    fn row(value: u64) -> Option<ValueAndTimestamp<u64>> {
        Some(ValueAndTimestamp { value, timestamp: Timestamp::from_millis(0) })
    }

    fn listed<'a>(
        rows: impl Iterator<Item = (WindowStart, &'a String, &'a ValueAndTimestamp<u64>)>,
    ) -> Vec<((i64, String), u64)> {
        let mut listed: Vec<_> =
            rows.map(|(slot, key, row)| ((slot.0, key.clone()), row.value)).collect();
        listed.sort_unstable();
        listed
    }

    /// All ways to look at the rows show those of the model, and no key stays without rows once
    /// nothing is changed.
    fn check(rows: &Rows, current: &Model, committed: &Model, changed: &[(i64, String)]) {
        let all = |model: &Model| model.clone().into_iter().collect::<Vec<_>>();
        assert_eq!(listed(rows.between(i64::MIN, i64::MAX)), all(current));
        assert_eq!(listed(rows.committed()), all(committed));
        assert_eq!(rows.len(), current.len());
        for key in ["a", "b", "c", "d"].map(str::to_owned) {
            let of_key = rows.rows_of(&key, WindowStart::first(0), WindowStart(i64::MAX));
            let of_key: Vec<_> = of_key.map(|(slot, row)| (slot.0, row.value)).collect();
            let of_model = current.iter().filter(|((_, of), _)| *of == key);
            let of_model: Vec<_> = of_model.map(|((time, _), value)| (*time, *value)).collect();
            assert_eq!(of_key, of_model, "{key}");
            if changed.is_empty() {
                assert_eq!(rows.contains_key(&key), !of_model.is_empty(), "{key}");
            }
        }
        let changes: Vec<_> = rows
            .changes()
            .map(|change| ((change.slot.0, change.key.clone()), change.row, change.committed))
            .collect();
        let value_of = |model: &Model, place: &(i64, String)| model.get(place).copied();
        assert!(changes.iter().map(|(place, ..)| place).eq(changed));
        for (place, row, before) in changes {
            assert_eq!(row.map(|row| row.value), value_of(current, &place), "{place:?}");
            assert_eq!(before.map(|row| row.value), value_of(committed, &place), "{place:?}");
        }
    }

    #[test]
    fn rows_are_changed_committed_taken_back_and_dropped_like_those_of_a_map() {
        let seed = fastrand::u64(..);
        println!("seed {seed}");
        let mut random = fastrand::Rng::with_seed(seed);
        let mut rows = Rows::new(random.i64(0..50));
        let (mut current, mut committed) = (Model::new(), Model::new());
        let mut changed = Vec::new();
        for step in 0..3_000 {
            let key = random.choice(["a", "b", "c", "d"]).unwrap().to_owned();
            let time_ms = step / 20 + random.i64(0..10);
            let place = (time_ms, key.clone());
            match random.u8(..20) {
                0 => {
                    rows.abort();
                    changed.clear();
                    current.clone_from(&committed);
                }
                1..4 => {
                    rows.commit();
                    changed.clear();
                    let expired_ms = time_ms - random.i64(5..50);
                    // One of the keys stays, as what a cache holds.
                    rows.expire(expired_ms, |key, _| key == "d");
                    current.retain(|(time, key), _| *time > expired_ms || key == "d");
                    committed.clone_from(&current);
                }
                4 if changed.is_empty() => {
                    rows.restore(&key, WindowStart(time_ms), row(7));
                    current.insert(place.clone(), 7);
                    committed.insert(place, 7);
                }
                5 if changed.is_empty() => {
                    rows.restore(&key, WindowStart(time_ms), None);
                    current.remove(&place);
                    committed.remove(&place);
                }
                number => {
                    let value = random.u64(..);
                    let is_put = number % 3 > 0;
                    rows.change(&key, WindowStart(time_ms), row(value).filter(|_| is_put));
                    match is_put {
                        true => drop(current.insert(place.clone(), value)),
                        false => drop(current.remove(&place)),
                    }
                    if !changed.contains(&place) {
                        changed.push(place);
                    }
                }
            }
            check(&rows, &current, &committed, &changed);
        }
    }

    #[test]
    fn keys_that_are_kept_stay_without_rows_until_they_are_dropped() {
        let mut rows = Rows::new(10);
        rows.keep_keys();
        let [k, q] = ["k", "q"].map(str::to_owned);
        rows.load(&k, Vec::new());
        rows.change(&q, WindowStart(5), row(1));
        rows.commit();
        rows.change(&q, WindowStart(5), None);
        rows.commit();
        assert!(rows.contains_key(&k) && rows.contains_key(&q));
        assert_eq!((rows.len(), rows.resident()), (0, 2));
        rows.change(&k, WindowStart(6), row(2));
        rows.commit();
        rows.retain(|key, rows| *key == k && rows == 1);
        assert!(rows.contains_key(&k) && !rows.contains_key(&q));
        rows.retain(|_, _| false);
        assert_eq!((rows.len(), rows.resident()), (0, 0));
        assert_eq!(rows.between(0, 10).count(), 0);
        // A number that was free is given to another key, whose rows are its own.
        rows.change(&q, WindowStart(6), row(3));
        assert_eq!(rows.get(&q, WindowStart(6)).map(|row| row.value), Some(3));
        assert_eq!(rows.get(&k, WindowStart(6)), None);
    }
}
