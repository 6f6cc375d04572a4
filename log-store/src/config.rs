//! Settings: how durable a store is, and a topic's configs in Kafka's words.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::error::{Error, Result};
use crate::log::{AlterConfigOp, Compression, ConfigEntry};

/// When an append is acknowledged, and what a power cut may take. A setting of the store.
///
/// A killed process never loses what was acknowledged, and a transaction is whole or absent,
/// with each of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// Acknowledged and visible once a sync of the journal has covered it; appends that arrive
    /// together share one. A power cut loses nothing that was acknowledged. Default.
    #[default]
    Sync,
    /// Acknowledged and visible at once, synced behind at this interval. A power cut loses what
    /// was acknowledged within it, and one sync's time.
    Interval(Duration),
    /// Acknowledged and visible once the system has it in its page cache. After a power cut the
    /// store is what it was at its last checkpoint.
    Os,
}

/// The smallest `segment.bytes`.
const SEGMENT_BYTES_MIN: u32 = 1 << 10;

/// Keys that Kafka has and that mean nothing here, each with the reason.
const REFUSED: &[(&str, &str)] = &[
    ("flush.messages", "durability is a setting of the store, not of a topic"),
    ("flush.ms", "durability is a setting of the store, not of a topic"),
    ("min.insync.replicas", "an embedded log has no replicas"),
    ("unclean.leader.election.enable", "an embedded log has no replicas"),
    ("leader.replication.throttled.replicas", "an embedded log has no replicas"),
    ("follower.replication.throttled.replicas", "an embedded log has no replicas"),
    ("remote.storage.enable", "there is no tiered storage"),
    ("local.retention.ms", "there is no tiered storage"),
    ("local.retention.bytes", "there is no tiered storage"),
    ("preallocate", "segments are always preallocated"),
    ("max.compaction.lag.ms", "min.cleanable.dirty.ratio alone says when a partition is compacted"),
    ("segment.index.bytes", "an index takes what it needs, and no more"),
    ("segment.jitter.ms", "one process rolls the segments of all partitions: none pile up"),
    ("file.delete.delay.ms", "segments go at once, and stay readable for those who read them"),
    ("message.timestamp.before.max.ms", "records may be of any time: retention goes by appends"),
    ("message.timestamp.after.max.ms", "records may be of any time: retention goes by appends"),
    ("message.timestamp.difference.max.ms", "records may be of any time"),
    ("message.format.version", "batches have version 2"),
    ("message.downconversion.enable", "batches have version 2"),
];

/// What a topic's configs say, checked.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct TopicConfig {
    /// `segment.bytes`: a segment that would grow past it is sealed. Default = 1 GiB.
    pub(crate) segment_bytes: u32,
    /// `segment.ms`: a segment whose first append is as long ago is sealed by the next. Default = 7
    /// days.
    pub(crate) segment_ms: u64,
    /// `max.message.bytes`: the largest batch. Default = 1,048,588.
    pub(crate) message_bytes_max: u32,
    /// `index.interval.bytes`: how far the entries of an index are apart. Default = 4096.
    pub(crate) index_interval_bytes: u32,
    /// `message.timestamp.type=LogAppendTime`: records get the time of their append.
    pub(crate) append_time: bool,
    /// `retention.ms`: how long after its last append a segment is kept; none for ever. Default = 7
    /// days.
    pub(crate) retention: Option<Duration>,
    /// `retention.bytes`: how many bytes a partition keeps; none for all. Default = none.
    pub(crate) retention_bytes: Option<u64>,
    /// `cleanup.policy`: whether old segments are deleted. Default = true.
    pub(crate) delete: bool,
    /// `cleanup.policy`: whether only the newest record of each key is kept. Default = false.
    pub(crate) compact: bool,
    /// `delete.retention.ms`: how long a compaction keeps a tombstone after the first one that
    /// came by it. Default = 1 day.
    pub(crate) delete_retention: Duration,
    /// `min.compaction.lag.ms`: how long after its last append a segment is left as it is. Default
    /// = 0.
    pub(crate) min_compaction_lag: Duration,
    /// `min.cleanable.dirty.ratio`: the part of a partition's sealed bytes that must have come
    /// since the last compaction for the next one. Default = 0.5.
    pub(crate) min_cleanable_dirty_ratio: f64,
    /// `compression.type`: how batches are compressed; none leaves it to the producer. Default =
    /// producer.
    pub(crate) compression: Option<Compression>,
    /// The configs as they were given.
    pub(crate) given: BTreeMap<String, String>,
}

