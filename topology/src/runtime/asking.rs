//! What the handle asks of the workers: queries, and whether all is done.
//!
//! An answer is one of all workers at a moment when every task was at work: what was asked while
//! tasks moved is asked again.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use headwater_log_store::{Clock, SystemClock};

use crate::error::{Error, Result};
use crate::runtime::crew::{Command, Crew};
use crate::runtime::status::StreamsState;
use crate::runtime::streams::Streams;
use crate::runtime::task_set::TaskSet;

/// How long an answer may still take.
struct Deadline {
    clock: SystemClock,
    at: Option<Duration>,
}

impl Deadline {
    fn after(timeout: Option<Duration>) -> Self {
        let clock = SystemClock::new();
        let at = timeout.map(|timeout| clock.monotonic().saturating_add(timeout));
        Self { clock, at }
    }

    fn left(&self) -> Option<Duration> {
        self.at.map(|at| at.saturating_sub(self.clock.monotonic()))
    }

    fn receive<T>(&self, from: &Receiver<T>) -> Result<T, RecvTimeoutError> {
        match self.left() {
            Some(left) => from.recv_timeout(left),
            None => from.recv().map_err(|_| RecvTimeoutError::Disconnected),
        }
    }
}

/// What became of a question to all workers.
enum Asked<T> {
    Answers(Vec<T>),
    /// Something moved meanwhile.
    Moved,
    TimedOut,
}

impl Streams {
    /// Waits until nothing lies ahead and everything is committed: for input that nobody adds to,
    /// until all of it is done.
    ///
    /// # Errors
    /// The error that has stopped the application, or `NotRunning`.
    pub fn wait_until_caught_up(&self) -> Result<()> {
        self.wait_for_idleness(&Deadline::after(None)).map(drop)
    }

    /// As [`wait_until_caught_up`](Self::wait_until_caught_up), for `timeout` at most; `false`
    /// when it has passed: to show progress in between.
    ///
    /// # Errors
    /// The error that has stopped the application, or `NotRunning`.
    pub fn wait_until_caught_up_for(&self, timeout: Duration) -> Result<bool> {
        self.wait_for_idleness(&Deadline::after(Some(timeout)))
    }

    /// Each worker says that nothing lies ahead of it at another moment, and what it has written
    /// until then may lie ahead of one that has answered before. So each is asked twice: if none
    /// has done anything between its answers, nothing lay ahead of any at the moment between.
    fn wait_for_idleness(&self, deadline: &Deadline) -> Result<bool> {
        let mut before = None;
        loop {
            let asked =
                self.ask(deadline, "the wait", |answer: Sender<u64>| Command::WhenIdle(answer))?;
            let answers = match asked {
                Asked::Answers(answers) => answers,
                Asked::Moved => {
                    before = None;
                    continue;
                }
                Asked::TimedOut => return Ok(false),
            };
            if answers.len() == 1 || before.as_ref() == Some(&answers) {
                return Ok(true);
            }
            before = Some(answers);
        }
    }

    /// The answers of all workers to a query, by the age of the workers. Of a global store, which
    /// each worker has, only one.
    pub(crate) fn query<T: Send + 'static>(
        &self,
        store: &str,
        query: impl FnOnce(&TaskSet) -> Result<T> + Clone + Send + 'static,
    ) -> Result<Vec<T>> {
        loop {
            let asked =
                self.ask(&Deadline::after(None), "a query", |answer: Sender<Result<T>>| {
                    let query = query.clone();
                    Command::Query(Box::new(move |tasks| {
                        // Who has stopped waiting needs no answer.
                        let _ = answer.send(tasks.query(query));
                    }))
                })?;
            if let Asked::Answers(answers) = asked {
                let kept = if self.is_global_store(store) { 1 } else { answers.len() };
                return answers.into_iter().take(kept).collect();
            }
        }
    }

    /// Asks all workers.
    fn ask<T>(
        &self,
        deadline: &Deadline,
        operation: &'static str,
        command: impl Fn(Sender<T>) -> Command,
    ) -> Result<Asked<T>> {
        let crew = self.crew_at_work(deadline, operation)?;
        let Some(crew) = crew else { return Ok(Asked::TimedOut) };
        let generation = crew.members.generation();
        if !crew.members.is_settled() {
            return Ok(Asked::Moved);
        }
        let asked: Vec<Receiver<T>> = crew
            .lines()
            .iter()
            .map(|(_, line)| {
                let (answer, when) = channel();
                line.tell(command(answer));
                when
            })
            .collect();
        let mut answers = Vec::new();
        for when in &asked {
            match deadline.receive(when) {
                Ok(answer) => answers.push(answer),
                Err(RecvTimeoutError::Timeout) => return Ok(Asked::TimedOut),
                Err(RecvTimeoutError::Disconnected) => return Ok(Asked::Moved),
            }
        }
        if crew.members.generation() != generation {
            return Ok(Asked::Moved);
        }
        Ok(Asked::Answers(answers))
    }

    /// Waits until every task is at work; `None` when the time has passed.
    fn crew_at_work(
        &self,
        deadline: &Deadline,
        operation: &'static str,
    ) -> Result<Option<Arc<Crew>>> {
        let crew = self.running.lock().as_ref().map(|running| Arc::clone(&running.crew));
        let Some(crew) = crew else { return Err(self.stopped(operation)) };
        let state =
            self.shared.wait_while(deadline.left(), |state| state == StreamsState::Rebalancing);
        match state {
            StreamsState::Running => Ok(Some(crew)),
            StreamsState::Rebalancing => Ok(None),
            _ => Err(self.stopped(operation)),
        }
    }

    /// Why there is no answer. A worker that ends drops its questions before it says how it ended,
    /// so this waits for that.
    fn stopped(&self, operation: &'static str) -> Error {
        let state = self.shared.wait_while(None, StreamsState::is_alive);
        self.error().unwrap_or_else(|| Error::NotRunning {
            operation,
            reason: match state {
                StreamsState::Created => "was not started".to_owned(),
                _ => "was closed".to_owned(),
            },
        })
    }
}
