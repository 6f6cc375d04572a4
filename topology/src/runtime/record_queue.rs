//! The records of one partition on their way into a task, in the order of their offsets.

use std::collections::VecDeque;
use std::rc::Rc;

use headwater_log_store::{Offset, OffsetAndMetadata, RecordBatch, Timestamp, TopicPartition};

use crate::context::{Context, Step};
use crate::error::Result;
use crate::processor::Source;
use crate::runtime::commit_metadata::CommitMetadata;
use crate::runtime::poison::Poison;
use crate::runtime::writer_merge::WriterMerge;

/// Where the records come from.
enum Feed {
    /// The worker's consumer.
    Polled { batches: VecDeque<Rc<RecordBatch>>, index: usize, buffered: usize },
    /// A replay of a repartition topic.
    Merged(WriterMerge),
}

impl Feed {
    fn empty() -> Self {
        Self::Polled { batches: VecDeque::new(), index: 0, buffered: 0 }
    }
}

/// What looking for the next record has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Head {
    /// It is decoded, and this is its event time.
    Ready(Timestamp),
    /// It was dropped or made a dead letter.
    Dropped,
    /// There is none.
    None,
}

/// What the last commit knows of a queue.
#[derive(Clone, Debug)]
pub(crate) struct Committed {
    pub(crate) offset: Offset,
    pub(crate) metadata: CommitMetadata,
}

/// See the module.
pub(crate) struct RecordQueue {
    pub(crate) topic_partition: TopicPartition,
    /// Whether it reads a repartition topic.
    pub(crate) internal: bool,
    source: Box<dyn Source>,
    feed: Feed,
    /// The event time and the offset of the head, once it is decoded.
    head: Option<(Timestamp, Offset)>,
    partition_time: Option<Timestamp>,
    /// The next offset to process.
    position: Offset,
    /// Where a replay ends for this queue.
    pub(crate) end: Option<Offset>,
    pub(crate) committed: Committed,
    changed: bool,
    pub(crate) paused: bool,
    /// Whether the queue was found to have nothing to fetch since the last poll.
    pub(crate) known_drained: bool,
    /// Until when the task waits for it, since it was found empty.
    idle_until_ms: Option<i64>,
}

impl RecordQueue {
    pub(crate) fn new(
        topic_partition: TopicPartition,
        internal: bool,
        source: Box<dyn Source>,
        committed: Committed,
    ) -> Self {
        Self {
            topic_partition,
            internal,
            source,
            feed: Feed::empty(),
            head: None,
            partition_time: committed.metadata.partition_time,
            position: committed.offset,
            end: None,
            committed,
            changed: false,
            paused: false,
            known_drained: false,
            idle_until_ms: None,
        }
    }

    /// Whether the task has waited for that long for the queue, which is empty.
    pub(crate) fn has_idled(&mut self, idle_ms: i64, now_ms: i64) -> bool {
        now_ms >= *self.idle_until_ms.get_or_insert(now_ms.saturating_add(idle_ms))
    }

    /// Until when the task waits for the queue, if it does.
    pub(crate) fn idle_until_ms(&self) -> Option<i64> {
        self.idle_until_ms
    }

    /// The largest event time that was processed.
    pub(crate) fn partition_time(&self) -> Option<Timestamp> {
        self.partition_time
    }

    /// The next offset to process.
    pub(crate) fn position(&self) -> Offset {
        self.position
    }

    /// How many records lie here.
    pub(crate) fn buffered(&self) -> usize {
        match &self.feed {
            Feed::Polled { buffered, .. } => *buffered,
            Feed::Merged(_) => 0,
        }
    }

    pub(crate) fn push(&mut self, batch: RecordBatch) {
        if let Feed::Polled { batches, buffered, .. } = &mut self.feed {
            *buffered += batch.len();
            batches.push_back(Rc::new(batch));
        }
    }

