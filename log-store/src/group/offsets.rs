//! Committed offsets: records of the compacted topic `__consumer_offsets`, in Kafka's own format,
//! and what they add up to in memory.
//!
//! ```text
//! key:   version 1 i16, group string, topic string, partition i32
//! value: version 3 i16, offset i64, leader epoch i32, metadata string, commit time i64
//! ```

use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::RwLock;

use crate::error::{Error, Result};
use crate::layout::{Fields, put_string};
use crate::log::{GroupOffsets, OffsetAndMetadata};
use crate::types::{LeaderEpoch, Offset, PartitionId, Timestamp, TopicName, TopicPartition};

const KEY_VERSION: u16 = 1;
const VALUE_VERSION: u16 = 3;
/// Kafka's -1.
const NO_EPOCH: u32 = u32::MAX;

/// One offset that a group commits, or (with `None`) takes back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OffsetCommit {
    pub(crate) group: String,
    pub(crate) topic_partition: TopicPartition,
    pub(crate) offset: Option<OffsetAndMetadata>,
    /// The epoch of the last record before the offset, as far as it is known.
    pub(crate) leader_epoch: Option<LeaderEpoch>,
}

impl OffsetCommit {
    /// The key of its record; `None` if a name is too long for it.
    pub(crate) fn key(&self) -> Option<Vec<u8>> {
        let mut key = KEY_VERSION.to_be_bytes().to_vec();
        let topic = self.topic_partition.topic.as_str();
        let fits = put_string(&mut key, &self.group) && put_string(&mut key, topic);
        key.extend_from_slice(&self.topic_partition.partition.value().to_be_bytes());
        fits.then_some(key)
    }

    /// The value of its record: `Some(None)` for a tombstone, `None` if the metadata is too long.
    pub(crate) fn value(&self, now: Timestamp) -> Option<Option<Vec<u8>>> {
        let Some(offset) = &self.offset else { return Some(None) };
        let mut value = VALUE_VERSION.to_be_bytes().to_vec();
        value.extend_from_slice(&offset.offset.value().to_be_bytes());
        let epoch = self.leader_epoch.map_or(NO_EPOCH, LeaderEpoch::value);
        value.extend_from_slice(&epoch.to_be_bytes());
        let fits = put_string(&mut value, &offset.metadata);
        value.extend_from_slice(&now.as_millis().to_be_bytes());
        fits.then_some(Some(value))
    }

    /// Reads a record; `None` if it is not one of a committed offset.
    pub(crate) fn decode(key: &[u8], value: Option<&[u8]>) -> Option<Self> {
        let mut fields = Fields::new(key);
        if fields.u16()? > KEY_VERSION {
            return None;
        }
        let group = fields.string()?.to_owned();
        let topic = TopicName::new(fields.string()?).ok()?;
        let topic_partition = TopicPartition::new(topic, PartitionId::new(fields.u32()?));
        let mut leader_epoch = None;
        let offset = match value {
            None => None,
            Some(value) => {
                let mut fields = Fields::new(value);
                if fields.u16()? != VALUE_VERSION {
                    return None;
                }
                let offset = Offset::new(fields.u64()?);
                let epoch = fields.u32()?;
                leader_epoch = (epoch != NO_EPOCH).then_some(LeaderEpoch::new(epoch));
                let metadata = fields.string()?.to_owned();
                Some(OffsetAndMetadata { offset, metadata })
            }
        };
        Some(Self { group, topic_partition, offset, leader_epoch })
    }
}

/// What all commits so far add up to.
#[derive(Debug, Default)]
pub(crate) struct OffsetsCache {
    groups: RwLock<BTreeMap<String, BTreeMap<TopicPartition, Committed>>>,
    /// Up to where the records of the topic were read.
    loaded: AtomicU64,
    /// Why not all of them could be read.
    damage: OnceLock<Error>,
}

/// A committed offset, and which record said so.
#[derive(Clone, Debug)]
struct Committed {
    offset: Option<OffsetAndMetadata>,
    leader_epoch: Option<LeaderEpoch>,
    at: Offset,
}

impl OffsetsCache {
    /// Takes up the commit that the record at `at` of `__consumer_offsets` makes. Commits may
    /// come in any order: the one with the highest offset stands.
    pub(crate) fn apply(&self, commit: OffsetCommit, at: Offset) {
        let mut groups = self.groups.write();
        let group = groups.entry(commit.group).or_default();
        let known = group.get(&commit.topic_partition).is_some_and(|known| known.at > at);
        if !known {
            let OffsetCommit { topic_partition, offset, leader_epoch, .. } = commit;
            group.insert(topic_partition, Committed { offset, leader_epoch, at });
        }
    }

