//! Which worker gets which tasks: evenly, and with as few moves as that allows.

use std::collections::{BTreeMap, BTreeSet};

use crate::types::TaskId;

/// A worker of an application, by the number in its name. Numbers are not used again.
pub(crate) type WorkerId = u32;

/// Spreads the tasks over the workers.
///
/// Each worker gets as many tasks as every other, or one more. Those of one sub-topology are
/// spread in the same way, because they cost about the same: a task is given to the worker that
/// has the fewest of its sub-topology, and of those to the one that has the fewest of all. Before
/// that, a worker keeps what it had, as far as its share goes.
pub(crate) fn spread(
    tasks: &[TaskId],
    workers: &BTreeSet<WorkerId>,
    before: &BTreeMap<TaskId, WorkerId>,
) -> BTreeMap<TaskId, WorkerId> {
    let mut assigned = BTreeMap::new();
    let Some(share) = tasks.len().checked_div(workers.len()) else { return assigned };
    // That many workers have one task more than the others.
    let mut larger = tasks.len() - share * workers.len();
    let mut loads: BTreeMap<WorkerId, Load> =
        workers.iter().map(|worker| (*worker, Load::default())).collect();
    let mut left = Vec::new();
    for (subtopology, group) in grouped(tasks) {
        let group_share = group.len().div_ceil(workers.len());
        for task in group {
            let kept = before.get(&task).filter(|worker| {
                loads.get(worker).is_some_and(|load| {
                    load.of(subtopology) < group_share
                        && load.total < share + usize::from(larger > 0)
                })
            });
            let Some(&worker) = kept else {
                left.push(task);
                continue;
            };
            let load = loads.entry(worker).or_default();
            load.add(subtopology);
            if load.total == share + 1 {
                larger -= 1;
            }
            assigned.insert(task, worker);
        }
    }
    for task in left {
        let least = loads.iter_mut().min_by_key(|(worker, load)| {
            let is_full = load.total >= share + usize::from(larger > 0);
            (is_full, load.of(task.subtopology), load.total, **worker)
        });
        let Some((worker, load)) = least else { break };
        load.add(task.subtopology);
        if load.total == share + 1 {
            larger -= 1;
        }
        assigned.insert(task, *worker);
    }
    assigned
}

/// How many tasks a worker has.
#[derive(Debug, Default)]
struct Load {
    total: usize,
    by_subtopology: BTreeMap<u32, usize>,
}

impl Load {
    fn of(&self, subtopology: u32) -> usize {
        self.by_subtopology.get(&subtopology).copied().unwrap_or_default()
    }

    fn add(&mut self, subtopology: u32) {
        self.total += 1;
        *self.by_subtopology.entry(subtopology).or_default() += 1;
    }
}

fn grouped(tasks: &[TaskId]) -> BTreeMap<u32, Vec<TaskId>> {
    let mut groups: BTreeMap<u32, Vec<TaskId>> = BTreeMap::new();
    for task in tasks {
        groups.entry(task.subtopology).or_default().push(*task);
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::{WorkerId, spread};
    use crate::types::TaskId;
    use std::collections::{BTreeMap, BTreeSet};

    fn tasks(partitions: &[u32]) -> Vec<TaskId> {
        let numbered = (0..).zip(partitions);
        numbered
            .flat_map(|(subtopology, count)| {
                (0..*count).map(move |partition| TaskId { subtopology, partition })
            })
            .collect()
    }

    fn counts(assigned: &BTreeMap<TaskId, WorkerId>, workers: u32) -> Vec<usize> {
        let of = |worker| assigned.values().filter(|found| **found == worker).count();
        (0..workers).map(of).collect()
    }

    #[test]
    fn every_task_has_one_worker_and_no_worker_has_two_more_than_another() {
        for partitions in [&[1][..], &[4, 4], &[3, 1, 5], &[7], &[2, 2, 2, 2, 2]] {
            for workers in 1..6 {
                let tasks = tasks(partitions);
                let set: BTreeSet<WorkerId> = (0..workers).collect();
                let assigned = spread(&tasks, &set, &BTreeMap::new());
                assert_eq!(assigned.keys().copied().collect::<Vec<_>>(), tasks);
                let counts = counts(&assigned, workers);
                let (min, max) = (counts.iter().min().unwrap(), counts.iter().max().unwrap());
                assert!(max - min <= 1, "{partitions:?} on {workers}: {counts:?}");
            }
        }
    }

    #[test]
    fn the_tasks_of_one_subtopology_are_spread_as_well() {
        let assigned = spread(&tasks(&[4, 4]), &(0..2).collect(), &BTreeMap::new());
        for subtopology in 0..2 {
            let here = assigned.iter().filter(|(task, _)| task.subtopology == subtopology);
            assert_eq!(here.filter(|(_, worker)| **worker == 0).count(), 2, "of {subtopology}");
        }
    }

    #[test]
    fn a_worker_more_takes_only_its_share_and_the_rest_stays() {
        let tasks = tasks(&[6]);
        let two = spread(&tasks, &(0..2).collect(), &BTreeMap::new());
        let three = spread(&tasks, &(0..3).collect(), &two);
        let moved = tasks.iter().filter(|task| two.get(task) != three.get(task)).count();
        assert_eq!((moved, counts(&three, 3)), (2, vec![2, 2, 2]));
        assert_eq!(spread(&tasks, &(0..3).collect(), &three), three, "a second look moves nothing");
    }

    #[test]
    fn a_worker_less_leaves_its_tasks_to_the_others() {
        let tasks = tasks(&[6]);
        let three = spread(&tasks, &(0..3).collect(), &BTreeMap::new());
        let two = spread(&tasks, &[0, 2].into(), &three);
        let moved = tasks.iter().filter(|task| two.get(task) != three.get(task)).count();
        assert_eq!((moved, two.values().filter(|worker| **worker == 1).count()), (2, 0));
    }

    #[test]
    fn without_workers_nothing_is_assigned() {
        assert!(spread(&tasks(&[3]), &BTreeSet::new(), &BTreeMap::new()).is_empty());
    }
}
