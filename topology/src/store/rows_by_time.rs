//! How stores of windows and versions lay their rows out on disk: the keys, and what they note beside
//! the rows.

use headwater_log_store::Timestamp;

use crate::error::BoxError;
use crate::store::backed_rows::BackedRows;
use crate::store::stream_times::StreamTimes;

/// Before the key of a row.
pub(crate) const ROW: u8 = b'r';

/// Before the key of an entry that finds rows by their time.
pub(crate) const BY_TIME: u8 = b't';

/// The key of the note. It comes before all others.
const NOTE: [u8; 1] = [b'n'];

/// How many rows whose time is over leave the disk with one commit. The rest is hidden until then.
const EXPIRED_AT_ONCE: usize = 10_000;

/// A time so that the order of the bytes is that of the times.
pub(crate) fn ordered(time_ms: i64) -> [u8; 8] {
    (time_ms.cast_unsigned() ^ (1 << 63)).to_be_bytes()
}

/// Takes a time that [`ordered`] has written off the front.
pub(crate) fn take_ordered(bytes: &[u8]) -> Result<(i64, &[u8]), BoxError> {
    let (time, rest) = bytes.split_first_chunk::<8>().ok_or("a key is too short for its time")?;
    Ok(((u64::from_be_bytes(*time) ^ (1 << 63)).cast_signed(), rest))
}

/// What rows of one key begin with, whatever follows: its length comes first, so that none begins
/// as another one.
pub(crate) fn prefix_of(key: &[u8]) -> Result<Vec<u8>, BoxError> {
    let mut prefix = vec![ROW];
    prefix.extend_from_slice(&u32::try_from(key.len())?.to_be_bytes());
    prefix.extend_from_slice(key);
    Ok(prefix)
}

/// Which rows whose time is over leave the disk with the next write, from where the last ones left.
#[derive(Debug)]
pub(crate) struct Sweep {
    from_ms: i64,
    to_ms: i64,
    removed: usize,
    first_kept_ms: Option<i64>,
}

/// What becomes of a row whose time is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Kept,
    Removed,
    /// It and all that follow leave with a later write.
    Later,
}

impl Sweep {
    /// From behind `removed_ms`, up to which none are left, up to and including `expired_ms`; `None`
    /// if there is nothing between them.
    pub(crate) fn between(removed_ms: Option<i64>, expired_ms: i64) -> Option<Self> {
        let from_ms = removed_ms.map_or(i64::MIN, |removed_ms| removed_ms.saturating_add(1));
        let sweep = Self { from_ms, to_ms: expired_ms, removed: 0, first_kept_ms: None };
        Some(sweep).filter(|_| from_ms <= expired_ms)
    }

    /// The first and the last time of the rows to be shown to it.
    pub(crate) fn times(&self) -> (i64, i64) {
        (self.from_ms, self.to_ms)
    }

    /// What becomes of the next row; they come by their times.
    pub(crate) fn next(&mut self, time_ms: i64, is_kept: bool) -> Fate {
        if is_kept {
            self.first_kept_ms.get_or_insert(time_ms);
            Fate::Kept
        } else if self.removed == EXPIRED_AT_ONCE {
            self.to_ms = time_ms.saturating_sub(1);
            Fate::Later
        } else {
            self.removed += 1;
            Fate::Removed
        }
    }

    /// The last time up to which no rows are left.
    pub(crate) fn removed_ms(&self, before_ms: Option<i64>) -> Option<i64> {
        let kept_ms = self.first_kept_ms.map(|kept_ms| kept_ms.saturating_sub(1));
        before_ms.max(Some(kept_ms.map_or(self.to_ms, |kept_ms| self.to_ms.min(kept_ms))))
    }
}

/// What a store knows beside its rows, written together with them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Note {
    pub(crate) clock_ms: Option<i64>,
    /// Up to which time no rows are left on disk.
    pub(crate) removed_ms: Option<i64>,
    /// The number of the last row that got one.
    pub(crate) sequence: i32,
}

impl Note {
    /// Adds the note, and the times of the operators, to the next write.
    pub(crate) fn add(self, times: &StreamTimes, rows: &BackedRows) {
        let mut value = Vec::new();
        for time_ms in [self.clock_ms, self.removed_ms] {
            value.extend_from_slice(&time_ms.unwrap_or(i64::MIN).to_be_bytes());
        }
        value.extend_from_slice(&self.sequence.to_be_bytes());
        value.extend(times.current().iter().flat_map(|time_ms| time_ms.to_be_bytes()));
        rows.add(&NOTE, Some((Timestamp::from_millis(0), &value)));
    }

    /// The note that was written last; the times get what they were then. A store without rows has
    /// none.
    pub(crate) fn read(times: &mut StreamTimes, rows: &mut BackedRows) -> Result<Self, BoxError> {
        let Some((_, value)) = rows.get(&NOTE) else { return Ok(Self::default()) };
        let short = "the note of a store is too short";
        let (clock, rest) = value.split_first_chunk::<8>().ok_or(short)?;
        let (removed, rest) = rest.split_first_chunk::<8>().ok_or(short)?;
        let (sequence, rest) = rest.split_first_chunk::<4>().ok_or(short)?;
        times.put_back(rest)?;
        let time = |bytes| Some(i64::from_be_bytes(bytes)).filter(|time_ms| *time_ms != i64::MIN);
        Ok(Self {
            clock_ms: time(*clock),
            removed_ms: time(*removed),
            sequence: i32::from_be_bytes(*sequence),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{EXPIRED_AT_ONCE, Fate, Sweep, ordered, prefix_of, take_ordered};

    #[test]
    fn times_are_in_order_as_bytes_and_found_again() {
        let times = [i64::MIN, -1, 0, 1, 255, 256, i64::MAX];
        assert!(times.is_sorted_by_key(|time_ms| ordered(*time_ms)));
        for time_ms in times {
            let bytes = [&ordered(time_ms)[..], b"k"].concat();
            assert_eq!(take_ordered(&bytes).unwrap(), (time_ms, &b"k"[..]));
        }
        assert!(take_ordered(&[0; 7]).is_err());
    }

    #[test]
    fn rows_leave_up_to_the_first_that_is_kept_and_not_too_many_at_once() {
        let sweep = |removed_ms| Sweep::between(removed_ms, 100).unwrap();
        assert!(Sweep::between(Some(100), 100).is_none());
        assert_eq!(sweep(Some(7)).times(), (8, 100));
        let mut all = sweep(None);
        assert_eq!(all.next(3, false), Fate::Removed);
        assert_eq!(all.removed_ms(None), Some(100));
        assert_eq!((all.next(4, true), all.next(5, false)), (Fate::Kept, Fate::Removed));
        assert_eq!(all.removed_ms(None), Some(3));
        assert_eq!(all.removed_ms(Some(9)), Some(9));
        let mut many = sweep(None);
        assert!((0..EXPIRED_AT_ONCE).all(|_| many.next(5, false) == Fate::Removed));
        assert_eq!(many.next(6, false), Fate::Later);
        assert_eq!(many.removed_ms(None), Some(5));
    }

    #[test]
    fn no_prefix_of_a_key_is_one_of_another() {
        let keys: [&[u8]; 4] = [b"", b"a", b"aa", b"\0\0\0\x01a"];
        for (key, other) in keys.iter().flat_map(|key| keys.map(|other| (*key, other))) {
            let is_prefix = prefix_of(other).unwrap().starts_with(&prefix_of(key).unwrap());
            assert_eq!(is_prefix, key == other);
        }
    }
}
