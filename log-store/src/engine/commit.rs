//! The group commit: what arrives together becomes one journal entry, durable by one sync.

use std::sync::Arc;

use parking_lot::MutexGuard;

use crate::batch::BatchBuilder;
use crate::config::Durability;
use crate::engine::checkpoints::Kind;
use crate::engine::state::{CommitQueue, Engine, Pending, Writer};
use crate::error::{Error, Result};
use crate::journal::{EntryWriter, Journal, JournaledBatch};
use crate::partition::{Appender, Partition, PlacedBatch};
use crate::types::{Offset, PartitionId, Timestamp};

/// What may be queued that nobody waits for, as Kafka's `buffer.memory`: who sends more helps to
/// commit it.
const PENDING_BYTES_MAX: usize = 32 << 20;

impl Pending {
    /// The bytes that it takes in a journal entry.
    fn bytes(&self) -> usize {
        self.batches.iter().map(|placed| Journal::batch_len(placed.batch.len())).sum()
    }
}

/// The batches of a transaction for one partition.
#[derive(Debug)]
pub(crate) struct TransactionBatches {
    pub(crate) partition: Arc<Partition>,
    /// Sealed, and none of them empty.
    pub(crate) batches: Vec<BatchBuilder>,
}

impl Engine {
    /// Makes all batches durable (as the store's durability says) and visible together, or none.
    /// Returns the first offset in each partition.
    pub(crate) fn commit_transaction(
        &self,
        mut transaction: Vec<TransactionBatches>,
    ) -> Result<Vec<((u64, PartitionId), Offset)>> {
        let writer = self.writer("commit_transaction")?;
        writer.check("commit_transaction")?;
        transaction.sort_by_key(|part| part.partition.place_key());
        let partitions: Vec<_> = transaction.iter().map(|p| Arc::clone(&p.partition)).collect();
        let now = self.clock.now();
        let mut appenders: Vec<_> = partitions.iter().map(|p| p.appender.lock()).collect();
        for (part, appender) in transaction.iter().zip(&mut appenders) {
            self.check_open(writer, &part.partition, appender, "commit_transaction")?;
            let bytes = part.batches.iter().map(BatchBuilder::len).sum();
            let records = part.batches.iter().map(|batch| u64::from(batch.count())).sum();
            self.prepare(writer, &part.partition, appender, bytes, records, now)?;
        }
        // From here on nothing can fail before the entry is in the journal.
        let keys = partitions.iter().map(|partition| partition.place_key());
        let offsets = appenders.iter().map(|appender| appender.next_offset());
        let bases = keys.zip(offsets).collect();
        let mut placed = Vec::new();
        for (part, appender) in transaction.into_iter().zip(&mut appenders) {
            let (time, config) = (appender.tick(now), part.partition.config());
            for mut batch in part.batches {
                if config.append_time {
                    batch.seal(Some(time));
                }
                placed.push(place(&part.partition, appender, batch, time)?);
            }
        }
        let ticket = self.enqueue(writer, Pending { batches: placed });
        // Under `Os` plain appends go straight to their segments: none may overtake this one.
        let held = (writer.durability == Durability::Os).then_some(appenders);
        let committed = self.wait(ticket);
        drop(held);
        committed.map(|()| bases)
    }

    /// Queues batches, whose partition is locked so that they queue in the order of their offsets.
    pub(super) fn enqueue(&self, writer: &Writer, pending: Pending) -> u64 {
        let mut queue = writer.queue.lock();
        queue.pending_bytes += pending.bytes();
        queue.pending.push_back(pending);
        queue.next_ticket += 1;
        queue.next_ticket
    }

    /// Waits until all that has been queued is committed.
    pub(crate) fn drain(&self, writer: &Writer) -> Result<()> {
        let ticket = writer.queue.lock().next_ticket;
        self.wait(ticket)?;
        writer.check_poison()
    }

    /// Sees to it that what is queued is committed although nobody waits for it.
    pub(crate) fn commit_behind(&self, ticket: u64) -> Result<()> {
        let writer = self.writer("append")?;
        let full = writer.queue.lock().pending_bytes > PENDING_BYTES_MAX;
        let mut work = writer.work.lock();
        if full || !work.served {
            drop(work);
            return self.wait(ticket);
        }
        if !std::mem::replace(&mut work.commit, true) {
            writer.work_came.notify_all();
        }
        Ok(())
    }

    /// Waits until what got this ticket is committed. Whoever waits while nobody is committing
    /// does it, for all that have queued by then.
    pub(crate) fn wait(&self, ticket: u64) -> Result<()> {
        let writer = self.writer("append")?;
        let mut queue = writer.queue.lock();
        while queue.done < ticket {
            // After a failure nothing more is written.
            writer.check_poison()?;
            if queue.leading {
                writer.committed.wait(&mut queue);
                continue;
            }
            queue.leading = true;
            let group = take_group(&mut queue, writer.transaction_bytes_max);
            let tickets = group.len() as u64;
            let committed = MutexGuard::unlocked(&mut queue, || self.commit_group(writer, group));
            queue.leading = false;
            writer.committed.notify_all();
            committed?;
            queue.done += tickets;
        }
        Ok(())
    }

