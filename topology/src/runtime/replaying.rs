//! A replay as it runs: task by task, upstream first, each up to its fixed end.
//!
//! The tasks of a replay run one after the other, so each output partition has the records of its
//! writers in the same order every time; a task chooses among its queues only when each shows its
//! next record or is at its end, so nothing depends on when a poll has brought what. A repartition
//! topic is read through [`WriterMerge`], because in it the records of one writer follow those of
//! another regardless of their times.
//!
//! Where topics lead back, as the answers of a foreign-key join do, a replay goes through its tasks
//! in rounds: what was written to such a topic in one round is read in the next, up to an end that
//! is fixed when the round starts. The last round is one that has written nothing to them.
//!
//! How far it has come is committed with the offsets: an application that is killed goes on where
//! it was, in the same order.

use headwater_log_store::OffsetAndMetadata;

use crate::error::Result;
use crate::runtime::commit::CommitOutcome;
use crate::runtime::ends::end_of;
use crate::runtime::record_queue::RecordQueue;
use crate::runtime::resolve::Resolved;
use crate::runtime::task_set::{TaskSet, fetched};
use crate::runtime::wipe;
use crate::runtime::writer_merge::WriterMerge;

impl TaskSet {
    /// Whether a replay runs.
    pub(crate) fn is_replaying(&self) -> bool {
        self.replay.is_some()
    }

    /// Gives the queues of the task that a replay has come to their ends.
    pub(crate) fn prepare_replay(&mut self) -> Result<()> {
        if self.replay.is_none() {
            return Ok(());
        }
        for index in &self.active {
            let Some(task) = self.tasks.get_mut(*index) else { continue };
            let subtopology = task.id.subtopology as usize;
            for queue in &mut task.queues {
                if !queue.internal {
                    // A partition without an end was not there at the reset: it waits.
                    let end = queue.committed.metadata.replay_end;
                    queue.end = Some(end.unwrap_or(queue.committed.offset));
                    continue;
                }
                let topic_partition = &queue.topic_partition;
                let metadata = &queue.committed.metadata;
                let sources = self.application.graph.source_topics(subtopology).into_iter();
                let topic = sources.map(|(_, topic)| topic).find(|topic| {
                    *self.application.resolved.topic(topic).name == *topic_partition.topic.as_str()
                });
                let writers = topic
                    .and_then(|topic| Resolved::writer_of(&self.application.graph, topic))
                    .and_then(|writer| self.application.resolved.tasks.get(writer).copied())
                    .unwrap_or_default();
                let leads_back = topic.is_some_and(|topic| {
                    self.application.resolved.is_feedback(
                        &self.application.graph,
                        subtopology,
                        topic,
                    )
                });
                let end = if leads_back {
                    metadata.replay_end.unwrap_or(queue.committed.offset)
                } else {
                    // The writers are through, so this is the end of the round for good.
                    end_of(self.log.as_ref(), topic_partition)?
                };
                let merge = WriterMerge::open(
                    self.log.as_ref(),
                    topic_partition,
                    writers,
                    &metadata.writers,
                    queue.committed.offset,
                    end,
                )?;
                queue.merge(merge);
            }
        }
        Ok(())
    }

    /// Goes on to the next task if the one that runs is through, and to live work after the last.
    /// Returns whether anything changed.
    pub(crate) fn advance_replay(&mut self) -> Result<bool> {
        if self.replay.is_none() {
            return Ok(false);
        }
        for index in &self.active {
            let Some(task) = self.tasks.get_mut(*index) else { continue };
            for queue in &mut task.queues {
                let fetched = fetched(queue, self.consumer.as_ref())?;
                if !queue.is_exhausted(fetched)? {
                    return Ok(false);
                }
            }
        }
        if self.commit()? == CommitOutcome::TakenBack {
            // The end of the stage is to be processed again first.
            return Ok(true);
        }
        for index in &self.active {
            let queues = self.tasks.get_mut(*index).into_iter().flat_map(|task| &mut task.queues);
            // What lies after their ends is polled again when the replay is over.
            queues.for_each(RecordQueue::rewind);
        }
        if let Some(replay) = &mut self.replay {
            replay.stage += 1;
            if replay.stage < self.tasks.len() {
                self.activate()?;
                return Ok(true);
            }
        }
        if self.start_round()? {
            self.activate()?;
        } else {
            self.finish_replay()?;
        }
        Ok(true)
    }

    /// Starts with the first task again if topics that lead back have something to read, and notes
    /// up to where, so that an application that is killed reads no further in this round.
    fn start_round(&mut self) -> Result<bool> {
        let (mut notes, mut more) = (Vec::new(), false);
        for task in &mut self.tasks {
            let subtopology = task.id.subtopology as usize;
            let read = self
                .application
                .graph
                .source_topics(subtopology)
                .into_iter()
                .map(|(_, topic)| topic);
            let back: Vec<&str> = read
                .filter(|topic| {
                    self.application.resolved.is_feedback(
                        &self.application.graph,
                        subtopology,
                        topic,
                    )
                })
                .map(|topic| &*self.application.resolved.topic(topic).name)
                .collect();
            let leads_back =
                |queue: &&mut RecordQueue| back.contains(&queue.topic_partition.topic.as_str());
            for queue in task.queues.iter_mut().filter(leads_back) {
                let end = end_of(self.log.as_ref(), &queue.topic_partition)?;
                let committed = &mut queue.committed;
                // The round is through, so all below the end that it had was read.
                let read = committed.metadata.replay_end.unwrap_or(committed.offset);
                more |= read < end;
                committed.metadata.replay_end = Some(end);
                let metadata = committed.metadata.to_text();
                let note = OffsetAndMetadata { offset: committed.offset, metadata };
                notes.push((queue.topic_partition.clone(), note));
            }
        }
        if !more {
            return Ok(false);
        }
        wipe::commit(self.log.as_ref(), &self.config.application_id, &notes)?;
        if let Some(replay) = &mut self.replay {
            replay.stage = 0;
        }
        Ok(true)
    }

    /// Notes for every partition that the replay is over, in one commit.
    fn finish_replay(&mut self) -> Result<()> {
        let mut offsets = Vec::new();
        for queue in self.tasks.iter_mut().flat_map(|task| &mut task.queues) {
            let offset = if queue.internal {
                end_of(self.log.as_ref(), &queue.topic_partition)?
            } else {
                queue.committed.offset
            };
            queue.leave_replay(offset);
            let metadata = queue.committed.metadata.to_text();
            offsets.push((queue.topic_partition.clone(), OffsetAndMetadata { offset, metadata }));
        }
        offsets.extend(self.globals.leave_replay());
        wipe::commit(self.log.as_ref(), &self.config.application_id, &offsets)?;
        self.replay = None;
        self.activate()
    }

    /// Which stage of how many a replay has come to.
    pub(crate) fn replay_stage(&self) -> Option<(usize, usize)> {
        self.replay.as_ref().map(|replay| (replay.stage, self.tasks.len()))
    }
}
