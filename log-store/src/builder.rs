//! How a store is opened: its settings, and the ways to open one.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::clock::{Clock, SystemClock};
use crate::config::Durability;
use crate::engine::{EngineConfig, Intervals, ScrubSchedule, create_or_open, open_read_only};
use crate::error::{Error, Result};
use crate::housekeeping::Housekeeping;
use crate::storage::{FileStorage, MemoryStorage, Reads, Storage};
use crate::store::LogStore;

/// The smallest journal: a transaction may hold a quarter of it.
const JOURNAL_BYTES_MIN: u64 = 64 << 10;
/// The largest journal.
const JOURNAL_BYTES_MAX: u64 = 1 << 31;
/// The longest interval of `Durability::Interval`.
const INTERVAL_MAX: Duration = Duration::from_secs(24 * 60 * 60);
/// The journal of a store in memory.
const MEMORY_JOURNAL_BYTES: u64 = 16 << 20;

/// How to open a store; see [`LogStore::builder`].
#[derive(Clone, Debug)]
pub struct LogStoreBuilder {
    dir: PathBuf,
    storage: Option<Arc<dyn Storage>>,
    clock: Arc<dyn Clock>,
    durability: Durability,
    reads: Reads,
    journal_bytes: u64,
    compaction_bytes_max: usize,
    create: bool,
    housekeeping: bool,
    scrub_bytes_per_second: u64,
    scrub_pause: Duration,
    intervals: Intervals,
}

impl LogStoreBuilder {
    /// When appends are acknowledged. Default = [`Durability::Sync`].
    #[must_use]
    pub fn durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }

    /// How records are read. Default = [`Reads::Mapped`].
    #[must_use]
    pub fn reads(mut self, reads: Reads) -> Self {
        self.reads = reads;
        self
    }

    /// `journal.bytes`: the size of the journal of a store that is created; an existing one keeps
    /// its size. A transaction may hold a quarter of it. Default = 64 MiB.
    #[must_use]
    pub fn journal_bytes(mut self, bytes: u64) -> Self {
        self.journal_bytes = bytes;
        self
    }

    /// Whether to make a store where there is none. Default = false.
    #[must_use]
    pub fn create(mut self, create: bool) -> Self {
        self.create = create;
        self
    }

    /// The clock. Default = the system's.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Another file system under the store. Default = the system's.
    #[must_use]
    pub fn storage(mut self, storage: Arc<dyn Storage>) -> Self {
        self.storage = Some(storage);
        self
    }

    /// Whether a thread of the store's own does what nobody waits for. Without it (in tests that
    /// must be repeatable) the callers do it, and [`Durability::Interval`] never syncs by itself.
    /// Default = true.
    #[must_use]
    pub fn housekeeping(mut self, housekeeping: bool) -> Self {
        self.housekeeping = housekeeping;
        self
    }

    /// `log.retention.check.interval.ms`: how often housekeeping looks for segments that are past
    /// `retention.ms` or `retention.bytes`. Default = 5 minutes, as in Kafka.
    #[must_use]
    pub fn retention_check_interval(mut self, interval: Duration) -> Self {
        self.intervals.retention = interval;
        self
    }

    /// `log.cleaner.backoff.ms`: how often housekeeping looks for partitions that are to be
    /// compacted. Default = 15 seconds, as in Kafka.
    #[must_use]
    pub fn compaction_check_interval(mut self, interval: Duration) -> Self {
        self.intervals.compaction = interval;
        self
    }

    /// `log.cleaner.dedupe.buffer.size`: how much memory a compaction uses to tell keys apart,
    /// about 40 bytes for each key that was appended since the last one. With less than they all
    /// need, it takes several. Default = 128 MiB, as in Kafka.
    #[must_use]
    pub fn compaction_buffer_bytes(mut self, bytes: usize) -> Self {
        self.compaction_bytes_max = bytes;
        self
    }

    /// How many bytes a second the background scrub reads: housekeeping goes over all sealed
    /// segments, again and again, to find damage early; see [`LogStore::health`]. 0 turns it off.
    /// Default = 1 MiB.
    #[must_use]
    pub fn scrub_bytes_per_second(mut self, bytes: u64) -> Self {
        self.scrub_bytes_per_second = bytes;
        self
    }

    /// How long the background scrub rests after it was through all sealed segments. Default = one
    /// day.
    #[must_use]
    pub fn scrub_pause(mut self, pause: Duration) -> Self {
        self.scrub_pause = pause;
        self
    }

    /// Opens the store to look on; see [`LogStore::open_read_only`]. Of the settings, only the clock
    /// and the storage count.
    ///
    /// # Errors
    /// As [`LogStore::open_read_only`].
    pub fn open_read_only(self) -> Result<LogStore> {
        // Files that another process works on are read by system calls: a mapping would turn its
        // mistakes into our SIGBUS.
        let storage = self.storage.unwrap_or_else(|| Arc::new(FileStorage::new(Reads::Positioned)));
        let engine = Arc::new(open_read_only(storage, self.clock, &self.dir)?);
        Ok(LogStore::new(engine, None))
    }

    /// Opens the store, after a stop without a close with all that was acknowledged.
    ///
    /// # Errors
    /// `NoStore`, `Locked`, `UnsupportedVersion`, `CorruptFile`, `Corrupt`, `LostDurableData`,
    /// `InvalidConfig`, or a failed system call.
    pub fn open(self) -> Result<LogStore> {
        if !(JOURNAL_BYTES_MIN..=JOURNAL_BYTES_MAX).contains(&self.journal_bytes) {
            return Err(Error::InvalidConfig {
                key: "journal.bytes".to_owned(),
                value: self.journal_bytes.to_string(),
                reason: format!("it is from {JOURNAL_BYTES_MIN} to {JOURNAL_BYTES_MAX}"),
            });
        }
        if let Durability::Interval(interval) = self.durability
            && (interval.is_zero() || interval > INTERVAL_MAX)
        {
            return Err(Error::InvalidConfig {
                key: "durability".to_owned(),
                value: format!("Interval({interval:?})"),
                reason: format!("the interval is more than zero and at most {INTERVAL_MAX:?}"),
            });
        }
        let storage = self.storage.unwrap_or_else(|| Arc::new(FileStorage::new(self.reads)));
        let engine = Arc::new(create_or_open(EngineConfig {
            storage,
            clock: self.clock,
            dir: self.dir.clone(),
            durability: self.durability,
            journal_bytes: self.journal_bytes,
            compaction_bytes_max: self.compaction_bytes_max,
            create: self.create,
        })?);
        if self.durability == Durability::Os && self.housekeeping {
            tracing::warn!(
                store = %self.dir.display(),
                "durability is Os: a power cut takes all since the last checkpoint"
            );
        }
        let scrub = (self.scrub_bytes_per_second > 0).then_some(ScrubSchedule {
            bytes_per_second: self.scrub_bytes_per_second,
            pause: self.scrub_pause,
        });
        let intervals = Intervals { scrub, ..self.intervals };
        let housekeeping = match self.housekeeping {
            true => Some(Housekeeping::start(&engine, intervals).map_err(|source| Error::Io {
                operation: "start the housekeeping thread for",
                path: self.dir,
                source: Arc::new(source),
            })?),
            false => None,
        };
        Ok(LogStore::new(engine, housekeeping))
    }
}

