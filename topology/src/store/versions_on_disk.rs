//! The versions of a versioned store on disk: by key, then by the time from which on they are valid.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::Hash;
use std::ops::Bound;

use headwater_log_store::Timestamp;

use crate::error::BoxError;
use crate::store::backed_rows::BackedRows;
use crate::store::rows_by_time::{Note, ordered, prefix_of, take_ordered};
use crate::store::stream_times::StreamTimes;

/// What stands before the value of a version that is one, and alone for a removed row.
const SET: u8 = 1;
const REMOVED: u8 = 0;

/// See the module.
pub(crate) struct VersionsOnDisk<K> {
    pub(crate) rows: BackedRows,
    /// The keys that were asked for since keys were dropped from memory the last time.
    used: HashSet<K>,
    /// At least how many versions are in memory.
    pub(crate) resident: usize,
}

impl<K: Hash + Eq + Clone> VersionsOnDisk<K> {
    pub(crate) fn new(rows: BackedRows) -> Self {
        Self { rows, used: HashSet::new(), resident: 0 }
    }

    /// Notes that a key is in use.
    pub(crate) fn touch(&mut self, key: &K) {
        if !self.used.contains(key) {
            self.used.insert(key.clone());
        }
    }

    /// The committed versions of a key.
    pub(crate) fn load<V>(
        &self,
        key: &[u8],
        deserialize: impl Fn(&[u8]) -> Result<V, BoxError>,
    ) -> Result<BTreeMap<Timestamp, Option<V>>, BoxError> {
        let prefix = prefix_of(key)?;
        let mut versions = BTreeMap::new();
        let from = Bound::Included(prefix.clone());
        self.rows.visit((from, Bound::Unbounded), false, |row_key, (_, value)| {
            let Some(time) = row_key.strip_prefix(&prefix[..]) else { return Ok(false) };
            let (time_ms, _) = take_ordered(time)?;
            let value = match value.split_first() {
                Some((&SET, value)) => Some(deserialize(value)?),
                _ => None,
            };
            versions.insert(Timestamp::from_millis(time_ms), value);
            Ok(true)
        })?;
        Ok(versions)
    }

    /// Adds a version to the next write, one that is a removed row, or the lack of one.
    pub(crate) fn add(
        &self,
        key: &[u8],
        timestamp: Timestamp,
        version: Option<Option<&[u8]>>,
    ) -> Result<(), BoxError> {
        let mut row_key = prefix_of(key)?;
        row_key.extend_from_slice(&ordered(timestamp.as_millis()));
        let row = version.map(|value| match value {
            Some(value) => [&[SET], value].concat(),
            None => vec![REMOVED],
        });
        self.rows.add(&row_key, row.as_ref().map(|row| (timestamp, &row[..])));
        Ok(())
    }

    /// Adds the clock of the store to the next write.
    pub(crate) fn note(&self, observed: Option<Timestamp>) {
        let note = Note { clock_ms: observed.map(Timestamp::as_millis), ..Note::default() };
        note.add(&StreamTimes::new(0, false), &self.rows);
    }

    /// The clock as it was written last.
    pub(crate) fn observed(&mut self) -> Result<Option<Timestamp>, BoxError> {
        let note = Note::read(&mut StreamTimes::new(0, false), &mut self.rows)?;
        Ok(note.clock_ms.map(Timestamp::from_millis))
    }

    /// Drops keys from memory, where there are too many versions: those first that were not asked
    /// for since the last time. Nothing is uncommitted.
    pub(crate) fn drop_clean<V>(&mut self, rows: &mut HashMap<K, BTreeMap<Timestamp, Option<V>>>) {
        let rows_max = self.rows.resident_max();
        if self.resident <= rows_max {
            return;
        }
        let keep = rows_max / 4 * 3;
        self.resident = rows.values().map(|versions| versions.len().max(1)).sum();
        for _ in 0..2 {
            let used = std::mem::take(&mut self.used);
            rows.retain(|key, versions| {
                let is_dropped = self.resident > keep && !used.contains(key);
                self.resident -= if is_dropped { versions.len().max(1) } else { 0 };
                !is_dropped
            });
        }
    }
}
