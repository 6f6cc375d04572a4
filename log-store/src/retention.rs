//! Which segments retention drops: a choice, made from what is known of them.

use crate::config::TopicConfig;
use crate::types::Timestamp;

/// A segment, as far as retention goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RetainedSegment {
    pub(crate) bytes: u64,
    /// The time of the last append to it: how old the events in it are does not matter.
    pub(crate) append_time: Timestamp,
}

/// How many of the oldest segments go. `sealed` are by offset, and `active_bytes` is what the
/// active one has, which stays.
pub(crate) fn expired(
    sealed: &[RetainedSegment],
    active_bytes: u64,
    now: Timestamp,
    config: &TopicConfig,
) -> usize {
    if !config.delete {
        return 0;
    }
    let by_time = sealed.iter().take_while(|segment| is_expired(segment, now, config)).count();
    let mut left = sealed.iter().map(|segment| segment.bytes).sum::<u64>() + active_bytes;
    // As in Kafka, at least as much is kept as was asked for.
    let by_size = sealed
        .iter()
        .take_while(|segment| {
            left -= segment.bytes;
            config.retention_bytes.is_some_and(|bytes| left >= bytes)
        })
        .count();
    by_time.max(by_size)
}

/// Whether the last append to a segment is longer ago than the topic keeps records.
pub(crate) fn is_expired(segment: &RetainedSegment, now: Timestamp, config: &TopicConfig) -> bool {
    let age_ms = now.as_millis().saturating_sub(segment.append_time.as_millis());
    config.retention.is_some_and(|keep| {
        u64::try_from(age_ms).is_ok_and(|age_ms| u128::from(age_ms) > keep.as_millis())
    })
}

#[cfg(test)]
mod tests {
    use super::{RetainedSegment, expired};
    use crate::config::TopicConfig;
    use crate::types::Timestamp;
    use std::collections::BTreeMap;

    /// Segments of 100 bytes, appended to at 0, 1000, 2000, … ms; the active one has 50 bytes.
    fn check(configs: &[(&str, &str)], segments: i64, now: i64, expected: usize) {
        let given = configs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        let config = TopicConfig::parse(&given.collect::<BTreeMap<_, _>>()).unwrap();
        let sealed: Vec<_> = (0..segments)
            .map(|n| RetainedSegment { bytes: 100, append_time: Timestamp::from_millis(n * 1_000) })
            .collect();
        let found = expired(&sealed, 50, Timestamp::from_millis(now), &config);
        assert_eq!(found, expected, "{configs:?}, {segments} segments at {now}");
    }

    #[test]
    fn segments_go_by_the_time_of_their_last_append() {
        check(&[("retention.ms", "5000")], 10, 5_000, 0);
        check(&[("retention.ms", "5000")], 10, 5_001, 1);
        check(&[("retention.ms", "5000")], 10, 8_500, 4);
        check(&[("retention.ms", "5000")], 10, i64::MAX, 10);
        check(&[("retention.ms", "-1")], 10, i64::MAX, 0);
        check(&[("retention.ms", "5000")], 10, i64::MIN, 0);
        check(&[], 10, 7 * 24 * 3_600_000 + 1_500, 2);
    }

    #[test]
    fn segments_go_by_size_as_long_as_enough_is_left() {
        check(&[("retention.bytes", "250")], 10, 0, 8);
        check(&[("retention.bytes", "251")], 10, 0, 7);
        check(&[("retention.bytes", "0")], 3, 0, 3);
        check(&[("retention.bytes", "5000")], 10, 0, 0);
    }

    #[test]
    fn a_topic_that_is_only_compacted_keeps_all_segments() {
        let compact = ("cleanup.policy", "compact");
        check(&[compact, ("retention.ms", "1"), ("retention.bytes", "1")], 10, i64::MAX, 0);
        let both = ("cleanup.policy", "compact,delete");
        check(&[both, ("retention.bytes", "1")], 10, 0, 10);
    }
}
