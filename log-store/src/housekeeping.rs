//! The one thread that a store has: checkpoints, syncs behind the appends, retention, compaction
//! and the scrub.

use std::sync::Arc;
use std::thread::JoinHandle;

use parking_lot::Mutex;

use crate::engine::{Engine, Intervals, Task, Writer};
use crate::error::Result;

/// The thread, which ends when this is stopped.
#[derive(Debug)]
pub(crate) struct Housekeeping {
    engine: Arc<Engine>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Housekeeping {
    /// Starts the thread.
    pub(crate) fn start(engine: &Arc<Engine>, intervals: Intervals) -> std::io::Result<Self> {
        engine.serve(true);
        let worker = Arc::clone(engine);
        let builder = std::thread::Builder::new().name("headwater-housekeeping".to_owned());
        let thread =
            builder.spawn(move || run(&worker, &intervals)).inspect_err(|_| engine.serve(false))?;
        Ok(Self { engine: Arc::clone(engine), thread: Mutex::new(Some(thread)) })
    }

    /// Ends the thread after what it is doing.
    pub(crate) fn stop(&self) {
        self.engine.serve(false);
        if let Some(thread) = self.thread.lock().take()
            && thread.join().is_err()
        {
            tracing::error!("the housekeeping thread had panicked");
        }
    }
}

fn run(engine: &Engine, intervals: &Intervals) {
    let Ok(writer) = engine.writer("housekeeping") else { return };
    loop {
        let task = engine.next_task(writer, intervals);
        if task == Task::Stop {
            return;
        }
        let done = match (task, &intervals.scrub) {
            (Task::Scrub, Some(schedule)) => {
                engine.scrub_behind(writer, schedule);
                Ok(())
            }
            _ => perform(engine, writer, task),
        };
        if let Err(error) = done {
            if writer.check_poison().is_err() {
                // The store says so to everybody who writes.
                tracing::error!(%error, "housekeeping ends");
                engine.serve(false);
                return;
            }
            // A disk that is full, say, or damage in one segment: the rest goes on.
            tracing::warn!(%error, ?task, "a piece of housekeeping was not done");
        }
    }
}

fn perform(engine: &Engine, writer: &Writer, task: Task) -> Result<()> {
    match task {
        Task::Checkpoint => engine.checkpoint_now(),
        Task::Commit => engine.drain(writer),
        Task::SyncJournal => engine.sync_journal(writer),
        Task::Retention => engine.enforce_retention().map(drop),
        Task::Compaction => {
            let mut urgent = Ok(true);
            let compacted = engine.compact(&mut || {
                urgent = perform_urgent(engine, writer);
                !matches!(urgent, Ok(false) | Err(_))
            });
            urgent.and(compacted.map(drop))
        }
        Task::Scrub | Task::Stop => Ok(()),
    }
}

/// Does what cannot wait until a long piece of work is through; false if that is to end.
fn perform_urgent(engine: &Engine, writer: &Writer) -> Result<bool> {
    while let Some(task) = engine.urgent_task(writer) {
        if task == Task::Stop {
            return Ok(false);
        }
        perform(engine, writer, task)?;
    }
    Ok(true)
}
