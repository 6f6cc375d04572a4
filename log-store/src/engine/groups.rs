//! Groups: their members and committed offsets together.

use std::collections::BTreeMap;

use crate::engine::state::Engine;
use crate::error::{Error, Result};
use crate::group::{CommitGuard, GroupView, OffsetCommit};
use crate::log::{GroupDescription, GroupMetadata, GroupPartition, GroupState, OffsetAndMetadata};
use crate::signal::Signal;
use crate::types::{Offset, TopicName, TopicPartition};

impl Engine {
    /// Commits offsets of a group for one of its members, or (without a member id) for somebody
    /// outside while there are none.
    pub(crate) fn commit_group_offsets(
        &self,
        metadata: &GroupMetadata,
        offsets: impl IntoIterator<Item = (TopicPartition, Option<OffsetAndMetadata>)>,
    ) -> Result<()> {
        let commit = |(topic_partition, offset)| OffsetCommit {
            group: metadata.group.clone(),
            topic_partition,
            offset,
            leader_epoch: None,
        };
        let commits: Vec<_> = offsets.into_iter().map(commit).collect();
        let partitions = commits.iter().map(|commit| &commit.topic_partition);
        let _commit = self.begin_group_commit(metadata, partitions)?;
        self.commit_offsets(&commits)
    }

    /// Refuses who may not commit for the group, and lets nothing change hands until the answer is
    /// dropped.
    pub(crate) fn begin_group_commit<'a>(
        &self,
        metadata: &GroupMetadata,
        partitions: impl IntoIterator<Item = &'a TopicPartition>,
    ) -> Result<GroupCommit<'_>> {
        self.writer("commit")?;
        let guard = self.groups.begin_commit(metadata, partitions, self.clock.monotonic())?;
        Ok(GroupCommit { guard: Some(guard), signal: &self.signal })
    }

    /// How many partitions a topic has; 0 if it does not exist.
    pub(crate) fn partition_count(&self, topic: &TopicName) -> u32 {
        self.topic(topic.as_str()).map_or(0, |topic| topic.partition_count())
    }

    /// The names of the groups that have members or committed offsets.
    pub(crate) fn group_names(&self) -> Vec<String> {
        let mut names = self.groups.groups();
        names.extend(self.offsets.groups());
        names.sort_unstable();
        names.dedup();
        names
    }

    /// A group as it is.
    pub(crate) fn describe_group(&self, group: &str) -> Result<GroupDescription> {
        let view = self.groups.view(group, self.clock.monotonic());
        self.offsets.check()?;
        let mut committed = self.offsets.group(group);
        if view.is_none() && committed.is_empty() {
            return Err(Error::UnknownGroup { group: group.to_owned() });
        }
        let (generation, state, members) = match view {
            Some(GroupView { generation, state, members }) => (Some(generation), state, members),
            None if self.is_read_only() => (None, GroupState::Unknown, Vec::new()),
            None => (None, GroupState::Empty, Vec::new()),
        };
        let mut owners: BTreeMap<TopicPartition, Option<String>> =
            committed.keys().map(|topic_partition| (topic_partition.clone(), None)).collect();
        for member in &members {
            for topic_partition in &member.assignment {
                owners.insert(topic_partition.clone(), Some(member.member_id.clone()));
            }
        }
        let partition = |(topic_partition, member_id)| GroupPartition {
            committed: committed.remove(&topic_partition),
            end: self.end_of(&topic_partition),
            topic_partition,
            member_id,
        };
        let partitions = owners.into_iter().map(partition).collect();
        Ok(GroupDescription { group: group.to_owned(), state, generation, members, partitions })
    }

    /// Removes the committed offsets of a group that has no members.
    pub(crate) fn delete_group(&self, group: &str) -> Result<()> {
        let metadata = GroupMetadata::outside(group);
        let _commit = self.begin_group_commit(&metadata, [])?;
        self.offsets.check()?;
        let committed = self.offsets.group(group);
        let removals: Vec<_> = committed
            .into_keys()
            .map(|topic_partition| OffsetCommit {
                group: group.to_owned(),
                topic_partition,
                offset: None,
                leader_epoch: None,
            })
            .collect();
        if removals.is_empty() {
            return Err(Error::UnknownGroup { group: group.to_owned() });
        }
        self.commit_offsets(&removals)
    }

    fn end_of(&self, topic_partition: &TopicPartition) -> Option<Offset> {
        self.partition(topic_partition).ok().map(|partition| partition.watermarks().end)
    }
}

/// A commit of a group under way.
#[derive(Debug)]
#[must_use]
pub(crate) struct GroupCommit<'a> {
    guard: Option<CommitGuard<'a>>,
    signal: &'a Signal,
}

impl Drop for GroupCommit<'_> {
    fn drop(&mut self) {
        drop(self.guard.take());
        // Members wait with what is to change hands.
        self.signal.notify();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::{Duration, Instant};

    use crate::clock::SystemClock;
    use crate::config::Durability;
    use crate::engine::{EngineConfig, create_or_open};
    use crate::log::GroupMetadata;
    use crate::storage::MemoryStorage;

    #[test]
    fn the_end_of_a_commit_wakes_who_waits_for_it() {
        let engine = create_or_open(EngineConfig {
            storage: Arc::new(MemoryStorage::new()),
            clock: Arc::new(SystemClock::new()),
            dir: "store".into(),
            durability: Durability::Os,
            journal_bytes: 1 << 20,
            compaction_bytes_max: 1 << 20,
            create: true,
        })
        .unwrap();
        let mut commit = engine.begin_group_commit(&GroupMetadata::outside("g"), []).ok();
        let started = Instant::now();
        let clock = || started.elapsed();
        let looks_again = || {
            // The first look ends the commit, as another thread would; only a signal brings the
            // second one before the time is over.
            let first = commit.take();
            first.is_none().then_some(())
        };
        assert_eq!(engine.signal.wait(Duration::from_secs(60), clock, looks_again), Some(()));
        assert!(started.elapsed() < Duration::from_secs(50));
    }
}
