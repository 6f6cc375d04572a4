//! The one thread that a store has: checkpoints, and syncs behind the appends.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::Mutex;

use crate::engine::{Engine, Task};
use crate::error::Result;

/// The thread, which ends when this is stopped.
#[derive(Debug)]
pub(crate) struct Housekeeping {
    engine: Arc<Engine>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Housekeeping {
    /// Starts the thread.
    pub(crate) fn start(
        engine: &Arc<Engine>,
        retention_interval: Duration,
    ) -> std::io::Result<Self> {
        engine.serve(true);
        let worker = Arc::clone(engine);
        let builder = std::thread::Builder::new().name("headwater-housekeeping".to_owned());
        let thread = builder
            .spawn(move || run(&worker, retention_interval))
            .inspect_err(|_| engine.serve(false))?;
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

fn run(engine: &Engine, retention_interval: Duration) {
    let Ok(writer) = engine.writer("housekeeping") else { return };
    loop {
        let done: Result<()> = match engine.next_task(writer, retention_interval) {
            Task::Checkpoint => engine.checkpoint_now(),
            Task::Commit => engine.drain(writer),
            Task::SyncJournal => engine.sync_journal(writer),
            Task::Retention => engine.enforce_retention().map(drop),
            Task::Stop => return,
        };
        if let Err(error) = done {
            // The store is poisoned, and says so to everybody who writes.
            tracing::error!(%error, "housekeeping ends");
            engine.serve(false);
            return;
        }
    }
}
