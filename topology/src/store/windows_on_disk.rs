//! The rows of a window store on disk: by the start of their windows, then by key, so that windows
//! leave from the front.

use std::ops::Bound;

use headwater_log_store::Timestamp;

use crate::error::BoxError;
use crate::store::backed_rows::{BackedRows, RawRow};
use crate::store::rows_by_time::{Fate, ROW, Sweep, ordered, take_ordered};

/// See the module.
pub(crate) struct WindowsOnDisk {
    pub(crate) rows: BackedRows,
    /// The last start whose windows were over at the last commit.
    pub(crate) expired_ms: Option<i64>,
    /// The last start up to which none are left.
    pub(crate) removed_ms: Option<i64>,
}

impl WindowsOnDisk {
    pub(crate) fn new(rows: BackedRows) -> Self {
        Self { rows, expired_ms: None, removed_ms: None }
    }

    /// A row, be its window over or not.
    pub(crate) fn get(&mut self, start_ms: i64, key: &[u8]) -> Option<RawRow> {
        self.rows.get(&row_key(start_ms, key))
    }

    /// Adds a change to the next write.
    pub(crate) fn add(&self, start_ms: i64, key: &[u8], row: Option<(Timestamp, &[u8])>) {
        self.rows.add(&row_key(start_ms, key), row);
    }

    /// The starts of the windows in a range that have rows.
    pub(crate) fn starts(&self, from_ms: i64, to_ms: i64) -> Result<Vec<i64>, BoxError> {
        let mut starts = Vec::new();
        let mut from = Some(from_ms).filter(|from_ms| *from_ms <= to_ms);
        while let Some(from_ms) = from.take() {
            self.rows.visit(range(from_ms, to_ms), false, |key, _| {
                let (start_ms, _) = parse(key)?;
                starts.push(start_ms);
                from = start_ms.checked_add(1).filter(|next_ms| *next_ms <= to_ms);
                Ok(false)
            })?;
        }
        Ok(starts)
    }

    /// Shows all rows of a range, by the start of their windows, then by the bytes of their keys.
    pub(crate) fn scan(
        &self,
        from_ms: i64,
        to_ms: i64,
        mut visitor: impl FnMut(i64, &[u8], RawRow) -> Result<(), BoxError>,
    ) -> Result<(), BoxError> {
        if from_ms > to_ms {
            return Ok(());
        }
        self.rows.visit(range(from_ms, to_ms), false, |key, row| {
            let (start_ms, key) = parse(key)?;
            visitor(start_ms, key, row).map(|()| true)
        })
    }

    /// Removes rows of windows up to that start with the next write, as many as may leave at once
    /// and are not to be kept.
    pub(crate) fn remove_up_to(
        &mut self,
        expired_ms: i64,
        mut is_kept: impl FnMut(i64, &[u8]) -> Result<bool, BoxError>,
    ) -> Result<(), BoxError> {
        let Some(mut sweep) = Sweep::between(self.removed_ms, expired_ms) else { return Ok(()) };
        let (from_ms, to_ms) = sweep.times();
        self.rows.visit(range(from_ms, to_ms), false, |row, _| {
            let (start_ms, key) = parse(row)?;
            let fate = sweep.next(start_ms, is_kept(start_ms, key)?);
            if fate == Fate::Removed {
                self.rows.add(row, None);
            }
            Ok(fate != Fate::Later)
        })?;
        self.removed_ms = sweep.removed_ms(self.removed_ms);
        Ok(())
    }
}

fn row_key(start_ms: i64, key: &[u8]) -> Vec<u8> {
    let mut row = Vec::with_capacity(9 + key.len());
    row.push(ROW);
    row.extend_from_slice(&ordered(start_ms));
    row.extend_from_slice(key);
    row
}

fn parse(row: &[u8]) -> Result<(i64, &[u8]), BoxError> {
    take_ordered(row.get(1..).unwrap_or_default())
}

/// The keys of the windows that start from one time up to and including another one.
fn range(from_ms: i64, to_ms: i64) -> (Bound<Vec<u8>>, Bound<Vec<u8>>) {
    let to = match to_ms.checked_add(1) {
        Some(after_ms) => row_key(after_ms, &[]),
        None => vec![ROW + 1],
    };
    (Bound::Included(row_key(from_ms, &[])), Bound::Excluded(to))
}
