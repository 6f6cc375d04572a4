//! What an application says of itself: its state, how far it has come, and what has stopped it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use crate::error::Error;
use crate::metrics::MetricsSnapshot;
use crate::runtime::assignment::WorkerId;

/// The life of an application, in Kafka Streams' words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StreamsState {
    /// Not started.
    Created,
    /// Topics are checked, tasks move between threads, or stores are restored.
    Rebalancing,
    /// At work: every task runs.
    Running,
    /// Asked to close: what was processed is being committed.
    PendingShutdown,
    /// Closed.
    NotRunning,
    /// An error stops it: the other threads commit what they have processed.
    PendingError,
    /// Stopped by an error.
    Error,
}

impl StreamsState {
    /// Whether it has ended, for whatever reason.
    pub(crate) fn is_final(self) -> bool {
        matches!(self, Self::NotRunning | Self::Error)
    }

    /// Whether threads may still run.
    pub(crate) fn is_alive(self) -> bool {
        !self.is_final() && self != Self::Created
    }

    fn may_become(self, next: Self) -> bool {
        match self {
            Self::Created => matches!(next, Self::Rebalancing | Self::Error | Self::NotRunning),
            Self::Rebalancing => !matches!(next, Self::Created | Self::Rebalancing),
            Self::Running => !matches!(next, Self::Created | Self::Running),
            Self::PendingShutdown | Self::PendingError => next.is_final(),
            Self::NotRunning | Self::Error => false,
        }
    }
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

/// What is told of each change of the state: the new one, and the old one.
pub(crate) type StateListener = dyn Fn(StreamsState, StreamsState) + Send + Sync;

#[derive(Debug)]
struct Status {
    state: StreamsState,
    /// Whether all tasks have been at work.
    has_run: bool,
    error: Option<Error>,
    workers: BTreeMap<WorkerId, (Progress, MetricsSnapshot)>,
    /// What workers have counted that have ended.
    past: MetricsSnapshot,
    /// Where the workers that have ended have left it.
    left_caught_up: bool,
}

/// The status of an application, for its handle and its workers.
pub(crate) struct Shared {
    status: Mutex<Status>,
    changed: Condvar,
    /// Held from a change to the end of its announcement, so that the listener hears of the
    /// changes in their order.
    listener: Mutex<Option<Arc<StateListener>>>,
}

impl Shared {
    pub(crate) fn new() -> Self {
        let status = Status {
            state: StreamsState::Created,
            has_run: false,
            error: None,
            workers: BTreeMap::new(),
            past: MetricsSnapshot::default(),
            left_caught_up: true,
        };
        Self { status: Mutex::new(status), changed: Condvar::new(), listener: Mutex::new(None) }
    }

    pub(crate) fn set_listener(&self, listener: Arc<StateListener>) {
        *self.listener.lock() = Some(listener);
    }

    pub(crate) fn state(&self) -> StreamsState {
        self.status.lock().state
    }

    /// Whether it has been [`Running`](StreamsState::Running).
    pub(crate) fn has_run(&self) -> bool {
        self.status.lock().has_run
    }

    pub(crate) fn error(&self) -> Option<Error> {
        self.status.lock().error.clone()
    }

    /// Changes the state, if it may follow on what it is. Returns whether it does.
    pub(crate) fn set_state(&self, next: StreamsState) -> bool {
        self.update_state(|| next)
    }

    /// As [`set_state`](Self::set_state), to what is true when no one else changes the state.
    pub(crate) fn update_state(&self, next: impl FnOnce() -> StreamsState) -> bool {
        let listener = self.listener.lock();
        let next = next();
        let mut status = self.status.lock();
        let before = status.state;
        if !before.may_become(next) {
            return false;
        }
        status.state = next;
        status.has_run |= next == StreamsState::Running;
        drop(status);
        self.changed.notify_all();
        tracing::info!(from = ?before, to = ?next, "the application changes its state");
        if let Some(listener) = listener.as_ref() {
            listener(next, before);
        }
        true
    }

    /// Keeps the error that stops the application. Of several, the first is its cause.
    pub(crate) fn set_error(&self, error: Error) {
        self.status.lock().error.get_or_insert(error);
    }

    /// Waits until the state is another one than those, for `timeout` at most. Returns what it is
    /// then.
    pub(crate) fn wait_while(
        &self,
        timeout: Option<Duration>,
        is_waiting: impl Fn(StreamsState) -> bool,
    ) -> StreamsState {
        let mut status = self.status.lock();
        match timeout {
            None => self.changed.wait_while(&mut status, |status| is_waiting(status.state)),
            Some(timeout) => {
                // The state tells how it ended.
                let _ = self.changed.wait_while_for(
                    &mut status,
                    |status| is_waiting(status.state),
                    timeout,
                );
            }
        }
        status.state
    }

    /// What a worker has come to.
    pub(crate) fn publish(&self, worker: WorkerId, progress: Progress, metrics: MetricsSnapshot) {
        self.status.lock().workers.insert(worker, (progress, metrics));
    }

    /// A worker has ended, or begins again: what it counted stays counted.
    pub(crate) fn retire(&self, worker: WorkerId) {
        let mut status = self.status.lock();
        if let Some((progress, mut metrics)) = status.workers.remove(&worker) {
            metrics.forget_lag();
            status.past.add(&metrics);
            status.left_caught_up &= progress.caught_up;
        }
    }

    pub(crate) fn metrics(&self) -> MetricsSnapshot {
        let status = self.status.lock();
        let mut sum = status.past.clone();
        status.workers.values().for_each(|(_, metrics)| sum.add(metrics));
        sum
    }

    /// The same by worker, of those that run.
    pub(crate) fn metrics_by_worker(&self) -> Vec<(WorkerId, MetricsSnapshot)> {
        let status = self.status.lock();
        let workers = status.workers.iter();
        workers.map(|(worker, (_, metrics))| (*worker, metrics.clone())).collect()
    }

    pub(crate) fn progress(&self) -> Progress {
        let records_processed = self.metrics().records_in;
        let status = self.status.lock();
        let each = || status.workers.values().map(|(progress, _)| progress);
        Progress {
            records_processed,
            lag: each().map(|progress| progress.lag).sum(),
            replay: each().find_map(|progress| progress.replay),
            caught_up: if status.workers.is_empty() {
                status.left_caught_up && status.state != StreamsState::Created
            } else {
                each().all(|progress| progress.caught_up)
            },
        }
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("state", &self.state()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::{Shared, StreamsState};
    use parking_lot::Mutex;
    use std::sync::Arc;

    #[test]
    fn the_listener_hears_of_every_change_once_and_of_nothing_that_may_not_follow() {
        let (shared, heard) = (Shared::new(), Arc::new(Mutex::new(Vec::new())));
        let ear = Arc::clone(&heard);
        shared.set_listener(Arc::new(move |new, old| ear.lock().push((new, old))));
        use StreamsState::{Created, Error, NotRunning, PendingError, Rebalancing, Running};
        let steps = [
            (Running, false),
            (Rebalancing, true),
            (Rebalancing, false),
            (Running, true),
            (PendingError, true),
            (Running, false),
            (Error, true),
            (NotRunning, false),
        ];
        for (next, is_change) in steps {
            assert_eq!(shared.set_state(next), is_change, "to {next:?}");
        }
        let expected = [
            (Rebalancing, Created),
            (Running, Rebalancing),
            (PendingError, Running),
            (Error, PendingError),
        ];
        assert_eq!(*heard.lock(), expected);
    }
}
