//! What the housekeeping thread does for a store, one piece at a time.

use std::time::Duration;

use crate::config::Durability;
use crate::engine::state::{Engine, Writer};
use crate::error::Result;

/// A piece of work for the housekeeping thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Task {
    Checkpoint,
    Commit,
    SyncJournal,
    Retention,
    Stop,
}

impl Engine {
    /// Waits for the next piece of work; the caller is the housekeeping thread.
    pub(crate) fn next_task(&self, writer: &Writer, retention_interval: Duration) -> Task {
        let interval = match writer.durability {
            Durability::Interval(interval) => Some(interval),
            Durability::Sync | Durability::Os => None,
        };
        let mut work = writer.work.lock();
        let deadline = interval.map(|interval| work.synced_at + interval);
        let now = self.clock.monotonic();
        let retention_at =
            *work.retention_due.get_or_insert(now.saturating_add(retention_interval));
        loop {
            if work.stop {
                return Task::Stop;
            }
            // First of all, so that no amount of other work puts it off.
            let left = deadline.map(|deadline| deadline.saturating_sub(self.clock.monotonic()));
            if left == Some(Duration::ZERO) {
                work.synced_at = self.clock.monotonic();
                return Task::SyncJournal;
            }
            if std::mem::take(&mut work.commit) {
                return Task::Commit;
            }
            if std::mem::take(&mut work.checkpoint) {
                return Task::Checkpoint;
            }
            let retention_left = retention_at.saturating_sub(self.clock.monotonic());
            if retention_left.is_zero() {
                work.retention_due = None;
                return Task::Retention;
            }
            let left = left.map_or(retention_left, |left| left.min(retention_left));
            writer.work_came.wait_for(&mut work, left);
        }
    }

    /// Says whether there is a thread that asks for tasks.
    pub(crate) fn serve(&self, served: bool) {
        if let Ok(writer) = self.writer("housekeeping") {
            let mut work = writer.work.lock();
            work.served = served;
            work.stop = !served;
            writer.work_came.notify_all();
        }
    }

    /// Makes the journal durable behind those who write to it, for `Durability::Interval`.
    pub(crate) fn sync_journal(&self, writer: &Writer) -> Result<()> {
        let syncer = {
            let side = writer.journal.lock();
            let mark = side.journal.mark();
            if mark.durable_sequence + 1 >= mark.sequence {
                return Ok(());
            }
            side.journal.syncer()
        };
        let durable = syncer.sync().map_err(|error| writer.poison(&error))?;
        writer.journal.lock().journal.note_durable(durable);
        Ok(())
    }
}
