//! Rows by key and slot in memory, and what has changed of them since the last commit.
//!
//! A key is hashed once for each change, and copied once for as long as it has rows: inside it goes
//! by a number, under which its rows, the order of time and the changes know it.

use std::hash::Hash;

use hashbrown::HashMap;

use crate::store::key_rows::KeyRows;
use crate::store::numbered_keys::NumberedKeys;
use crate::store::slots::Slot;
use crate::store::table::ValueAndTimestamp;
use crate::store::time_order::{Place, TimeOrder};

/// How many rows a key without any keeps room for.
const SPARE_ROWS: usize = 16;

/// How many keys may have no rows, beside half as many as have some: most come back.
const EMPTY_MAX: usize = 1_024;

#[derive(Debug)]
pub(crate) struct Row<V> {
    row: ValueAndTimestamp<V>,
    /// Where its change stands, if it is the one that stands there.
    change: u32,
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

/// The number of a key, which stays its own until the next commit or abort.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KeyNumber(u32);

/// See the module.
#[derive(Debug)]
pub(crate) struct KeyedRows<K, S, V> {
    keys: NumberedKeys<K, KeyRows<S, Row<V>>>,
    /// Keys that have had no rows, and may have none: they are looked for here, now and then.
    empty: Vec<u32>,
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
            keys: NumberedKeys::new(),
            empty: Vec::new(),
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
        self.keys.iter().map(|(_, _, rows)| rows.len().max(1)).sum()
    }

    /// The number of a key, which it gets if it has none.
    #[inline]
    pub(crate) fn number(&mut self, key: &K) -> KeyNumber {
        let (number, is_new) = self.keys.insert(key);
        if is_new {
            self.empty.push(number);
        }
        KeyNumber(number)
    }

    /// The key of a number.
    pub(crate) fn key(&self, KeyNumber(number): KeyNumber) -> Option<&K> {
        self.keys.get(number).map(|(key, _)| key)
    }

    pub(crate) fn contains_key(&self, key: &K) -> bool {
        self.keys.find(key).is_some()
    }

    #[inline]
    fn rows(&self, key: &K) -> Option<&KeyRows<S, Row<V>>> {
        self.keys.get(self.keys.find(key)?).map(|(_, rows)| rows)
    }

    #[inline]
    pub(crate) fn get(&self, key: &K, slot: S) -> Option<&ValueAndTimestamp<V>> {
        self.rows(key)?.get(slot).map(|row| &row.row)
    }

    /// The rows of a key from a slot up to another one, which is not among them.
    #[inline]
    pub(crate) fn rows_of(
        &self,
        key: &K,
        from: S,
        to: S,
    ) -> impl DoubleEndedIterator<Item = (S, &ValueAndTimestamp<V>)> {
        let rows = self.rows(key);
        rows.into_iter()
            .flat_map(move |rows| rows.range(from, to))
            .map(|(slot, row)| (slot, &row.row))
    }

    /// Sets or removes a row, so that an abort puts it back.
    pub(crate) fn change(&mut self, key: &K, slot: S, row: Option<ValueAndTimestamp<V>>) {
        let number = self.number(key);
        match row {
            Some(row) => self.set(number, slot, row),
            None => self.remove((slot, number.0)),
        }
    }

    /// Sets a row, so that an abort puts back what was there.
    #[inline]
    pub(crate) fn set(&mut self, number: KeyNumber, slot: S, row: ValueAndTimestamp<V>) {
        let place = (slot, number.0);
        let Self { keys, changes, removed, .. } = self;
        let Some((_, rows)) = keys.get_mut(number.0) else { return };
        if let Some(found) = rows.get_mut(slot) {
            let before = std::mem::replace(&mut found.row, row);
            if standing(changes, found.change, place).is_none() {
                found.change = push(changes, place, Some(before));
            }
            return;
        }
        let change = if removed.is_empty() { None } else { removed.remove(&place) };
        let change = change.unwrap_or_else(|| push(changes, place, None));
        rows.insert(slot, Row { row, change });
        self.added(place);
    }