impl LogStore {
    /// Opens the store in a folder, making it if there is none, with the default settings.
    ///
    /// # Errors
    /// As [`LogStoreBuilder::open`].
    pub fn create(dir: impl AsRef<Path>) -> Result<Self> {
        Self::builder(dir).create(true).open()
    }

    /// Opens the store in a folder, which must have one, with the default settings.
    ///
    /// # Errors
    /// As [`LogStoreBuilder::open`].
    pub fn open(dir: impl AsRef<Path>) -> Result<Self> {
        Self::builder(dir).open()
    }

    /// Looks into the store in a folder, also while another process writes it: everything that
    /// one has published is there to read, and more as it comes. Nothing is written or locked.
    ///
    /// # Errors
    /// `NoStore`, `UnsupportedVersion`, `CorruptFile`, or a failed system call.
    pub fn open_read_only(dir: impl AsRef<Path>) -> Result<Self> {
        Self::builder(dir).open_read_only()
    }

    /// A new store in memory: the same log, without a disk and without a thread of its own.
    ///
    /// # Errors
    /// None that a correct program sees; memory may run out.
    pub fn in_memory() -> Result<Self> {
        Self::in_memory_builder().open()
    }

    /// Settings for a new store in memory.
    #[must_use]
    pub fn in_memory_builder() -> LogStoreBuilder {
        Self::builder("memory")
            .storage(Arc::new(MemoryStorage::new()))
            .durability(Durability::Os)
            .journal_bytes(MEMORY_JOURNAL_BYTES)
            .housekeeping(false)
            .create(true)
    }

    /// Settings for the store in a folder.
    pub fn builder(dir: impl AsRef<Path>) -> LogStoreBuilder {
        LogStoreBuilder {
            dir: dir.as_ref().to_owned(),
            storage: None,
            clock: Arc::new(SystemClock::new()),
            durability: Durability::default(),
            reads: Reads::default(),
            journal_bytes: 64 << 20,
            compaction_bytes_max: 128 << 20,
            create: false,
            housekeeping: true,
            scrub_bytes_per_second: 1 << 20,
            scrub_pause: Duration::from_secs(24 * 60 * 60),
            intervals: Intervals {
                retention: Duration::from_secs(5 * 60),
                compaction: Duration::from_secs(15),
                scrub: None,
            },
        }
    }
}
