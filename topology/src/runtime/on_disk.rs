//! The stores of an application that are on disk: their folder, and how far each is.

use std::path::Path;
use std::sync::Arc;

use headwater_log_store::{
    Error as LogError, LeaderEpoch, Log, PartitionId, TopicName, TopicPartition, Watermarks,
};

use crate::backing::{Covered, StateDirectory};
use crate::config::StreamsConfig;
use crate::error::{BoxError, Error, Result};
use crate::graph::plan::Graph;
use crate::runtime::formats::state_id;
use crate::runtime::lending::{Holders, Use};
use crate::runtime::task::TaskStore;
use crate::store::backed_rows::BackedRows;
use crate::types::TaskId;

/// The folder of the stores on disk, opened.
#[derive(Clone)]
pub(crate) struct OnDisk {
    directory: Arc<dyn StateDirectory>,
    path: Arc<Path>,
    memory_bytes: usize,
    holders: Holders,
    /// The number of the application's state in its log.
    state: u32,
}

impl OnDisk {
    /// Opens the folder, if the topology has stores for it.
    pub(crate) fn open(
        graph: &Graph,
        config: &StreamsConfig,
        log: &dyn Log,
    ) -> Result<Option<Self>> {
        let mut stores = graph.stores.iter().filter(|store| store.is_persistent());
        let Some(store) = stores.next() else { return Ok(None) };
        let memory_bytes = config.persistent_store_memory_bytes;
        let state = state_id(log, &config.application_id)?;
        if let Some(directory) = &config.state_directory {
            let (directory, path) = (Arc::clone(directory), Path::new("state").into());
            let holders = Holders::default();
            return Ok(Some(Self { directory, path, memory_bytes, holders, state }));
        }
        let Some(dir) = &config.state_dir else {
            return Err(Error::InvalidConfig {
                key: "state.dir".to_owned(),
                value: String::new(),
                reason: format!("store {} is to be on disk, so a folder is needed", store.name),
            });
        };
        let path = dir.join(&config.application_id);
        let directory = open(&path).map_err(|reason| failed("each", &path, &reason))?;
        let (path, holders) = (path.into(), Holders::default());
        Ok(Some(Self { directory, path, memory_bytes, holders, state }))
    }

    /// Gives a store of a task the rows that it has on disk.
    pub(crate) fn back(&self, task: TaskId, store: &TaskStore, wanted: Use) -> Result<()> {
        let rows = self.directory.store(task, &store.name);
        let rows = rows.and_then(|rows| self.holders.lend((task, &store.name), wanted, rows));
        let rows = rows.map_err(|reason| failed(&store.name, &self.path, &reason))?;
        if !store.store.borrow_mut().back(BackedRows::new(rows, self.memory_bytes)) {
            let reason = "it is of a kind that cannot be on disk".into();
            return Err(failed(&store.name, &self.path, &reason));
        }
        Ok(())
    }

    /// Where a changelog ends, and in which epoch it is.
    pub(crate) fn end_of_changelog(
        &self,
        log: &dyn Log,
        changelog: &TopicPartition,
    ) -> Result<Covered> {
        end_of_changelog(log, changelog, self.state)
    }

    /// Whether what the rows on disk were made of is still what the changelog holds: it has not lost
    /// its end since, nor was it made anew, nor has it dropped what the rows do not have yet. Who kept
    /// its rows elsewhere for a while, or another process, was not there when it was made anew.
    pub(crate) fn is_covered_by(
        &self,
        log: &dyn Log,
        changelog: &TopicPartition,
        watermarks: Watermarks,
        covered: Covered,
    ) -> Result<bool> {
        let is_there = watermarks.start..=watermarks.end;
        if covered.state != self.state || !is_there.contains(&covered.offset) {
            return Ok(false);
        }
        match log.offset_for_leader_epoch(changelog, Some(covered.epoch)) {
            Ok(known) => Ok(covered.offset <= known.end_offset),
            // A cluster answers for its records itself.
            Err(LogError::Unsupported { .. }) => Ok(true),
            Err(source) => Err(Error::log(format!("a look at {changelog}"))(source)),
        }
    }

    /// The error of a store.
    pub(crate) fn failed(&self, store: &str, reason: &BoxError) -> Error {
        failed(store, &self.path, reason)
    }
}

#[cfg(feature = "persistent")]
fn open(path: &Path) -> Result<Arc<dyn StateDirectory>, BoxError> {
    Ok(Arc::new(crate::store::fjall_directory::FjallDirectory::open(path)?))
}

