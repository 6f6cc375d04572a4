//! The turns of a worker: poll, process, commit; queries, and the moves of tasks, in between.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, TryRecvError};
use std::time::Duration;

use headwater_log_store::ConsumerWaker;

use crate::error::Result;
use crate::runtime::assignment::WorkerId;
use crate::runtime::crew::{Command, Crew};
#[cfg(feature = "metrics")]
use crate::runtime::exported::Exported;
use crate::runtime::group::TaskChange;
use crate::runtime::status::Progress;
use crate::runtime::task_set::TaskSet;

/// How many records are processed between two polls.
const RECORDS_PER_SLICE: u64 = 1_000;

/// See the module.
pub(crate) struct Turns {
    id: WorkerId,
    crew: Arc<Crew>,
    tasks: TaskSet,
    waiting: Vec<Sender<u64>>,
    /// Whether the last turn found nothing to do.
    idle: bool,
    /// The generation of the members that was looked at last.
    seen: u64,
    #[cfg(feature = "metrics")]
    exported: Exported,
}

impl Turns {
    /// Joins the others: tasks are taken and restored as far as they are free.
    pub(crate) fn begin(crew: &Arc<Crew>, id: WorkerId) -> Result<Self> {
        let tasks = TaskSet::open(&crew.application, id)?;
        crew.set_waker(id, waker_of(&tasks));
        let crew = Arc::clone(crew);
        let mut turns = Self {
            #[cfg(feature = "metrics")]
            exported: Exported::new(&tasks.config.application_id, &crew.thread_name(id)),
            id,
            crew,
            tasks,
            waiting: Vec::new(),
            idle: false,
            seen: 0,
        };
        turns.publish(false);
        turns.follow_members()?;
        // Who has no tasks to take has nothing else to say.
        turns.crew.rouse();
        Ok(turns)
    }

    /// Commits what was processed, after the last turn.
    pub(crate) fn end(mut self) -> Result<()> {
        self.tasks.commit_measured()?;
        self.publish(self.tasks.known_lag()? == 0);
        Ok(())
    }

    /// One turn; `false` is the end.
    pub(crate) fn turn(&mut self, inbox: &Receiver<Command>) -> Result<bool> {
        let waiting = self.waiting.len();
        if !self.obey(inbox) {
            return Ok(false);
        }
        let asked = self.waiting.len() > waiting;
        let timeout = if self.idle && !asked { self.wait_at_most() } else { Duration::ZERO };
        // Who has no tasks waits for some.
        let is_free = self.tasks.tasks.is_empty() && self.tasks.group.is_some();
        self.follow_group(if is_free { timeout } else { Duration::ZERO })?;
        self.follow_members()?;
        if self.crew.is_paused() {
            return self.rest(inbox);
        }
        let timeout = if is_free { Duration::ZERO } else { timeout };
        let aborts = self.tasks.context.metrics.aborts;
        let polled = self.tasks.poll(timeout)?;
        let processed = self.tasks.process_measured(RECORDS_PER_SLICE)?;
        let punctuated = self.tasks.punctuate()?;
        let followed = self.tasks.follow_standbys();
        let moved = self.tasks.advance_replay()?;
        let embedded = self.tasks.log.is_embedded();
        // What an abort has taken back is to be done again at once.
        let redo = self.tasks.context.metrics.aborts > aborts;
        let drained = polled == 0 && processed == 0 && !moved && !redo && !punctuated;
        if self.tasks.is_commit_full()
            || self.tasks.is_commit_due()
            || (drained && embedded && self.tasks.is_changed())
        {
            self.tasks.commit_measured()?;
            self.publish(false);
        }
        self.idle = drained && followed == 0;
        if drained {
            let caught_up =
                !self.tasks.is_changed() && !self.tasks.is_replaying() && self.nothing_ahead()?;
            self.publish(caught_up);
            if caught_up {
                self.answer_waiting();
            }
        }
        Ok(true)
    }