    /// Reads a repartition topic's replay from now on.
    pub(crate) fn merge(&mut self, merge: WriterMerge) {
        self.feed = Feed::Merged(merge);
        self.head = None;
        self.source.clear();
    }

    /// Whether the next record is decoded.
    #[inline]
    pub(crate) fn has_head(&self) -> bool {
        self.head.is_some()
    }

    /// Whether records come from the worker's consumer.
    pub(crate) fn is_polled(&self) -> bool {
        matches!(self.feed, Feed::Polled { .. })
    }

    /// Makes the next record the decoded head. One that is dropped is work as well: it is counted,
    /// and the caller decides whether to go on, because dead letters fill a transaction too.
    #[inline]
    pub(crate) fn load_head(&mut self, context: &mut Context, poison: &Poison) -> Step<Head> {
        if let Some((timestamp, _)) = self.head {
            return Ok(Head::Ready(timestamp));
        }
        let Some((batch, index)) = self.peek()? else { return Ok(Head::None) };
        self.idle_until_ms = None;
        context.current.enter(&batch, index);
        let view = batch.get(index).expect("peek answers with a record that is there");
        context.metrics.records_in += 1;
        let answer = poison.answer(&self.topic_partition, view.offset);
        let loaded = match answer {
            Some((response, report)) => {
                context.apply(*response, report)?;
                None
            }
            None => self.source.load(&view, self.partition_time, context)?,
        };
        if let Some(timestamp) = loaded {
            self.head = Some((timestamp, view.offset));
            return Ok(Head::Ready(timestamp));
        }
        self.advance(view.offset);
        Ok(Head::Dropped)
    }

    /// Processes the head, which `load_head` has found.
    #[inline]
    pub(crate) fn process_head(&mut self, context: &mut Context) -> Step {
        let Some((timestamp, offset)) = self.head.take() else { return Ok(()) };
        let Some((batch, index)) = self.peek()? else { return Ok(()) };
        context.current.enter(&batch, index);
        self.source.process(context)?;
        self.partition_time = Some(self.partition_time.map_or(timestamp, |t| t.max(timestamp)));
        self.advance(offset);
        Ok(())
    }

    /// Decodes the next record and processes it at once, the task's stream time brought up to it:
    /// for a task without another queue, whose head could come first.
    #[inline]
    pub(crate) fn process_next(&mut self, context: &mut Context, poison: &Poison) -> Step<Head> {
        let Feed::Polled { batches, index, .. } = &self.feed else {
            return self.load_and_process(context, poison);
        };
        if self.head.is_some() {
            return self.load_and_process(context, poison);
        }
        let Some((batch, view)) = batches.front().and_then(|b| Some((b, b.get(*index)?))) else {
            return Ok(Head::None);
        };
        let (offset, is_last) = (view.offset, *index + 1 == batch.len());
        if self.end.is_some_and(|end| offset >= end) {
            return Ok(Head::None);
        }
        self.idle_until_ms = None;
        context.current.enter(batch, *index);
        context.metrics.records_in += 1;
        let passed = match poison.answer(&self.topic_partition, offset) {
            None => self.source.pass(&view, self.partition_time, context)?,
            Some((response, report)) => {
                context.apply(*response, report)?;
                None
            }
        };
        self.partition_time = self.partition_time.max(passed);
        self.advance_polled(offset, is_last);
        Ok(passed.map_or(Head::Dropped, Head::Ready))
    }

    fn load_and_process(&mut self, context: &mut Context, poison: &Poison) -> Step<Head> {
        let head = self.load_head(context, poison)?;
        if let Head::Ready(timestamp) = head {
            context.current.stream_time = context.current.stream_time.max(Some(timestamp));
            self.process_head(context)?;
        }
        Ok(head)
    }

