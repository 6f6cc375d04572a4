//! Windows, keys that carry one, and the bytes of such keys.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::error::BoxError;
use crate::serdes::{DefaultSerde, Serde, SerdeRef};

/// The bytes that a time takes after the key.
const TIME_BYTES: usize = 8;

/// A duration in whole milliseconds, the longest that there are at most.
pub(crate) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// A window in milliseconds since 1970-01-01 UTC. Its end is exclusive for tumbling and hopping
/// windows, and inclusive for sliding ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Window {
    /// The first millisecond.
    pub start_ms: i64,
    /// The first millisecond after it; of a sliding window, its last.
    pub end_ms: i64,
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.start_ms, self.end_ms)
    }
}

/// A session in milliseconds since 1970-01-01 UTC: the times of its first and of its last record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionWindow {
    /// The time of the first record.
    pub start_ms: i64,
    /// The time of the last record, which belongs to it.
    pub end_ms: i64,
}

impl fmt::Display for SessionWindow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.start_ms, self.end_ms)
    }
}

/// What ends at some time: the two kinds of windows that keys carry.
pub trait AnyWindow: Copy + Send + 'static {
    /// The time of the end in milliseconds, which `Suppressed::until_window_closes` waits for.
    fn end_ms(&self) -> i64;
}

impl AnyWindow for Window {
    fn end_ms(&self) -> i64 {
        self.end_ms
    }
}

impl AnyWindow for SessionWindow {
    fn end_ms(&self) -> i64 {
        self.end_ms
    }
}

/// A key within a window: a [`Window`] of time, or a [`SessionWindow`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Windowed<K, W = Window> {
    /// The key.
    pub key: K,
    /// The window.
    pub window: W,
}

impl<K: fmt::Display, W: fmt::Display> fmt::Display for Windowed<K, W> {
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
    fn format_name(&self) -> String {
        format!("windowed {}", self.inner.format_name())
    }

    fn serialize(&self, value: &Windowed<K>, buffer: &mut Vec<u8>) -> Result<(), BoxError> {
        self.inner.serialize(&value.key, buffer)?;
        buffer.extend_from_slice(&value.window.start_ms.to_be_bytes());
        Ok(())
    }

    fn deserialize(&self, bytes: &[u8]) -> Result<Windowed<K>, BoxError> {
        let Some((key, start)) = bytes.split_last_chunk::<TIME_BYTES>() else {
            return Err(format!("a windowed key has 8 bytes at least, not {}", bytes.len()).into());
        };
        let start_ms = i64::from_be_bytes(*start);
        let window = Window { start_ms, end_ms: start_ms.saturating_add(self.size_ms) };
        Ok(Windowed { key: self.inner.deserialize(key)?, window })
    }

    fn partition_bytes_len(&self, serialized: &[u8]) -> usize {
        serialized.len().saturating_sub(TIME_BYTES)
    }
}

/// Writes windows of every size; as in Kafka a window that is read ends at the end of time,
/// because the bytes do not say. Use [`TimeWindowedSerde::new`] to read.
impl<K: DefaultSerde + 'static> DefaultSerde for Windowed<K> {
    fn default_serde() -> SerdeRef<Self> {
        Arc::new(TimeWindowedSerde { inner: K::default_serde(), size_ms: i64::MAX })
    }
}

/// Session-windowed keys in Kafka's bytes: the key, then the session's end and its start as 8
/// big-endian bytes each.
pub struct SessionWindowedSerde<K> {
    inner: SerdeRef<K>,
}

impl<K> SessionWindowedSerde<K> {
    /// Reads and writes sessions of such keys.
    #[must_use]
    pub fn new(inner: SerdeRef<K>) -> Self {
        Self { inner }
    }
}

impl<K> fmt::Debug for SessionWindowedSerde<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionWindowedSerde")
    }
}

impl<K: 'static> Serde<Windowed<K, SessionWindow>> for SessionWindowedSerde<K> {
    fn format_name(&self) -> String {
        format!("session-windowed {}", self.inner.format_name())
    }

    fn serialize(
        &self,
        value: &Windowed<K, SessionWindow>,
        buffer: &mut Vec<u8>,
    ) -> Result<(), BoxError> {
        self.inner.serialize(&value.key, buffer)?;
        buffer.extend_from_slice(&value.window.end_ms.to_be_bytes());
        buffer.extend_from_slice(&value.window.start_ms.to_be_bytes());
        Ok(())
    }

    fn deserialize(&self, bytes: &[u8]) -> Result<Windowed<K, SessionWindow>, BoxError> {
        let times = bytes.split_last_chunk::<TIME_BYTES>().and_then(|(bytes, start)| {
            bytes.split_last_chunk::<TIME_BYTES>().map(|(key, end)| (key, *end, *start))
        });
        let Some((key, end, start)) = times else {
            return Err(
                format!("a session's key has 16 bytes at least, not {}", bytes.len()).into()
            );
        };
        let (start_ms, end_ms) = (i64::from_be_bytes(start), i64::from_be_bytes(end));
        let window = SessionWindow { start_ms, end_ms };
        Ok(Windowed { key: self.inner.deserialize(key)?, window })
    }

    fn partition_bytes_len(&self, serialized: &[u8]) -> usize {
        serialized.len().saturating_sub(2 * TIME_BYTES)
    }
}

impl<K: DefaultSerde + 'static> DefaultSerde for Windowed<K, SessionWindow> {
    fn default_serde() -> SerdeRef<Self> {
        Arc::new(SessionWindowedSerde::new(K::default_serde()))
    }
}

#[cfg(test)]
mod tests {
    use super::{SessionWindow, SessionWindowedSerde, TimeWindowedSerde, Window, Windowed};
    use crate::serdes::{DefaultSerde, Serde};
    use std::time::Duration;

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

    #[test]
    fn a_sessions_key_has_kafkas_bytes_end_before_start() {
        let serde = SessionWindowedSerde::new(String::default_serde());
        let window = SessionWindow { start_ms: 5, end_ms: 7 };
        let key = Windowed { key: "k".to_owned(), window };
        let mut bytes = Vec::new();
        serde.serialize(&key, &mut bytes).unwrap();
        assert_eq!(bytes, [0x6b, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 5]);
        assert_eq!(serde.partition_bytes_len(&bytes), 1);
        assert_eq!(serde.deserialize(&bytes).unwrap(), key);
        assert!(serde.deserialize(b"fifteen bytes..").is_err());
    }
}
