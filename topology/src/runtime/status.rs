//! What an application says of itself: its state, how far it has come, and what has stopped it.

use parking_lot::{Condvar, Mutex};

use crate::error::{Error, Result};
use crate::metrics::MetricsSnapshot;

/// The life of an application, in Kafka Streams' words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StreamsState {
    /// Not started.
    Created,
    /// Starting: topics are checked and stores restored.
    Rebalancing,
    /// At work.
    Running,
    /// Asked to close: what was processed is being committed.
    PendingShutdown,
    /// Closed.
    NotRunning,
    /// Stopped by an error.
    Error,
}

/// How far an application has come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Progress {
    /// Records processed since the start; redone work counts twice.
    pub records_processed: u64,
    /// Records that lie ahead in input and repartition topics.
    pub lag: u64,
    /// During a replay: which task of how many runs.
    pub replay: Option<(usize, usize)>,
    /// Whether nothing lay ahead, and all was committed, when this was written.
    pub caught_up: bool,
}

/// What the handle reads.
#[derive(Debug)]
pub(crate) struct Status {
    pub(crate) state: StreamsState,
    pub(crate) error: Option<Error>,
    pub(crate) progress: Progress,
    pub(crate) metrics: MetricsSnapshot,
}

/// The status, and a bell for each change of its state.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) status: Mutex<Status>,
    pub(crate) changed: Condvar,
}

impl Shared {
    pub(crate) fn new() -> Self {
        let status = Status {
            state: StreamsState::Created,
            error: None,
            progress: Progress::default(),
            metrics: MetricsSnapshot::default(),
        };
        Self { status: Mutex::new(status), changed: Condvar::new() }
    }

    pub(crate) fn set_state(&self, state: StreamsState) {
        self.status.lock().state = state;
        self.changed.notify_all();
    }

    pub(crate) fn stop(&self, outcome: Result<()>) {
        let mut status = self.status.lock();
        match outcome {
            Ok(()) => status.state = StreamsState::NotRunning,
            Err(error) => {
                tracing::error!(%error, "the application stops");
                status.state = StreamsState::Error;
                status.error = Some(error);
            }
        }
        drop(status);
        self.changed.notify_all();
    }
}