    fn remove(&mut self, place: Place<S>) {
        let Self { keys, changes, removed, .. } = self;
        let Some((_, rows)) = keys.get_mut(place.1) else { return };
        let (change, committed) = match rows.remove(place.0) {
            Some(Row { row, change }) => {
                self.len -= 1;
                self.order.remove(&place);
                (standing(changes, change, place), Some(row))
            }
            None => (removed.get(&place).copied(), None),
        };
        let change = change.unwrap_or_else(|| push(changes, place, committed));
        removed.insert(place, change);
    }

    /// Sets or removes a row as committed.
    pub(crate) fn restore(&mut self, key: &K, slot: S, row: Option<ValueAndTimestamp<V>>) {
        let KeyNumber(number) = self.number(key);
        self.put_back((slot, number), row);
        self.note_if_empty(number);
    }

    /// Takes the committed rows of a key that has none here.
    pub(crate) fn load(&mut self, key: &K, rows: Vec<(S, ValueAndTimestamp<V>)>) {
        let KeyNumber(number) = self.number(key);
        for (slot, row) in rows {
            self.put_back((slot, number), Some(row));
        }
    }

    fn put_back(&mut self, place: Place<S>, row: Option<ValueAndTimestamp<V>>) {
        let (slot, number) = place;
        let Some((_, rows)) = self.keys.get_mut(number) else { return };
        match row {
            Some(row) => {
                if rows.insert(slot, Row { row, change: u32::MAX }).is_none() {
                    self.added(place);
                }
            }
            None => {
                if rows.remove(slot).is_some() {
                    self.len -= 1;
                    self.order.remove(&place);
                }
            }
        }
    }

    #[inline]
    fn added(&mut self, place: Place<S>) {
        self.len += 1;
        self.order.insert(place);
        let has_row = |(slot, number): &Place<S>| {
            self.keys.get(*number).is_some_and(|(_, rows)| rows.get(*slot).is_some())
        };
        self.order.tidy(self.len, has_row);
    }

    /// How many rows were changed since the last commit.
    pub(crate) fn changes_len(&self) -> usize {
        self.changes.len()
    }

