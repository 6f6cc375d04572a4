//! What an open store is made of, and the two ways in which it stops taking writes.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex, RwLock};

use crate::batch::SpareBuffers;
use crate::checkpoint::CheckpointFiles;
use crate::clock::Clock;
use crate::config::Durability;
use crate::engine::health::ScrubState;
use crate::engine::recovery::RecoveryReport;
use crate::engine::reserve::Reserve;
use crate::error::{Error, Result};
use crate::group::{Coordinator, OffsetsCache};
use crate::journal::Journal;
use crate::partition::{Partition, PlacedBatch};
use crate::published::Published;
use crate::signal::Signal;
use crate::storage::{Storage, StorageLock};
use crate::topic::Topic;
use crate::types::{LeaderEpoch, Timestamp, TopicName, TopicPartition};

/// An open store.
///
/// Locks are taken in this order, and some of them not at all: `admin`, then the appenders of
/// partitions (in the order of topic id and number), then `journal`, then `topics` and `queue`.
#[derive(Debug)]
pub(crate) struct Engine {
    pub(crate) storage: Arc<dyn Storage>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) dir: PathBuf,
    pub(crate) store_id: u128,
    pub(crate) offsets: OffsetsCache,
    pub(crate) groups: Coordinator,
    /// Topics whose deletion is under way: no offset is committed for them any more. Held while
    /// offsets are committed, so that a deletion sees them all.
    pub(super) deleting: RwLock<BTreeSet<TopicName>>,
    pub(crate) signal: Signal,
    pub(super) topics: RwLock<BTreeMap<TopicName, Arc<Topic>>>,
    /// Counts the changes of topics, for those who keep one.
    pub(super) topics_version: AtomicU64,
    pub(super) side: Side,
}

/// Which of its processes this is.
#[derive(Debug)]
pub(super) enum Side {
    /// The one that writes.
    Writer(Box<Writer>),
    /// One that looks on. Refreshing is done by one thread at a time.
    Reader(Mutex<()>),
}

/// What only the writing process has.
#[derive(Debug)]
pub(crate) struct Writer {
    pub(crate) durability: Durability,
    pub(crate) recovery: RecoveryReport,
    pub(super) published: Published,
    pub(super) reserve: Reserve,
    /// Held while topics are created or deleted.
    pub(super) admin: Mutex<()>,
    pub(super) queue: Mutex<CommitQueue>,
    pub(super) committed: Condvar,
    pub(crate) spare: Arc<SpareBuffers>,
    pub(super) journal: Mutex<JournalSide>,
    pub(super) transaction_bytes_max: usize,
    /// After this many bytes a checkpoint is due, whatever path they took.
    pub(super) checkpoint_bytes: u64,
    pub(super) bytes_since_checkpoint: AtomicU64,
    /// How much memory a compaction uses to tell keys apart.
    pub(super) compaction_bytes_max: usize,
    pub(super) scrub: Mutex<ScrubState>,
    pub(super) work: Mutex<Work>,
    pub(super) work_came: Condvar,
    poison: OnceLock<Arc<str>>,
    closed: AtomicBool,
    released: AtomicBool,
    lock: Mutex<Option<Box<dyn StorageLock>>>,
    fences: Mutex<HashMap<String, Arc<Mutex<u64>>>>,
}

/// What is on its way through the journal.
#[derive(Debug, Default)]
pub(super) struct CommitQueue {
    pub(super) pending: VecDeque<Pending>,
    /// The ticket that the next one in the queue gets.
    pub(super) next_ticket: u64,
    /// All tickets below this are done.
    pub(super) done: u64,
    /// What the pending batches take.
    pub(super) pending_bytes: usize,
    /// Whether somebody is committing what was queued before.
    pub(super) leading: bool,
}

/// Batches that become durable and visible together.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) batches: Vec<PlacedBatch>,
}

/// What changes with each journal entry and each checkpoint.
#[derive(Debug)]
pub(super) struct JournalSide {
    pub(super) journal: Journal,
    pub(super) checkpoints: CheckpointFiles,
    /// How long the last one is.
    pub(super) checkpoint_len: u64,
    pub(super) generation: u64,
    pub(super) epoch: LeaderEpoch,
    pub(super) boot_id: String,
    pub(super) next_topic_id: u64,
}

/// What the housekeeping thread is to do.
#[derive(Debug, Default)]
pub(crate) struct Work {
    /// Whether there is such a thread.
    pub(crate) served: bool,
    pub(crate) checkpoint: bool,
    /// What both clocks showed when retention looked last.
    pub(crate) retained_at: Option<(Timestamp, Duration)>,
    /// When retention is due by itself.
    pub(crate) retention_due: Option<Duration>,
    /// When compaction is due by itself.
    pub(crate) compaction_due: Option<Duration>,
    /// When the scrub goes on.
    pub(super) scrub_due: Option<Duration>,
    /// When the journal was synced last behind the appends.
    pub(crate) synced_at: Duration,
    /// Something is queued that nobody waits for yet.
    pub(crate) commit: bool,
    pub(crate) stop: bool,
}

/// What makes the writing side.
pub(super) struct WriterParts {
    pub(super) durability: Durability,
    pub(super) recovery: RecoveryReport,
    pub(super) published: Published,
    pub(super) reserve: Reserve,
    pub(super) journal: JournalSide,
    pub(super) checkpoint_bytes: u64,
    pub(super) compaction_bytes_max: usize,
    pub(super) lock: Box<dyn StorageLock>,
}