impl TopicConfig {
    /// Checks configs by Kafka's keys.
    pub(crate) fn parse(given: &BTreeMap<String, String>) -> Result<Self> {
        let mut config = Self {
            segment_bytes: 1 << 30,
            segment_ms: 7 * 24 * 60 * 60 * 1000,
            message_bytes_max: 1_048_588,
            index_interval_bytes: 4096,
            append_time: false,
            retention: Some(Duration::from_secs(7 * 24 * 60 * 60)),
            retention_bytes: None,
            delete: true,
            compact: false,
            delete_retention: Duration::from_secs(24 * 60 * 60),
            min_compaction_lag: Duration::ZERO,
            min_cleanable_dirty_ratio: 0.5,
            compression: None,
            given: given.clone(),
        };
        for (key, value) in given {
            config.set(key, value).map_err(|reason| Error::InvalidConfig {
                key: key.clone(),
                value: value.clone(),
                reason,
            })?;
        }
        Ok(config)
    }

    /// The configs after some changes of what was given, checked.
    pub(crate) fn alter(&self, ops: &[AlterConfigOp]) -> Result<Self> {
        let mut given = self.given.clone();
        let mut seen = BTreeSet::new();
        for op in ops {
            let (key, value) = match op {
                AlterConfigOp::Set { key, value } => (key, value.as_str()),
                AlterConfigOp::Delete { key } => (key, ""),
            };
            let refuse = |reason: String| Error::InvalidConfig {
                key: key.clone(),
                value: value.to_owned(),
                reason,
            };
            if !seen.insert(key) {
                return Err(refuse("it is changed twice".to_owned()));
            }
            match op {
                AlterConfigOp::Set { .. } => drop(given.insert(key.clone(), value.to_owned())),
                AlterConfigOp::Delete { .. } if DEFAULTS.iter().any(|(known, _)| known == key) => {
                    given.remove(key);
                }
                AlterConfigOp::Delete { .. } => return Err(refuse(refusal(key))),
            }
        }
        Self::parse(&given)
    }

    /// Every config with its value, by key.
    pub(crate) fn entries(&self) -> Vec<ConfigEntry> {
        let entry = |(key, default): &(&str, &str)| {
            let given = self.given.get(*key);
            ConfigEntry {
                name: (*key).to_owned(),
                value: given.map_or_else(|| (*default).to_owned(), Clone::clone),
                is_default: given.is_none(),
            }
        };
        DEFAULTS.iter().map(entry).collect()
    }

    /// How a batch is compressed that comes from a producer of that setting.
    pub(crate) fn compression(&self, producer: Compression) -> Compression {
        self.compression.unwrap_or(producer)
    }

    fn set(&mut self, key: &str, value: &str) -> Result<(), String> {
        match key {
            "segment.bytes" => {
                self.segment_bytes = number(value, SEGMENT_BYTES_MIN.into(), i32::MAX.into())?;
            }
            "segment.ms" => self.segment_ms = number(value, 1, i64::MAX)?,
            "max.message.bytes" => {
                self.message_bytes_max = number(value, 0, i32::MAX.into())?;
            }
            "index.interval.bytes" => {
                self.index_interval_bytes = number(value, 0, i32::MAX.into())?;
            }
            "message.timestamp.type" => {
                self.append_time = match value {
                    "CreateTime" => false,
                    "LogAppendTime" => true,
                    _ => return Err("it is CreateTime or LogAppendTime".to_owned()),
                };
            }
            "compression.type" => {
                self.compression = match value {
                    "producer" => None,
                    "uncompressed" => Some(Compression::None),
                    "lz4" => Some(Compression::Lz4),
                    "gzip" | "snappy" | "zstd" => {
                        return Err("of Kafka's codecs there is lz4 only".to_owned());
                    }
                    _ => return Err("it is producer, uncompressed or lz4".to_owned()),
                };
            }
            "cleanup.policy" => {
                let known = |word: &str| matches!(word.trim(), "delete" | "compact");
                if !value.split(',').all(known) {
                    return Err("it is delete, compact, or compact,delete".to_owned());
                }
                self.delete = value.split(',').any(|word| word.trim() == "delete");
                self.compact = value.split(',').any(|word| word.trim() == "compact");
            }
            "retention.ms" => {
                let millis: i64 = number(value, -1, i64::MAX)?;
                self.retention = u64::try_from(millis).ok().map(Duration::from_millis);
            }
            "retention.bytes" => {
                let bytes: i64 = number(value, -1, i64::MAX)?;
                self.retention_bytes = u64::try_from(bytes).ok();
            }
            "delete.retention.ms" => {
                self.delete_retention = Duration::from_millis(number(value, 0, i64::MAX)?);
            }
            "min.compaction.lag.ms" => {
                self.min_compaction_lag = Duration::from_millis(number(value, 0, i64::MAX)?);
            }
            "min.cleanable.dirty.ratio" => {
                let ratio = value.trim().parse().ok().filter(|ratio| (0.0..=1.0).contains(ratio));
                self.min_cleanable_dirty_ratio =
                    ratio.ok_or_else(|| "it is a number from 0 to 1".to_owned())?;
            }
            _ => return Err(refusal(key)),
        }
        Ok(())
    }
}