    /// Whether nothing lies ahead. Who waits for that gets an answer of the log itself.
    fn nothing_ahead(&self) -> Result<bool> {
        let nothing_known = self.tasks.known_lag()? == 0;
        Ok(nothing_known && (self.waiting.is_empty() || self.tasks.lag()? == 0))
    }

    fn answer_waiting(&mut self) {
        let metrics = &self.tasks.context.metrics;
        let activity = metrics.records_in + metrics.commits + metrics.aborts;
        for waiting in self.waiting.drain(..) {
            // Who has stopped waiting needs no answer.
            let _ = waiting.send(activity);
        }
    }

    /// Lets the group move tasks between processes: what goes is committed and closed first.
    fn follow_group(&mut self, timeout: Duration) -> Result<()> {
        let Some(mut group) = self.tasks.group.take() else { return Ok(()) };
        let crew = Arc::clone(&self.crew);
        let Self { id, tasks, .. } = self;
        let polled = group.poll(timeout, &mut |member, change| {
            let gone = match change {
                TaskChange::Assigned(come) => {
                    crew.members.assigned(*id, &come);
                    return Ok(());
                }
                TaskChange::Revoked(gone) => {
                    // What was taken back instead is done again by whoever has the task then.
                    tasks.commit_as(Some(member))?;
                    gone
                }
                TaskChange::Lost(gone) => {
                    tasks.abort()?;
                    gone
                }
            };
            tasks.give_up(&gone)?;
            crew.members.moved_away(*id, &gone);
            crew.rouse();
            Ok(())
        });
        if group.has_joined() {
            crew.members.joined(*id);
        }
        tasks.group = Some(group);
        polled
    }

    /// Gives up and takes tasks, if the members have changed.
    fn follow_members(&mut self) -> Result<()> {
        let crew = Arc::clone(&self.crew);
        let members = &crew.members;
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
        self.tasks.commit_measured()?;
        if !changes.give_up.is_empty() {
            self.tasks.give_up(&changes.give_up)?;
            members.gave_up(&changes.give_up);
        }
        if !changes.take.is_empty() {
            self.tasks.take(&changes.take)?;
            // Who waits for the tasks finds the metrics of their restore.
            self.publish(false);
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
    fn rest(&mut self, inbox: &Receiver<Command>) -> Result<bool> {
        if self.tasks.is_changed() {
            self.tasks.commit_measured()?;
            self.publish(false);
        }
        match inbox.recv_timeout(self.tasks.config.poll) {
            Ok(command) => Ok(self.do_command(command)),
            Err(RecvTimeoutError::Timeout) => Ok(true),
            Err(RecvTimeoutError::Disconnected) => Ok(false),
        }
    }

    /// Does what the handle has asked for; `false` is the end.
    fn obey(&mut self, inbox: &Receiver<Command>) -> bool {
        loop {
            match inbox.try_recv() {
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
        let mut metrics = self.tasks.context.metrics.clone();
        let progress = Progress {
            records_processed: metrics.records_in,
            lag: self.tasks.known_lag().unwrap_or_default(),
            replay: self.tasks.replay_stage(),
            caught_up,
        };
        (metrics.records_lag, metrics.time_lag) = (progress.lag, Duration::ZERO);
        if progress.lag > 0 {
            metrics.time_lag = self.tasks.time_lag();
        }
        #[cfg(feature = "metrics")]
        self.exported.tell(&metrics);
        self.crew.shared.publish(self.id, progress, metrics);
    }
}

/// Ends the poll of a worker, whichever of its consumers it waits in.
fn waker_of(tasks: &TaskSet) -> ConsumerWaker {
    let data = tasks.consumer.waker();
    let Some(group) = tasks.group.as_ref().map(|group| group.consumer.waker()) else { return data };
    ConsumerWaker::new(Arc::new(move || {
        data.wake();
        group.wake();
    }))
}
