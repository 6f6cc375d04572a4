//! The times that operators have come to, kept with the store that they share.

use std::borrow::Cow;

use headwater_log_store::Timestamp;

use crate::error::{BoxError, Result};
use crate::store::managed::{ChangelogRecord, ChangelogWriter};

/// The key of the changelog record that holds the times: shorter than that of any row, but for those
/// of stores whose rows have the application's keys, which [`beside_times`] keeps apart from it.
const KEY: &[u8] = b"time";

/// The key of a row in a changelog beside that of the times, where it is the application's own: what
/// would be taken for the times has one more zero at its end. [`from_beside_times`] takes it off.
pub(crate) fn beside_times(key: &[u8]) -> Cow<'_, [u8]> {
    match key.strip_prefix(KEY).filter(|rest| rest.iter().all(|byte| *byte == 0)) {
        Some(_) => Cow::Owned([key, &[0]].concat()),
        None => Cow::Borrowed(key),
    }
}

/// The application's key of a row in a changelog: see [`beside_times`].
pub(crate) fn from_beside_times(key: &[u8]) -> &[u8] {
    match key.strip_prefix(KEY).filter(|rest| rest.iter().all(|byte| *byte == 0)) {
        Some([_, ..]) => key.get(..key.len() - 1).unwrap_or_default(),
        _ => key,
    }
}

/// How many bytes each time takes in that record.
const TIME_BYTES: usize = 8;

/// Times, which mostly go forward: committed, taken back and restored together with the rows of the
/// store that they belong to.
///
/// Kafka Streams forgets them with a restart, and then takes records that were late before.
#[derive(Debug)]
pub(crate) struct StreamTimes {
    /// `i64::MIN` stands for "none yet".
    current: Vec<i64>,
    committed: Vec<i64>,
    /// Whether they have a changelog record of their own. Without one they are those of the rows.
    logged: bool,
}

impl StreamTimes {
    /// As many times as asked for, none of them known yet.
    pub(crate) fn new(count: usize, logged: bool) -> Self {
        Self { current: vec![i64::MIN; count], committed: vec![i64::MIN; count], logged }
    }

    /// Moves a time forward if that is later, and returns it.
    #[inline]
    pub(crate) fn advance(&mut self, index: usize, time_ms: i64) -> i64 {
        match self.current.get_mut(index) {
            Some(current) => {
                *current = time_ms.max(*current);
                *current
            }
            None => time_ms,
        }
    }

    /// Sets a time that may go back as well.
    pub(crate) fn set(&mut self, index: usize, time_ms: i64) {
        if let Some(current) = self.current.get_mut(index) {
            *current = time_ms;
        }
    }

    pub(crate) fn get(&self, index: usize) -> Option<i64> {
        self.current.get(index).copied().filter(|time_ms| *time_ms != i64::MIN)
    }

    /// Whether there is something to log.
    pub(crate) fn dirty_len(&self) -> usize {
        usize::from(self.logged && self.current != self.committed)
    }

    pub(crate) fn log(&self, write: &mut ChangelogWriter<'_>) -> Result<()> {
        if self.dirty_len() == 0 {
            return Ok(());
        }
        let value: Vec<u8> = self.current.iter().flat_map(|time| time.to_be_bytes()).collect();
        let latest = self.current.iter().copied().filter(|time_ms| *time_ms >= 0).max();
        let timestamp = latest.map(Timestamp::from_millis);
        write(ChangelogRecord { key: KEY, value: Some(&value), timestamp, headers: None })
    }

    /// The times as they are now.
    pub(crate) fn current(&self) -> &[i64] {
        &self.current
    }

    /// Takes times that were written one behind the other. They are committed.
    pub(crate) fn put_back(&mut self, bytes: &[u8]) -> Result<(), BoxError> {
        let (times, rest) = bytes.as_chunks::<TIME_BYTES>();
        if !rest.is_empty() {
            return Err(format!("times take 8 bytes each, not {} in all", bytes.len()).into());
        }
        for (current, time) in self.current.iter_mut().zip(times) {
            *current = i64::from_be_bytes(*time);
        }
        self.commit();
        Ok(())
    }

    pub(crate) fn commit(&mut self) {
        self.committed.clone_from(&self.current);
    }

    pub(crate) fn abort(&mut self) {
        self.current.clone_from(&self.committed);
    }

    /// Forgets the first `count` times.
    pub(crate) fn forget(&mut self, count: usize) {
        for time in self.current.iter_mut().take(count) {
            *time = i64::MIN;
        }
        self.commit();
    }

    /// Takes a changelog record if it is that of the times. Returns whether it was.
    pub(crate) fn restore(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<bool, BoxError> {
        if key != KEY {
            return Ok(false);
        }
        self.put_back(value.unwrap_or_default()).map(|()| true)
    }
}

#[cfg(test)]
mod tests {
    use super::{KEY, StreamTimes, beside_times, from_beside_times};

    #[test]
    fn no_key_of_a_row_is_that_of_the_times_and_all_are_found_again() {
        let keys: [&[u8]; 7] = [b"", b"t", b"time", b"time\0", b"time\0\0", b"time\0a", b"times"];
        for key in keys {
            let beside = beside_times(key);
            assert_ne!(beside, KEY);
            assert_eq!(from_beside_times(&beside), key);
        }
    }

    #[test]
    fn times_go_forward_and_are_taken_back_and_restored() {
        let mut times = StreamTimes::new(2, true);
        assert_eq!(times.get(0), None);
        assert_eq!(times.advance(0, 7), 7);
        assert_eq!(times.advance(0, 3), 7);
        times.commit();
        times.advance(1, 9);
        assert_eq!(times.dirty_len(), 1);
        times.abort();
        assert_eq!((times.get(0), times.get(1)), (Some(7), None));
        assert_eq!(times.dirty_len(), 0);
        times.advance(1, 4);
        let mut logged = Vec::new();
        times
            .log(&mut |record| {
                logged.push((record.key.to_vec(), record.value.map(<[u8]>::to_vec)));
                Ok(())
            })
            .unwrap();
        let mut restored = StreamTimes::new(2, true);
        for (key, value) in logged {
            assert!(restored.restore(&key, value.as_deref()).unwrap());
        }
        assert_eq!((restored.get(0), restored.get(1)), (Some(7), Some(4)));
        assert!(!restored.restore(b"another key", None).unwrap());
        assert!(restored.restore(b"time", Some(b"three")).is_err());
    }
}
