//! Standby copies: stores of tasks that run in other processes, kept up with their changelogs here,
//! so that a task that comes has little left to restore; Kafka Streams' `num.standby.replicas`.
//!
//! The group says who runs which task. Who of the others keeps a copy follows from that and from
//! their names alone, so that all come to the same answer without asking each other.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use headwater_log_store::{
    Consumer, Log, MemberDescription, Offset, RecordBatch, TopicPartition, partition_for_key,
};

use crate::backing::Covered;
use crate::error::{Error, Result};
use crate::graph::node::StoreDefinition;
use crate::runtime::application::Application;
use crate::runtime::ends::watermarks;
use crate::runtime::lending::Use;
use crate::runtime::on_disk::{OnDisk, changelog_of};
use crate::runtime::physical::{Blueprint, BuiltStores};
use crate::runtime::reader::reader;
use crate::runtime::restore::Restore;
use crate::runtime::task::TaskStore;
use crate::types::TaskId;

/// How long what the group has said is taken to hold, as long as no rebalance is seen here.
const LOOK_INTERVAL: Duration = Duration::from_secs(10);

/// See the module.
pub(crate) struct Standbys {
    /// This worker's `client.id` in the group.
    me: String,
    consumer: Box<dyn Consumer>,
    copies: BTreeMap<TaskId, StandbyCopy>,
    /// When the group was looked at, and in which generation.
    looked: Option<(Duration, i32)>,
}

/// The stores of a task that runs elsewhere, and how far each was read.
pub(crate) struct StandbyCopy {
    pub(crate) stores: BuiltStores,
    pub(crate) covered: BTreeMap<TopicPartition, Covered>,
}

impl Standbys {
    /// No copies yet; `me` is the `client.id` by which the group knows this worker.
    pub(crate) fn new(log: &dyn Log, me: String) -> Result<Self> {
        let consumer =
            reader(log).map_err(Error::log("the start of a reader of standby copies"))?;
        Ok(Self { me, consumer, copies: BTreeMap::new(), looked: None })
    }

    /// Looks, from time to time, whose copies are to be kept here, and reads what their changelogs
    /// have got. Returns how many records that were. A failure costs the copies, nothing else.
    pub(crate) fn follow(
        &mut self,
        application: &Application,
        on_disk: Option<&OnDisk>,
        (now, generation): (Duration, i32),
    ) -> u64 {
        let known = self.looked.is_some_and(|(looked, of)| {
            of == generation && now.saturating_sub(looked) < LOOK_INTERVAL
        });
        let chosen = match known {
            true => Ok(()),
            false => {
                self.looked = Some((now, generation));
                self.choose(application, on_disk)
            }
        };
        let read = chosen.and_then(|()| self.read(application, on_disk));
        read.unwrap_or_else(|error| {
            tracing::warn!(%error, "standby copies are begun anew");
            self.copies.clear();
            // The next look assigns what is wanted then.
            self.looked = Some((now, generation));
            0
        })
    }

    /// Takes the copy of a task that is to run here, if there is one that its changelogs still lead
    /// on from, and whose rows on disk nobody else has got.
    pub(crate) fn release(&mut self, log: &dyn Log, task: TaskId) -> Option<StandbyCopy> {
        let copy = self.copies.remove(&task)?;
        let leads_on = |(changelog, covered): (&TopicPartition, &Covered)| {
            log.watermarks(changelog).is_ok_and(|watermarks| {
                watermarks.start <= covered.offset && covered.offset <= watermarks.end
            })
        };
        let is_own =
            |store: &TaskStore| store.store.borrow_mut().backed().is_none_or(|rows| rows.claim());
        (copy.covered.iter().all(leads_on) && copy.stores.stores.iter().all(is_own)).then_some(copy)
    }

