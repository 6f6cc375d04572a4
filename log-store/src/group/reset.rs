//! Offset reset: where a group shall go on, worked out first and carried out only when asked.

use std::fmt;
use std::time::Duration;

use crate::error::Result;
use crate::log::{Log, Watermarks};
use crate::types::{Offset, Timestamp, TopicPartition};

/// Where a group is sent, in the words of Kafka's `kafka-consumer-groups --reset-offsets`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum OffsetReset {
    /// To the log start offset.
    ToEarliest,
    /// To the log end offset.
    ToLatest,
    /// To this offset.
    ToOffset(Offset),
    /// To the first record of this time or later; to the log end offset if there is none.
    ToDatetime(Timestamp),
    /// To the first record of the time this long ago or later; to the log end offset if there is
    /// none.
    ByDuration(Duration),
    /// By this many offsets, forwards or (negative) backwards; only where there is a committed
    /// offset.
    ShiftBy(i64),
    /// To the committed offset; to the log end offset if there is none.
    ToCurrent,
}

/// Where a group will go on in a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionReset {
    /// The partition.
    pub topic_partition: TopicPartition,
    /// What the group has committed; `None` is: nothing.
    pub current: Option<Offset>,
    /// What it will have committed; `None` where it stays as it is, because there is nothing to
    /// shift.
    pub new: Option<Offset>,
    /// Why it is not exactly what was asked for.
    pub note: Option<ResetNote>,
}

/// Why a group does not go exactly where it was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ResetNote {
    /// The offset asked for lies before the log start offset, and that is taken.
    BelowEarliest {
        /// What was asked for; a shift may go below zero.
        asked: i128,
    },
    /// The offset asked for lies past the log end offset, and that is taken.
    AboveLatest {
        /// What was asked for.
        asked: i128,
    },
    /// No record is of that time or later, so the log end offset is taken.
    NoRecordSince(Timestamp),
    /// The group has committed no offset, so the log end offset is taken.
    NotCommitted,
    /// The group has committed no offset, so there is nothing to shift.
    NothingToShift,
}

/// What a reset would do: looked at first, carried out by [`execute`](Self::execute).
///
/// ```
/// use headwater_log_store::{Log, LogStore, NewTopic, Offset, OffsetReset, OffsetResetPlan};
/// use headwater_log_store::{PartitionId, Record, Timestamp, TopicName, TopicPartition};
///
/// # fn main() -> Result<(), headwater_log_store::Error> {
/// let store = LogStore::in_memory()?;
/// store.create_topic(&NewTopic::new("clicks"))?;
/// let clicks = TopicPartition::new(TopicName::new("clicks")?, PartitionId::new(0));
/// store.append(&clicks, &Record::value(b"first"))?;
/// store.alter_group_offsets("views", &[(clicks.clone(), Some(Offset::new(1)))])?;
///
/// let now = Timestamp::from_millis(0);
/// let to = OffsetReset::ToEarliest;
/// let plan = OffsetResetPlan::new(&store, "views", &[clicks.clone()], to, now)?;
/// assert_eq!(plan.partitions[0].new, Some(Offset::ZERO));
/// plan.execute(&store)?;
/// assert_eq!(store.group_offsets("views")?[&clicks].offset, Offset::ZERO);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "a plan does nothing until it is executed"]
pub struct OffsetResetPlan {
    /// The group.
    pub group: String,
    /// The partitions, in the order they were named in.
    pub partitions: Vec<PartitionReset>,
}

