//! The workers of an application among each other: who has which task, and who is to have it.
//!
//! A task moves in two steps, as in Kafka's cooperative rebalancing: the worker that has it gives
//! it up when it comes to it, and the worker that is to have it takes it after that. All other
//! tasks go on meanwhile.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::runtime::assignment::{WorkerId, spread};
use crate::types::TaskId;

/// See the module.
#[derive(Debug)]
pub(crate) struct Members {
    state: Mutex<State>,
    /// Grows with every change, so that a worker sees without a lock that there is nothing new.
    generation: AtomicU64,
}

#[derive(Debug)]
struct State {
    /// All tasks, upstream first.
    tasks: Vec<TaskId>,
    /// A replay goes through the tasks one by one, so one worker has them all.
    replaying: bool,
    closing: bool,
    /// Whether a group that other processes share says who is to have which task.
    grouped: bool,
    /// The workers that the group has taken in.
    joined: BTreeSet<WorkerId>,
    workers: BTreeSet<WorkerId>,
    wanted: BTreeMap<TaskId, WorkerId>,
    held: BTreeMap<TaskId, Held>,
}

#[derive(Debug)]
struct Held {
    worker: WorkerId,
    /// Whether its stores are restored.
    ready: bool,
}

/// What a worker has to do to get to what is wanted of it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Changes {
    pub(crate) give_up: Vec<TaskId>,
    pub(crate) take: Vec<TaskId>,
}

impl Members {
    /// No workers yet.
    pub(crate) fn new(tasks: Vec<TaskId>, replaying: bool) -> Self {
        Self::with(tasks, replaying, false)
    }

    /// No workers yet, and a group to say what each is to have.
    pub(crate) fn grouped(tasks: Vec<TaskId>) -> Self {
        Self::with(tasks, false, true)
    }

    fn with(tasks: Vec<TaskId>, replaying: bool, grouped: bool) -> Self {
        let state = State {
            tasks,
            replaying,
            closing: false,
            grouped,
            joined: BTreeSet::new(),
            workers: BTreeSet::new(),
            wanted: BTreeMap::new(),
            held: BTreeMap::new(),
        };
        Self { state: Mutex::new(state), generation: AtomicU64::new(1) }
    }

    /// The number of the last change.
    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Workers begin: the tasks are spread anew.
    pub(crate) fn join(&self, workers: impl IntoIterator<Item = WorkerId>) {
        self.change(|state| {
            state.workers.extend(workers);
            state.spread();
        });
    }

    /// The group has taken a worker in.
    pub(crate) fn joined(&self, worker: WorkerId) {
        if !self.state.lock().joined.contains(&worker) {
            self.change(|state| {
                state.joined.insert(worker);
            });
        }
    }

    /// The group wants a worker to have these as well.
    pub(crate) fn assigned(&self, worker: WorkerId, tasks: &[TaskId]) {
        self.change(|state| state.wanted.extend(tasks.iter().map(|task| (*task, worker))));
    }

    /// A worker has closed these: other processes have them now.
    pub(crate) fn moved_away(&self, worker: WorkerId, tasks: &[TaskId]) {
        self.change(|state| {
            state.wanted.retain(|task, wanted| *wanted != worker || !tasks.contains(task));
            state.held.retain(|task, held| held.worker != worker || !tasks.contains(task));
        });
    }

    /// Chooses the youngest worker to end, unless it is the only one: its tasks go to the others.
    pub(crate) fn dismiss(&self) -> Option<WorkerId> {
        let mut state = self.state.lock();
        if state.workers.len() < 2 {
            return None;
        }
        let worker = state.workers.pop_last();
        state.spread();
        self.generation.fetch_add(1, Ordering::Release);
        worker
    }

    /// A worker has ended, and what it had is closed.
    pub(crate) fn leave(&self, worker: WorkerId) {
        self.change(|state| {
            state.workers.remove(&worker);
            state.held.retain(|_, held| held.worker != worker);
            state.leave_group(worker);
            state.spread();
        });
    }