    fn choose(&mut self, application: &Application, on_disk: Option<&OnDisk>) -> Result<()> {
        let log = application.log.as_ref();
        let config = &application.config;
        let group = log
            .describe_group(&config.application_id)
            .map_err(Error::log("a look at the group for standby copies"))?;
        let has_stores = |task: &TaskId| {
            let stores = application.graph.stores_of(task.subtopology as usize);
            stores.iter().any(|store| store.logged)
        };
        let tasks: Vec<Option<TaskId>> =
            application.tasks.iter().map(|task| Some(*task).filter(has_stores)).collect();
        let wanted = copies_of(&self.me, &group.members, &tasks, config.num_standby_replicas);
        self.copies.retain(|task, _| wanted.contains(task));
        let mut begun = Vec::new();
        for task in wanted {
            let Entry::Vacant(missing) = self.copies.entry(task) else { continue };
            match StandbyCopy::begin(application, on_disk, task) {
                Ok(copy) => {
                    begun.extend(copy.covered.iter().map(|(each, at)| (each.clone(), at.offset)));
                    missing.insert(copy);
                }
                Err(error) => tracing::warn!(%task, %error, "a standby copy is not begun yet"),
            }
        }
        self.assign(&begun).map_err(Error::log("the assignment of changelogs"))
    }

    /// Has the consumer read the changelogs of all copies, those that have begun from their start.
    fn assign(&mut self, begun: &[(TopicPartition, Offset)]) -> headwater_log_store::Result<()> {
        let changelogs: Vec<TopicPartition> =
            self.copies.values().flat_map(|copy| copy.covered.keys().cloned()).collect();
        self.consumer.assign(&changelogs)?;
        begun.iter().try_for_each(|(changelog, offset)| self.consumer.seek(changelog, *offset))
    }

    fn read(&mut self, application: &Application, on_disk: Option<&OnDisk>) -> Result<u64> {
        if self.copies.is_empty() {
            return Ok(0);
        }
        let batches =
            self.consumer.poll(Duration::ZERO).map_err(Error::log("a poll of changelogs"))?;
        let mut records = 0;
        for batch in &batches {
            let copies = self.copies.iter_mut();
            let copy = copies.map(|(task, copy)| (*task, copy)).find_map(|(task, copy)| {
                copy.covered.contains_key(batch.topic_partition()).then_some((task, copy))
            });
            let Some((task, copy)) = copy else { continue };
            match copy.take(application, on_disk, task, batch) {
                Ok(read) => records += read,
                Err(error) => {
                    tracing::warn!(%task, %error, "a standby copy is begun anew");
                    self.copies.remove(&task);
                }
            }
        }
        Ok(records)
    }
}

impl StandbyCopy {
    fn begin(application: &Application, on_disk: Option<&OnDisk>, task: TaskId) -> Result<Self> {
        let offsets = application.offsets()?;
        let stores = Blueprint::new(application, &offsets).stores_of(task);
        let mut covered = BTreeMap::new();
        for store in &stores.stores {
            let definition = application.graph.store(&store.name);
            if let Some(on_disk) = on_disk
                && definition.is_some_and(StoreDefinition::is_persistent)
            {
                on_disk.back(task, store, Use::Copy)?;
            }
            if let Some(restore) = restore_of(application, on_disk, task, store)? {
                let watermarks = watermarks(application.log.as_ref(), &restore.changelog)?;
                let (offset, target) = restore.begin(watermarks)?;
                covered.insert(restore.changelog, Covered { offset, ..target });
            }
        }
        Ok(Self { stores, covered })
    }

    /// Takes lines of a changelog.
    fn take(
        &mut self,
        application: &Application,
        on_disk: Option<&OnDisk>,
        task: TaskId,
        batch: &RecordBatch,
    ) -> Result<u64> {
        let mut records = 0;
        for store in &self.stores.stores {
            let Some(restore) = restore_of(application, on_disk, task, store)? else { continue };
            if restore.changelog != *batch.topic_partition() {
                continue;
            }
            let Some(covered) = self.covered.get_mut(&restore.changelog) else { continue };
            for view in batch.iter() {
                restore.take(&view)?;
                covered.offset = view.offset.next();
                records += 1;
            }
            restore.write(*covered)?;
        }
        Ok(records)
    }
}