impl OffsetResetPlan {
    /// Works out where a group would go on in each of these partitions. Nothing is written. `now`
    /// is what a [duration](OffsetReset::ByDuration) is counted back from.
    ///
    /// # Errors
    /// `UnknownTopic`, `UnknownPartition`, `Corrupt` where a time is looked up, or a failure of
    /// the log.
    pub fn new(
        log: &dyn Log,
        group: &str,
        partitions: &[TopicPartition],
        to: OffsetReset,
        now: Timestamp,
    ) -> Result<Self> {
        let committed = log.group_offsets(group)?;
        let since = to.time(now);
        let first_since = match since {
            Some(time) => {
                let times = partitions.iter().map(|partition| (partition.clone(), time));
                log.offsets_for_times(&times.collect::<Vec<_>>())?
            }
            None => vec![None; partitions.len()],
        };
        let mut resets = Vec::with_capacity(partitions.len());
        for (topic_partition, first_since) in partitions.iter().zip(first_since) {
            let known = Known {
                watermarks: log.watermarks(topic_partition)?,
                committed: committed.get(topic_partition).map(|committed| committed.offset),
                since: since.map(|time| (time, first_since)),
            };
            let (new, note) = to.resolve(&known);
            let topic_partition = topic_partition.clone();
            resets.push(PartitionReset { topic_partition, current: known.committed, new, note });
        }
        Ok(Self { group: group.to_owned(), partitions: resets })
    }

    /// Commits the new offsets, all in one call.
    ///
    /// # Errors
    /// `GroupNotEmpty` while the group has members, `OffsetOutOfRange` if a log has become shorter
    /// since, `ReadOnly`, or a failure of the log.
    pub fn execute(&self, log: &dyn Log) -> Result<()> {
        let moved = self.partitions.iter().filter(|reset| reset.new.is_some());
        let offsets: Vec<_> =
            moved.map(|reset| (reset.topic_partition.clone(), reset.new)).collect();
        if offsets.is_empty() {
            return Ok(());
        }
        log.alter_group_offsets(&self.group, &offsets)
    }
}

/// What is known of a partition when it is decided where to go.
#[derive(Clone, Copy, Debug)]
struct Known {
    watermarks: Watermarks,
    committed: Option<Offset>,
    /// The time asked for, and the first record since then.
    since: Option<(Timestamp, Option<Offset>)>,
}

impl OffsetReset {
    /// The time that is to be looked up.
    fn time(self, now: Timestamp) -> Option<Timestamp> {
        match self {
            Self::ToDatetime(time) => Some(time),
            Self::ByDuration(duration) => {
                let millis = i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
                Some(Timestamp::from_millis(now.as_millis().saturating_sub(millis)))
            }
            Self::ToEarliest
            | Self::ToLatest
            | Self::ToOffset(_)
            | Self::ShiftBy(_)
            | Self::ToCurrent => None,
        }
    }

    fn resolve(self, known: &Known) -> (Option<Offset>, Option<ResetNote>) {
        let Watermarks { start, end } = known.watermarks;
        match self {
            Self::ToEarliest => (Some(start), None),
            Self::ToLatest => (Some(end), None),
            Self::ToOffset(offset) => clamp(offset.value().into(), known.watermarks),
            Self::ToDatetime(_) | Self::ByDuration(_) => match known.since {
                Some((_, Some(first))) => (Some(first), None),
                Some((time, None)) => (Some(end), Some(ResetNote::NoRecordSince(time))),
                None => (Some(end), None),
            },
            Self::ShiftBy(by) => match known.committed {
                Some(committed) => {
                    clamp(i128::from(committed.value()) + i128::from(by), known.watermarks)
                }
                None => (None, Some(ResetNote::NothingToShift)),
            },
            Self::ToCurrent => match known.committed {
                Some(committed) => clamp(committed.value().into(), known.watermarks),
                None => (Some(end), Some(ResetNote::NotCommitted)),
            },
        }
    }
}

/// The offset asked for, or the end of the log that is nearest to it.
fn clamp(asked: i128, watermarks: Watermarks) -> (Option<Offset>, Option<ResetNote>) {
    let Watermarks { start, end } = watermarks;
    match u64::try_from(asked).map(Offset::new) {
        Ok(offset) if (start..=end).contains(&offset) => (Some(offset), None),
        Ok(offset) if offset > end => (Some(end), Some(ResetNote::AboveLatest { asked })),
        _ if asked < 0 || asked < start.value().into() => {
            (Some(start), Some(ResetNote::BelowEarliest { asked }))
        }
        _ => (Some(end), Some(ResetNote::AboveLatest { asked })),
    }
}