    /// All that a worker had is closed, and it will take it again.
    pub(crate) fn drop_tasks(&self, worker: WorkerId) {
        self.change(|state| {
            state.held.retain(|_, held| held.worker != worker);
            state.leave_group(worker);
        });
    }

    /// The replay is over: the tasks are spread over all workers.
    pub(crate) fn replay_over(&self) {
        self.change(|state| {
            state.replaying = false;
            state.spread();
        });
    }

    /// No task moves any more.
    pub(crate) fn close(&self) {
        self.change(|state| state.closing = true);
    }

    /// Whether the application ends.
    pub(crate) fn is_closing(&self) -> bool {
        self.state.lock().closing
    }

    /// What a worker is to do now. What it is to take is kept for it from here on.
    pub(crate) fn changes(&self, worker: WorkerId) -> Changes {
        let mut state = self.state.lock();
        if state.closing {
            return Changes::default();
        }
        let State { tasks, wanted, held, .. } = &mut *state;
        let is_wanted = |task: &TaskId| wanted.get(task) == Some(&worker);
        let mut changes = Changes::default();
        for task in tasks.iter() {
            match held.get(task) {
                Some(held) if held.worker == worker && !is_wanted(task) => {
                    changes.give_up.push(*task);
                }
                None if is_wanted(task) => {
                    held.insert(*task, Held { worker, ready: false });
                    changes.take.push(*task);
                }
                _ => {}
            }
        }
        changes
    }

    /// A worker has closed these.
    pub(crate) fn gave_up(&self, tasks: &[TaskId]) {
        self.change(|state| state.held.retain(|task, _| !tasks.contains(task)));
    }

    /// A worker has restored these.
    pub(crate) fn took(&self, tasks: &[TaskId]) {
        self.change(|state| {
            for task in tasks {
                if let Some(held) = state.held.get_mut(task) {
                    held.ready = true;
                }
            }
        });
    }

    /// Whether every task is at work where it is wanted.
    pub(crate) fn is_settled(&self) -> bool {
        let state = self.state.lock();
        let mut here =
            state.tasks.iter().filter(|task| !state.grouped || state.wanted.contains_key(task));
        !state.closing
            && !state.workers.is_empty()
            && (!state.grouped || state.workers.is_subset(&state.joined))
            && here.all(|task| {
                state
                    .held
                    .get(task)
                    .is_some_and(|held| held.ready && state.wanted.get(task) == Some(&held.worker))
            })
    }

    /// Whether one worker has all tasks, for a replay.
    pub(crate) fn is_replaying(&self) -> bool {
        self.state.lock().replaying
    }

    /// The tasks at work, by worker.
    pub(crate) fn tasks_of(&self, worker: WorkerId) -> Vec<TaskId> {
        let state = self.state.lock();
        let held = state.held.iter().filter(|(_, held)| held.worker == worker && held.ready);
        held.map(|(task, _)| *task).collect()
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.state.lock();
        change(&mut state);
        self.generation.fetch_add(1, Ordering::Release);
    }
}

impl State {
    /// Its tasks are the group's to give to others.
    fn leave_group(&mut self, worker: WorkerId) {
        if self.grouped {
            self.wanted.retain(|_, wanted| *wanted != worker);
            self.joined.remove(&worker);
        }
    }

    fn spread(&mut self) {
        if self.grouped {
            return;
        }
        self.wanted = match self.workers.first().filter(|_| self.replaying) {
            Some(first) => self.tasks.iter().map(|task| (*task, *first)).collect(),
            None => {
                let before = self.held.iter().map(|(task, held)| (*task, held.worker)).collect();
                spread(&self.tasks, &self.workers, &before)
            }
        };
    }
}

#[cfg(test)]
mod tests {
    use super::{Changes, Members};
    use crate::types::TaskId;

