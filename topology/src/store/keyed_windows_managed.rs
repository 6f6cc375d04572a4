//! How a store of keyed windows is committed, taken back and restored.

use std::any::Any;
use std::hash::Hash;
use std::rc::Rc;

use headwater_log_store::{RecordView, Timestamp};

use crate::backing::Covered;
use crate::error::{BoxError, Error, Result};
use crate::store::appended_lines::AppendedLine;
use crate::store::backed_rows::BackedRows;
use crate::store::keyed_on_disk::KeyedOnDisk;
use crate::store::keyed_rows::Change;
use crate::store::keyed_windows::KeyedWindowStore;
use crate::store::managed::{ChangelogRecord, ChangelogWriter, ManagedStore};
use crate::store::record_cache::{CacheBudget, RecordCache};
use crate::store::slots::Slot;
use crate::store::table::ValueAndTimestamp;

impl<K: Hash + Eq + Clone + 'static, S: Slot, V: Clone + 'static> KeyedWindowStore<K, S, V> {
    fn serde_error(&self, what: &str, reason: &BoxError) -> Error {
        let what = format!("a {what} of store {}", self.name);
        Error::Serde { what, reason: reason.to_string() }
    }

    /// Writes the rows that were added since the last commit, which are all that was changed.
    fn log_lines(&self, write: &mut ChangelogWriter<'_>) -> Result<()> {
        for AppendedLine { slot, timestamp, key, key_and_slot, value } in self.lines.iter() {
            if let Some(disk) = &self.disk {
                disk.add(key, slot, Some((timestamp, value)), false)
                    .map_err(|reason| self.serde_error("key", &reason))?;
            }
            write(ChangelogRecord {
                key: key_and_slot,
                value: Some(value),
                timestamp: Some(timestamp),
                headers: self.headers.get(&slot),
            })?;
        }
        self.times.log(write)
    }
}

impl<K: Hash + Eq + Clone + 'static, S: Slot, V: Clone + 'static> ManagedStore
    for KeyedWindowStore<K, S, V>
{
    fn resident_rows(&self) -> usize {
        self.rows.len()
    }

    fn format_name(&self) -> String {
        let (key, value) = (self.key_serde.format_name(), self.value_serde.format_name());
        format!("{} store of {key} and {value}", S::NAME)
    }

    fn dirty_len(&self) -> usize {
        self.rows.changes_len() + self.times.dirty_len()
    }

    fn log_changes(&self, write: &mut ChangelogWriter<'_>) -> Result<()> {
        if let Some(disk) = &self.disk {
            disk.rows.begin();
        }
        if self.lines.len() == self.rows.changes_len() {
            return self.log_lines(write);
        }
        let (mut key_bytes, mut value_bytes) = (Vec::new(), Vec::new());
        let observed = self.times.get(0).or(self.clock_ms).map(Timestamp::from_millis);
        for Change { key, slot, row, committed } in self.rows.changes() {
            key_bytes.clear();
            value_bytes.clear();
            self.key_serde
                .serialize(key, &mut key_bytes)
                .map_err(|reason| self.serde_error("key", &reason))?;
            let key_len = key_bytes.len();
            slot.write(&mut key_bytes);
            if let Some(row) = row {
                self.value_serde
                    .serialize(&row.value, &mut value_bytes)
                    .map_err(|reason| self.serde_error("value", &reason))?;
            }
            if let Some((disk, key)) = self.disk.as_ref().zip(key_bytes.get(..key_len)) {
                let row = row.map(|row| (row.timestamp, value_bytes.as_slice()));
                disk.add(key, slot, row, committed.is_some())
                    .map_err(|reason| self.serde_error("key", &reason))?;
            }
            write(ChangelogRecord {
                key: &key_bytes,
                value: row.map(|_| value_bytes.as_slice()),
                timestamp: row.map(|row| row.timestamp).or(observed),
                headers: self.headers.get(&slot),
            })?;
        }
        self.times.log(write)
    }

    fn commit(&mut self) {
        self.rows.commit();
        self.lines.clear();
        self.headers.clear();
        self.times.commit();
        self.clock_committed_ms = self.clock_ms;
        self.sequence_committed = self.sequence;
        self.expire();
        self.drop_clean();
    }

    fn abort(&mut self) {
        self.rows.abort();
        self.lines.clear();
        self.headers.clear();
        self.times.abort();
        self.clock_ms = self.clock_committed_ms;
        self.sequence = self.sequence_committed;
        if let Some(cache) = &mut self.cache {
            cache.clear();
        }
        self.abort_on_disk();
    }

    fn back(&mut self, rows: BackedRows) -> bool {
        self.disk = Some(KeyedOnDisk::new(rows));
        // A key without rows here has none on disk either.
        self.rows.keep_keys();
        true
    }

    fn backed(&mut self) -> Option<&mut BackedRows> {
        self.disk.as_mut().map(|disk| &mut disk.rows)
    }

    fn resume(&mut self) -> Result<(), BoxError> {
        self.read_note()
    }

    fn write_to_disk(&mut self, covered: Covered) -> Result<(), BoxError> {
        self.remove_expired()?;
        self.write_rows(covered)
    }

    fn restore(&mut self, record: &RecordView<'_>) -> Result<(), BoxError> {
        let bytes = record.key.ok_or("its key is null")?;
        if self.times.restore(bytes, record.value)? {
            // It comes behind the rows of its commit, and may be what some of them waited for.
            self.expire();
            return Ok(());
        }
        let (key, slot) = bytes
            .len()
            .checked_sub(S::BYTES)
            .and_then(|len| bytes.split_at_checked(len))
            .and_then(|(key, slot)| Some((key, S::read(slot)?)))
            .ok_or("its key is too short for that of a window")?;
        if let Some(disk) = &self.disk {
            disk.add(key, slot, record.value.map(|value| (record.timestamp, value)), false)?;
        } else {
            let key = self.key_serde.deserialize(key)?;
            let row = record.value.map(|bytes| {
                let value = self.value_serde.deserialize(bytes)?;
                Ok::<_, BoxError>(ValueAndTimestamp { value, timestamp: record.timestamp })
            });
            self.rows.restore(&key, slot, row.transpose()?);
        }
        if self.options.operators == 1 {
            // As in the store of aligned windows: the latest record is in some row.
            self.observe(0, record.timestamp);
            self.times.commit();
        }
        self.clock_ms = self.clock_ms.max(Some(slot.time_ms()));
        self.clock_committed_ms = self.clock_ms;
        self.sequence = slot.sequence();
        self.sequence_committed = self.sequence;
        self.expire();
        Ok(())
    }

    fn cache_within(&mut self, budget: &Rc<CacheBudget>) {
        self.cache = Some(RecordCache::new(budget));
    }

    fn forget_stream_times(&mut self) {
        self.times.forget(self.options.operators);
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }
}
