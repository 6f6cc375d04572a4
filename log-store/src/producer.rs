//! The embedded log's producer.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::engine::{Engine, Writer, check_record};
use crate::error::{Error, Result};
use crate::group::OffsetCommit;
use crate::log::{
    Acknowledgement, Compression, GroupMetadata, OffsetAndMetadata, Producer, ProducerConfig,
    ProducerRecord, Receipt, RecordMetadata, TransactionBytes,
};
use crate::partition::Partition;
use crate::partitioner::{Sticky, partition_for_key};
use crate::record::Record;
use crate::topic::Topic;
use crate::transaction::Transaction;
use crate::types::TopicPartition;

/// Writes to an embedded log.
#[derive(Debug)]
pub(crate) struct LogProducer {
    engine: Arc<Engine>,
    identity: Option<Identity>,
    compression: Compression,
    without_receipts: bool,
    transaction: Option<Transaction>,
    /// Whose offsets are in the transaction.
    offsets: Vec<(GroupMetadata, Vec<TopicPartition>)>,
    topics: KnownTopics,
    /// What the last send outside of a transaction waits for.
    last_ticket: Option<u64>,
}

/// A `transactional.id`, and what proves that no other producer took it over.
#[derive(Debug)]
struct Identity {
    transactional_id: String,
    epoch: u64,
    /// The epoch of the newest producer with this id.
    fence: Arc<Mutex<u64>>,
}

impl Identity {
    fn check(&self, newest: u64) -> Result<()> {
        if self.epoch == newest {
            return Ok(());
        }
        Err(Error::Fenced { transactional_id: self.transactional_id.clone() })
    }
}

/// The topics that records were sent to.
#[derive(Debug, Default)]
struct KnownTopics {
    topics: Vec<KnownTopic>,
    by_name: HashMap<String, usize>,
    /// The version of the topics that all of them were looked up in; none if that is to be done
    /// again.
    version: Option<u64>,
    /// The topic of the last record: that of the next one is mostly the same.
    last: usize,
}

#[derive(Debug)]
struct KnownTopic {
    topic: Arc<Topic>,
    sticky: Sticky,
}

impl KnownTopics {
    /// The partition that a record goes to.
    #[inline]
    fn choose(&mut self, engine: &Engine, record: &ProducerRecord<'_>) -> Result<&Arc<Partition>> {
        let version = Some(engine.topics_version());
        if self.version != version {
            self.look_again(engine);
            self.version = version;
        }
        let is_last = |known: &KnownTopic| known.topic.name.as_str() == record.topic;
        if !self.topics.get(self.last).is_some_and(is_last) {
            self.last = self.find(engine, record.topic)?;
        }
        self.topics.get_mut(self.last).expect("just found").choose(record)
    }

    /// Takes all topics as they are now: they may have more partitions, or be others of their names.
    /// Those that are gone are let go of: their files would stay open, and their space in use.
    #[cold]
    fn look_again(&mut self, engine: &Engine) {
        self.topics.retain_mut(|known| match engine.topic(known.topic.name.as_str()) {
            Ok(topic) => {
                known.topic = topic;
                true
            }
            Err(_) => false,
        });
        let names = self.topics.iter().map(|known| known.topic.name.as_str().to_owned());
        self.by_name = names.zip(0..).collect();
    }

    fn find(&mut self, engine: &Engine, name: &str) -> Result<usize> {
        if let Some(known) = self.by_name.get(name) {
            return Ok(*known);
        }
        let topic = engine.topic(name)?;
        self.topics.push(KnownTopic { topic, sticky: Sticky::default() });
        self.by_name.insert(name.to_owned(), self.topics.len() - 1);
        Ok(self.topics.len() - 1)
    }

    /// Looks all of them up again.
    fn forget(&mut self) {
        self.version = None;
    }
}

impl KnownTopic {
    #[inline]
    fn choose(&mut self, record: &ProducerRecord<'_>) -> Result<&Arc<Partition>> {
        let partitions = self.topic.partition_count();
        let partition = match (record.partition, record.key) {
            (Some(partition), _) => partition,
            (None, Some(key)) => partition_for_key(key, partitions),
            (None, None) => self.sticky.next(record.value.map_or(0, <[u8]>::len), partitions),
        };
        self.topic.partition(partition)
    }
}