    /// The rows changed since the last commit, by first change.
    pub(crate) fn changes(&self) -> impl Iterator<Item = Change<'_, K, S, V>> {
        self.changes.iter().filter_map(|Changed { place: (slot, number), committed }| {
            let (key, rows) = self.keys.get(*number)?;
            let row = rows.get(*slot).map(|row| &row.row);
            Some(Change { key, slot: *slot, row, committed: committed.as_ref() })
        })
    }

    /// All rows as they were at the last commit, in no order.
    pub(crate) fn committed(&self) -> impl Iterator<Item = (S, &K, &ValueAndTimestamp<V>)> {
        let rows = self.keys.iter().flat_map(|(number, key, rows)| {
            rows.iter().map(move |(slot, row)| ((slot, number), key, row))
        });
        let unchanged = rows
            .filter(|(place, _, row)| standing(&self.changes, row.change, *place).is_none())
            .map(|((slot, _), key, row)| (slot, key, &row.row));
        let changed = self.changes();
        unchanged
            .chain(changed.filter_map(|change| Some((change.slot, change.key, change.committed?))))
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
            let (key, rows) = self.keys.get(number)?;
            Some((slot, key, &rows.get(slot)?.row))
        })
    }

    /// The rows as they are become the committed ones.
    pub(crate) fn commit(&mut self) {
        self.changes.clear();
        let mut removed = std::mem::take(&mut self.removed);
        removed.drain().for_each(|((_, number), _)| self.note_if_empty(number));
        self.removed = removed;
        self.drop_empty();
    }

    /// Puts the committed rows back.
    pub(crate) fn abort(&mut self) {
        self.removed.clear();
        for Changed { place, committed } in std::mem::take(&mut self.changes) {
            self.put_back(place, committed);
            self.note_if_empty(place.1);
        }
        self.drop_empty();
    }

    /// Drops the rows up to and including a time, but for those to be kept. Nothing is changed
    /// since the last commit.
    pub(crate) fn expire(&mut self, expired_ms: i64, is_kept: impl Fn(&K, S) -> bool) {
        debug_assert!(self.changes.is_empty(), "an abort would look for what was dropped");
        let mut kept = Vec::new();
        let Self { keys, order, empty, len, .. } = self;
        order.take_up_to(expired_ms, |place| {
            let (slot, number) = place;
            let Some((key, rows)) = keys.get_mut(number) else { return };
            if is_kept(key, slot) {
                kept.push(place);
            } else if rows.remove(slot).is_some() {
                *len -= 1;
                if rows.is_empty() {
                    rows.shrink_to(SPARE_ROWS);
                    empty.push(number);
                }
            }
        });
        kept.into_iter().for_each(|place| order.insert(place));
        self.drop_empty();
    }

    /// Drops the keys that are not to be kept. None of their rows is changed since the last commit.
    pub(crate) fn retain(&mut self, mut is_kept: impl FnMut(&K, usize) -> bool) {
        for number in 0..self.keys.numbers_end() {
            let Some((key, rows)) = self.keys.get_mut(number) else { continue };
            if is_kept(key, rows.len()) {
                continue;
            }
            let rows = std::mem::take(rows);
            self.len -= rows.len();
            rows.iter().for_each(|(slot, _)| self.order.remove(&(slot, number)));
            self.keys.remove(number);
        }
    }

    /// Drops everything, and forgets what was changed.
    pub(crate) fn clear(&mut self) {
        self.keys.clear();
        self.empty.clear();
        self.order.clear();
        self.len = 0;
        self.changes.clear();
        self.removed.clear();
    }

    fn note_if_empty(&mut self, number: u32) {
        let rows = self.keys.get_mut(number).map(|(_, rows)| rows);
        if let Some(rows) = rows.filter(|rows| rows.is_empty()) {
            rows.shrink_to(SPARE_ROWS);
            self.empty.push(number);
        }
    }

    /// Drops the keys without rows, where there are many. Nothing is changed since the last commit.
    fn drop_empty(&mut self) {
        if self.keeps_keys {
            self.empty.clear();
        }
        if self.empty.len() <= EMPTY_MAX + self.keys.len() / 3 {
            return;
        }
        for number in std::mem::take(&mut self.empty) {
            if self.keys.get(number).is_some_and(|(_, rows)| rows.is_empty()) {
                self.keys.remove(number);
            }
        }
    }
}

/// Where the change of a row stands, if it has changed: there is the row's own place then.
#[inline]
fn standing<S: Slot, V>(changes: &[Changed<S, V>], change: u32, place: Place<S>) -> Option<u32> {
    changes.get(change as usize).filter(|changed| changed.place == place).map(|_| change)
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

    /// All ways to look at the rows show those of the model.
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
    fn keys_without_rows_are_dropped_when_they_are_many() {
        let mut rows = Rows::new(10);
        let held = "held".to_owned();
        rows.change(&held, WindowStart(i64::MAX), row(0));
        for time_ms in 0..5_000 {
            rows.change(&time_ms.to_string(), WindowStart(time_ms), row(1));
            // Of some keys a record was about to come, and did not.
            rows.number(&format!("none at {time_ms}"));
            rows.commit();
            rows.expire(time_ms - 10, |_, _| false);
            let keys = rows.keys.len();
            assert!(keys <= 12 + 2 * super::EMPTY_MAX, "{keys} keys at {time_ms}");
        }
        assert_eq!((rows.len(), rows.get(&held, WindowStart(i64::MAX)).is_some()), (11, true));
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
