//! Committing offsets: appends to `__consumer_offsets`, and what they add up to.

use std::collections::BTreeSet;
use std::sync::Arc;

use parking_lot::RwLockReadGuard;

use crate::batch::BatchBuilder;
use crate::engine::state::Engine;
use crate::error::{Error, Result};
use crate::group::OffsetCommit;
use crate::log::{Compression, NewTopic, Watermarks};
use crate::partition::Partition;
use crate::record::Record;
use crate::segment::{ReadLimits, SpareSpans};
use crate::types::{CONSUMER_OFFSETS_TOPIC, Offset, PartitionId, Timestamp, TopicName};

/// How much is read at a time when a store is opened.
const LOAD_LIMITS: ReadLimits = ReadLimits { bytes_max: 1 << 20, records_max: 10_000 };

impl Engine {
    /// Commits offsets and waits as the durability asks.
    pub(crate) fn commit_offsets(&self, commits: &[OffsetCommit]) -> Result<()> {
        let partition = self.offsets_partition()?;
        let _holding = self.hold_topics(commits)?;
        let commits = self.check_commits(commits)?;
        let now = self.clock.now();
        let encoded = commits.iter().map(|c| encode(c, now)).collect::<Result<Vec<_>>>()?;
        let records: Vec<Record<'_>> = encoded.iter().map(EncodedCommit::record).collect();
        let appended = self.append(&partition, &records, Compression::None)?;
        if let Some(ticket) = appended.ticket {
            self.wait(ticket)?;
        }
        for (at, commit) in (appended.first.value()..).zip(commits) {
            self.offsets.apply(commit, Offset::new(at));
        }
        Ok(())
    }

    /// Keeps the topics of commits from being deleted until the answer is dropped, and refuses those
    /// for topics whose deletion is under way.
    pub(crate) fn hold_topics(
        &self,
        commits: &[OffsetCommit],
    ) -> Result<RwLockReadGuard<'_, BTreeSet<TopicName>>> {
        let deleting = self.deleting.read();
        let topics = commits.iter().filter(|commit| commit.offset.is_some());
        match topics.map(|c| &c.topic_partition.topic).find(|topic| deleting.contains(*topic)) {
            None => Ok(deleting),
            Some(topic) => Err(Error::UnknownTopic { topic: topic.clone() }),
        }
    }

    /// Adds commits to a batch of the offsets partition, as part of a transaction. Returns them as
    /// they are to be applied.
    pub(crate) fn encode_commits(
        &self,
        commits: &[OffsetCommit],
        batch: &mut BatchBuilder,
    ) -> Result<Vec<OffsetCommit>> {
        let commits = self.check_commits(commits)?;
        let now = self.clock.now();
        for commit in &commits {
            batch.push(&encode(commit, now)?.record(), now);
        }
        Ok(commits)
    }

    /// The partition that committed offsets go to; the topic is created when it is first needed.
    pub(crate) fn offsets_partition(&self) -> Result<Arc<Partition>> {
        self.offsets.check()?;
        let topic = match self.topic(CONSUMER_OFFSETS_TOPIC) {
            Ok(topic) => topic,
            Err(Error::UnknownTopic { .. }) => {
                // Small segments: opening a store reads all that no compaction has taken.
                let new = NewTopic::new(CONSUMER_OFFSETS_TOPIC)
                    .config("cleanup.policy", "compact")
                    .config("segment.bytes", "4194304");
                match self.create_topic(&new) {
                    // Somebody else may have been first.
                    Ok(()) | Err(Error::TopicExists { .. }) => {
                        self.topic(CONSUMER_OFFSETS_TOPIC)?
                    }
                    Err(error) => return Err(error),
                }
            }
            Err(error) => return Err(error),
        };
        topic.partition(PartitionId::new(0)).map(Arc::clone)
    }

    /// Takes up the commits that the log holds. Damage does not keep the rest of the store from
    /// being used: who asks for offsets gets the error.
    pub(super) fn load_offsets(&self) -> Result<()> {
        match self.read_offsets() {
            Err(error @ Error::Corrupt { .. }) => {
                tracing::error!(%error, "the committed offsets cannot be read");
                self.offsets.note_damage(&error);
                Ok(())
            }
            read => read,
        }
    }

    fn read_offsets(&self) -> Result<()> {
        let Ok(topic) = self.topic(CONSUMER_OFFSETS_TOPIC) else { return Ok(()) };
        let partition = topic.partition(PartitionId::new(0))?;
        let (mut cursor, mut spare) = (None, SpareSpans::new());
        let mut from = self.offsets.loaded().max(partition.watermarks().start);
        loop {
            let (batch, next) = partition.fetch(&mut cursor, from, LOAD_LIMITS, &mut spare)?;
            let Some(batch) = batch else { break };
            for record in batch.iter() {
                let commit = record.key.and_then(|key| OffsetCommit::decode(key, record.value));
                if let Some(commit) = commit {
                    self.offsets.apply(commit, record.offset);
                }
            }
            from = next;
            self.offsets.note_loaded(from);
        }
        Ok(())
    }

    /// Refuses offsets that the log cannot have, and notes the epochs of the others.
    fn check_commits(&self, commits: &[OffsetCommit]) -> Result<Vec<OffsetCommit>> {
        let mut commits = commits.to_vec();
        for commit in &mut commits {
            let Some(committed) = &commit.offset else { continue };
            let partition = self.partition(&commit.topic_partition)?;
            let Watermarks { start, end } = partition.watermarks();
            if committed.offset > end {
                return Err(Error::OffsetOutOfRange {
                    topic_partition: commit.topic_partition.clone(),
                    offset: committed.offset,
                    start,
                    end,
                });
            }
            // That of the last record that was processed.
            let last = Offset::new(committed.offset.value().saturating_sub(1));
            commit.leader_epoch = Some(partition.epochs().of(last));
        }
        Ok(commits)
    }
}

struct EncodedCommit {
    key: Vec<u8>,
    value: Option<Vec<u8>>,
}

impl EncodedCommit {
    fn record(&self) -> Record<'_> {
        let record = Record { value: self.value.as_deref(), ..Record::default() };
        record.with_key(&self.key)
    }
}

fn encode(commit: &OffsetCommit, now: Timestamp) -> Result<EncodedCommit> {
    let too_long = |what: &str| Error::InvalidState {
        operation: "commit",
        reason: format!("the {what} is longer than 65535 bytes"),
    };
    let key = commit.key().ok_or_else(|| too_long("group's name"))?;
    let value = commit.value(now).ok_or_else(|| too_long("metadata"))?;
    Ok(EncodedCommit { key, value })
}