impl LogProducer {
    pub(crate) fn new(engine: Arc<Engine>, config: &ProducerConfig) -> Result<Self> {
        let writer = engine.writer("producer")?;
        let identity = config.transactional_id.as_ref().map(|id| {
            let fence = writer.fence(id);
            let mut newest = fence.lock();
            *newest += 1;
            let epoch = *newest;
            drop(newest);
            Identity { transactional_id: id.clone(), epoch, fence }
        });
        Ok(Self {
            engine,
            identity,
            compression: config.compression,
            without_receipts: config.without_receipts,
            transaction: None,
            offsets: Vec::new(),
            topics: KnownTopics::default(),
            last_ticket: None,
        })
    }

    fn check_fence(&self) -> Result<()> {
        self.identity.as_ref().map_or(Ok(()), |identity| identity.check(*identity.fence.lock()))
    }

    fn open_transaction(&mut self, operation: &'static str) -> Result<&mut Transaction> {
        self.transaction.as_mut().ok_or_else(|| Error::InvalidState {
            operation,
            reason: "no transaction is open".to_owned(),
        })
    }

    /// Adds a record to the open transaction, and returns what a receipt of it would go by; `None`
    /// if none is open.
    #[inline(always)]
    fn add(&mut self, record: &ProducerRecord<'_>) -> Result<Option<u64>> {
        let Self { engine, transaction, topics, identity, .. } = self;
        let Some(transaction) = transaction else {
            // To write it at once would make a part of the work visible without the rest.
            let reason = "a producer with a transactional.id writes in transactions only";
            let refused = || Error::InvalidState { operation: "send", reason: reason.to_owned() };
            return if identity.is_some() { Err(refused()) } else { Ok(None) };
        };
        let partition = topics.choose(engine, record)?;
        let content = content(record);
        // Whether another producer took over is looked at where it counts: at the commit.
        let size = check_record(partition, &content, transaction.bytes_max())?;
        let timestamp = record.timestamp.unwrap_or_else(|| engine.clock.now());
        transaction.push(partition, &content, timestamp, size).map(Some)
    }
}

fn content<'a>(record: &ProducerRecord<'a>) -> Record<'a> {
    Record {
        key: record.key,
        value: record.value,
        timestamp: record.timestamp,
        headers: record.headers,
    }
}

impl LogProducer {
    /// Appends a record outside of a transaction.
    fn append(&mut self, record: &ProducerRecord<'_>) -> Result<Receipt> {
        let partition = Arc::clone(self.topics.choose(&self.engine, record)?);
        let appended = self.engine.append(&partition, &[content(record)], self.compression);
        if let Err(Error::UnknownTopic { .. }) = appended {
            // It may have been created anew since: look again at the next send.
            self.topics.forget();
        }
        let appended = appended?;
        let topic_partition = partition.topic_partition.clone();
        let metadata = RecordMetadata { topic_partition, offset: appended.first };
        let Some(ticket) = appended.ticket else { return Ok(Receipt::acknowledged(metadata)) };
        self.last_ticket = Some(ticket);
        self.engine.commit_behind(ticket)?;
        let engine = Arc::clone(&self.engine);
        Ok(Receipt::pending(Arc::new(Ticket { engine, ticket, metadata }), 0))
    }
}

impl Producer for LogProducer {
    fn send(&mut self, record: &ProducerRecord<'_>) -> Result<Receipt> {
        if self.without_receipts {
            return Err(Error::InvalidState {
                operation: "send",
                reason: "the producer is one without receipts".to_owned(),
            });
        }
        if let Some(index) = self.add(record)? {
            let transaction = self.open_transaction("send")?;
            return Ok(transaction.receipt(index));
        }
        self.append(record)
    }

    fn send_without_receipt(&mut self, record: &ProducerRecord<'_>) -> Result<()> {
        match self.add(record)? {
            Some(_index) => Ok(()),
            None => self.append(record).map(drop),
        }
    }

