//! Restores the stores of a task from their changelogs: all of one in memory, and of one on disk
//! what has come since its rows were written.

use std::time::Duration;

use headwater_log_store::{ConsumerConfig, Log, TopicPartition};

use crate::backing::Covered;
use crate::error::{Error, RecordPosition, Result};
use crate::runtime::on_disk::{OnDisk, changelog_of, end_of_changelog, is_covered_by};
use crate::runtime::restoring::Restores;
use crate::runtime::task::{Task, TaskStore};

/// How long one poll waits where the end is known to lie ahead.
const POLL: Duration = Duration::from_millis(100);

/// How many records of a changelog are written to disk at once; in the tests of this crate so few
/// that restores stop between two writes.
const RECORDS_AT_ONCE: u64 = if cfg!(test) { 7 } else { 10_000 };

/// Reads each changelog up to the end that it has now. Returns how many records that were.
pub(crate) fn restore(
    task: &Task,
    log: &dyn Log,
    on_disk: Option<&OnDisk>,
    restores: &Restores,
) -> Result<u64> {
    let mut restored = 0;
    for store in &task.stores {
        let Some(changelog) = &store.changelog else { continue };
        let changelog = changelog_of(changelog, task.id)?;
        restored += Restore { store, changelog, log, on_disk, restores }.run()?;
    }
    Ok(restored)
}

/// The restore of one store.
struct Restore<'a> {
    store: &'a TaskStore,
    changelog: TopicPartition,
    log: &'a dyn Log,
    on_disk: Option<&'a OnDisk>,
    restores: &'a Restores,
}

impl Restore<'_> {
    fn run(&self) -> Result<u64> {
        let changelog = &self.changelog;
        let failed = || format!("the restore of store {} from {changelog}", self.store.name);
        let watermarks = self.log.watermarks(changelog).map_err(Error::log(failed()))?;
        let target = end_of_changelog(self.log, changelog)?;
        let start = match self.covered()? {
            Some(covered) if is_covered_by(self.log, changelog, watermarks, covered)? => {
                covered.offset
            }
            _ => {
                self.clear()?;
                watermarks.start
            }
        };
        self.resume()?;
        let (name, range) = (&self.store.name, (start, target.offset));
        let mut report = self.restores.begin(changelog, name, range);
        if start >= target.offset {
            return Ok(report.end());
        }
        let mut consumer =
            self.log.consumer(&ConsumerConfig::default()).map_err(Error::log(failed()))?;
        consumer
            .assign(std::slice::from_ref(changelog))
            .and_then(|()| consumer.seek(changelog, start))
            .map_err(Error::log(failed()))?;
        let mut unwritten = 0;
        while consumer.position(changelog).map_err(Error::log(failed()))? < target.offset {
            for batch in consumer.poll(POLL).map_err(Error::log(failed()))? {
                self.restores.check()?;
                let (mut restored, mut last) = (0, None);
                for view in batch.iter().filter(|view| view.offset < target.offset) {
                    self.take(&view).map_err(|reason| Error::Restore {
                        store: self.store.name.clone(),
                        position: RecordPosition {
                            topic_partition: changelog.clone(),
                            offset: view.offset,
                        },
                        reason: reason.to_string(),
                    })?;
                    unwritten += 1;
                    if unwritten == RECORDS_AT_ONCE {
                        self.write(Covered { offset: view.offset.next(), ..target })?;
                        unwritten = 0;
                    }
                    (restored, last) = (restored + 1, Some(view.offset));
                }
                if let Some(last) = last {
                    report.batch(last, target.offset, restored);
                }
            }
        }
        self.write(target)?;
        Ok(report.end())
    }

    fn take(
        &self,
        view: &headwater_log_store::RecordView<'_>,
    ) -> Result<(), crate::error::BoxError> {
        self.store.store.borrow_mut().restore(view)
    }

    fn covered(&self) -> Result<Option<Covered>> {
        let mut store = self.store.store.borrow_mut();
        let covered = store.backed().map(|rows| rows.covered()).transpose();
        covered.map(Option::flatten).map_err(|reason| self.disk_error(&reason))
    }

    fn clear(&self) -> Result<()> {
        let mut store = self.store.store.borrow_mut();
        let cleared = store.backed().map(|rows| rows.clear()).transpose();
        cleared.map(drop).map_err(|reason| self.disk_error(&reason))
    }

    fn resume(&self) -> Result<()> {
        let resumed = self.store.store.borrow_mut().resume();
        resumed.map_err(|reason| self.disk_error(&reason))
    }

    /// Brings what was taken to the disk, if the rows are there.
    fn write(&self, covered: Covered) -> Result<()> {
        let mut store = self.store.store.borrow_mut();
        if store.backed().is_none() {
            return Ok(());
        }
        store.write_to_disk(covered).map_err(|reason| self.disk_error(&reason))?;
        store.commit();
        Ok(())
    }

    fn disk_error(&self, reason: &crate::error::BoxError) -> Error {
        store_error(self.on_disk, &self.store.name, reason)
    }
}

/// The error of a store on disk.
pub(crate) fn store_error(
    on_disk: Option<&OnDisk>,
    store: &str,
    reason: &crate::error::BoxError,
) -> Error {
    match on_disk {
        Some(on_disk) => on_disk.failed(store, reason),
        None => Error::NotRunning {
            operation: "a write to a store",
            reason: "has closed its folder of stores".to_owned(),
        },
    }
}