impl fmt::Debug for Standbys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Standbys").field("tasks", &self.copies.keys()).finish_non_exhaustive()
    }
}

/// The restore of a store that has a changelog.
fn restore_of<'a>(
    application: &'a Application,
    on_disk: Option<&'a OnDisk>,
    task: TaskId,
    store: &'a TaskStore,
) -> Result<Option<Restore<'a>>> {
    let Some(changelog) = &store.changelog else { return Ok(None) };
    Ok(Some(Restore {
        store,
        changelog: changelog_of(changelog, task)?,
        log: application.log.as_ref(),
        on_disk,
        copied: None,
    }))
}

/// The process of a worker, as its `client.id` says: all but the worker's own number.
fn process_of(client_id: &str) -> &str {
    client_id.rsplit_once('-').map_or(client_id, |(process, _)| process)
}

/// The tasks that a worker is to keep a copy of. `tasks` stand in the order of the partitions that
/// the members share; those without stores are left out. Of the processes that do not run a task,
/// `replicas` keep a copy, and in each of them one worker.
fn copies_of(
    me: &str,
    members: &[MemberDescription],
    tasks: &[Option<TaskId>],
    replicas: usize,
) -> BTreeSet<TaskId> {
    let is_mine = |number: usize| {
        let runs = |member: &&MemberDescription| {
            member.assignment.iter().any(|each| each.partition.index() == number)
        };
        let Some(owner) = members.iter().find(runs) else { return false };
        let owner = process_of(&owner.client_id);
        let mut keepers = BTreeMap::new();
        for member in members.iter().filter(|member| process_of(&member.client_id) != owner) {
            let keeper = keepers.entry(process_of(&member.client_id)).or_insert(member);
            if rank(&member.client_id, number) < rank(&keeper.client_id, number) {
                *keeper = member;
            }
        }
        let mut keepers: Vec<_> = keepers.into_iter().collect();
        keepers.sort_by_key(|(process, _)| rank(process, number));
        keepers.iter().take(replicas).any(|(_, keeper)| keeper.client_id == me)
    };
    let numbered = tasks.iter().enumerate();
    numbered.filter(|(number, _)| is_mine(*number)).filter_map(|(_, task)| *task).collect()
}

