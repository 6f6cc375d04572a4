//! The stores that the tests write, kill and open: their settings, and the start of the machine that
//! they believe to be in.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use clap::ValueEnum;
use fastrand::Rng;
use headwater_log_store::{
    Durability, Error, FileKind, FileStorage, Log as _, LogStore, NewTopic, OpenMode, Reads,
    Storage, StorageFile, StorageLock,
};

use crate::plan::Topic;

/// When appends are acknowledged, as an argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Acknowledge {
    Sync,
    Interval,
    Os,
}

impl Acknowledge {
    pub(crate) const ALL: [Self; 3] = [Self::Sync, Self::Interval, Self::Os];

    fn durability(self) -> Durability {
        match self {
            Self::Sync => Durability::Sync,
            Self::Interval => Durability::Interval(INTERVAL),
            Self::Os => Durability::Os,
        }
    }
}

/// The interval of `Durability::Interval`.
pub(crate) const INTERVAL: Duration = Duration::from_millis(100);

/// What a store is opened with, on the command line of a writer too.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct StoreSettings {
    /// When appends are acknowledged.
    #[arg(long, value_enum, default_value = "sync")]
    pub(crate) acknowledge: Acknowledge,
    /// The size of the journal.
    #[arg(long, default_value_t = 256 << 10)]
    pub(crate) journal_bytes: u64,
    /// `segment.bytes` of the topics.
    #[arg(long, default_value_t = 64 << 10)]
    pub(crate) segment_bytes: u32,
    /// Read by system calls instead of through mappings.
    #[arg(long)]
    pub(crate) positioned: bool,
    /// No thread of the store's own.
    #[arg(long)]
    pub(crate) no_housekeeping: bool,
    /// The start of the machine that the store is told to be in, instead of the real one.
    #[arg(long)]
    pub(crate) boot_id: Option<String>,
}

impl StoreSettings {
    /// Settings by chance, small enough that segments roll and the journal is begun anew all the
    /// time.
    pub(crate) fn random(acknowledge: Acknowledge, rng: &mut Rng) -> Self {
        let (journal_bytes, segment_bytes) = match rng.u8(0..4) {
            0 => (64 << (10 + 2 * rng.u32(0..3)), 16 << (10 + 2 * rng.u32(0..4))),
            // For long values, whose writes are torn by a kill.
            _ => (4 << 20, 1 << (20 + 4 * rng.u32(0..2))),
        };
        Self {
            acknowledge,
            journal_bytes,
            segment_bytes,
            positioned: rng.bool(),
            no_housekeeping: false,
            boot_id: None,
        }
    }

    /// The arguments that say the same.
    pub(crate) fn arguments(&self) -> Vec<String> {
        let acknowledge = match self.acknowledge {
            Acknowledge::Sync => "sync",
            Acknowledge::Interval => "interval",
            Acknowledge::Os => "os",
        };
        let mut arguments = vec![
            format!("--acknowledge={acknowledge}"),
            format!("--journal-bytes={}", self.journal_bytes),
            format!("--segment-bytes={}", self.segment_bytes),
        ];
        arguments.extend(self.positioned.then(|| "--positioned".to_owned()));
        arguments.extend(self.no_housekeeping.then(|| "--no-housekeeping".to_owned()));
        arguments.extend(self.boot_id.iter().map(|id| format!("--boot-id={id}")));
        arguments
    }

    /// How a file system is used.
    pub(crate) fn storage(&self) -> Arc<dyn Storage> {
        let reads = if self.positioned { Reads::Positioned } else { Reads::Mapped };
        let inner = FileStorage::new(reads);
        match &self.boot_id {
            None => Arc::new(inner),
            Some(boot_id) => Arc::new(Rebooted { inner, boot_id: boot_id.clone() }),
        }
    }

    /// Opens the store, making it if there is none.
    pub(crate) fn open(&self, dir: &Path) -> Result<LogStore, Error> {
        LogStore::builder(dir)
            .storage(self.storage())
            .durability(self.acknowledge.durability())
            .journal_bytes(self.journal_bytes)
            .housekeeping(!self.no_housekeeping)
            .retention_check_interval(Duration::from_millis(20))
            .compaction_check_interval(Duration::from_millis(10))
            .create(true)
            .open()
    }

    /// `retention.bytes` of the topic that has it.
    pub(crate) fn retention_bytes(&self) -> u64 {
        u64::from(self.segment_bytes) * 3
    }

    /// A topic of the workload.
    pub(crate) fn topic(&self, topic: Topic) -> NewTopic {
        let new = NewTopic::new(topic.name())
            .partitions(topic.partitions())
            .config("segment.bytes", self.segment_bytes.to_string())
            .config("index.interval.bytes", "1000");
        match topic {
            Topic::Plain | Topic::Cut => new.config("retention.ms", "-1"),
            Topic::Short => new.config("retention.bytes", self.retention_bytes().to_string()),
            Topic::Keyed => new
                .config("cleanup.policy", "compact")
                .config("min.cleanable.dirty.ratio", "0.01")
                .config("delete.retention.ms", "50"),
        }
    }

    /// Makes the topics that are not there.
    pub(crate) fn create_topics(&self, store: &LogStore) -> Result<(), Error> {
        for topic in Topic::ALL {
            if store.describe_topic(topic.name()).is_err() {
                store.create_topic(&self.topic(topic))?;
            }
        }
        Ok(())
    }
}

/// The real file system on a machine that says to have been started anew: a file system that was
/// shut down has lost its page cache, but the machine under it goes on.
#[derive(Debug)]
struct Rebooted {
    inner: FileStorage,
    boot_id: String,
}

impl Storage for Rebooted {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn StorageFile>> {
        self.inner.open(path, mode)
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.inner.create_dir(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.inner.list(dir)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.inner.remove(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.inner.remove_dir(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.inner.rename(from, to)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.inner.sync_dir(dir)
    }

    fn lock(&self, path: &Path, holder: &str) -> io::Result<Box<dyn StorageLock>> {
        self.inner.lock(path, holder)
    }

    fn kind(&self, path: &Path) -> io::Result<FileKind> {
        self.inner.kind(path)
    }

    fn lock_holder(&self, path: &Path) -> io::Result<Option<String>> {
        self.inner.lock_holder(path)
    }

    fn boot_id(&self) -> Option<String> {
        Some(self.boot_id.clone())
    }
}
