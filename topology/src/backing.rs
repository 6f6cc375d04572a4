//! Where a persistent store keeps its committed rows, whatever the engine is.
//!
//! The rows on disk are those of a place in the changelog: each write brings them to a later one,
//! in one step with the note of that place. They are written after the log has made the commit
//! durable, so they are never ahead of it, and a start replays what lies between.
#![cfg_attr(
    feature = "engines",
    allow(
        clippy::len_without_is_empty,
        clippy::missing_errors_doc,
        reason = "it is no API: it is seen from outside only where engines are compared"
    )
)]
#![cfg_attr(
    not(feature = "engines"),
    allow(unreachable_pub, reason = "it is seen from outside where engines are compared")
)]
#![cfg_attr(
    not(any(feature = "persistent", test)),
    allow(dead_code, reason = "only an engine looks at what a write changes")
)]

use std::ops::Bound;

use headwater_log_store::{LeaderEpoch, Offset};

use crate::error::BoxError;
use crate::types::TaskId;

/// How far in its changelog a store is: all before the offset is in its rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Covered {
    /// Where the changelog goes on.
    pub offset: Offset,
    /// The changelog's epoch at that time: if the log has lost records since, it tells.
    pub epoch: LeaderEpoch,
    /// The number of the application's state in its log: a reset has others after it, and so has
    /// another log.
    pub state: u32,
}

/// What one write changes: keys with their new rows, or with none, in the order in which they were
/// added. All bytes lie in one buffer, which the next write uses again: a write has ten thousands of
/// changes, and memory for each of them takes longer than the changes do.
#[derive(Clone, Debug, Default)]
pub struct Changes {
    bytes: Vec<u8>,
    spans: Vec<Span>,
}

/// Where a change is in the buffer: the key, and the row behind it.
#[derive(Clone, Copy, Debug)]
struct Span {
    start: usize,
    key_end: usize,
    end: usize,
    is_removal: bool,
}

/// The largest buffer that is kept for the next write.
const BUFFER_BYTES_KEPT: usize = 1 << 20;

impl Changes {
    /// Adds a key with its new row, which is put together from these parts, or with none.
    pub fn push(&mut self, key: &[u8], row: Option<&[&[u8]]>) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(key);
        let key_end = self.bytes.len();
        for part in row.unwrap_or_default() {
            self.bytes.extend_from_slice(part);
        }
        let (end, is_removal) = (self.bytes.len(), row.is_none());
        self.spans.push(Span { start, key_end, end, is_removal });
    }

    /// Brings them into the order of their keys; changes of one key stay in theirs.
    pub fn sort(&mut self) {
        let bytes = &self.bytes;
        let key = |span: &Span| bytes.get(span.start..span.key_end);
        self.spans.sort_by(|span, other| key(span).cmp(&key(other)));
    }

    /// The changes.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> {
        self.spans.iter().map(|span| {
            let key = self.bytes.get(span.start..span.key_end).unwrap_or_default();
            let row = self.bytes.get(span.key_end..span.end).filter(|_| !span.is_removal);
            (key, row)
        })
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// How many bytes their keys and rows have.
    #[must_use]
    pub fn bytes_len(&self) -> usize {
        self.bytes.len()
    }

    /// Forgets all of them.
    pub fn clear(&mut self) {
        if self.bytes.capacity() > BUFFER_BYTES_KEPT {
            *self = Self::default();
        }
        self.bytes.clear();
        self.spans.clear();
    }
}

impl<K: AsRef<[u8]>, R: AsRef<[u8]>> FromIterator<(K, Option<R>)> for Changes {
    fn from_iter<T: IntoIterator<Item = (K, Option<R>)>>(changes: T) -> Self {
        let mut all = Self::default();
        for (key, row) in changes {
            all.push(
                key.as_ref(),
                row.as_ref().map(|row| [row.as_ref()]).as_ref().map(|row| &row[..]),
            );
        }
        all
    }
}

