//! A store of bytes in the order of its keys, for operators that look for ranges of keys.

use std::any::Any;
use std::collections::BTreeMap;

use headwater_log_store::{RecordView, Timestamp};

use crate::error::{BoxError, Result};
use crate::store::managed::{ChangelogRecord, ChangelogWriter, ManagedStore};

/// A value with its time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BytesRow {
    pub(crate) value: Vec<u8>,
    pub(crate) timestamp: Timestamp,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct BytesStore {
    rows: BTreeMap<Vec<u8>, BytesRow>,
    /// The committed row of each key that was changed since the last commit.
    dirty: BTreeMap<Vec<u8>, Option<BytesRow>>,
}

impl BytesStore {
    /// Sets or removes the row of a key.
    pub(crate) fn put(&mut self, key: &[u8], row: Option<BytesRow>) {
        let before = match row {
            Some(row) => self.rows.insert(key.to_vec(), row),
            None => self.rows.remove(key),
        };
        self.dirty.entry(key.to_vec()).or_insert(before);
    }

    /// The rows whose keys begin with `prefix`, in the order of their keys.
    pub(crate) fn prefix_scan(&self, prefix: &[u8]) -> impl Iterator<Item = (&[u8], &BytesRow)> {
        let from = self.rows.range(prefix.to_vec()..);
        let within = from.take_while(move |(key, _)| key.starts_with(prefix));
        within.map(|(key, row)| (key.as_slice(), row))
    }
}

impl ManagedStore for BytesStore {
    fn resident_rows(&self) -> usize {
        self.rows.len()
    }

    fn format_name(&self) -> String {
        "bytes store".to_owned()
    }

    fn dirty_len(&self) -> usize {
        self.dirty.len()
    }

    fn log_changes(&self, write: &mut ChangelogWriter<'_>) -> Result<()> {
        for key in self.dirty.keys() {
            let row = self.rows.get(key);
            write(ChangelogRecord {
                key,
                value: row.map(|row| row.value.as_slice()),
                timestamp: row.map(|row| row.timestamp),
                headers: None,
            })?;
        }
        Ok(())
    }

    fn commit(&mut self) {
        self.dirty.clear();
    }

    fn abort(&mut self) {
        for (key, committed) in std::mem::take(&mut self.dirty) {
            match committed {
                Some(row) => self.rows.insert(key, row),
                None => self.rows.remove(&key),
            };
        }
    }

    fn restore(&mut self, record: &RecordView<'_>) -> Result<(), BoxError> {
        let key = record.key.ok_or("its key is null")?;
        match record.value {
            Some(value) => {
                let row = BytesRow { value: value.to_vec(), timestamp: record.timestamp };
                self.rows.insert(key.to_vec(), row)
            }
            None => self.rows.remove(key),
        };
        Ok(())
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::{BytesRow, BytesStore};
    use crate::store::managed::ManagedStore;
    use headwater_log_store::Timestamp;

    fn row(value: &str) -> Option<BytesRow> {
        Some(BytesRow { value: value.into(), timestamp: Timestamp::from_millis(1) })
    }

    fn rows(store: &BytesStore, prefix: &str) -> Vec<(String, String)> {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        store
            .prefix_scan(prefix.as_bytes())
            .map(|(key, row)| (text(key), text(&row.value)))
            .collect()
    }

    #[test]
    fn an_abort_puts_back_what_the_last_commit_had() {
        let mut store = BytesStore::default();
        store.put(b"a1", row("x"));
        store.put(b"a2", row("y"));
        store.put(b"b1", row("z"));
        store.commit();
        let committed = [("a1".to_owned(), "x".to_owned()), ("a2".to_owned(), "y".to_owned())];
        assert_eq!(rows(&store, "a"), committed);
        store.put(b"a1", None);
        store.put(b"a2", row("changed"));
        store.put(b"a2", row("again"));
        store.put(b"a3", row("new"));
        assert_eq!(store.dirty_len(), 3);
        assert_eq!(rows(&store, "a").len(), 2);
        let mut logged = Vec::new();
        store
            .log_changes(&mut |record| {
                logged.push((record.key.to_vec(), record.value.map(<[u8]>::to_vec)));
                Ok(())
            })
            .unwrap();
        let expected: Vec<(&[u8], Option<&[u8]>)> =
            vec![(b"a1", None), (b"a2", Some(b"again")), (b"a3", Some(b"new"))];
        let expected: Vec<_> =
            expected.iter().map(|(k, v)| (k.to_vec(), v.map(<[u8]>::to_vec))).collect();
        assert_eq!(logged, expected);
        store.abort();
        assert_eq!(rows(&store, "a"), committed);
        assert_eq!(store.dirty_len(), 0);
    }
}
