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
}

impl OnDisk {
    /// Opens the folder, if the topology has stores for it.
    pub(crate) fn open(graph: &Graph, config: &StreamsConfig) -> Result<Option<Self>> {
        let mut stores = graph.stores.iter().filter(|store| store.is_persistent());
        let Some(store) = stores.next() else { return Ok(None) };
        let memory_bytes = config.persistent_store_memory_bytes;
        if let Some(directory) = &config.state_directory {
            let (directory, path) = (Arc::clone(directory), Path::new("state").into());
            let holders = Holders::default();
            return Ok(Some(Self { directory, path, memory_bytes, holders }));
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
        Ok(Some(Self { directory, path, memory_bytes, holders }))
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

/// Where a changelog ends, and in which epoch it is.
pub(crate) fn end_of_changelog(log: &dyn Log, changelog: &TopicPartition) -> Result<Covered> {
    let failed = || format!("a look at {changelog}");
    let epoch = match log.offset_for_leader_epoch(changelog, None) {
        Ok(found) => found.leader_epoch,
        // A cluster answers for its records itself: offsets alone have to do.
        Err(LogError::Unsupported { .. }) => LeaderEpoch::new(0),
        Err(source) => return Err(Error::log(failed())(source)),
    };
    let watermarks = log.watermarks(changelog).map_err(Error::log(failed()))?;
    Ok(Covered { offset: watermarks.end, epoch })
}

/// Whether what the rows on disk were made of is still what the changelog holds: it has not lost
/// its end since, nor was it made anew, nor has it dropped what the rows do not have yet.
pub(crate) fn is_covered_by(
    log: &dyn Log,
    changelog: &TopicPartition,
    watermarks: Watermarks,
    covered: Covered,
) -> Result<bool> {
    if covered.offset < watermarks.start || covered.offset > watermarks.end {
        return Ok(false);
    }
    match log.offset_for_leader_epoch(changelog, Some(covered.epoch)) {
        Ok(known) => Ok(covered.offset <= known.end_offset),
        Err(LogError::Unsupported { .. }) => Ok(true),
        Err(source) => Err(Error::log(format!("a look at {changelog}"))(source)),
    }
}