/// Sees the row that was asked for.
pub type Reader<'a> = dyn FnMut(&[u8]) -> Result<(), BoxError> + 'a;

/// Sees a row; `false` ends the visit.
pub type Visitor<'a> = dyn FnMut(&[u8], &[u8]) -> Result<bool, BoxError> + 'a;

/// The rows of one store of one task.
pub trait Backing {
    /// How far the rows are. `None` says that they are to be made anew.
    fn covered(&self) -> Result<Option<Covered>, BoxError>;

    /// Shows the row of a key where it lies, if there is one.
    fn read(&self, key: &[u8], reader: &mut Reader<'_>) -> Result<(), BoxError>;

    /// The row of a key.
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, BoxError> {
        let mut found = None;
        self.read(key, &mut |row| {
            found = Some(row.to_vec());
            Ok(())
        })?;
        Ok(found)
    }

    /// Shows the rows of a range in the order of their keys, or from its end.
    fn visit(
        &self,
        range: (Bound<Vec<u8>>, Bound<Vec<u8>>),
        from_end: bool,
        visitor: &mut Visitor<'_>,
    ) -> Result<(), BoxError>;

    /// Changes rows and notes how far they are then, all or nothing. Of several changes of a key the
    /// last counts. Their order may be another one afterwards.
    fn write(&self, changes: &mut Changes, covered: Covered) -> Result<(), BoxError>;

    /// Forgets all rows.
    fn clear(&self) -> Result<(), BoxError>;

    /// About how many rows there are.
    fn len(&self) -> usize;

    /// How many bytes its files have.
    fn disk_bytes(&self) -> u64;

    /// How long a key in a changelog may be whose row it takes.
    fn key_bytes_max(&self) -> usize {
        usize::MAX
    }

    /// A standby copy is to become the task that runs: whether its rows are its own still. From here
    /// on they are the task's.
    fn claim(&self) -> bool {
        true
    }
}

/// The folder of an application's persistent stores.
pub trait StateDirectory: Send + Sync {
    /// The rows of a store, as they were left.
    fn store(&self, task: TaskId, store: &str) -> Result<Box<dyn Backing>, BoxError>;
}

#[cfg(test)]
mod tests {
    use super::{BUFFER_BYTES_KEPT, Changes};

    type Plain<'a> = Vec<(&'a [u8], Option<&'a [u8]>)>;

    fn plain(changes: &Changes) -> Plain<'_> {
        changes.iter().collect()
    }

    #[test]
    fn changes_are_sorted_by_key_and_those_of_one_key_stay_in_their_order() {
        let mut changes = Changes::default();
        for _ in 0..2 {
            changes.push(b"b", Some(&[b"1", b"2"]));
            changes.push(b"", Some(&[]));
            changes.push(b"a", None);
            changes.push(b"b", None);
            changes.push(b"ab", Some(&[b"", b"3"]));
            changes.push(b"b", Some(&[b"4"]));
            assert_eq!((changes.len(), changes.bytes_len()), (6, 10));
            changes.sort();
            let expected: Plain<'_> = vec![
                (b"", Some(b"")),
                (b"a", None),
                (b"ab", Some(b"3")),
                (b"b", Some(b"12")),
                (b"b", None),
                (b"b", Some(b"4")),
            ];
            assert_eq!(plain(&changes), expected);
            changes.clear();
            assert_eq!((plain(&changes), changes.bytes_len()), (vec![], 0));
        }
    }

    #[test]
    fn a_large_buffer_is_given_back() {
        let mut changes = Changes::default();
        changes.push(b"k", Some(&[&vec![0; BUFFER_BYTES_KEPT]]));
        changes.clear();
        assert_eq!(changes.bytes.capacity(), 0);
        changes.push(b"k", Some(&[b"v"]));
        changes.clear();
        assert!(changes.bytes.capacity() > 0);
    }
}
