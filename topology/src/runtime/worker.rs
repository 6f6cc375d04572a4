//! A worker: a thread that drives its tasks. Poll, process, commit; queries in between.

use std::cell::Cell;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, TryRecvError, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::runtime::assignment::WorkerId;
use crate::runtime::crew::{Command, Crew, Line, StreamThreadExceptionResponse};
use crate::runtime::recovery::panic_message;
use crate::runtime::status::Progress;
use crate::runtime::task_set::TaskSet;

/// How many records are processed between two polls.
const RECORDS_PER_SLICE: u64 = 1_000;

/// Starts a worker. It joins when its consumer and its global tables are there.
pub(crate) fn spawn(crew: &Arc<Crew>, worker: WorkerId) -> Result<JoinHandle<()>> {
    let (commands, inbox) = channel();
    crew.add_line(worker, Line { commands, waker: None });
    let on_thread = Arc::clone(crew);
    let body =
        move || Worker { id: worker, crew: on_thread, inbox, has_begun: Cell::new(false) }.live();
    std::thread::Builder::new().name(crew.thread_name(worker)).spawn(body).map_err(|error| {
        crew.ended(worker);
        Error::NotRunning { operation: "a new thread", reason: format!("got none: {error}") }
    })
}

/// A worker over its lives: after an error it may begin again.
struct Worker {
    id: WorkerId,
    crew: Arc<Crew>,
    inbox: Receiver<Command>,
    /// Whether it has had tasks at work.
    has_begun: Cell<bool>,
}

impl Worker {
    fn live(self) {
        // When it was replaced, by the application's clock.
        let mut replaced = VecDeque::new();
        // Tasks never leave the thread that builds them.
        while let Err(error) =
            catch_unwind(AssertUnwindSafe(|| self.run())).unwrap_or_else(|payload| {
                let reason = panic_message(payload.as_ref());
                Err(Error::Panic { operation: "the work of a thread", reason })
            })
        {
            self.crew.shared.retire(self.id);
            // While it starts, an error ends the application: whoever has started it is told.
            let answer = self.has_begun.get().then(|| self.crew.answer(&error));
            let replace = answer == Some(StreamThreadExceptionResponse::ReplaceThread);
            if !replace || !self.is_within_budget(&mut replaced) {
                self.crew.fail(error);
                break;
            }
            tracing::warn!(%error, thread = self.crew.thread_name(self.id), "is replaced");
            self.crew.members.drop_tasks(self.id);
            self.crew.rouse();
            if !self.back_off(replaced.len()) {
                break;
            }
        }
        self.crew.ended(self.id);
    }

    /// Whether it may be replaced once more; notes that it is.
    fn is_within_budget(&self, replaced: &mut VecDeque<Duration>) -> bool {
        let config = &self.crew.application.config;
        let now = config.clock.monotonic();
        while replaced.front().is_some_and(|at| now.saturating_sub(*at) >= config.restart_window) {
            replaced.pop_front();
        }
        if replaced.len() >= config.restarts_max {
            return false;
        }
        replaced.push_back(now);
        true
    }

    /// Waits before it begins again, longer each time; `false` if it is to end instead.
    fn back_off(&self, times: usize) -> bool {
        let config = &self.crew.application.config;
        let doublings = u32::try_from(times.saturating_sub(1)).unwrap_or(u32::MAX).min(30);
        let backoff = config.retry_backoff.saturating_mul(1 << doublings);
        let clock = &config.clock;
        let until = clock.monotonic().saturating_add(backoff.min(config.retry_backoff_max));
        loop {
            let left = until.saturating_sub(clock.monotonic());
            match self.inbox.recv_timeout(left) {
                Ok(Command::Close) => return false,
                // Who has asked finds the answer dropped, and asks again.
                Ok(Command::Query(_) | Command::WhenIdle(_)) => {}
                Err(RecvTimeoutError::Timeout) => return true,
                Err(RecvTimeoutError::Disconnected) => return false,
            }
        }
    }

    /// One life, up to its close or an error.
    fn run(&self) -> Result<()> {
        let Self { id, crew, inbox, has_begun } = self;
        let tasks = TaskSet::open(&crew.application, *id)?;
        crew.set_waker(*id, tasks.consumer.waker());
        let (waiting, idle, seen) = (Vec::new(), false, 0);
        let mut run = Run { id: *id, crew, inbox, tasks, waiting, idle, seen };
        run.publish(false);
        run.follow_members()?;
        // Who has no tasks to take has nothing else to say.
        crew.rouse();
        has_begun.set(true);
        while run.turn()? {}
        run.tasks.commit()?;
        run.publish(run.tasks.lag()? == 0);
        Ok(())
    }
}