impl Writer {
    pub(super) fn new(parts: WriterParts) -> Self {
        let transaction_bytes_max = parts.journal.journal.transaction_bytes_max();
        Self {
            durability: parts.durability,
            recovery: parts.recovery,
            published: parts.published,
            reserve: parts.reserve,
            admin: Mutex::new(()),
            queue: Mutex::new(CommitQueue::default()),
            committed: Condvar::new(),
            spare: Arc::default(),
            journal: Mutex::new(parts.journal),
            transaction_bytes_max,
            checkpoint_bytes: parts.checkpoint_bytes,
            bytes_since_checkpoint: AtomicU64::new(0),
            compaction_bytes_max: parts.compaction_bytes_max,
            scrub: Mutex::new(ScrubState::default()),
            work: Mutex::new(Work::default()),
            work_came: Condvar::new(),
            poison: OnceLock::new(),
            closed: AtomicBool::new(false),
            released: AtomicBool::new(false),
            lock: Mutex::new(Some(parts.lock)),
            fences: Mutex::new(HashMap::new()),
        }
    }

    /// Refuses if the store is closed or poisoned.
    pub(crate) fn check(&self, operation: &'static str) -> Result<()> {
        self.check_poison()?;
        if self.closed.load(Ordering::Acquire) {
            let reason = "the store is closed".to_owned();
            return Err(Error::InvalidState { operation, reason });
        }
        Ok(())
    }

    /// Refuses if the store is poisoned.
    pub(crate) fn check_poison(&self) -> Result<()> {
        match self.poison.get() {
            Some(cause) => Err(Error::Poisoned { cause: Arc::clone(cause) }),
            None => Ok(()),
        }
    }

    /// Poisons the store if a sync has failed; other failures have left all as it was.
    pub(super) fn poison_after_sync(&self, error: Error) -> Error {
        match error {
            Error::Io { operation: "sync", .. } => self.poison(&error),
            error => error,
        }
    }

    /// Refuses all writes from now on: what is on disk is not known any more.
    pub(super) fn poison(&self, cause: &Error) -> Error {
        let mut text = cause.to_string();
        if let Some(source) = std::error::Error::source(cause) {
            text = format!("{text}: {source}");
        }
        if self.poison.set(Arc::from(text)).is_ok() {
            tracing::error!(%cause, "the store is poisoned");
        }
        self.committed.notify_all();
        self.check_poison().err().unwrap_or_else(|| cause.clone())
    }

    /// The most bytes of batches that a transaction may hold.
    pub(crate) fn transaction_bytes_max(&self) -> usize {
        self.transaction_bytes_max
    }

    /// The epoch of the newest producer with this id, for those who have it to share.
    pub(crate) fn fence(&self, transactional_id: &str) -> Arc<Mutex<u64>> {
        let mut fences = self.fences.lock();
        Arc::clone(fences.entry(transactional_id.to_owned()).or_default())
    }

    /// True for the first caller only.
    pub(super) fn begin_close(&self) -> bool {
        !self.closed.swap(true, Ordering::AcqRel)
    }

    /// Lets the next opener in. Nothing is written from now on: the caller has the journal
    /// locked, and whoever locks it next is refused by [`check_released`](Self::check_released).
    pub(super) fn release(&self, _side: &mut JournalSide) {
        self.released.store(true, Ordering::Release);
        *self.lock.lock() = None;
    }

    /// Refuses to write after the next opener was let in. The journal is locked.
    pub(super) fn check_released(&self) -> Result<()> {
        self.check_poison()?;
        if self.released.load(Ordering::Acquire) {
            let reason = "the store is closed".to_owned();
            return Err(Error::InvalidState { operation: "write", reason });
        }
        Ok(())
    }
}

impl Engine {
    /// The writing side, or the error that this process only reads.
    pub(crate) fn writer(&self, operation: &'static str) -> Result<&Writer> {
        match &self.side {
            Side::Writer(writer) => Ok(writer),
            Side::Reader(_) => Err(Error::ReadOnly { operation }),
        }
    }

    /// Whether another process writes the store.
    pub(crate) fn is_read_only(&self) -> bool {
        matches!(self.side, Side::Reader(_))
    }

    /// The topic of that name.
    pub(crate) fn topic(&self, name: &str) -> Result<Arc<Topic>> {
        let found = self.topics.read().get(name).map(Arc::clone);
        match found {
            Some(topic) => Ok(topic),
            None => Err(Error::UnknownTopic { topic: TopicName::new(name)? }),
        }
    }

    /// Grows with each topic that comes, goes or changes.
    pub(crate) fn topics_version(&self) -> u64 {
        self.topics_version.load(Ordering::Acquire)
    }

    /// Lets everybody see a topic as it is now.
    pub(super) fn put_topic(&self, topic: Topic) {
        self.topics.write().insert(topic.name.clone(), Arc::new(topic));
        self.topics_version.fetch_add(1, Ordering::AcqRel);
    }

    /// Lets nobody find a topic any more.
    pub(super) fn remove_topic(&self, name: &TopicName) {
        self.topics.write().remove(name);
        self.topics_version.fetch_add(1, Ordering::AcqRel);
    }

    /// All topics by name.
    pub(crate) fn topics(&self) -> Vec<Arc<Topic>> {
        self.topics.read().values().map(Arc::clone).collect()
    }

    /// The partition.
    pub(crate) fn partition(&self, topic_partition: &TopicPartition) -> Result<Arc<Partition>> {
        // Every append and every fetch comes by here: one reference is counted, not two.
        if let Some(topic) = self.topics.read().get(&topic_partition.topic) {
            return topic.partition(topic_partition.partition).map(Arc::clone);
        }
        Err(Error::UnknownTopic { topic: topic_partition.topic.clone() })
    }
}
