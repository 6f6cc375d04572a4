//! Which segments a compaction takes up: a choice, made from what is known of them.

use std::ops::Range;

use crate::config::TopicConfig;
use crate::types::Timestamp;

/// A sealed segment, as far as the choice goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CompactedSegment {
    pub(crate) bytes: u64,
    /// How many offsets it takes.
    pub(crate) offsets: u64,
    /// The time of the last append to it.
    pub(crate) append_time: Timestamp,
    /// Whether a compaction has been through it.
    pub(crate) clean: bool,
}

/// The segments that came since the last compaction and may be compacted now; none if they are
/// too few as yet. `sealed` are by offset.
pub(crate) fn dirty(
    sealed: &[CompactedSegment],
    now: Timestamp,
    config: &TopicConfig,
) -> Option<Range<usize>> {
    let first = sealed.iter().take_while(|segment| segment.clean).count();
    let fresh = sealed.get(first..)?;
    let settled = |segment: &&CompactedSegment| {
        let age_ms = now.as_millis().saturating_sub(segment.append_time.as_millis());
        let age_ms = u128::from(u64::try_from(age_ms).unwrap_or(0));
        age_ms >= config.min_compaction_lag.as_millis()
    };
    let dirty = first..first + fresh.iter().take_while(settled).count();
    let bytes = |range: Range<usize>| {
        sealed.get(range).unwrap_or_default().iter().map(|segment| segment.bytes).sum::<u64>()
    };
    let (clean_bytes, dirty_bytes) = (bytes(0..first), bytes(dirty.clone()));
    if dirty_bytes == 0 {
        return None;
    }
    let ratio = dirty_bytes as f64 / (clean_bytes + dirty_bytes) as f64;
    (ratio > config.min_cleanable_dirty_ratio).then_some(dirty)
}

/// Puts segments that follow one another together, as long as they fit into one.
pub(crate) fn group(segments: &[CompactedSegment], segment_bytes: u32) -> Vec<Range<usize>> {
    let mut groups: Vec<Range<usize>> = Vec::new();
    let (mut bytes, mut offsets) = (0, 0);
    for (at, segment) in segments.iter().enumerate() {
        bytes += segment.bytes;
        offsets += segment.offsets;
        match groups.last_mut() {
            Some(group) if bytes <= u64::from(segment_bytes) && offsets <= u64::from(u32::MAX) => {
                group.end = at + 1;
            }
            _ => {
                groups.push(at..at + 1);
                (bytes, offsets) = (segment.bytes, segment.offsets);
            }
        }
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::{CompactedSegment, dirty, group};
    use crate::config::TopicConfig;
    use crate::types::Timestamp;
    use std::ops::Range;

    /// Segments of 100 bytes and offsets, the first `clean` of them compacted, appended to at 0,
    /// 1000, 2000, … ms.
    fn segments(clean: i64, all: i64) -> Vec<CompactedSegment> {
        let segment = |n| CompactedSegment {
            bytes: 100,
            offsets: 100,
            append_time: Timestamp::from_millis(n * 1_000),
            clean: n < clean,
        };
        (0..all).map(segment).collect()
    }

    fn check(config: (&str, &str), clean: i64, all: i64, now: i64, expected: Option<Range<usize>>) {
        let given = [(config.0.to_owned(), config.1.to_owned())].into();
        let config = TopicConfig::parse(&given).unwrap();
        let found = dirty(&segments(clean, all), Timestamp::from_millis(now), &config);
        assert_eq!(found, expected, "{clean} of {all} clean at {now}");
    }

    #[test]
    fn segments_are_dirty_until_a_compaction_and_wait_until_they_are_enough() {
        let half = ("min.cleanable.dirty.ratio", "0.5");
        check(half, 0, 1, 0, Some(0..1));
        check(half, 1, 2, 0, None);
        check(half, 1, 3, 0, Some(1..3));
        check(half, 3, 3, 0, None);
        check(half, 0, 0, 0, None);
        check(("min.cleanable.dirty.ratio", "0"), 9, 10, 0, Some(9..10));
        check(("min.cleanable.dirty.ratio", "1"), 1, 10, 0, None);
        check(("min.cleanable.dirty.ratio", "1"), 0, 10, 0, None);
    }

    #[test]
    fn segments_are_left_alone_until_their_last_append_is_old_enough() {
        let lag = ("min.compaction.lag.ms", "5000");
        check(lag, 0, 10, 4_999, None);
        check(lag, 0, 10, 5_000, Some(0..1));
        check(lag, 0, 10, 7_500, Some(0..3));
        check(lag, 0, 10, i64::MIN, None);
        check(lag, 0, 10, i64::MAX, Some(0..10));
    }

    #[test]
    fn small_segments_go_together_up_to_the_size_of_one() {
        assert_eq!(group(&segments(0, 5), 250), [0..2, 2..4, 4..5]);
        assert_eq!(group(&segments(0, 2), 10), [0..1, 1..2], "one that is too large stays alone");
        assert_eq!(group(&[], 10), []);
        let mut far = segments(0, 2);
        far[0].offsets = u64::from(u32::MAX);
        assert_eq!(group(&far, 1_000), [0..1, 1..2], "no segment has more offsets than that");
    }
}