    fn flush(&mut self) -> Result<()> {
        // Tickets are done in their order.
        match self.last_ticket.take() {
            Some(ticket) => self.engine.wait(ticket),
            None => Ok(()),
        }
    }

    fn begin_transaction(&mut self) -> Result<()> {
        let operation = "begin_transaction";
        let refused = |reason: &str| Error::InvalidState { operation, reason: reason.to_owned() };
        if self.identity.is_none() {
            return Err(refused("the producer has no transactional.id"));
        }
        if self.transaction.is_some() {
            return Err(refused("a transaction is open already"));
        }
        self.check_fence()?;
        let writer = self.engine.writer(operation)?;
        let (bytes_max, spare) = (writer.transaction_bytes_max(), Arc::clone(&writer.spare));
        self.transaction = Some(Transaction::new(bytes_max, self.compression, spare));
        Ok(())
    }

    fn send_offsets_to_transaction(
        &mut self,
        offsets: &[(TopicPartition, OffsetAndMetadata)],
        group: &GroupMetadata,
    ) -> Result<()> {
        let engine = Arc::clone(&self.engine);
        let transaction = self.open_transaction("send_offsets_to_transaction")?;
        let partitions: Vec<_> = offsets.iter().map(|(partition, _)| partition.clone()).collect();
        // Only to say no early: what counts is who they are when the transaction is committed.
        drop(engine.begin_group_commit(group, &partitions)?);
        let commits: Vec<_> = offsets
            .iter()
            .map(|(topic_partition, offset)| OffsetCommit {
                group: group.group.clone(),
                topic_partition: topic_partition.clone(),
                offset: Some(offset.clone()),
                leader_epoch: None,
            })
            .collect();
        transaction.push_offsets(&engine, &commits)?;
        self.offsets.push((group.clone(), partitions));
        Ok(())
    }

    fn commit_transaction(&mut self) -> Result<()> {
        self.open_transaction("commit_transaction")?;
        let fence = self.identity.as_ref().map(|identity| Arc::clone(&identity.fence));
        // Held over the commit: who takes over waits for it, and then sees what it did.
        let epoch = fence.as_ref().map(|fence| fence.lock());
        if let (Some(identity), Some(epoch)) = (&self.identity, &epoch) {
            identity.check(**epoch)?;
        }
        let engine = Arc::clone(&self.engine);
        // No partition whose offset is in it goes to another member before it is done.
        let _commits = self
            .offsets
            .iter()
            .map(|(group, partitions)| engine.begin_group_commit(group, partitions))
            .collect::<Result<Vec<_>>>()?;
        self.offsets.clear();
        let transaction = self.transaction.take().expect("just seen");
        let committed = transaction.commit(&engine);
        if committed.is_err() {
            // A topic may have been deleted, and created anew since: look again.
            self.topics.forget();
        }
        committed
    }

    fn abort_transaction(&mut self) -> Result<()> {
        self.open_transaction("abort_transaction")?;
        self.transaction.take().expect("just seen").abort();
        self.offsets.clear();
        Ok(())
    }

    fn transaction_bytes(&self) -> TransactionBytes {
        let writer = self.engine.writer("transaction_bytes");
        TransactionBytes {
            used: self.transaction.as_ref().map_or(0, Transaction::bytes),
            max: writer.map_or(0, Writer::transaction_bytes_max),
        }
    }
}

impl Drop for LogProducer {
    fn drop(&mut self) {
        if let Some(transaction) = self.transaction.take() {
            transaction.abort();
        }
        // What was sent outside of a transaction is on its way; somebody has to bring it there.
        if let Err(error) = self.flush() {
            tracing::error!(%error, "records that a dropped producer had sent are lost");
        }
    }
}

/// An append that is queued.
#[derive(Debug)]
struct Ticket {
    engine: Arc<Engine>,
    ticket: u64,
    metadata: RecordMetadata,
}

impl Acknowledgement for Ticket {
    fn wait(&self, _index: u64) -> Result<RecordMetadata> {
        self.engine.wait(self.ticket)?;
        Ok(self.metadata.clone())
    }
}