/// Where somebody stands among those who may keep a copy of a task: for each task differently, and
/// for all who ask the same.
fn rank(name: &str, task: usize) -> (u32, &str) {
    let drawn = partition_for_key(format!("{task}-{name}").as_bytes(), u32::MAX >> 1);
    (drawn.value(), name)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use std::sync::Arc;

    use headwater_log_store::{
        Log, LogStore, MemberDescription, NewTopic, Offset, PartitionId, ProducerConfig,
        ProducerRecord, TopicName, TopicPartition,
    };

    use super::{Application, StandbyCopy, Standbys, changelog_of, copies_of};
    use crate::config::StreamsConfig;
    use crate::dsl::builder::StreamsBuilder;
    use crate::types::TaskId;

    fn member(client_id: &str, tasks: &[u32]) -> MemberDescription {
        let topic = TopicName::new("app-tasks").unwrap();
        let partition =
            |number: &u32| TopicPartition::new(topic.clone(), PartitionId::new(*number));
        MemberDescription {
            member_id: client_id.to_owned(),
            client_id: client_id.to_owned(),
            host: String::new(),
            assignment: tasks.iter().map(partition).collect(),
        }
    }

    fn task(partition: u32) -> TaskId {
        TaskId { subtopology: 0, partition }
    }

    /// Who keeps a copy of each task.
    fn keepers(members: &[MemberDescription], replicas: usize) -> BTreeMap<TaskId, Vec<String>> {
        let tasks: Vec<Option<TaskId>> = (0..6).map(|number| Some(task(number))).collect();
        let mut keepers: BTreeMap<TaskId, Vec<String>> = BTreeMap::new();
        for member in members {
            for copy in copies_of(&member.client_id, members, &tasks, replicas) {
                keepers.entry(copy).or_default().push(member.client_id.clone());
            }
        }
        keepers
    }

    #[test]
    fn of_two_processes_each_keeps_copies_of_what_the_other_runs() {
        let members = [member("app-a-1", &[0, 1, 2]), member("app-b-1", &[3, 4, 5])];
        for replicas in [1, 2] {
            for (copy, keepers) in keepers(&members, replicas) {
                let other = if copy.partition < 3 { "app-b-1" } else { "app-a-1" };
                assert_eq!(keepers, [other], "{copy:?}");
            }
            assert_eq!(keepers(&members, replicas).len(), 6);
        }
        assert!(keepers(&members, 0).is_empty());
    }

    #[test]
    fn a_task_has_as_many_copies_as_are_asked_for_and_none_in_its_own_process() {
        let members = [
            member("app-a-1", &[0, 1]),
            member("app-a-2", &[2]),
            member("app-b-1", &[3]),
            member("app-b-2", &[4]),
            member("app-c-1", &[5]),
            member("app-d-1", &[]),
        ];
        for replicas in 1..=3 {
            let keepers = keepers(&members, replicas);
            for number in 0..6 {
                let keepers = &keepers[&task(number)];
                let processes: Vec<&str> = keepers.iter().map(|keeper| &keeper[..5]).collect();
                assert_eq!(processes.len(), replicas, "task {number}: {keepers:?}");
                let runs = |member: &&MemberDescription| {
                    member.assignment.iter().any(|each| each.partition.value() == number)
                };
                let owner = members.iter().find(runs).unwrap();
                assert!(!processes.contains(&&owner.client_id[..5]), "task {number}");
            }
        }
    }

    #[test]
    fn nobody_keeps_copies_of_tasks_that_nobody_runs_or_that_have_no_stores() {
        let members = [member("app-a-1", &[0, 1]), member("app-b-1", &[])];
        let tasks = [Some(task(0)), None, Some(task(2))];
        let copies = copies_of("app-b-1", &members, &tasks, 1);
        assert_eq!(copies.into_iter().collect::<Vec<_>>(), [task(0)]);
    }

    #[test]
    fn a_copy_is_not_taken_that_lacks_what_its_changelog_has_dropped() {
        let log: Arc<dyn Log> = Arc::new(LogStore::in_memory().unwrap());
        log.create_topic(&NewTopic::new("in")).unwrap();
        let builder = StreamsBuilder::new();
        builder.stream::<String, String>("in").group_by_key().count("counts");
        let graph = builder.build().unwrap().graph;
        let application = Application::open(&graph, StreamsConfig::new("app"), &log).unwrap();
        let changelog = changelog_of("app-counts-changelog", task(0)).unwrap();
        let mut producer = log.producer(&ProducerConfig::default()).unwrap();
        for key in ["a", "b", "c"] {
            let (key, value) = (Some(key.as_bytes()), Some(&[0, 0, 0, 0, 0, 0, 0, 1][..]));
            let topic = changelog.topic.as_str();
            let _ = producer.send(&ProducerRecord { key, value, ..ProducerRecord::to(topic) });
        }
        producer.flush().unwrap();
        let mut standbys = Standbys::new(log.as_ref(), "me".to_owned()).unwrap();
        let copy = || StandbyCopy::begin(&application, None, task(0)).unwrap();
        standbys.copies.insert(task(0), copy());
        assert!(standbys.release(log.as_ref(), task(0)).is_some(), "it has nothing yet");
        assert!(standbys.release(log.as_ref(), task(0)).is_none(), "it was taken");
        standbys.copies.insert(task(0), copy());
        log.delete_records(&changelog, Offset::new(2)).unwrap();
        assert!(standbys.release(log.as_ref(), task(0)).is_none(), "two lines are gone");
    }
}
