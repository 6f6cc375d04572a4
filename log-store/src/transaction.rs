//! A transaction while it is open: encoded batches, bounded in bytes.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::batch::{BatchBuilder, SpareBuffers};
use crate::engine::{Engine, TransactionBatches};
use crate::error::{Error, Result};
use crate::group::OffsetCommit;
use crate::journal::Journal;
use crate::log::{Acknowledgement, Compression, Receipt, RecordMetadata};
use crate::partition::Partition;
use crate::record::Record;
use crate::types::{Offset, PartitionId, Timestamp, TopicPartition};

/// Batches of a transaction are closed at this size: large enough that their overhead is nothing,
/// small enough that a reader takes them in easily.
const BATCH_BYTES: usize = 128 << 10;
/// In a receipt's index, the bits for the record's number within its partition.
const RECORD_BITS: u32 = 40;

/// What a transaction has collected.
#[derive(Debug)]
pub(crate) struct Transaction {
    parts: Vec<Part>,
    by_place: HashMap<(u64, PartitionId), usize>,
    /// The part of the last record: that of the next one is mostly the same.
    last: usize,
    commits: Vec<OffsetCommit>,
    bytes: usize,
    bytes_max: usize,
    /// What the producer asks for.
    compression: Compression,
    spare: Arc<SpareBuffers>,
    outcome: Arc<Outcome>,
}

#[derive(Debug)]
struct Part {
    partition: Arc<Partition>,
    full: Vec<BatchBuilder>,
    current: BatchBuilder,
    records: u64,
}

impl Transaction {
    /// An empty one that may hold `bytes_max`, in buffers that are left over or new.
    pub(crate) fn new(
        bytes_max: usize,
        compression: Compression,
        spare: Arc<SpareBuffers>,
    ) -> Self {
        Self {
            parts: Vec::new(),
            by_place: HashMap::new(),
            last: 0,
            commits: Vec::new(),
            bytes: 0,
            bytes_max,
            compression,
            spare,
            outcome: Arc::default(),
        }
    }

    /// The encoded bytes that it holds.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The most that it may hold.
    pub(crate) fn bytes_max(&self) -> usize {
        self.bytes_max
    }

    /// Adds a record with its event time, which takes `size` at most. Returns the index of its
    /// receipt.
    #[inline]
    pub(crate) fn push(
        &mut self,
        partition: &Arc<Partition>,
        record: &Record<'_>,
        timestamp: Timestamp,
        size: usize,
    ) -> Result<u64> {
        self.check_room(Journal::batch_len(size))?;
        let bytes_max = BATCH_BYTES.min(partition.message_bytes_max());
        let compression = self.compression;
        let slot = self.slot(partition);
        let part = self.parts.get_mut(slot).expect("just looked up");
        if part.current.count() > 0 && part.current.len() + size > bytes_max {
            part.close_batch(compression);
        }
        if part.current.count() == 0 {
            part.current = self.spare.take();
        }
        let before = part.current.len();
        part.current.push_sized(record, timestamp, size);
        let added = part.current.len() - before;
        // A batch's overhead in the journal is counted with its first record.
        self.bytes += if before == 0 { Journal::batch_len(added) } else { added };
        let index = (slot as u64) << RECORD_BITS | part.records;
        part.records += 1;
        Ok(index)
    }

    /// The receipt of the record with that index.
    pub(crate) fn receipt(&self, index: u64) -> Receipt {
        Receipt::pending(Arc::clone(&self.outcome) as Arc<dyn Acknowledgement>, index)
    }

    /// Adds offsets of a group.
    pub(crate) fn push_offsets(&mut self, engine: &Engine, commits: &[OffsetCommit]) -> Result<()> {
        let partition = engine.offsets_partition()?;
        let mut batch = BatchBuilder::default();
        let commits = engine.encode_commits(commits, &mut batch)?;
        if batch.count() == 0 {
            return Ok(());
        }
        self.check_room(Journal::batch_len(batch.len()))?;
        self.bytes += Journal::batch_len(batch.len());
        let slot = self.slot(&partition);
        let part = self.parts.get_mut(slot).expect("just looked up");
        part.records += u64::from(batch.count());
        batch.seal(None);
        part.full.push(batch);
        self.commits.extend(commits);
        Ok(())
    }