#[cfg(not(feature = "persistent"))]
fn open(_path: &Path) -> Result<Arc<dyn StateDirectory>, BoxError> {
    Err("it was built without the feature `persistent`".into())
}

fn failed(store: &str, path: &Path, reason: &BoxError) -> Error {
    Error::StateDirectory {
        store: store.to_owned(),
        path: path.display().to_string(),
        reason: reason.to_string(),
    }
}

/// The changelog partition of a task's store.
pub(crate) fn changelog_of(changelog: &str, task: TaskId) -> Result<TopicPartition> {
    let name =
        TopicName::new(changelog).map_err(Error::log(format!("a look at topic {changelog}")))?;
    Ok(TopicPartition::new(name, PartitionId::new(task.partition)))
}

/// Where a changelog ends, in which epoch it is, and of which state of the application.
pub(crate) fn end_of_changelog(
    log: &dyn Log,
    changelog: &TopicPartition,
    state: u32,
) -> Result<Covered> {
    let failed = || format!("a look at {changelog}");
    let epoch = match log.offset_for_leader_epoch(changelog, None) {
        Ok(found) => found.leader_epoch,
        // A cluster answers for its records itself.
        Err(LogError::Unsupported { .. }) => LeaderEpoch::new(0),
        Err(source) => return Err(Error::log(failed())(source)),
    };
    let watermarks = log.watermarks(changelog).map_err(Error::log(failed()))?;
    Ok(Covered { offset: watermarks.end, epoch, state })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use headwater_log_store::{
        Log, LogStore, NewTopic, OffsetReset, ProducerConfig, ProducerRecord,
    };

    use crate::config::StreamsConfig;
    use crate::dsl::builder::StreamsBuilder;
    use crate::dsl::options::Materialized;
    use crate::replay::reset::Reset;
    use crate::runtime::task_set::TaskSet;
    use crate::simulation::cluster::Cluster;
    use crate::simulation::state_directory::SimulatedDirectory;
    use crate::types::StoreType;

    /// A process that was not the first to start after a reset on a cluster took its rows of before
    /// for those of the new changelog, as soon as that had grown beyond the offset in their note.
    #[test]
    fn rows_of_before_a_reset_are_made_anew_also_where_their_offset_is_there_again() {
        let log: Arc<dyn Log> = Arc::new(Cluster::new(Arc::new(LogStore::in_memory().unwrap())));
        log.create_topic(&NewTopic::new("in")).unwrap();
        let builder = StreamsBuilder::new();
        let counts = Materialized::named("counts").with_store_type(StoreType::Persistent);
        builder.stream::<String, String>("in").group_by_key().count(counts);
        let topology = builder.build().unwrap();
        let config = |directory: &SimulatedDirectory| {
            let mut config = StreamsConfig::new("app");
            config.state_directory = Some(Arc::new(directory.clone()));
            config
        };
        let start =
            |directory| TaskSet::open_all(&topology.graph, config(directory), &log).unwrap();
        let mut producer = log.producer(&ProducerConfig::default()).unwrap();
        let mut process = |tasks: &mut TaskSet, key: &str| {
            let (key, value) = (Some(key.as_bytes()), Some(&b"v"[..]));
            let _ = producer.send(&ProducerRecord { key, value, ..ProducerRecord::to("in") });
            producer.flush().unwrap();
            assert_eq!(tasks.poll(Duration::from_secs(30)).unwrap(), 1);
            assert_eq!(tasks.process(10).unwrap(), 1);
            tasks.commit().unwrap();
        };
        let count = |tasks: &TaskSet, key: &str| {
            let row = tasks.query_get::<String, i64>("counts", &key.to_owned()).unwrap();
            row.map(|row| row.value)
        };
        let [one, other] = [SimulatedDirectory::default(), SimulatedDirectory::default()];
        let mut tasks = start(&one);
        process(&mut tasks, "before");
        drop(tasks);
        let tasks = start(&one);
        let restored = tasks.context.metrics.records_restored;
        assert_eq!((count(&tasks, "before"), restored), (Some(1), 0), "the rows are taken up");
        drop(tasks);

        let reset = Reset::new(&topology, &config(&one)).to(OffsetReset::ToLatest);
        reset.plan(&log).unwrap().execute(&log).unwrap();
        let mut tasks = start(&other);
        process(&mut tasks, "after");
        process(&mut tasks, "after");
        drop(tasks);
        let tasks = start(&one);
        assert_eq!((count(&tasks, "before"), count(&tasks, "after")), (None, Some(2)));
    }
}
