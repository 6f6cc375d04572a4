//! A worker: a thread that takes turn after turn, and begins again after an error.

use std::cell::Cell;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::runtime::assignment::WorkerId;
use crate::runtime::crew::{Command, Crew, Line, StreamThreadExceptionResponse};
use crate::runtime::recovery::panic_message;
use crate::runtime::restoring::is_interruption;
use crate::runtime::turns::Turns;

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
            if error.is_migration() && self.shares_tasks() && self.crew.members.is_closing() {
                // What it could not commit any more is done again by whoever has the tasks.
                tracing::info!(%error, "closed without a last commit");
                break;
            }
            if is_interruption(&error) && self.crew.members.is_closing() {
                tracing::info!("closed before all stores were restored");
                break;
            }
            if !self.is_replaced_after(&error, &mut replaced) {
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

    /// Whether other processes run tasks of the application as well.
    fn shares_tasks(&self) -> bool {
        !self.crew.application.log.is_embedded()
    }

    /// Whether another life follows the one that this error has ended; notes that it does.
    fn is_replaced_after(&self, error: &Error, replaced: &mut VecDeque<Duration>) -> bool {
        // Other processes have its tasks, or may have them: it joins anew, as often as it takes.
        let shared = self.shares_tasks() && !self.crew.members.is_closing();
        if shared && error.is_migration() {
            return true;
        }
        // A cluster that is out of reach for a while is no error of the application.
        let passes = shared && error.is_retriable();
        // While it starts, an error ends the application: whoever has started it is told.
        let answer = || self.has_begun.get().then(|| self.crew.answer(error));
        let replace = passes || answer() == Some(StreamThreadExceptionResponse::ReplaceThread);
        replace && self.is_within_budget(replaced)
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
        if crew.members.is_closing() {
            // It may have been too late to be told so.
            return Ok(());
        }
        let mut turns = Turns::begin(crew, *id)?;
        has_begun.set(true);
        while turns.turn(inbox)? {}
        turns.end()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use headwater_log_store::{Log, LogStore, NewTopic};

    use super::{Crew, spawn};
    use crate::config::StreamsConfig;
    use crate::dsl::builder::StreamsBuilder;
    use crate::runtime::application::Application;
    use crate::runtime::status::{Shared, StreamsState};

    /// Of several threads the first may fail before the last has begun, and one may be added at the
    /// moment of a close: nobody told it then, and the close waited for it for ever.
    #[test]
    fn a_thread_that_begins_after_the_close_ends() {
        let log: Arc<dyn Log> = Arc::new(LogStore::in_memory().unwrap());
        log.create_topic(&NewTopic::new("in")).unwrap();
        let builder = StreamsBuilder::new();
        builder.stream::<String, String>("in").group_by_key().count("counts");
        let graph = builder.build().unwrap().graph;
        let application = Application::open(&graph, StreamsConfig::new("app"), &log).unwrap();
        let shared = Arc::new(Shared::new());
        assert!(shared.set_state(StreamsState::Rebalancing));
        let crew = Arc::new(Crew::new(application, Arc::clone(&shared), None).unwrap());
        crew.members.join([1, 2]);
        assert!(shared.set_state(StreamsState::PendingShutdown));
        crew.close();
        let thread = spawn(&crew, 2).unwrap();
        let limit = Some(Duration::from_secs(30));
        let state = shared.wait_while(limit, |state| !state.is_final());
        assert_eq!(state, StreamsState::NotRunning);
        thread.join().unwrap();
    }
}