    fn commit_group(&self, writer: &Writer, group: Vec<Pending>) -> Result<()> {
        let unwinding = PoisonOnUnwind(writer);
        let committed = self.write_group(writer, &group);
        std::mem::forget(unwinding);
        committed.map_err(|error| writer.poison(&error))?;
        self.signal.notify();
        let placed = group.into_iter().flat_map(|pending| pending.batches);
        writer.spare.give_back(placed.map(|placed| placed.batch));
        Ok(())
    }

    fn write_group(&self, writer: &Writer, group: &[Pending]) -> Result<()> {
        let batches = || group.iter().flat_map(|pending| &pending.batches);
        let mut entry = EntryWriter::new();
        for placed in batches() {
            entry.add(&JournaledBatch {
                topic_id: placed.partition.place.topic_id,
                partition: placed.partition.topic_partition.partition,
                bytes: placed.batch.bytes(),
            });
        }
        let mut side = writer.journal.lock();
        writer.check_released()?;
        if !side.journal.has_room(&entry) {
            self.checkpoint(writer, &mut side, Kind::Plain)?;
        }
        side.journal.write(&mut entry)?;
        if writer.durability == Durability::Sync {
            side.journal.sync()?;
        }
        for placed in batches() {
            placed.segment.write(placed.begin.position, placed.batch.bytes())?;
        }
        for placed in batches() {
            placed.segment.publish(&placed.publication());
        }
        for placed in batches() {
            placed.partition.announce(&writer.published, &placed.segment);
        }
        Ok(())
    }

    /// Sees to it that the active segment can take batches of that size, before anything of them
    /// is written: a full disk is an error here and nowhere later.
    pub(super) fn prepare(
        &self,
        writer: &Writer,
        partition: &Partition,
        appender: &mut Appender,
        bytes: usize,
        records: u64,
        now: Timestamp,
    ) -> Result<()> {
        let config = partition.config();
        if appender.must_roll(bytes, records, now, &config) {
            self.roll(writer, partition, appender)?;
        }
        let records = u32::try_from(records).unwrap_or(u32::MAX);
        let end = appender.end_after(bytes, records).ok_or_else(|| Error::RecordTooLarge {
            topic_partition: partition.topic_partition.clone(),
            bytes,
            bytes_max: u32::MAX as usize,
            limit_name: "segment.bytes",
        })?;
        appender.active.reserve(end.position, config.segment_bytes)
    }

    /// Refuses an append to a topic that was deleted or a store that was closed.
    pub(super) fn check_open(
        &self,
        writer: &Writer,
        partition: &Partition,
        appender: &Appender,
        operation: &'static str,
    ) -> Result<()> {
        writer.check(operation)?;
        if appender.closed {
            let topic = partition.topic_partition.topic.clone();
            return Err(Error::UnknownTopic { topic });
        }
        partition.check_undamaged()
    }
}

/// Gives a sealed batch the next place of its partition, for which `prepare` has made room.
pub(super) fn place(
    partition: &Arc<Partition>,
    appender: &mut Appender,
    mut batch: BatchBuilder,
    append_time: Timestamp,
) -> Result<PlacedBatch> {
    let too_large = || Error::RecordTooLarge {
        topic_partition: partition.topic_partition.clone(),
        bytes: batch.len(),
        bytes_max: u32::MAX as usize,
        limit_name: "segment.bytes",
    };
    let end = appender.end_after(batch.len(), batch.count()).ok_or_else(too_large)?;
    batch.place_with(&partition.place_checksum, appender.next_offset());
    let begin = std::mem::replace(&mut appender.next, end);
    let segment = Arc::clone(&appender.active);
    let partition = Arc::clone(partition);
    Ok(PlacedBatch { partition, segment, begin, end, append_time, batch })
}

/// A panic in the middle of a commit must not leave the others waiting for its end.
struct PoisonOnUnwind<'a>(&'a Writer);

impl Drop for PoisonOnUnwind<'_> {
    fn drop(&mut self) {
        let reason = "the thread that was committing has panicked".to_owned();
        self.0.poison(&Error::InvalidState { operation: "commit", reason });
    }
}

/// As much of the queue as one entry may hold, and at least its first.
fn take_group(queue: &mut CommitQueue, bytes_max: usize) -> Vec<Pending> {
    let mut bytes = 0;
    let mut group = Vec::new();
    while let Some(next) = queue.pending.front() {
        bytes += next.bytes();
        if !group.is_empty() && bytes > bytes_max {
            break;
        }
        group.extend(queue.pending.pop_front());
    }
    queue.pending_bytes -= group.iter().map(Pending::bytes).sum::<usize>();
    group
}
