//! A repartition partition as a replay reads it: one queue per writing task, merged by
//! (timestamp, writer, offset), so that the order does not depend on when each task wrote.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use headwater_log_store::{Consumer, ConsumerConfig, Log, Offset, RecordBatch, TopicPartition};

use crate::context::writer_of;
use crate::error::{Error, Result};
use crate::runtime::reader::reader_config;

/// The most bytes that one writer's poll brings.
const FETCH_BYTES_MAX: usize = 1 << 20;

/// How long one poll waits where the end is known to lie ahead.
const POLL: Duration = Duration::from_millis(100);

/// One writer's records, read by a consumer of its own: memory is bounded by a poll per writer.
struct Cursor {
    writer: u32,
    consumer: Box<dyn Consumer>,
    /// Polled batches, the first one being read.
    batches: Vec<Rc<RecordBatch>>,
    index: usize,
    /// Everything of this writer below it was processed.
    position: Offset,
    done: bool,
}

/// See the module.
pub(crate) struct WriterMerge {
    topic_partition: TopicPartition,
    cursors: Vec<Cursor>,
    end: Offset,
    /// The cursor with the next record, once it is known.
    next: Option<usize>,
}

impl WriterMerge {
    /// Reads the records of `writers` tasks from their positions (default `start`) up to `end`.
    pub(crate) fn open(
        log: &dyn Log,
        topic_partition: &TopicPartition,
        writers: u32,
        positions: &BTreeMap<u32, Offset>,
        start: Offset,
        end: Offset,
    ) -> Result<Self> {
        let mut cursors = Vec::new();
        for writer in 0..writers {
            let position = positions.get(&writer).copied().unwrap_or(start).max(start);
            let reading = || format!("the replay of {topic_partition}");
            let config = ConsumerConfig { fetch_bytes_max: FETCH_BYTES_MAX, ..reader_config() };
            let mut consumer = log.consumer(&config).map_err(Error::log(reading()))?;
            consumer
                .assign(std::slice::from_ref(topic_partition))
                .and_then(|()| consumer.seek(topic_partition, position))
                .map_err(Error::log(reading()))?;
            cursors.push(Cursor {
                writer,
                consumer,
                batches: Vec::new(),
                index: 0,
                position,
                done: position >= end,
            });
        }
        Ok(Self { topic_partition: topic_partition.clone(), cursors, end, next: None })
    }

    /// The next record in the merged order.
    pub(crate) fn peek(&mut self) -> Result<Option<(Rc<RecordBatch>, usize)>> {
        if self.next.is_none() {
            let mut best = None;
            for (index, cursor) in self.cursors.iter_mut().enumerate() {
                cursor.fill(&self.topic_partition, self.end)?;
                if let Some(view) = cursor.head() {
                    let order = (view.0, cursor.writer, view.1);
                    if best.is_none_or(|(least, _)| order < least) {
                        best = Some((order, index));
                    }
                }
            }
            self.next = best.map(|(_, index)| index);
        }
        let cursor = self.next.and_then(|next| self.cursors.get(next));
        Ok(cursor.and_then(|cursor| Some((Rc::clone(cursor.batches.first()?), cursor.index))))
    }

    /// Goes past the record that `peek` has shown.
    pub(crate) fn advance(&mut self) {
        let cursor = self.next.take().and_then(|next| self.cursors.get_mut(next));
        if let Some(cursor) = cursor {
            if let Some((_, offset)) = cursor.head() {
                cursor.position = offset.next();
            }
            cursor.index += 1;
        }
    }

    /// How far each writer's records were processed.
    pub(crate) fn positions(&self) -> BTreeMap<u32, Offset> {
        self.cursors.iter().map(|cursor| (cursor.writer, cursor.position)).collect()
    }

    /// Everything below it was processed.
    pub(crate) fn position(&self) -> Offset {
        let open = self.cursors.iter().filter(|cursor| !cursor.done);
        open.map(|cursor| cursor.position).min().unwrap_or(self.end)
    }
}

impl Cursor {
    fn head(&self) -> Option<(headwater_log_store::Timestamp, Offset)> {
        let view = self.batches.first()?.get(self.index)?;
        Some((view.timestamp, view.offset))
    }

    /// Moves on to the next record of this writer, or to the end.
    fn fill(&mut self, topic_partition: &TopicPartition, end: Offset) -> Result<()> {
        while !self.done {
            while let Some(batch) = self.batches.first() {
                if let Some(view) = batch.get(self.index) {
                    if view.offset >= end {
                        self.finish(end);
                        return Ok(());
                    }
                    if writer_of(&view).map_or(0, |partition| partition.value()) == self.writer {
                        return Ok(());
                    }
                    self.index += 1;
                } else {
                    self.batches.remove(0);
                    self.index = 0;
                }
            }
            let reading = || format!("the replay of {topic_partition}");
            if self.consumer.position(topic_partition).map_err(Error::log(reading()))? >= end {
                self.finish(end);
                return Ok(());
            }
            let polled = self.consumer.poll(POLL).map_err(Error::log(reading()))?;
            self.batches = polled.into_iter().map(Rc::new).collect();
        }
        Ok(())
    }

    fn finish(&mut self, end: Offset) {
        self.done = true;
        self.position = end;
        self.batches.clear();
        self.index = 0;
    }
}