impl fmt::Display for ResetNote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BelowEarliest { asked } => {
                write!(f, "offset {asked} is before the first one, which is taken instead")
            }
            Self::AboveLatest { asked } => {
                write!(f, "offset {asked} is past the end, which is taken instead")
            }
            Self::NoRecordSince(time) => {
                write!(f, "no record has timestamp {time} or later, so the end is taken")
            }
            Self::NotCommitted => f.write_str("no offset is committed, so the end is taken"),
            Self::NothingToShift => {
                f.write_str("no offset is committed, so there is nothing to shift")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Known, OffsetReset, ResetNote};
    use crate::log::Watermarks;
    use crate::types::{Offset, Timestamp};

    /// In a partition that begins at 10 and ends at 20.
    #[track_caller]
    fn check(
        to: OffsetReset,
        committed: Option<u64>,
        first_since: Option<u64>,
        expected: (Option<u64>, Option<ResetNote>),
    ) {
        let now = Timestamp::from_millis(1_000);
        let known = Known {
            watermarks: Watermarks { start: Offset::new(10), end: Offset::new(20) },
            committed: committed.map(Offset::new),
            since: to.time(now).map(|time| (time, first_since.map(Offset::new))),
        };
        let (new, note) = to.resolve(&known);
        assert_eq!((new.map(Offset::value), note), expected, "{to:?} {known:?}");
    }

    #[test]
    fn a_group_goes_where_it_is_sent_and_no_further_than_the_log_reaches() {
        use OffsetReset::{ShiftBy, ToCurrent, ToEarliest, ToLatest, ToOffset};
        let below = |asked| Some(ResetNote::BelowEarliest { asked });
        let above = |asked| Some(ResetNote::AboveLatest { asked });
        for committed in [None, Some(15)] {
            check(ToEarliest, committed, None, (Some(10), None));
            check(ToLatest, committed, None, (Some(20), None));
            check(ToOffset(Offset::new(10)), committed, None, (Some(10), None));
            check(ToOffset(Offset::new(20)), committed, None, (Some(20), None));
            check(ToOffset(Offset::new(9)), committed, None, (Some(10), below(9)));
            check(ToOffset(Offset::new(21)), committed, None, (Some(20), above(21)));
        }
        check(ShiftBy(-2), Some(15), None, (Some(13), None));
        check(ShiftBy(5), Some(15), None, (Some(20), None));
        check(ShiftBy(6), Some(15), None, (Some(20), above(21)));
        check(ShiftBy(-16), Some(15), None, (Some(10), below(-1)));
        check(ShiftBy(i64::MIN), Some(15), None, (Some(10), below(15 - (1 << 63))));
        check(ShiftBy(i64::MAX), Some(15), None, (Some(20), above(14 + (1 << 63))));
        check(ShiftBy(1), None, None, (None, Some(ResetNote::NothingToShift)));
        check(ToCurrent, Some(15), None, (Some(15), None));
        check(ToCurrent, Some(4), None, (Some(10), below(4)));
        check(ToCurrent, None, None, (Some(20), Some(ResetNote::NotCommitted)));
    }

    #[test]
    fn a_time_is_its_first_record_or_the_end() {
        let time = |millis| OffsetReset::ToDatetime(Timestamp::from_millis(millis));
        let none_since = |millis| Some(ResetNote::NoRecordSince(Timestamp::from_millis(millis)));
        check(time(7), None, Some(12), (Some(12), None));
        check(time(7), Some(15), None, (Some(20), none_since(7)));
        let ago = |millis| OffsetReset::ByDuration(Duration::from_millis(millis));
        check(ago(400), None, None, (Some(20), none_since(600)));
        check(ago(400), None, Some(11), (Some(11), None));
        check(ago(u64::MAX), None, None, (Some(20), none_since(1_000 - i64::MAX)));
    }
}
