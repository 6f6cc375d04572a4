//! The worker: a thread that drives its tasks. Poll, process, commit; queries in between.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, TryRecvError};
use std::thread::JoinHandle;
use std::time::Duration;

use headwater_log_store::{ConsumerWaker, Log};

use crate::config::StreamsConfig;
use crate::error::{Error, Result};
use crate::graph::plan::Graph;
use crate::runtime::status::{Progress, Shared, StreamsState};
use crate::runtime::task_set::TaskSet;

/// How many records are processed between two polls.
const RECORDS_PER_SLICE: u64 = 1_000;

/// What the handle asks of the worker.
pub(crate) enum Command {
    /// Runs between two batches.
    Query(Box<dyn FnOnce(&TaskSet) + Send>),
    /// To be answered when nothing lies ahead.
    WhenCaughtUp(Sender<()>),
    /// Commits and ends.
    Close,
}

/// A running worker, as its handle sees it.
pub(crate) struct Worker {
    pub(crate) commands: Sender<Command>,
    pub(crate) waker: ConsumerWaker,
    pub(crate) thread: JoinHandle<()>,
}

/// Starts a worker, and waits until its stores are restored.
pub(crate) fn start(
    graph: &Arc<Graph>,
    config: StreamsConfig,
    log: &Arc<dyn Log>,
    shared: &Arc<Shared>,
) -> Result<Worker> {
    config.check_application_id()?;
    let (commands, inbox) = std::sync::mpsc::channel();
    let (opened, when_opened) = std::sync::mpsc::channel();
    let name = config.application_id.clone();
    let (graph, log, on_thread) = (Arc::clone(graph), Arc::clone(log), Arc::clone(shared));
    let body = move || {
        // Tasks never leave the thread that builds them.
        let run = AssertUnwindSafe(|| {
            let tasks = match TaskSet::open(&graph, config, &log) {
                Ok(tasks) => tasks,
                Err(error) => {
                    let _ = opened.send(Err(error.clone()));
                    return Err(error);
                }
            };
            on_thread.set_state(StreamsState::Running);
            let _ = opened.send(Ok(tasks.consumer.waker()));
            let mut run = Run { tasks, inbox, waiting: Vec::new(), shared: Arc::clone(&on_thread) };
            run.until_closed()
        });
        let outcome = catch_unwind(run).unwrap_or_else(|_| {
            Err(Error::NotRunning { operation: "going on", reason: "has panicked".to_owned() })
        });
        on_thread.stop(outcome);
    };
    shared.set_state(StreamsState::Rebalancing);
    let thread = std::thread::Builder::new().name(name).spawn(body).map_err(|error| {
        shared.set_state(StreamsState::Error);
        Error::NotRunning { operation: "the start", reason: format!("has no thread: {error}") }
    })?;
    let failed = match when_opened.recv() {
        Ok(Ok(waker)) => return Ok(Worker { commands, waker, thread }),
        Ok(Err(error)) => error,
        Err(_) => Error::NotRunning {
            operation: "the start",
            reason: "has panicked while it started".to_owned(),
        },
    };
    // The status says how the thread ended when it has ended; a panic of it is in there.
    let _ = thread.join();
    Err(failed)
}

struct Run {
    tasks: TaskSet,
    inbox: Receiver<Command>,
    waiting: Vec<Sender<()>>,
    shared: Arc<Shared>,
}

impl Run {
    fn until_closed(&mut self) -> Result<()> {
        let mut idle = false;
        loop {
            let waiting = self.waiting.len();
            if !self.obey() {
                self.tasks.commit()?;
                self.publish(self.tasks.lag()? == 0);
                return Ok(());
            }
            let asked = self.waiting.len() > waiting;
            let timeout = if idle && !asked { self.wait_at_most() } else { Duration::ZERO };
            let aborts = self.tasks.context.metrics.aborts;
            let polled = self.tasks.poll(timeout)?;
            let processed = self.tasks.process(RECORDS_PER_SLICE)?;
            let moved = self.tasks.advance_replay()?;
            let embedded = self.tasks.log.is_embedded();
            // What an abort has taken back is to be done again at once.
            let redo = self.tasks.context.metrics.aborts > aborts;
            let drained = polled == 0 && processed == 0 && !moved && !redo;
            if self.tasks.is_commit_full()
                || self.tasks.is_commit_due()
                || (drained && embedded && self.tasks.is_changed())
            {
                self.tasks.commit()?;
                self.publish(false);
            }
            idle = drained;
            if drained {
                let caught_up = !self.tasks.is_changed()
                    && !self.tasks.is_replaying()
                    && self.tasks.lag()? == 0;
                self.publish(caught_up);
                if caught_up {
                    for waiting in self.waiting.drain(..) {
                        // Who has stopped waiting needs no answer.
                        let _ = waiting.send(());
                    }
                }
            }
        }
    }

    /// Does what the handle has asked for; `false` is the end.
    fn obey(&mut self) -> bool {
        loop {
            match self.inbox.try_recv() {
                Ok(Command::Query(query)) => query(&self.tasks),
                Ok(Command::WhenCaughtUp(waiting)) => self.waiting.push(waiting),
                // A handle that is gone cannot close any more.
                Ok(Command::Close) | Err(TryRecvError::Disconnected) => return false,
                Err(TryRecvError::Empty) => return true,
            }
        }
    }

    fn wait_at_most(&self) -> Duration {
        let poll = self.tasks.config.poll;
        if self.tasks.is_changed() { poll.min(self.tasks.time_to_commit()) } else { poll }
    }

    fn publish(&self, caught_up: bool) {
        let metrics = self.tasks.context.metrics.clone();
        let progress = Progress {
            records_processed: metrics.records_in,
            lag: self.tasks.lag().unwrap_or_default(),
            replay: self.tasks.replay_stage(),
            caught_up,
        };
        let mut status = self.shared.status.lock();
        status.metrics = metrics;
        status.progress = progress;
    }
}
