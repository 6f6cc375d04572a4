//! What a store knows of its rows on disk: how they are read and written, and how many
//! of them are kept in memory as well.

use std::cell::RefCell;
use std::ops::Bound;

use headwater_log_store::{RecordView, Timestamp};

use crate::backing::{Backing, Changes, Covered};
use crate::error::BoxError;

/// A row as it is on disk: the timestamp, and the value behind it.
pub(crate) type RawRow = (Timestamp, Vec<u8>);

/// See the module.
pub(crate) struct BackedRows {
    backing: Box<dyn Backing>,
    /// How many bytes of rows stay in memory, counted as they are on disk.
    resident_bytes_max: usize,
    /// What the next write writes.
    pending: RefCell<Changes>,
    /// Why a row could not be read. What was computed without it must not be committed.
    failure: RefCell<Option<String>>,
    /// The sizes of the rows read and written so far, for an average.
    seen_bytes: usize,
    seen_rows: usize,
}

impl BackedRows {
    pub(crate) fn new(backing: Box<dyn Backing>, resident_bytes_max: usize) -> Self {
        Self {
            backing,
            resident_bytes_max,
            pending: RefCell::default(),
            failure: RefCell::new(None),
            seen_bytes: 0,
            seen_rows: 0,
        }
    }

    /// The row of a key. One that cannot be read is noted, and stops the next commit.
    pub(crate) fn get(&mut self, key: &[u8]) -> Option<RawRow> {
        self.read(key, |timestamp, value| Ok((timestamp, value.to_vec())))
    }

    /// What `parse` makes of the row of a key. One that cannot be read is noted, and stops the next
    /// commit.
    pub(crate) fn read<T>(
        &mut self,
        key: &[u8],
        mut parse: impl FnMut(Timestamp, &[u8]) -> Result<T, BoxError>,
    ) -> Option<T> {
        let mut found = None;
        let shown = self.backing.read(key, &mut |row| {
            let (timestamp, value) = split(row)?;
            found = Some((parse(timestamp, value)?, value.len()));
            Ok(())
        });
        match shown {
            Ok(()) => {
                let (row, value_bytes) = found?;
                self.count(key.len() + value_bytes);
                Some(row)
            }
            Err(reason) => {
                self.fail(&reason);
                None
            }
        }
    }

    /// The row of a key.
    pub(crate) fn try_get(&self, key: &[u8]) -> Result<Option<RawRow>, BoxError> {
        self.backing.get(key)?.map(|row| decode(&row)).transpose()
    }

    /// Shows the rows of a range in the order of their keys, or from its end, until the visitor
    /// has seen enough.
    pub(crate) fn visit(
        &self,
        range: (Bound<Vec<u8>>, Bound<Vec<u8>>),
        from_end: bool,
        mut visitor: impl FnMut(&[u8], RawRow) -> Result<bool, BoxError>,
    ) -> Result<(), BoxError> {
        self.backing.visit(range, from_end, &mut |key, row| visitor(key, decode(row)?))
    }

    /// Notes that what is computed now is not to be committed.
    pub(crate) fn fail(&self, reason: &BoxError) {
        self.failure.borrow_mut().get_or_insert(reason.to_string());
    }

    /// Why nothing may be committed.
    pub(crate) fn failure(&self) -> Option<String> {
        self.failure.borrow().clone()
    }

    /// Begins to collect the changes of a commit.
    pub(crate) fn begin(&self) {
        self.pending.borrow_mut().clear();
    }

    /// Adds a change to the next write.
    pub(crate) fn add(&self, key: &[u8], row: Option<(Timestamp, &[u8])>) {
        let millis = row.map_or(0, |(timestamp, _)| timestamp.as_millis()).to_be_bytes();
        let row = row.map(|(_, value)| [&millis[..], value]);
        self.pending.borrow_mut().push(key, row.as_ref().map(|row| &row[..]));
    }

    /// Writes what was added.
    pub(crate) fn write(&mut self, covered: Covered) -> Result<(), BoxError> {
        let mut pending = self.pending.borrow_mut();
        self.seen_bytes += pending.bytes_len();
        self.seen_rows += pending.len();
        let written = self.backing.write(&mut pending, covered);
        pending.clear();
        written
    }

    /// Adds a line of the changelog to the next write.
    pub(crate) fn restore(&self, record: &RecordView<'_>) -> Result<(), BoxError> {
        let key = record.key.ok_or("its key is null")?;
        self.add(key, record.value.map(|value| (record.timestamp, value)));
        Ok(())
    }

    /// The work since the last commit is taken back.
    pub(crate) fn abort(&self) {
        self.begin();
        self.failure.borrow_mut().take();
    }

    pub(crate) fn covered(&self) -> Result<Option<Covered>, BoxError> {
        self.backing.covered()
    }

    pub(crate) fn clear(&self) -> Result<(), BoxError> {
        self.begin();
        self.backing.clear()
    }

    pub(crate) fn len(&self) -> usize {
        self.backing.len()
    }

    /// How many bytes their files have.
    pub(crate) fn disk_bytes(&self) -> u64 {
        self.backing.disk_bytes()
    }

    /// See [`Backing::key_bytes_max`].
    pub(crate) fn key_bytes_max(&self) -> usize {
        self.backing.key_bytes_max()
    }

    /// See [`Backing::claim`].
    pub(crate) fn claim(&self) -> bool {
        self.backing.claim()
    }

    /// How many rows may stay in memory.
    pub(crate) fn resident_max(&self) -> usize {
        let average = self.seen_bytes.checked_div(self.seen_rows).unwrap_or(1).max(1);
        self.resident_bytes_max / average
    }

    fn count(&mut self, bytes: usize) {
        self.seen_bytes += bytes;
        self.seen_rows += 1;
    }
}

fn decode(row: &[u8]) -> Result<RawRow, BoxError> {
    split(row).map(|(timestamp, value)| (timestamp, value.to_vec()))
}

fn split(row: &[u8]) -> Result<(Timestamp, &[u8]), BoxError> {
    let (timestamp, value) = row.split_at_checked(8).ok_or("a row is too short for its time")?;
    let millis = i64::from_be_bytes(timestamp.try_into()?);
    Ok((Timestamp::from_millis(millis), value))
}
