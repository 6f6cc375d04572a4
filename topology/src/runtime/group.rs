//! Which tasks a worker has where the log is shared by processes: its consumer group says so.
//!
//! The partitions of the topics that a task reads have to stay together, which no assignment of
//! single partitions sees to. So the workers of all processes subscribe to a topic of the
//! application without records, `<application.id>-tasks`, that has one partition for each task:
//! whoever has partition n runs the n-th task, and reads and commits as the member that it is.

use std::fmt;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

use headwater_log_store::{
    Consumer, ConsumerConfig, ConsumerWaker, Error as LogError, Log, NewTopic, Rebalance,
    TopicPartition,
};

use crate::config::StreamsConfig;
use crate::error::{Error, Result};
use crate::types::TaskId;

/// What tells one running application from all others of its id, as Kafka Streams' process id.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ProcessId(u64);

impl ProcessId {
    /// One that no other has.
    pub(crate) fn unique() -> Self {
        // The keys of the hasher are random, and no two of them are the same.
        Self(RandomState::new().build_hasher().finish())
    }

    /// By what name the group knows a worker: all but the last number is the process's.
    pub(crate) fn client_id(self, application_id: &str, worker: u32) -> String {
        format!("{application_id}-{:016x}-{worker}", self.0)
    }

    /// The transactional id of a worker. On a log that processes share it is this one's own: Kafka
    /// Streams' `<application.id>-<process id>-<thread>`.
    pub(crate) fn transactional_id(
        self,
        log: &dyn Log,
        application_id: &str,
        worker: u32,
    ) -> String {
        match log.is_embedded() {
            true => format!("{application_id}-{worker}"),
            false => self.client_id(application_id, worker),
        }
    }
}

/// The topic whose partitions stand for tasks.
fn tasks_topic(application_id: &str) -> String {
    format!("{application_id}-tasks")
}

/// The topic of the tasks, if it is to be created. One that is there gets the partitions that are
/// missing.
pub(crate) fn missing_tasks_topic(
    log: &dyn Log,
    config: &StreamsConfig,
    tasks: usize,
) -> Result<Option<NewTopic>> {
    let name = tasks_topic(&config.application_id);
    let failed = || format!("a look at topic {name}");
    let partitions = u32::try_from(tasks.max(1)).unwrap_or(u32::MAX);
    let found = match log.describe_topic(&name) {
        Ok(found) => found.partitions,
        Err(LogError::UnknownTopic { .. }) => {
            return Ok(Some(NewTopic::new(&name).partitions(partitions)));
        }
        Err(source) => return Err(Error::log(failed())(source)),
    };
    if found < partitions {
        log.create_partitions(&name, partitions).map_err(Error::log(failed()))?;
    }
    Ok(None)
}

/// A worker as a member of its application's group.
pub(crate) struct TaskGroup {
    pub(crate) consumer: Box<dyn Consumer>,
    /// All tasks of the application, in the order of the partitions that stand for them.
    tasks: Vec<TaskId>,
}

/// What a rebalance means for a worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TaskChange {
    /// These are to run here.
    Assigned(Vec<TaskId>),
    /// These will run elsewhere: the last moment to commit.
    Revoked(Vec<TaskId>),
    /// These run elsewhere already, perhaps.
    Lost(Vec<TaskId>),
}

impl TaskGroup {
    /// Joins the group with the next polls, as a member of that `client.id`.
    pub(crate) fn join(
        log: &dyn Log,
        config: &StreamsConfig,
        tasks: &[TaskId],
        client_id: String,
    ) -> Result<Self> {
        let failed = || "the start of a group member";
        let mut consumer = log
            .consumer(&ConsumerConfig {
                group: Some(config.application_id.clone()),
                client_id: Some(client_id),
                ..ConsumerConfig::default()
            })
            .map_err(Error::log(failed()))?;
        consumer
            .subscribe(&[&tasks_topic(&config.application_id)], Box::new(()))
            .map_err(Error::log(failed()))?;
        Ok(Self { consumer, tasks: tasks.to_vec() })
    }

    /// How many rebalances it has seen.
    pub(crate) fn generation(&self) -> i32 {
        self.consumer.group_metadata().map_or(-1, |metadata| metadata.generation)
    }

    /// Whether the group has taken it in.
    pub(crate) fn has_joined(&self) -> bool {
        self.generation() >= 0
    }

    /// Lets the group move tasks, and waits for that if there is something to wait for. The change is
    /// told before it takes place, with the member that may still commit.
    pub(crate) fn poll(
        &mut self,
        timeout: Duration,
        told: &mut dyn FnMut(&mut dyn Consumer, TaskChange) -> Result<()>,
    ) -> Result<()> {
        let Self { consumer, tasks } = self;
        let mut failure = None;
        let waker = (!timeout.is_zero()).then(|| consumer.waker());
        let polled = consumer.poll_with(timeout, &mut |member, rebalance| {
            let moved = tasks_of(tasks, rebalance.partitions());
            let change = match rebalance {
                Rebalance::Assigned(_) => TaskChange::Assigned(moved),
                Rebalance::Revoked(_) => TaskChange::Revoked(moved),
                Rebalance::Lost(_) => TaskChange::Lost(moved),
            };
            if let Err(error) = told(member, change) {
                failure.get_or_insert(error);
            }
            // No record ever comes that the poll could end with.
            waker.iter().for_each(ConsumerWaker::wake);
            Ok(())
        });
        match failure {
            Some(error) => Err(error),
            None => polled.map(drop).map_err(Error::log("a poll of the group")),
        }
    }
}