    /// Notes that commits cannot be read.
    pub(crate) fn note_damage(&self, error: &Error) {
        // The first one says where.
        let _ = self.damage.set(error.clone());
    }

    /// Refuses where commits could not be read: what is known may not be the last that was said.
    pub(crate) fn check(&self) -> Result<()> {
        self.damage.get().map_or(Ok(()), |damage| Err(damage.clone()))
    }

    /// Up to where the records of the topic were read.
    pub(crate) fn loaded(&self) -> Offset {
        Offset::new(self.loaded.load(Ordering::Acquire))
    }

    /// Notes that the records before `offset` were read.
    pub(crate) fn note_loaded(&self, offset: Offset) {
        self.loaded.fetch_max(offset.value(), Ordering::AcqRel);
    }

    /// The names of the groups that have committed offsets.
    pub(crate) fn groups(&self) -> Vec<String> {
        let groups = self.groups.read();
        let live = groups.iter().filter(|(_, group)| group.values().any(|c| c.offset.is_some()));
        live.map(|(name, _)| name.clone()).collect()
    }

    /// What a group has committed.
    pub(crate) fn group(&self, group: &str) -> GroupOffsets {
        let groups = self.groups.read();
        let offsets = groups.get(group).into_iter().flatten();
        offsets.filter_map(|(tp, c)| Some((tp.clone(), c.offset.clone()?))).collect()
    }

    /// What a group has committed for one partition.
    pub(crate) fn committed(&self, group: &str, tp: &TopicPartition) -> Option<OffsetAndMetadata> {
        self.groups.read().get(group)?.get(tp)?.offset.clone()
    }

    /// The epoch that an offset was committed with.
    pub(crate) fn committed_epoch(&self, group: &str, tp: &TopicPartition) -> Option<LeaderEpoch> {
        self.groups.read().get(group)?.get(tp)?.leader_epoch
    }

    /// All commits for a topic, as commits that take them back.
    pub(crate) fn removals(&self, topic: &TopicName) -> Vec<OffsetCommit> {
        let groups = self.groups.read();
        let mut removals = Vec::new();
        for (group, offsets) in &*groups {
            for (topic_partition, committed) in offsets {
                if topic_partition.topic == *topic && committed.offset.is_some() {
                    removals.push(OffsetCommit {
                        group: group.clone(),
                        topic_partition: topic_partition.clone(),
                        offset: None,
                        leader_epoch: None,
                    });
                }
            }
        }
        removals
    }
}

#[cfg(test)]
mod tests {
    use super::{OffsetCommit, OffsetsCache};
    use crate::log::OffsetAndMetadata;
    use crate::types::{LeaderEpoch, Offset, PartitionId, Timestamp, TopicName, TopicPartition};

    fn commit(offset: Option<u64>) -> OffsetCommit {
        let topic_partition =
            TopicPartition::new(TopicName::new("t").unwrap(), PartitionId::new(1));
        let offset = offset
            .map(|o| OffsetAndMetadata { offset: Offset::new(o), metadata: "note".to_owned() });
        let leader_epoch = Some(LeaderEpoch::new(6));
        OffsetCommit { group: "g".to_owned(), topic_partition, offset, leader_epoch }
    }

    #[test]
    fn records_are_kafkas_and_read_back() {
        let commit = commit(Some(258));
        let key = commit.key().unwrap();
        assert_eq!(key, [0, 1, 0, 1, b'g', 0, 1, b't', 0, 0, 0, 1]);
        let value = commit.value(Timestamp::from_millis(5)).unwrap().unwrap();
        let expected = [
            &[0, 3, 0, 0, 0, 0, 0, 0, 1, 2][..],
            &[0, 0, 0, 6],
            &[0, 4],
            b"note",
            &[0, 0, 0, 0, 0, 0, 0, 5],
        ];
        assert_eq!(value, expected.concat());
        assert_eq!(OffsetCommit::decode(&key, Some(&value)), Some(commit));
    }

    #[test]
    fn the_commit_with_the_highest_record_offset_stands() {
        let cache = OffsetsCache::default();
        cache.apply(commit(Some(10)), Offset::new(2));
        cache.apply(commit(Some(7)), Offset::new(1));
        let tp = commit(None).topic_partition;
        assert_eq!(cache.committed("g", &tp).unwrap().offset, Offset::new(10));
        assert_eq!(cache.groups(), ["g"]);
        cache.apply(commit(None), Offset::new(3));
        assert_eq!(cache.committed("g", &tp), None);
        assert!(cache.groups().is_empty());
    }
}
