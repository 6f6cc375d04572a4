//! Who hears how far the restores of stores have come.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use headwater_log_store::{Offset, TopicPartition};
use parking_lot::Mutex;

use crate::error::{Error, Result};

/// Hears of the restores of stores from their changelogs; Kafka Streams' `StateRestoreListener`. It
/// is called on the threads that restore, which wait for it. Each method does nothing by default.
///
/// ```
/// use headwater_log_store::{LogStore, Offset, TopicPartition};
/// use headwater_topology::{StateRestoreListener, Streams, StreamsBuilder, StreamsConfig};
/// use std::sync::Arc;
///
/// struct Progress;
///
/// impl StateRestoreListener for Progress {
///     fn on_batch_restored(
///         &self,
///         partition: &TopicPartition,
///         store: &str,
///         batch_end: Offset,
///         restored: u64,
///     ) {
///         println!("{store} is at {batch_end} of {partition}, {restored} records further");
///     }
/// }
///
/// # let builder = StreamsBuilder::new();
/// # builder.stream::<String, String>("in").group_by_key().count("counts");
/// # let topology = builder.build().unwrap();
/// # let log = Arc::new(LogStore::in_memory().unwrap());
/// let streams = Streams::new(&topology, StreamsConfig::new("app"), log);
/// streams.set_global_state_restore_listener(Progress);
/// ```
pub trait StateRestoreListener: Send + Sync + 'static {
    /// The restore of a store begins, at `start`: what lies before it is in the store, or is gone
    /// from the changelog. `end` is the offset to which it goes, and not restored itself.
    fn on_restore_start(
        &self,
        partition: &TopicPartition,
        store: &str,
        start: Offset,
        end: Offset,
    ) {
        let _ = (partition, store, start, end);
    }

    /// `restored` more records are in the store, the last of them that of offset `batch_end`.
    fn on_batch_restored(
        &self,
        partition: &TopicPartition,
        store: &str,
        batch_end: Offset,
        restored: u64,
    ) {
        let _ = (partition, store, batch_end, restored);
    }

    /// The store is restored, with that many records in all.
    fn on_restore_end(&self, partition: &TopicPartition, store: &str, total_restored: u64) {
        let _ = (partition, store, total_restored);
    }

    /// An error or a close has ended the restore, after that many records. If the thread is
    /// replaced, it begins anew.
    fn on_restore_suspended(&self, partition: &TopicPartition, store: &str, total_restored: u64) {
        let _ = (partition, store, total_restored);
    }
}

/// What the workers of an application tell of its restores.
#[derive(Default)]
pub(crate) struct Restores {
    listener: Mutex<Option<Arc<dyn StateRestoreListener>>>,
    /// How many offsets lie ahead of the restores that are under way.
    remaining: AtomicU64,
    is_interrupted: AtomicBool,
}

/// What a close keeps from coming to its end.
const RESTORE: &str = "the restore of a store";

/// Whether a restore has ended because the application closes.
pub(crate) fn is_interruption(error: &Error) -> bool {
    matches!(error, Error::NotRunning { operation: RESTORE, .. })
}

impl Restores {
    /// The application closes: restores end with the batch that they are at.
    pub(crate) fn interrupt(&self) {
        self.is_interrupted.store(true, Ordering::Relaxed);
    }

    /// Whether to go on.
    pub(crate) fn check(&self) -> Result<()> {
        if !self.is_interrupted.load(Ordering::Relaxed) {
            return Ok(());
        }
        Err(Error::NotRunning { operation: RESTORE, reason: "closes before its end".to_owned() })
    }

    pub(crate) fn set_listener(&self, listener: Arc<dyn StateRestoreListener>) {
        *self.listener.lock() = Some(listener);
    }

    /// How many offsets lie ahead of the restores that are under way.
    pub(crate) fn remaining(&self) -> u64 {
        self.remaining.load(Ordering::Relaxed)
    }

    /// The restore of a store begins.
    pub(crate) fn begin<'a>(
        &'a self,
        partition: &'a TopicPartition,
        store: &'a str,
        (start, end): (Offset, Offset),
    ) -> RestoreReport<'a> {
        let listener = self.listener.lock().clone();
        if let Some(listener) = &listener {
            listener.on_restore_start(partition, store, start, end);
        }
        let ahead = end.value().saturating_sub(start.value());
        self.remaining.fetch_add(ahead, Ordering::Relaxed);
        RestoreReport {
            restores: self,
            listener,
            partition,
            store,
            ahead,
            total: 0,
            is_over: false,
        }
    }
}

impl fmt::Debug for Restores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Restores").field("remaining", &self.remaining()).finish_non_exhaustive()
    }
}

/// One restore; it is suspended if it is dropped before its end.
pub(crate) struct RestoreReport<'a> {
    restores: &'a Restores,
    listener: Option<Arc<dyn StateRestoreListener>>,
    partition: &'a TopicPartition,
    store: &'a str,
    /// How many offsets it has ahead of it.
    ahead: u64,
    total: u64,
    is_over: bool,
}

impl RestoreReport<'_> {
    /// So many records more are restored, up to an offset and with it; `end` is where it goes.
    pub(crate) fn batch(&mut self, batch_end: Offset, end: Offset, restored: u64) {
        self.total += restored;
        self.come_to(end.value().saturating_sub(batch_end.next().value()));
        if let Some(listener) = &self.listener {
            listener.on_batch_restored(self.partition, self.store, batch_end, restored);
        }
    }

    /// All is restored. Returns how many records that were.
    pub(crate) fn end(mut self) -> u64 {
        self.is_over = true;
        if let Some(listener) = &self.listener {
            listener.on_restore_end(self.partition, self.store, self.total);
        }
        self.total
    }

    fn come_to(&mut self, ahead: u64) {
        self.restores.remaining.fetch_sub(self.ahead.saturating_sub(ahead), Ordering::Relaxed);
        self.ahead = self.ahead.min(ahead);
    }
}

impl Drop for RestoreReport<'_> {
    fn drop(&mut self) {
        self.come_to(0);
        let Some(listener) = self.listener.as_ref().filter(|_| !self.is_over) else { return };
        // It may be a panic that has ended the restore: a second one would end the process.
        let told = catch_unwind(AssertUnwindSafe(|| {
            listener.on_restore_suspended(self.partition, self.store, self.total);
        }));
        if told.is_err() {
            tracing::error!(store = self.store, "a restore listener has panicked");
        }
    }
}