impl fmt::Debug for TaskGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskGroup").field("consumer", &self.consumer).finish_non_exhaustive()
    }
}

/// The tasks that partitions stand for. More partitions than tasks are left from a larger topology.
fn tasks_of(tasks: &[TaskId], partitions: &[TopicPartition]) -> Vec<TaskId> {
    partitions.iter().filter_map(|each| tasks.get(each.partition.index()).copied()).collect()
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::{ProcessId, TaskChange, TaskGroup, missing_tasks_topic};
    use crate::config::StreamsConfig;
    use crate::types::TaskId;
    use headwater_log_store::{Consumer, Log, LogStore};

    /// How long anything may take to happen.
    const PATIENCE: Duration = Duration::from_secs(60);

    fn create_tasks_topic(log: &LogStore, config: &StreamsConfig, tasks: usize) {
        if let Some(missing) = missing_tasks_topic(log, config, tasks).unwrap() {
            log.create_topic(&missing).unwrap();
        }
    }

    fn tasks(count: u32) -> Vec<TaskId> {
        (0..count).map(|partition| TaskId { subtopology: 0, partition }).collect()
    }

    #[test]
    fn two_members_get_the_tasks_between_them_and_the_last_one_all() {
        let log = LogStore::in_memory().unwrap();
        let config = StreamsConfig::new("app");
        create_tasks_topic(&log, &config, 4);
        let id = ProcessId::unique();
        let join = || TaskGroup::join(&log, &config, &tasks(4), id.client_id("app", 1)).unwrap();
        let poll = |group: &mut TaskGroup| {
            let mut changes = Vec::new();
            group
                .poll(Duration::ZERO, &mut |_, change| {
                    changes.push(change);
                    Ok(())
                })
                .unwrap();
            changes
        };
        let mut first = join();
        assert!(!first.has_joined());
        assert_eq!(poll(&mut first), [TaskChange::Assigned(tasks(4))]);
        assert!(first.has_joined());
        let mut second = join();
        assert!(poll(&mut second).is_empty(), "the first has all of them still");
        let [TaskChange::Revoked(gone)] = &poll(&mut first)[..] else { panic!("no revocation") };
        assert_eq!(gone.len(), 2);
        assert_eq!(poll(&mut second), [TaskChange::Assigned(gone.clone())]);
        drop(first);
        let [TaskChange::Assigned(rest)] = &poll(&mut second)[..] else { panic!("no assignment") };
        assert_eq!(rest.len(), 2);
    }

    #[test]
    fn a_member_that_waits_for_tasks_has_them_when_they_come() {
        let log = LogStore::in_memory().unwrap();
        let config = StreamsConfig::new("app");
        create_tasks_topic(&log, &config, 2);
        let id = ProcessId::unique();
        let join = || TaskGroup::join(&log, &config, &tasks(2), id.client_id("app", 1)).unwrap();
        let (mut first, mut second) = (join(), join());
        first.poll(Duration::ZERO, &mut |_, _| Ok(())).unwrap();
        let begun = Instant::now();
        let waiting = std::thread::spawn(move || {
            let mut come = Vec::new();
            while come.is_empty() {
                let mut told = |_: &mut dyn Consumer, change| {
                    come.push(change);
                    Ok(())
                };
                second.poll(PATIENCE, &mut told).unwrap();
            }
            come
        });
        // It gives up what is the second's, or all that it has.
        while !waiting.is_finished() && begun.elapsed() < PATIENCE / 2 {
            first.poll(Duration::from_millis(10), &mut |_, _| Ok(())).unwrap();
        }
        assert!(matches!(waiting.join().unwrap()[..], [TaskChange::Assigned(_)]));
        assert!(begun.elapsed() < PATIENCE, "the poll has waited for its time");
    }

    #[test]
    fn the_topic_of_the_tasks_grows_with_the_topology_and_never_shrinks() {
        let log = LogStore::in_memory().unwrap();
        let config = StreamsConfig::new("app");
        for (wanted, partitions) in [(0, 1), (4, 4), (2, 4)] {
            create_tasks_topic(&log, &config, wanted);
            assert_eq!(log.describe_topic("app-tasks").unwrap().partitions, partitions);
        }
        let mut group = TaskGroup::join(&log, &config, &tasks(2), "app-1".into()).unwrap();
        let mut come = Vec::new();
        group
            .poll(Duration::ZERO, &mut |_, change| {
                come.push(change);
                Ok(())
            })
            .unwrap();
        assert_eq!(come, [TaskChange::Assigned(tasks(2))], "the others stand for nothing");
    }

    #[test]
    fn an_embedded_log_has_one_process_and_its_workers_keep_their_names() {
        let log = LogStore::in_memory().unwrap();
        assert_eq!(ProcessId::unique().transactional_id(&log, "app", 3), "app-3");
        assert_ne!(ProcessId::unique().0, ProcessId::unique().0);
    }
}
