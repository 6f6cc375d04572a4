//! Timestamp extractors: which event time a record has.

use std::sync::Arc;

use headwater_log_store::Timestamp;

/// Gives a record its event time, from its key and value, the timestamp that it has in the log,
/// and the partition time (the largest event time seen in the partition so far, `None` before the
/// first).
type ExtractFn<K, V> =
    dyn Fn(&K, &V, Timestamp, Option<Timestamp>) -> Option<Timestamp> + Send + Sync;

/// Where the event time of a source's records comes from.
///
/// Default = [`record_time`](Self::record_time), which fails on invalid (negative) timestamps.
pub struct TimestampExtractor<K, V>(pub(crate) Extractor<K, V>);

pub(crate) enum Extractor<K, V> {
    FailOnInvalid,
    SkipOnInvalid,
    PartitionTimeOnInvalid,
    Custom(Arc<ExtractFn<K, V>>),
}

/// What an extractor found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extracted {
    Time(Timestamp),
    Skip,
    Fail,
}

impl<K, V> TimestampExtractor<K, V> {
    /// The record's timestamp in the log; a negative one is an error (Kafka's
    /// `FailOnInvalidTimestamp`).
    #[must_use]
    pub const fn record_time() -> Self {
        Self(Extractor::FailOnInvalid)
    }

    /// The record's timestamp in the log; records with a negative one are dropped and counted
    /// (Kafka's `LogAndSkipOnInvalidTimestamp`).
    #[must_use]
    pub const fn skip_on_invalid() -> Self {
        Self(Extractor::SkipOnInvalid)
    }

    /// The record's timestamp in the log; a negative one is replaced by the partition time
    /// (Kafka's `UsePartitionTimeOnInvalidTimestamp`). An error before the first valid one.
    #[must_use]
    pub const fn partition_time_on_invalid() -> Self {
        Self(Extractor::PartitionTimeOnInvalid)
    }

    /// What the closure makes of key and value. `None`, or a negative time, drops the record and
    /// counts it.
    pub fn from_fn(extract: impl Fn(&K, &V) -> Option<Timestamp> + Send + Sync + 'static) -> Self {
        Self(Extractor::Custom(Arc::new(move |key, value, _, _| extract(key, value))))
    }

    /// As [`from_fn`](Self::from_fn), with the record's timestamp in the log and the partition
    /// time to fall back on.
    pub fn from_full_fn(
        extract: impl Fn(&K, &V, Timestamp, Option<Timestamp>) -> Option<Timestamp>
        + Send
        + Sync
        + 'static,
    ) -> Self {
        Self(Extractor::Custom(Arc::new(extract)))
    }

    /// The same for the rows of a table, where a tombstone has no value to look at: it has the
    /// record's timestamp in the log.
    pub(crate) fn of_rows(self) -> TimestampExtractor<K, Option<V>>
    where
        K: 'static,
        V: 'static,
    {
        TimestampExtractor(match self.0 {
            Extractor::FailOnInvalid => Extractor::FailOnInvalid,
            Extractor::SkipOnInvalid => Extractor::SkipOnInvalid,
            Extractor::PartitionTimeOnInvalid => Extractor::PartitionTimeOnInvalid,
            Extractor::Custom(extract) => Extractor::Custom(Arc::new(
                move |key: &K, value: &Option<V>, record_time, partition_time| match value {
                    Some(value) => extract(key, value, record_time, partition_time),
                    None => Some(record_time),
                },
            )),
        })
    }

    #[inline]
    pub(crate) fn extract(
        &self,
        key: &K,
        value: &V,
        record_time: Timestamp,
        partition_time: Option<Timestamp>,
    ) -> Extracted {
        let valid = record_time.as_millis() >= 0;
        match &self.0 {
            Extractor::Custom(extract) => match extract(key, value, record_time, partition_time) {
                Some(time) if time.as_millis() >= 0 => Extracted::Time(time),
                Some(_) | None => Extracted::Skip,
            },
            Extractor::FailOnInvalid if !valid => Extracted::Fail,
            Extractor::SkipOnInvalid if !valid => Extracted::Skip,
            Extractor::PartitionTimeOnInvalid if !valid => {
                partition_time.map_or(Extracted::Fail, Extracted::Time)
            }
            Extractor::FailOnInvalid
            | Extractor::SkipOnInvalid
            | Extractor::PartitionTimeOnInvalid => Extracted::Time(record_time),
        }
    }
}

impl<K, V> Default for TimestampExtractor<K, V> {
    fn default() -> Self {
        Self::record_time()
    }
}

impl<K, V> Clone for TimestampExtractor<K, V> {
    fn clone(&self) -> Self {
        Self(match &self.0 {
            Extractor::FailOnInvalid => Extractor::FailOnInvalid,
            Extractor::SkipOnInvalid => Extractor::SkipOnInvalid,
            Extractor::PartitionTimeOnInvalid => Extractor::PartitionTimeOnInvalid,
            Extractor::Custom(extract) => Extractor::Custom(Arc::clone(extract)),
        })
    }
}

impl<K, V> std::fmt::Debug for TimestampExtractor<K, V> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match &self.0 {
            Extractor::FailOnInvalid => "FailOnInvalidTimestamp",
            Extractor::SkipOnInvalid => "LogAndSkipOnInvalidTimestamp",
            Extractor::PartitionTimeOnInvalid => "UsePartitionTimeOnInvalidTimestamp",
            Extractor::Custom(_) => "TimestampExtractor",
        })
    }
}
