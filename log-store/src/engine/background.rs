//! What the housekeeping thread does for a store, one piece at a time.

use std::time::Duration;

use crate::config::Durability;
use crate::engine::state::{Engine, Work, Writer};
use crate::error::Result;

/// A piece of work for the housekeeping thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Task {
    Checkpoint,
    Commit,
    SyncJournal,
    Retention,
    Compaction,
    Scrub,
    Stop,
}

/// How often the housekeeping thread looks for work by itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Intervals {
    pub(crate) retention: Duration,
    pub(crate) compaction: Duration,
    /// None for never.
    pub(crate) scrub: Option<ScrubSchedule>,
}

/// How fast the scrub goes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ScrubSchedule {
    /// More than zero.
    pub(crate) bytes_per_second: u64,
    /// How long it rests after it was through all segments.
    pub(crate) pause: Duration,
}

/// The scrub begins this long after the store was opened: who only looks in is not kept.
const SCRUB_DELAY: Duration = Duration::from_secs(60);

impl Engine {
    /// Waits for the next piece of work; the caller is the housekeeping thread.
    pub(crate) fn next_task(&self, writer: &Writer, intervals: &Intervals) -> Task {
        let mut work = writer.work.lock();
        let now = self.clock.monotonic();
        let due =
            |at: &mut Option<Duration>, interval| *at.get_or_insert(now.saturating_add(interval));
        let retention_at = due(&mut work.retention_due, intervals.retention);
        let compaction_at = due(&mut work.compaction_due, intervals.compaction);
        loop {
            if let Some(task) = self.urgent(writer, &mut work) {
                return task;
            }
            let now = self.clock.monotonic();
            if retention_at <= now {
                work.retention_due = None;
                return Task::Retention;
            }
            if compaction_at <= now {
                work.compaction_due = None;
                return Task::Compaction;
            }
            let scrub_at =
                intervals.scrub.map(|_| *work.scrub_due.get_or_insert(now + SCRUB_DELAY));
            if scrub_at.is_some_and(|at| at <= now) {
                return Task::Scrub;
            }
            let others = self.journal_due(writer, &work).into_iter().chain(scrub_at);
            let next = others.chain([retention_at]).fold(compaction_at, Duration::min);
            writer.work_came.wait_for(&mut work, next.saturating_sub(now));
        }
    }

    /// A piece of work that cannot wait until a long one is through.
    pub(crate) fn urgent_task(&self, writer: &Writer) -> Option<Task> {
        self.urgent(writer, &mut writer.work.lock())
    }

    fn urgent(&self, writer: &Writer, work: &mut Work) -> Option<Task> {
        if work.stop {
            return Some(Task::Stop);
        }
        let now = self.clock.monotonic();
        // First of all, so that no amount of other work puts it off.
        if self.journal_due(writer, work).is_some_and(|due| due <= now) {
            work.synced_at = now;
            return Some(Task::SyncJournal);
        }
        if std::mem::take(&mut work.commit) {
            return Some(Task::Commit);
        }
        std::mem::take(&mut work.checkpoint).then_some(Task::Checkpoint)
    }

    /// When the journal is to be synced behind the appends.
    fn journal_due(&self, writer: &Writer, work: &Work) -> Option<Duration> {
        match writer.durability {
            Durability::Interval(interval) => Some(work.synced_at + interval),
            Durability::Sync | Durability::Os => None,
        }
    }

    /// Goes on with the scrub a bit, and says when it is to go on.
    pub(crate) fn scrub_behind(&self, writer: &Writer, schedule: &ScrubSchedule) {
        let step = self.scrub_step(writer);
        let pause = match step.is_pass_over {
            true => schedule.pause,
            false => {
                let nanos = u128::from(step.bytes) * 1_000_000_000;
                let nanos = nanos / u128::from(schedule.bytes_per_second);
                Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
            }
        };
        let due = self.clock.monotonic().saturating_add(pause);
        writer.work.lock().scrub_due = Some(due);
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