/// What a topic is configured with where nothing else was given, in Kafka's words.
const DEFAULTS: &[(&str, &str)] = &[
    ("cleanup.policy", "delete"),
    ("compression.type", "producer"),
    ("delete.retention.ms", "86400000"),
    ("index.interval.bytes", "4096"),
    ("max.message.bytes", "1048588"),
    ("message.timestamp.type", "CreateTime"),
    ("min.cleanable.dirty.ratio", "0.5"),
    ("min.compaction.lag.ms", "0"),
    ("retention.bytes", "-1"),
    ("retention.ms", "604800000"),
    ("segment.bytes", "1073741824"),
    ("segment.ms", "604800000"),
];

fn refusal(key: &str) -> String {
    let known = REFUSED.iter().find(|(refused, _)| *refused == key);
    known.map_or("there is no such topic config".to_owned(), |(_, reason)| (*reason).to_owned())
}

fn number<T: TryFrom<i64>>(value: &str, min: i64, max: i64) -> Result<T, String> {
    let bounds = || format!("it is a whole number from {min} to {max}");
    let number: i64 = value.trim().parse().map_err(|_| bounds())?;
    if !(min..=max).contains(&number) {
        return Err(bounds());
    }
    T::try_from(number).map_err(|_| bounds())
}

#[cfg(test)]
mod tests {
    use super::{DEFAULTS, REFUSED, TopicConfig};
    use std::collections::BTreeMap;

    fn parse(key: &str, value: &str) -> Result<TopicConfig, String> {
        let given = BTreeMap::from([(key.to_owned(), value.to_owned())]);
        TopicConfig::parse(&given).map_err(|error| error.to_string())
    }

    #[test]
    fn the_defaults_are_what_is_described_and_stand_by_key() {
        let given = DEFAULTS.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let explicit = TopicConfig::parse(&given).unwrap();
        let implicit = TopicConfig::parse(&BTreeMap::new()).unwrap();
        assert_eq!(TopicConfig { given: BTreeMap::new(), ..explicit }, implicit);
        assert!(DEFAULTS.is_sorted() && REFUSED.iter().all(|(key, _)| !given.contains_key(*key)));
    }

    #[test]
    fn known_keys_are_honoured() {
        assert_eq!(parse("segment.bytes", "65536").unwrap().segment_bytes, 65_536);
        assert_eq!(parse("max.message.bytes", "100").unwrap().message_bytes_max, 100);
        assert!(parse("message.timestamp.type", "LogAppendTime").unwrap().append_time);
        parse("cleanup.policy", "compact,delete").unwrap();
        parse("retention.ms", "-1").unwrap();
    }

    #[test]
    fn refusals_name_the_key_the_value_and_the_reason() {
        for (key, value, reason) in [
            ("min.insync.replicas", "2", "no replicas"),
            ("flush.ms", "1", "setting of the store"),
            ("no.such.key", "1", "no such topic config"),
            ("segment.bytes", "7", "from 1024 to 2147483647"),
            ("segment.bytes", "many", "whole number"),
            ("cleanup.policy", "shred", "delete, compact"),
            ("compression.type", "zstd", "lz4 only"),
            ("compression.type", "best", "producer, uncompressed or lz4"),
            ("min.cleanable.dirty.ratio", "1.5", "from 0 to 1"),
            ("min.cleanable.dirty.ratio", "half", "from 0 to 1"),
            ("min.compaction.lag.ms", "-1", "from 0 to"),
            ("message.timestamp.type", "Never", "CreateTime"),
        ] {
            let error = parse(key, value).unwrap_err();
            assert!(error.contains(&format!("{key}={value}")), "{error}");
            assert!(error.contains(reason), "{error}");
        }
    }
}
