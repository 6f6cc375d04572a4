//! Punctuators of the wall clock: called between two polls, whether there are records or not.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use crate::context::Step;
use crate::error::Result;
use crate::punctuation::PunctuationType;
use crate::runtime::record_queue::RecordQueue;
use crate::runtime::task::Task;
use crate::runtime::task_set::TaskSet;

impl TaskSet {
    /// Calls the punctuators of the active tasks that the wall clock has made due. Returns whether
    /// there were any. A transaction that is nearly full is left to be committed first.
    ///
    /// A failure that the handler has an answer for is dealt with here: the work since the last
    /// commit is then taken back.
    pub(crate) fn punctuate(&mut self) -> Result<bool> {
        let mut called = false;
        while self.next_punctuation_ms().is_some() && !self.is_commit_full() {
            match catch_unwind(AssertUnwindSafe(|| self.punctuate_tasks())) {
                Ok(Ok(again)) => return Ok(called | again),
                Ok(Err(failure)) => self.recover_from_failure(*failure)?,
                Err(payload) => self.recover_from_panic(payload.as_ref())?,
            }
            // What was taken back is due again, but for the call that is to be skipped.
            called = true;
        }
        Ok(called)
    }

    fn punctuate_tasks(&mut self) -> Step<bool> {
        let now = self.config.clock.now();
        let mut called = false;
        for index in &self.active {
            let Self { tasks, context, poison, .. } = self;
            let Some(task) = tasks.get_mut(*index) else { continue };
            task.enter(context);
            task.prepare(context)?;
            called |= task.punctuate(PunctuationType::WallClockTime, Some(now), context, poison)?;
        }
        Ok(called)
    }

    /// How long until the wall clock makes the next punctuator due, or ends the wait of a task for
    /// an empty partition.
    pub(crate) fn time_to_punctuation(&self) -> Option<Duration> {
        let now_ms = self.clock.now().as_millis();
        let active = self.active.iter().filter_map(|index| self.tasks.get(*index));
        let waits = active.flat_map(|task| &task.queues).filter_map(RecordQueue::idle_until_ms);
        let next_ms = waits.filter(|until_ms| *until_ms > now_ms).chain(self.next_punctuation_ms());
        let left_ms = next_ms.min()?.saturating_sub(now_ms);
        Some(Duration::from_millis(u64::try_from(left_ms).unwrap_or_default()))
    }

    fn next_punctuation_ms(&self) -> Option<i64> {
        let active = self.active.iter().filter_map(|index| self.tasks.get(*index));
        active.filter_map(Task::next_punctuation_ms).min()
    }
}
