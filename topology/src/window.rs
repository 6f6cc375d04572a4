//! Windows of time: their definition, their arithmetic, and keys that carry one.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use headwater_log_store::Timestamp;

use crate::error::BoxError;
use crate::serdes::{DefaultSerde, Serde, SerdeRef};

/// The bytes that a window's start takes after the key.
const START_BYTES: usize = 8;

/// Tumbling windows: of one size, side by side, aligned to 1970-01-01 UTC, the end exclusive.
///
/// A record is late for a window when the window's end is at or before the stream time less the
/// grace; it is then dropped and counted.
///
/// ```
/// use headwater_topology::TimeWindows;
/// use std::time::Duration;
///
/// let hours = TimeWindows::of_size_and_grace(
///     Duration::from_secs(3_600),
///     Duration::from_secs(600),
/// );
/// assert_eq!(hours.size_ms(), 3_600_000);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeWindows {
    size_ms: i64,
    grace_ms: i64,
}

impl TimeWindows {
    /// Windows that take no late records.
    #[must_use]
    pub fn of_size_with_no_grace(size: Duration) -> Self {
        Self::of_size_and_grace(size, Duration::ZERO)
    }

    /// Windows that take records until stream time has passed their end by `grace`.
    ///
    /// A size below one millisecond is an error when the topology is built.
    #[must_use]
    pub fn of_size_and_grace(size: Duration, grace: Duration) -> Self {
        Self { size_ms: millis(size), grace_ms: millis(grace) }
    }

    /// The size in milliseconds.
    #[must_use]
    pub const fn size_ms(&self) -> i64 {
        self.size_ms
    }

    /// The grace in milliseconds.
    #[must_use]
    pub const fn grace_ms(&self) -> i64 {
        self.grace_ms
    }

    /// The window that a time of 0 or later lies in.
    pub(crate) fn window_for(&self, timestamp: Timestamp) -> Window {
        let time_ms = timestamp.as_millis();
        let start_ms = time_ms - time_ms.rem_euclid(self.size_ms);
        Window { start_ms, end_ms: start_ms.saturating_add(self.size_ms) }
    }

    /// How long a store has to keep a window: its size and grace.
    pub(crate) fn retention_ms(&self) -> i64 {
        self.size_ms.saturating_add(self.grace_ms)
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// A window in milliseconds since 1970-01-01 UTC, the end exclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Window {
    /// The first millisecond.
    pub start_ms: i64,
    /// The first millisecond after it.
    pub end_ms: i64,
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.start_ms, self.end_ms)
    }
}

/// A key within a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Windowed<K> {
    /// The key.
    pub key: K,
    /// The window.
    pub window: Window,
}

impl<K: fmt::Display> fmt::Display for Windowed<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.key, self.window)
    }
}

/// Time-windowed keys in Kafka's bytes: the key, then the window's start as 8 big-endian bytes.
///
/// The bytes do not hold the window's end: a reader has to know the size.
pub struct TimeWindowedSerde<K> {
    inner: SerdeRef<K>,
    size_ms: i64,
}

impl<K> TimeWindowedSerde<K> {
    /// Reads and writes windows of that size.
    #[must_use]
    pub fn new(inner: SerdeRef<K>, size: Duration) -> Self {
        Self { inner, size_ms: millis(size) }
    }
}

impl<K> fmt::Debug for TimeWindowedSerde<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TimeWindowedSerde").field("size_ms", &self.size_ms).finish_non_exhaustive()
    }
}

impl<K: 'static> Serde<Windowed<K>> for TimeWindowedSerde<K> {
    fn serialize(&self, value: &Windowed<K>, buffer: &mut Vec<u8>) -> Result<(), BoxError> {
        self.inner.serialize(&value.key, buffer)?;
        buffer.extend_from_slice(&value.window.start_ms.to_be_bytes());
        Ok(())
    }

    fn deserialize(&self, bytes: &[u8]) -> Result<Windowed<K>, BoxError> {
        let Some((key, start)) = bytes.split_last_chunk::<START_BYTES>() else {
            return Err(format!("a windowed key has 8 bytes at least, not {}", bytes.len()).into());
        };
        let start_ms = i64::from_be_bytes(*start);
        let window = Window { start_ms, end_ms: start_ms.saturating_add(self.size_ms) };
        Ok(Windowed { key: self.inner.deserialize(key)?, window })
    }

    fn partition_bytes_len(&self, serialized: &[u8]) -> usize {
        serialized.len().saturating_sub(START_BYTES)
    }
}

/// Writes windows of every size; as in Kafka a window that is read ends at the end of time,
/// because the bytes do not say. Use [`TimeWindowedSerde::new`] to read.
impl<K: DefaultSerde + 'static> DefaultSerde for Windowed<K> {
    fn default_serde() -> SerdeRef<Self> {
        Arc::new(TimeWindowedSerde { inner: K::default_serde(), size_ms: i64::MAX })
    }
}

#[cfg(test)]
mod tests {
    use super::{TimeWindowedSerde, TimeWindows, Window, Windowed};
    use crate::serdes::{DefaultSerde, Serde};
    use headwater_log_store::Timestamp;
    use std::time::Duration;

    #[test]
    fn windows_are_aligned_to_the_epoch_with_their_end_exclusive() {
        let windows = TimeWindows::of_size_with_no_grace(Duration::from_millis(10));
        for (time_ms, start_ms) in [(0, 0), (9, 0), (10, 10), (25, 20)] {
            let window = windows.window_for(Timestamp::from_millis(time_ms));
            assert_eq!(window, Window { start_ms, end_ms: start_ms + 10 });
        }
    }

    #[test]
    fn a_windowed_key_has_kafkas_bytes_and_its_inner_keys_partition() {
        let serde = TimeWindowedSerde::new(String::default_serde(), Duration::from_millis(10));
        let key = Windowed { key: "k".to_owned(), window: Window { start_ms: 0, end_ms: 10 } };
        let mut bytes = Vec::new();
        serde.serialize(&key, &mut bytes).unwrap();
        assert_eq!(bytes, [0x6b, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(serde.partition_bytes_len(&bytes), 1);
        assert_eq!(serde.deserialize(&bytes).unwrap(), key);
        assert!(serde.deserialize(b"short").is_err());
    }
}