    #[inline]
    fn peek(&mut self) -> Result<Option<(Rc<RecordBatch>, usize)>> {
        let end = self.end;
        match &mut self.feed {
            Feed::Merged(merge) => merge.peek(),
            Feed::Polled { batches, index, .. } => Ok(batches.front().and_then(|batch| {
                let is_next = match end {
                    None => *index < batch.len(),
                    Some(end) => batch.get(*index)?.offset < end,
                };
                is_next.then(|| (Rc::clone(batch), *index))
            })),
        }
    }

    #[inline]
    fn advance(&mut self, processed: Offset) {
        match &mut self.feed {
            Feed::Merged(merge) => {
                self.changed = true;
                merge.advance();
                self.position = merge.position();
            }
            Feed::Polled { batches, index, .. } => {
                let is_last = batches.front().is_some_and(|batch| *index + 1 >= batch.len());
                self.advance_polled(processed, is_last);
            }
        }
    }

    /// Goes behind a record, which was the last one of its batch or not.
    #[inline]
    fn advance_polled(&mut self, processed: Offset, is_last: bool) {
        self.changed = true;
        self.position = processed.next();
        if let Feed::Polled { batches, index, buffered } = &mut self.feed {
            *buffered = buffered.saturating_sub(1);
            *index += 1;
            if is_last {
                batches.pop_front();
                *index = 0;
            }
        }
    }

    /// Whether a replay has nothing more to read here; `fetched` is where the next poll goes on.
    pub(crate) fn is_exhausted(&mut self, fetched: Offset) -> Result<bool> {
        if self.head.is_some() || self.peek()?.is_some() {
            return Ok(false);
        }
        match (&self.feed, self.end) {
            (Feed::Merged(_), _) => Ok(true),
            // What is left lies at the end or after it; else the poll has to get there.
            (Feed::Polled { batches, .. }, Some(end)) => Ok(!batches.is_empty() || fetched >= end),
            (Feed::Polled { .. }, None) => Ok(false),
        }
    }

    /// What a commit has to note, if anything was processed since the last one.
    pub(crate) fn to_commit(&self) -> Option<(TopicPartition, OffsetAndMetadata)> {
        self.changed.then(|| self.to_commit_again())
    }

    /// What a commit has to note, whether or not anything was processed since the last one.
    pub(crate) fn to_commit_again(&self) -> (TopicPartition, OffsetAndMetadata) {
        let Committed { offset, metadata } = self.progress();
        let metadata = metadata.to_text();
        (self.topic_partition.clone(), OffsetAndMetadata { offset, metadata })
    }

    fn progress(&self) -> Committed {
        let writers = match &self.feed {
            Feed::Merged(merge) => merge.positions(),
            Feed::Polled { .. } => std::collections::BTreeMap::new(),
        };
        let metadata = CommitMetadata {
            partition_time: self.partition_time,
            replay_end: self.committed.metadata.replay_end,
            writers,
            wipe: Vec::new(),
        };
        Committed { offset: self.position, metadata }
    }

    /// Whether something was processed since the last commit.
    pub(crate) fn is_changed(&self) -> bool {
        self.changed
    }

    /// The commit took place.
    pub(crate) fn commit(&mut self) {
        if self.changed {
            self.committed = self.progress();
            self.changed = false;
        }
    }

    /// Goes back to the last commit; the worker's consumer has to seek there.
    pub(crate) fn rewind(&mut self) {
        self.feed = Feed::empty();
        self.head = None;
        self.source.clear();
        self.position = self.committed.offset;
        self.partition_time = self.committed.metadata.partition_time;
        self.changed = false;
        self.paused = false;
        self.known_drained = false;
        self.idle_until_ms = None;
    }

    /// Takes the queue out of its replay: it goes on at `offset`, live.
    pub(crate) fn leave_replay(&mut self, offset: Offset) {
        self.committed.offset = offset;
        self.committed.metadata.replay_end = None;
        self.committed.metadata.writers.clear();
        self.end = None;
        self.rewind();
    }
}