struct Run<'a> {
    id: WorkerId,
    crew: &'a Crew,
    inbox: &'a Receiver<Command>,
    tasks: TaskSet,
    waiting: Vec<Sender<u64>>,
    /// Whether the last turn found nothing to do.
    idle: bool,
    /// The generation of the members that was looked at last.
    seen: u64,
}

impl Run<'_> {
    /// One turn; `false` is the end.
    fn turn(&mut self) -> Result<bool> {
        let waiting = self.waiting.len();
        if !self.obey() {
            return Ok(false);
        }
        self.follow_members()?;
        if self.crew.is_paused() {
            return self.rest();
        }
        let asked = self.waiting.len() > waiting;
        let timeout = if self.idle && !asked { self.wait_at_most() } else { Duration::ZERO };
        let aborts = self.tasks.context.metrics.aborts;
        let polled = self.tasks.poll(timeout)?;
        let processed = self.tasks.process(RECORDS_PER_SLICE)?;
        let punctuated = self.tasks.punctuate()?;
        let moved = self.tasks.advance_replay()?;
        let embedded = self.tasks.log.is_embedded();
        // What an abort has taken back is to be done again at once.
        let redo = self.tasks.context.metrics.aborts > aborts;
        let drained = polled == 0 && processed == 0 && !moved && !redo && !punctuated;
        if self.tasks.is_commit_full()
            || self.tasks.is_commit_due()
            || (drained && embedded && self.tasks.is_changed())
        {
            self.tasks.commit()?;
            self.publish(false);
        }
        self.idle = drained;
        if drained {
            let caught_up =
                !self.tasks.is_changed() && !self.tasks.is_replaying() && self.tasks.lag()? == 0;
            self.publish(caught_up);
            if caught_up {
                self.answer_waiting();
            }
        }
        Ok(true)
    }

    fn answer_waiting(&mut self) {
        let metrics = &self.tasks.context.metrics;
        let activity = metrics.records_in + metrics.commits + metrics.aborts;
        for waiting in self.waiting.drain(..) {
            // Who has stopped waiting needs no answer.
            let _ = waiting.send(activity);
        }
    }

    /// Gives up and takes tasks, if the members have changed.
    fn follow_members(&mut self) -> Result<()> {
        let members = &self.crew.members;
        if members.is_replaying() && self.has_replayed() {
            members.replay_over();
            self.crew.rouse();
        }
        let generation = members.generation();
        if generation == self.seen {
            return Ok(());
        }
        self.seen = generation;
        let changes = members.changes(self.id);
        if changes.give_up.is_empty() && changes.take.is_empty() {
            return Ok(());
        }
        // What was taken back instead of committed is done again by whoever has the task then.
        self.tasks.commit()?;
        if !changes.give_up.is_empty() {
            self.tasks.give_up(&changes.give_up)?;
            members.gave_up(&changes.give_up);
        }
        if !changes.take.is_empty() {
            self.tasks.take(&changes.take)?;
            members.took(&changes.take);
        }
        self.idle = false;
        self.crew.rouse();
        Ok(())
    }

    /// Whether this worker had all tasks, for a replay that is over.
    fn has_replayed(&self) -> bool {
        !self.tasks.is_replaying() && self.tasks.tasks.len() == self.crew.application.tasks.len()
    }

    /// A turn of a worker that is paused: it commits, and waits for what it is asked.
    fn rest(&mut self) -> Result<bool> {
        if self.tasks.is_changed() {
            self.tasks.commit()?;
            self.publish(false);
        }
        match self.inbox.recv_timeout(self.tasks.config.poll) {
            Ok(command) => Ok(self.do_command(command)),
            Err(RecvTimeoutError::Timeout) => Ok(true),
            Err(RecvTimeoutError::Disconnected) => Ok(false),
        }
    }

    /// Does what the handle has asked for; `false` is the end.
    fn obey(&mut self) -> bool {
        loop {
            match self.inbox.try_recv() {
                Ok(command) => {
                    if !self.do_command(command) {
                        return false;
                    }
                }
                Err(TryRecvError::Disconnected) => return false,
                Err(TryRecvError::Empty) => return true,
            }
        }
    }

    fn do_command(&mut self, command: Command) -> bool {
        match command {
            Command::Query(query) => query(&self.tasks),
            Command::WhenIdle(waiting) => self.waiting.push(waiting),
            Command::Close => return false,
        }
        true
    }

    fn wait_at_most(&self) -> Duration {
        let poll = self.tasks.config.poll;
        let poll = self.tasks.time_to_punctuation().map_or(poll, |left| poll.min(left));
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
        self.crew.shared.publish(self.id, progress, metrics);
    }
}
