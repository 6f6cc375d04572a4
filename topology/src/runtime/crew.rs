//! The workers of an application that runs, and what goes on between them and its handle.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::mpsc::Sender;

use headwater_log_store::ConsumerWaker;
use parking_lot::Mutex;

use crate::error::{Error, Result};
use crate::runtime::application::Application;
use crate::runtime::assignment::WorkerId;
use crate::runtime::members::Members;
use crate::runtime::status::{Shared, StreamsState};
use crate::runtime::task_set::TaskSet;

/// What is to become of an application whose thread an error has ended; Kafka Streams'
/// `StreamThreadExceptionResponse`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StreamThreadExceptionResponse {
    /// Another thread takes its place, and starts from the last commit. After more replacements
    /// than the [restart budget](crate::StreamsConfig::restart_budget) allows, the client is shut
    /// down.
    ReplaceThread,
    /// The other threads of this client commit and end, and its state becomes
    /// [`Error`](StreamsState::Error).
    ShutdownClient,
    /// All clients of the application end. On an embedded log there is only one, so this is
    /// `ShutdownClient`.
    ShutdownApplication,
}

/// Answers what is to become of the application.
pub(crate) type UncaughtHandler = dyn Fn(&Error) -> StreamThreadExceptionResponse + Send + Sync;

/// What the handle asks of a worker.
pub(crate) enum Command {
    /// Runs between two batches.
    Query(Box<dyn FnOnce(&TaskSet) + Send>),
    /// To be answered when nothing lies ahead, with a number that grows with all that is done.
    WhenIdle(Sender<u64>),
    /// Commits and ends.
    Close,
}

/// The way to a worker.
#[derive(Clone)]
pub(crate) struct Line {
    pub(crate) commands: Sender<Command>,
    /// Ends its poll. `None` while it has no consumer.
    pub(crate) waker: Option<ConsumerWaker>,
}

impl Line {
    /// A worker that has ended drops the command, and with it the sender of its answer.
    pub(crate) fn tell(&self, command: Command) {
        let _ = self.commands.send(command);
        self.wake();
    }

    fn wake(&self) {
        if let Some(waker) = &self.waker {
            waker.wake();
        }
    }
}

/// See the module.
pub(crate) struct Crew {
    pub(crate) application: Arc<Application>,
    pub(crate) members: Members,
    pub(crate) shared: Arc<Shared>,
    paused: AtomicBool,
    uncaught: Option<Arc<UncaughtHandler>>,
    lines: Mutex<BTreeMap<WorkerId, Line>>,
    last_id: AtomicU32,
}

impl Crew {
    pub(crate) fn new(
        application: Application,
        shared: Arc<Shared>,
        uncaught: Option<Arc<UncaughtHandler>>,
    ) -> Result<Self> {
        let members = match application.log.is_embedded() {
            true => Members::new(application.tasks.clone(), application.is_replaying()?),
            false => Members::grouped(application.tasks.clone()),
        };
        Ok(Self {
            application: Arc::new(application),
            members,
            shared,
            paused: AtomicBool::new(false),
            uncaught,
            lines: Mutex::new(BTreeMap::new()),
            last_id: AtomicU32::new(0),
        })
    }

    /// The number of the next worker, from 1.
    pub(crate) fn next_id(&self) -> WorkerId {
        self.last_id.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// The name of a worker, in Kafka Streams' words.
    pub(crate) fn thread_name(&self, worker: WorkerId) -> String {
        format!("{}-StreamThread-{worker}", self.application.config.application_id)
    }

    /// The ways to all workers.
    pub(crate) fn lines(&self) -> Vec<(WorkerId, Line)> {
        self.lines.lock().iter().map(|(worker, line)| (*worker, line.clone())).collect()
    }

    /// Keeps the way to a worker.
    pub(crate) fn add_line(&self, worker: WorkerId, line: Line) {
        self.lines.lock().insert(worker, line);
    }

    /// A worker has another consumer.
    pub(crate) fn set_waker(&self, worker: WorkerId, waker: ConsumerWaker) {
        if let Some(line) = self.lines.lock().get_mut(&worker) {
            line.waker = Some(waker);
        }
    }

    /// Something has changed among the members: tells the state, and lets each worker look.
    pub(crate) fn rouse(&self) {
        self.shared.update_state(|| {
            if self.members.is_settled() {
                StreamsState::Running
            } else {
                StreamsState::Rebalancing
            }
        });
        self.lines.lock().values().for_each(Line::wake);
    }

    pub(crate) fn is_paused(&self) -> bool {
        self.paused.load(Ordering::Acquire)
    }

    pub(crate) fn set_paused(&self, paused: bool) {
        self.paused.store(paused, Ordering::Release);
        self.lines.lock().values().for_each(Line::wake);
    }

    /// Asks all workers to commit and to end.
    pub(crate) fn close(&self) {
        self.members.close();
        self.application.restores.interrupt();
        self.lines.lock().values().for_each(|line| line.tell(Command::Close));
    }

    /// What is to become of the application after this error of a worker. A close is not stopped.
    pub(crate) fn answer(&self, error: &Error) -> StreamThreadExceptionResponse {
        match &self.uncaught {
            Some(handler) if !self.members.is_closing() => handler(error),
            _ => StreamThreadExceptionResponse::ShutdownClient,
        }
    }

    /// An error ends the application.
    pub(crate) fn fail(&self, error: Error) {
        tracing::error!(%error, "the application stops");
        self.shared.set_error(error);
        self.shared.set_state(StreamsState::PendingError);
        self.close();
    }

    /// A worker has ended. The last one ends the application.
    pub(crate) fn ended(&self, worker: WorkerId) {
        self.shared.retire(worker);
        self.members.leave(worker);
        let mut lines = self.lines.lock();
        lines.remove(&worker);
        let is_last = lines.is_empty();
        drop(lines);
        if !is_last {
            self.rouse();
            return;
        }
        self.application.release();
        self.shared.set_state(match self.shared.error() {
            Some(_) => StreamsState::Error,
            None => StreamsState::NotRunning,
        });
    }
}

impl fmt::Debug for Crew {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Crew").field("members", &self.members).finish_non_exhaustive()
    }
}
