//! Appends outside of transactions.

use std::sync::Arc;

use crate::batch::BatchBuilder;
use crate::config::{Durability, TopicConfig};
use crate::engine::commit::place;
use crate::engine::state::{Engine, Pending, Writer};
use crate::error::{Error, Result};
use crate::log::Compression;
use crate::partition::{Appender, DirectWrite, Partition};
use crate::record::Record;
use crate::segment::Publication;
use crate::types::{Offset, Timestamp};

/// What an append returns before it is acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Appended {
    /// The offset of its first record; the others follow it.
    pub(crate) first: Offset,
    /// What to [`wait`](Engine::wait) for; nothing if it is acknowledged already.
    pub(crate) ticket: Option<u64>,
}

impl Engine {
    /// Appends records, in as many batches as `max.message.bytes` asks for. Each batch is whole or
    /// absent after a crash.
    pub(crate) fn append(
        &self,
        partition: &Arc<Partition>,
        records: &[Record<'_>],
        compression: Compression,
    ) -> Result<Appended> {
        let writer = self.writer("append")?;
        let mut bytes = 0;
        for record in records {
            bytes += check_record(partition, record, writer.transaction_bytes_max())?;
        }
        match writer.durability {
            Durability::Os => self.append_direct(writer, partition, records, bytes, compression),
            Durability::Sync | Durability::Interval(_) => {
                self.append_journaled(writer, partition, records, compression)
            }
        }
    }

    /// Writes to the segment, which takes `bytes` at most, and publishes at once.
    fn append_direct(
        &self,
        writer: &Writer,
        partition: &Partition,
        records: &[Record<'_>],
        bytes: usize,
        compression: Compression,
    ) -> Result<Appended> {
        let now = self.clock.now();
        let mut appender = partition.appender.lock();
        self.check_open(writer, partition, &appender, "append")?;
        let first = appender.next_offset();
        let time = appender.tick(now);
        self.prepare(writer, partition, &mut appender, bytes, records.len() as u64, now)?;
        let mut direct = std::mem::take(&mut appender.direct);
        let batching = Batching::new(writer, &partition.config(), time, compression);
        let written = write_batches(partition, &mut appender, &mut direct, records, &batching);
        appender.direct = direct;
        let bytes = match written {
            Ok(bytes) => bytes,
            // Nothing is published, and the next append begins at the same place.
            Err(error @ Error::DiskFull { .. }) => return Err(error),
            Err(error) => return Err(writer.poison(&error)),
        };
        for publication in &appender.direct.publications {
            appender.active.publish(publication);
        }
        partition.announce(&writer.published, &appender.active);
        drop(appender);
        self.signal.notify();
        self.count_bytes(writer, bytes)?;
        Ok(Appended { first, ticket: None })
    }

    /// Queues for the journal, and publishes when that has it.
    fn append_journaled(
        &self,
        writer: &Writer,
        partition: &Arc<Partition>,
        records: &[Record<'_>],
        compression: Compression,
    ) -> Result<Appended> {
        let now = self.clock.now();
        let config = &*partition.config();
        let mut batches = Vec::new();
        let mut builder = BatchBuilder::default();
        let batching = Batching::new(writer, config, now, compression);
        for_each_batch(records, &batching, &mut builder, |batch| {
            batches.push(std::mem::take(batch));
        });
        let mut appender = partition.appender.lock();
        self.check_open(writer, partition, &appender, "append")?;
        // For all of them: either all find room, or none is written.
        let bytes = batches.iter().map(BatchBuilder::len).sum();
        self.prepare(writer, partition, &mut appender, bytes, records.len() as u64, now)?;
        let first = appender.next_offset();
        let time = appender.tick(now);
        let mut ticket = None;
        for mut batch in batches {
            if config.append_time {
                batch.seal(Some(time));
            }
            let placed = place(partition, &mut appender, batch, time)?;
            ticket = Some(self.enqueue(writer, Pending { batches: vec![placed] }));
        }
        Ok(Appended { first, ticket })
    }
}

/// Refuses a record that is larger than its topic, or the journal, allows, and one without a key
/// where a compaction goes by keys. Returns how many bytes it takes at most.
#[inline]
pub(crate) fn check_record(
    partition: &Partition,
    record: &Record<'_>,
    transaction_bytes_max: usize,
) -> Result<usize> {
    let bytes = BatchBuilder::size_of(record);
    let needs_key = record.key.is_none() && partition.is_compacted();
    if needs_key || bytes > partition.message_bytes_max().min(transaction_bytes_max) {
        return Err(refused(partition, needs_key, bytes, transaction_bytes_max));
    }
    Ok(bytes)
}

/// Why a record is refused.
#[cold]
fn refused(
    partition: &Partition,
    needs_key: bool,
    bytes: usize,
    transaction_bytes_max: usize,
) -> Error {
    let topic_partition = partition.topic_partition.clone();
    if needs_key {
        let reason = "it has no key, and the topic is compacted (cleanup.policy) by key";
        return Error::InvalidRecord { topic_partition, reason: reason.to_owned() };
    }
    let message_bytes_max = partition.message_bytes_max();
    let (bytes_max, limit_name) = if message_bytes_max <= transaction_bytes_max {
        (message_bytes_max, "max.message.bytes")
    } else {
        (transaction_bytes_max, "a quarter of journal.bytes")
    };
    Error::RecordTooLarge { topic_partition, bytes, bytes_max, limit_name }
}

/// Encodes records and writes them behind the end of the active segment, which has room for them.
/// They are not published yet: all of them are, or none.
fn write_batches(
    partition: &Partition,
    appender: &mut Appender,
    direct: &mut DirectWrite,
    records: &[Record<'_>],
    batching: &Batching,
) -> Result<usize> {
    let append_time = batching.now;
    let start = appender.next;
    let mut written = Ok(0);
    direct.publications.clear();
    let DirectWrite { builder, publications } = direct;
    for_each_batch(records, batching, builder, |batch| {
        let Ok(bytes) = &mut written else { return };
        *bytes += batch.len();
        let begin = appender.next;
        let end = appender.end_after(batch.len(), batch.count()).expect("prepared for all of them");
        batch.place_with(&partition.place_checksum, appender.next_offset());
        match appender.active.write(begin.position, batch.bytes()) {
            Ok(()) => {
                let max_timestamp = batch.max_timestamp();
                publications.push(Publication { begin, end, max_timestamp, append_time });
                appender.next = end;
            }
            Err(error) => written = Err(error),
        }
    });
    if written.is_err() {
        appender.next = start;
    }
    written
}

/// How records are put into batches.
struct Batching {
    /// The largest batch: what the topic allows, and what the journal takes as one entry.
    bytes_max: usize,
    /// When the append is.
    now: Timestamp,
    /// Whether that is the time of the records.
    append_time: bool,
    compression: Compression,
}

impl Batching {
    fn new(writer: &Writer, config: &TopicConfig, now: Timestamp, producer: Compression) -> Self {
        Self {
            bytes_max: (config.message_bytes_max as usize).min(writer.transaction_bytes_max()),
            now,
            append_time: config.append_time,
            compression: config.compression(producer),
        }
    }

    fn finish(&self, builder: &mut BatchBuilder) {
        builder.compress(self.compression);
        builder.seal(self.append_time.then_some(self.now));
    }
}

/// Encodes records into batches that stay within their limit, one after the other in the same
/// builder, and hands out each when it is sealed.
fn for_each_batch(
    records: &[Record<'_>],
    batching: &Batching,
    builder: &mut BatchBuilder,
    mut each: impl FnMut(&mut BatchBuilder),
) {
    builder.clear();
    for record in records {
        let full = builder.len() + BatchBuilder::size_of(record) > batching.bytes_max;
        if builder.count() > 0 && full {
            batching.finish(builder);
            each(builder);
            builder.clear();
        }
        builder.push(record, record.timestamp.unwrap_or(batching.now));
    }
    if builder.count() > 0 {
        batching.finish(builder);
        each(builder);
        builder.clear();
    }
}