    /// Makes all of it visible, or none, and resolves its receipts.
    pub(crate) fn commit(mut self, engine: &Engine) -> Result<()> {
        let mut batches = Vec::with_capacity(self.parts.len());
        for part in &mut self.parts {
            if part.current.count() > 0 {
                part.close_batch(self.compression);
            }
            batches.push(TransactionBatches {
                partition: Arc::clone(&part.partition),
                batches: std::mem::take(&mut part.full),
            });
        }
        if batches.is_empty() {
            self.outcome.resolve(Ok(Vec::new()));
            return Ok(());
        }
        let holding = engine.hold_topics(&self.commits);
        let committed = holding.and_then(|holding| {
            // They were checked when they came; their topics may have gone since.
            for commit in &self.commits {
                engine.partition(&commit.topic_partition)?;
            }
            Ok((holding, engine.commit_transaction(batches)?))
        });
        let (_holding, bases) = match committed {
            Ok(committed) => committed,
            Err(error) => {
                self.outcome.resolve(Err(error.clone()));
                return Err(error);
            }
        };
        let base_of = |partition: &Partition| {
            let found = bases.iter().find(|(key, _)| *key == partition.place_key());
            found.map_or(Offset::ZERO, |(_, base)| *base)
        };
        if !self.commits.is_empty() {
            let base = base_of(&*engine.offsets_partition()?);
            for (at, commit) in (base.value()..).zip(self.commits) {
                engine.offsets.apply(commit, Offset::new(at));
            }
        }
        let placed = self
            .parts
            .iter()
            .map(|part| (part.partition.topic_partition.clone(), base_of(&part.partition)));
        self.outcome.resolve(Ok(placed.collect()));
        Ok(())
    }

    /// Drops it.
    pub(crate) fn abort(self) {
        let reason = "the transaction was aborted".to_owned();
        self.outcome.resolve(Err(Error::InvalidState { operation: "send", reason }));
    }

    #[inline]
    fn check_room(&self, bytes: usize) -> Result<()> {
        let bytes = self.bytes + bytes;
        if bytes > self.bytes_max {
            return Err(Error::TransactionTooLarge { bytes, bytes_max: self.bytes_max });
        }
        Ok(())
    }

    #[inline]
    fn slot(&mut self, partition: &Arc<Partition>) -> usize {
        if self.parts.get(self.last).is_some_and(|part| Arc::ptr_eq(&part.partition, partition)) {
            return self.last;
        }
        let parts = &mut self.parts;
        self.last = *self.by_place.entry(partition.place_key()).or_insert_with(|| {
            parts.push(Part {
                partition: Arc::clone(partition),
                full: Vec::new(),
                current: BatchBuilder::default(),
                records: 0,
            });
            parts.len() - 1
        });
        self.last
    }
}

impl Part {
    fn close_batch(&mut self, producer: Compression) {
        self.current.compress(self.partition.config().compression(producer));
        // Where records get the time of their append, the commit seals once more.
        self.current.seal(None);
        self.full.push(std::mem::take(&mut self.current));
    }
}

/// The first offset in each partition.
type Bases = Vec<(TopicPartition, Offset)>;

/// What became of a transaction, for its receipts.
#[derive(Debug, Default)]
struct Outcome {
    result: Mutex<Option<Result<Bases>>>,
}

impl Outcome {
    fn resolve(&self, result: Result<Bases>) {
        *self.result.lock() = Some(result);
    }
}

impl Acknowledgement for Outcome {
    fn wait(&self, index: u64) -> Result<RecordMetadata> {
        let slot = usize::try_from(index >> RECORD_BITS).unwrap_or(usize::MAX);
        let nth = index & ((1 << RECORD_BITS) - 1);
        match &*self.result.lock() {
            None => Err(Error::InvalidState {
                operation: "wait for a receipt",
                reason: "its transaction is still open".to_owned(),
            }),
            Some(Err(error)) => Err(error.clone()),
            Some(Ok(placed)) => {
                let (topic_partition, base) = placed.get(slot).expect("resolved for all parts");
                Ok(RecordMetadata { topic_partition: topic_partition.clone(), offset: *base + nth })
            }
        }
    }
}
