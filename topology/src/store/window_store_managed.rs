//! How a window store is committed, taken back and restored.

use std::any::Any;
use std::hash::Hash;
use std::rc::Rc;

use headwater_log_store::{RecordView, Timestamp};

use crate::backing::Covered;
use crate::error::{BoxError, Error, Result};
use crate::store::backed_rows::BackedRows;
use crate::store::managed::{ChangelogRecord, ChangelogWriter, ManagedStore};
use crate::store::record_cache::{CacheBudget, RecordCache};
use crate::store::table::{Table, ValueAndTimestamp};
use crate::store::window_store::WindowStore;
use crate::store::windows_on_disk::WindowsOnDisk;

/// What follows the key in a changelog: the window's start and, always 0 here, a sequence number.
const KEY_SUFFIX_BYTES: usize = 12;

impl<K: Hash + Eq + Clone + 'static, V: Clone + 'static> ManagedStore for WindowStore<K, V> {
    fn resident_rows(&self) -> usize {
        self.windows.values().map(Table::len).sum()
    }

    fn format_name(&self) -> String {
        let (key, value) = (self.key_serde.format_name(), self.value_serde.format_name());
        format!("window store of {key} and {value}")
    }

    fn dirty_len(&self) -> usize {
        self.dirty_keys + self.times.dirty_len()
    }

    fn log_changes(&self, write: &mut ChangelogWriter<'_>) -> Result<()> {
        let (mut key_bytes, mut value_bytes) = (Vec::new(), Vec::new());
        let serde_error = |what: &str, reason: &BoxError| Error::Serde {
            what: format!("a {what} of store {}", self.name),
            reason: reason.to_string(),
        };
        let observed = self.times.get(0).map(Timestamp::from_millis);
        if let Some(disk) = &self.disk {
            disk.rows.begin();
        }
        for start in &self.dirty {
            let Some(window) = self.windows.get(start) else { continue };
            for (key, value) in window.dirty() {
                key_bytes.clear();
                value_bytes.clear();
                self.key_serde
                    .serialize(key, &mut key_bytes)
                    .map_err(|reason| serde_error("key", &reason))?;
                let key_len = key_bytes.len();
                key_bytes.extend_from_slice(&start.to_be_bytes());
                key_bytes.extend_from_slice(&0_i32.to_be_bytes());
                if let Some(value) = value {
                    self.value_serde
                        .serialize(&value.value, &mut value_bytes)
                        .map_err(|reason| serde_error("value", &reason))?;
                }
                if let Some((disk, key)) = self.disk.as_ref().zip(key_bytes.get(..key_len)) {
                    let row = value.map(|value| (value.timestamp, value_bytes.as_slice()));
                    disk.add(*start, key, row);
                }
                write(ChangelogRecord {
                    key: &key_bytes,
                    value: value.map(|_| value_bytes.as_slice()),
                    timestamp: value.map(|value| value.timestamp).or(observed),
                    headers: None,
                })?;
            }
        }
        self.times.log(write)
    }

    fn commit(&mut self) {
        for start in self.dirty.drain(..) {
            if let Some(window) = self.windows.get_mut(&start) {
                window.commit(|_| ());
            }
        }
        self.dirty_keys = 0;
        self.times.commit();
        self.clock_committed_ms = self.clock_ms;
        self.expire();
        self.drop_clean();
    }

    fn abort(&mut self) {
        for start in self.dirty.drain(..) {
            if let Some(window) = self.windows.get_mut(&start) {
                window.abort(|_| ());
                // A window that only the aborted work has opened leaves nothing behind.
                if window.is_empty() {
                    self.windows.remove(&start);
                }
            }
        }
        self.dirty_keys = 0;
        self.times.abort();
        self.clock_ms = self.clock_committed_ms;
        if let Some(cache) = &mut self.cache {
            cache.clear();
        }
        if let Some(disk) = &self.disk {
            disk.rows.abort();
        }
    }

    fn back(&mut self, rows: BackedRows) -> bool {
        self.disk = Some(WindowsOnDisk::new(rows));
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
        let (key, suffix) = bytes
            .split_last_chunk::<KEY_SUFFIX_BYTES>()
            .ok_or("its key is too short for that of a window")?;
        let (start, _sequence) = suffix.split_first_chunk::<8>().expect("12 bytes hold 8");
        let start_ms = i64::from_be_bytes(*start);
        if let Some(disk) = &self.disk {
            disk.add(start_ms, key, record.value.map(|value| (record.timestamp, value)));
        } else {
            let key = self.key_serde.deserialize(key)?;
            let value = record.value.map(|bytes| {
                let value = self.value_serde.deserialize(bytes)?;
                Ok::<_, BoxError>(ValueAndTimestamp { value, timestamp: record.timestamp })
            });
            let window = self.windows.entry(start_ms).or_insert_with(Table::new);
            window.restore(key, value.transpose()?);
        }
        if self.options.operators == 1 {
            // A record is part of some window or late, and a late one is older than an earlier
            // one: so the latest time in the changelog is the latest that the operator has seen.
            self.observe(0, record.timestamp);
            self.times.commit();
        }
        self.clock_ms = self.clock_ms.max(Some(start_ms));
        self.clock_committed_ms = self.clock_ms;
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