    fn tasks(partitions: &[u32]) -> Vec<TaskId> {
        let task = |partition: &u32| TaskId { subtopology: 0, partition: *partition };
        partitions.iter().map(task).collect()
    }

    fn changes(give_up: &[u32], take: &[u32]) -> Changes {
        Changes { give_up: tasks(give_up), take: tasks(take) }
    }

    #[test]
    fn a_task_is_taken_only_after_it_was_given_up() {
        let members = Members::new(tasks(&[0, 1]), false);
        members.join([1]);
        assert_eq!(members.changes(1), changes(&[], &[0, 1]));
        assert!(!members.is_settled(), "the stores are not restored yet");
        members.took(&tasks(&[0, 1]));
        assert!(members.is_settled());
        members.join([2]);
        assert_eq!(members.changes(2), changes(&[], &[]), "worker 1 has it still");
        assert_eq!(members.changes(1), changes(&[1], &[]));
        members.gave_up(&tasks(&[1]));
        assert!(!members.is_settled());
        assert_eq!(members.changes(2), changes(&[], &[1]));
        assert_eq!(members.changes(2), changes(&[], &[]), "it is on its way");
        members.took(&tasks(&[1]));
        assert!(members.is_settled());
        assert_eq!((members.tasks_of(1), members.tasks_of(2)), (tasks(&[0]), tasks(&[1])));
    }

    #[test]
    fn what_a_worker_leaves_goes_to_the_others() {
        let members = Members::new(tasks(&[0, 1]), false);
        members.join([1, 2]);
        assert_eq!(members.changes(1), changes(&[], &[0]));
        assert_eq!(members.changes(2), changes(&[], &[1]));
        members.leave(1);
        assert_eq!(members.changes(2), changes(&[], &[0]));
    }

    #[test]
    fn a_worker_that_begins_again_takes_what_it_had() {
        let members = Members::new(tasks(&[0, 1]), false);
        members.join([1, 2]);
        members.took(&members.changes(2).take);
        members.drop_tasks(2);
        assert_eq!(members.changes(1), changes(&[], &[0]));
        assert_eq!(members.changes(2), changes(&[], &[1]));
    }

    #[test]
    fn a_replay_is_one_workers_until_it_is_over() {
        let members = Members::new(tasks(&[0, 1]), true);
        members.join([1, 2]);
        assert_eq!(members.changes(2), changes(&[], &[]));
        members.took(&members.changes(1).take);
        assert!(members.is_settled() && members.is_replaying());
        members.replay_over();
        assert_eq!(members.changes(1), changes(&[1], &[]));
    }

    #[test]
    fn a_group_says_who_has_what_and_tasks_of_other_processes_count_for_nothing() {
        let members = Members::grouped(tasks(&[0, 1, 2]));
        members.join([1, 2]);
        assert_eq!(members.changes(1), changes(&[], &[]));
        members.joined(1);
        members.assigned(1, &tasks(&[0, 1]));
        assert_eq!(members.changes(1), changes(&[], &[0, 1]));
        members.took(&tasks(&[0, 1]));
        assert!(!members.is_settled(), "the second has not joined");
        members.joined(2);
        assert!(members.is_settled(), "task 2 is another process's");
        members.moved_away(1, &tasks(&[1]));
        members.assigned(2, &tasks(&[1]));
        assert!(!members.is_settled());
        assert_eq!(members.changes(2), changes(&[], &[1]));
        members.took(&tasks(&[1]));
        members.drop_tasks(2);
        assert_eq!(members.changes(2), changes(&[], &[]), "it has to join anew");
        members.leave(2);
        assert_eq!((members.tasks_of(1), members.is_settled()), (tasks(&[0]), true));
    }

    #[test]
    fn nothing_moves_while_the_application_closes() {
        let members = Members::new(tasks(&[0, 1]), false);
        members.join([1, 2]);
        members.took(&members.changes(1).take);
        members.close();
        members.leave(1);
        assert_eq!(members.changes(2), changes(&[], &[]));
        assert!(!members.is_settled());
    }
}
