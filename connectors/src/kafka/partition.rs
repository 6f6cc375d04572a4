//! A partition that a consumer has: where it reads, and what librdkafka has fetched of it.

use std::cell::Cell;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use headwater_log_store::{Error, Offset, RecordBatch, RecordBatchBuilder, Result, TopicPartition};
use rdkafka::consumer::base_consumer::PartitionQueue;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::Message;

use crate::kafka::context::{Bell, NativeConsumer, ReaderContext};
use crate::kafka::convert::{native_partition, offset_of, push};
use crate::kafka::failure::{self, Next};

/// How much a poll may still take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Room {
    pub(super) records: usize,
    pub(super) bytes: usize,
}

/// See the module.
pub(super) struct Assigned {
    pub(super) topic_partition: TopicPartition,
    queue: PartitionQueue<ReaderContext>,
    /// The next offset that a poll returns. `None` is: there is no place to begin at.
    pub(super) position: Option<Offset>,
    pub(super) paused: bool,
    /// Whether librdkafka is to be told the position anew.
    pub(super) restart: bool,
    /// Whether librdkafka fetches it: from the first poll on, which knows where to begin.
    pub(super) begun: bool,
    /// Whether all that can be read was returned, as far as the last fetch knows.
    pub(super) at_end: bool,
    /// Whether the position has moved over marks of transactions since the last poll.
    pub(super) has_passed_marks: bool,
    /// Whether somebody wanted to know the position at the end.
    pub(super) asked: Cell<bool>,
    /// An end that a fetch which began after it was known has yet to reach.
    pub(super) confirming: Option<Offset>,
    /// When the end was looked at last.
    pub(super) looked: Option<Duration>,
    /// What the last question about the lag has found.
    pub(super) known_end: Cell<Option<(Duration, Offset)>>,
}

impl Assigned {
    /// A partition to be read from `position`. Its fetches ring the bell.
    pub(super) fn new(
        client: &Arc<NativeConsumer>,
        topic_partition: TopicPartition,
        position: Option<Offset>,
        bell: &Bell,
    ) -> Result<Self> {
        let queue = queue(client, &topic_partition, bell)?;
        Ok(Self {
            topic_partition,
            queue,
            position,
            paused: false,
            restart: false,
            begun: false,
            at_end: false,
            has_passed_marks: false,
            asked: Cell::new(false),
            confirming: None,
            looked: None,
            known_end: Cell::new(None),
        })
    }

    /// Takes librdkafka's queue of the partition anew: what is fetched has come elsewhere.
    pub(super) fn find_queue(&mut self, client: &Arc<NativeConsumer>, bell: &Bell) -> Result<()> {
        self.queue = queue(client, &self.topic_partition, bell)?;
        self.restart = true;
        Ok(())
    }

    /// Goes on at `offset`.
    pub(super) fn seek(&mut self, offset: Offset) {
        self.position = Some(offset);
        self.read_on();
        if self.begun {
            // What was fetched before may still say that it has come to an end.
            self.confirming = None;
        }
        self.restart = true;
    }

    /// What was fetched, up to the room there is.
    pub(super) fn read(&mut self, room: Room) -> Result<Option<RecordBatch>> {
        let mut batch = RecordBatchBuilder::new(self.topic_partition.clone());
        let (mut records, mut bytes) = (0, 0);
        while records < room.records && bytes < room.bytes {
            match self.queue.poll(Duration::ZERO) {
                None => break,
                Some(Ok(message)) => {
                    let offset = offset_of(message.offset());
                    // What was fetched before a restart may still come.
                    if self.position.is_some_and(|position| offset < position) {
                        continue;
                    }
                    bytes += push(&mut batch, &message);
                    records += 1;
                    self.position = Some(offset.next());
                    self.at_end = false;
                    self.asked.set(false);
                }
                Some(Err(KafkaError::PartitionEOF(_))) => self.reach_end(),
                Some(Err(error)) if records == 0 => self.judge(&error)?,
                Some(Err(error)) => {
                    // First what was read. An error that lasts comes back by itself.
                    tracing::debug!(%error, partition = %self.topic_partition, "a fetch failed");
                    break;
                }
            }
        }
        Ok((records > 0).then(|| batch.build()))
    }

    /// The fetch has come to the end.
    fn reach_end(&mut self) {
        self.at_end = true;
        if let Some(end) = self.confirming.take() {
            // All before it was returned: what is left are the marks of transactions.
            self.has_passed_marks |= self.position.is_some_and(|position| position < end);
            self.position = self.position.map(|position| position.max(end));
        }
    }

    fn read_on(&mut self) {
        self.at_end = false;
        self.asked.set(false);
        self.looked = None;
        self.known_end.set(None);
    }

    /// Whether an error of a fetch is the caller's. librdkafka goes on after most of them.
    fn judge(&self, error: &KafkaError) -> Result<()> {
        match failure::code(error) {
            Some(Code::AutoOffsetReset | Code::OffsetOutOfRange) => Err(Error::OffsetOutOfRange {
                topic_partition: self.topic_partition.clone(),
                offset: self.position.unwrap_or_default(),
                // To be filled in by who can ask.
                start: Offset::ZERO,
                end: Offset::ZERO,
            }),
            Some(code) if failure::next(code) == Next::Fail => {
                Err(failure::external("poll", error))
            }
            _ => {
                tracing::debug!(%error, partition = %self.topic_partition, "a fetch failed");
                Ok(())
            }
        }
    }
}

/// librdkafka's queue of a partition.
fn queue(
    client: &Arc<NativeConsumer>,
    topic_partition: &TopicPartition,
    bell: &Bell,
) -> Result<PartitionQueue<ReaderContext>> {
    let partition = native_partition(topic_partition.partition);
    let mut queue = client
        .split_partition_queue(topic_partition.topic.as_str(), partition)
        .ok_or_else(|| Error::UnknownTopic { topic: topic_partition.topic.clone() })?;
    let bell = bell.clone();
    queue.set_nonempty_callback(move || bell.news());
    Ok(queue)
}

impl fmt::Debug for Assigned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Assigned")
            .field("topic_partition", &self.topic_partition)
            .field("position", &self.position)
            .field("at_end", &self.at_end)
            .finish_non_exhaustive()
    }
}
