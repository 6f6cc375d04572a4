//! Where a replay stands among the tasks.

use crate::runtime::task::Task;

/// Which task a replay has come to.
#[derive(Debug)]
pub(crate) struct Replay {
    pub(crate) stage: usize,
}

impl Replay {
    /// A replay is on as long as a committed offset notes its end.
    pub(crate) fn find(tasks: &[Task]) -> Option<Self> {
        let mut queues = tasks.iter().flat_map(|task| &task.queues);
        queues
            .any(|queue| queue.committed.metadata.replay_end.is_some())
            .then_some(Self { stage: 0 })
    }

    /// The task that runs; tasks are built upstream first.
    pub(crate) fn stage(&self, tasks: usize) -> Option<usize> {
        (self.stage < tasks).then_some(self.stage)
    }
}
