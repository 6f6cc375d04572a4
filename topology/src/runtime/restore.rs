//! Restores the stores of a task from their changelogs: all of one in memory, and of one on disk
//! what has come since its rows were written.

use std::collections::BTreeMap;
use std::time::Duration;

use headwater_log_store::{
    LeaderEpoch, Log, Offset, RecordBatch, RecordView, TopicPartition, Watermarks,
};

use crate::backing::Covered;
use crate::error::{Error, RecordPosition, Result};
use crate::runtime::on_disk::{OnDisk, changelog_of};
use crate::runtime::reader::reader_to_the_end;
use crate::runtime::restoring::{RestoreReport, Restores};
use crate::runtime::task::{Task, TaskStore};

/// How long one poll waits where the end is known to lie ahead.
const POLL: Duration = Duration::from_millis(100);

/// How many records of a changelog are written to disk at once; in the tests of this crate so few
/// that restores stop between two writes.
const RECORDS_AT_ONCE: u64 = if cfg!(test) { 7 } else { 10_000 };

/// A task with the standby copy's places of its changelogs, if it was one.
pub(crate) type Copied = (Task, BTreeMap<TopicPartition, Covered>);

/// Reads all changelogs of tasks together, up to the ends that they have now; those of a standby copy
/// from where the copy has come to. Returns how many records that were.
pub(crate) fn restore(
    tasks: &[Copied],
    log: &dyn Log,
    on_disk: Option<&OnDisk>,
    restores: &Restores,
) -> Result<u64> {
    let mut all = Vec::new();
    for (task, copied) in tasks {
        for store in &task.stores {
            let Some(changelog) = &store.changelog else { continue };
            let changelog = changelog_of(changelog, task.id)?;
            let copied = copied.get(&changelog).map(|covered| covered.offset);
            all.push(Restore { store, changelog, log, on_disk, copied });
        }
    }
    let mut readings = Vec::new();
    let mut restored = 0;
    let changelogs: Vec<_> = all.iter().map(|restore| restore.changelog.clone()).collect();
    let watermarks =
        log.all_watermarks(&changelogs).map_err(Error::log("a look at the changelogs"))?;
    for (restore, watermarks) in all.iter().zip(watermarks) {
        let (start, target) = restore.begin(watermarks)?;
        let range = (start, target.offset);
        let report = restores.begin(&restore.changelog, &restore.store.name, range);
        match start < target.offset {
            true => readings.push(Reading { restore, start, target, report, unwritten: 0 }),
            false => restored += report.end(),
        }
    }
    Ok(restored + read(readings, log, restores)?)
}

/// Reads with one consumer, so that partitions are fetched side by side.
fn read(mut readings: Vec<Reading<'_>>, log: &dyn Log, restores: &Restores) -> Result<u64> {
    let Some(first) = readings.first() else { return Ok(0) };
    let mut consumer = reader_to_the_end(log).map_err(Error::log(first.restore.failed()))?;
    let changelogs: Vec<_> =
        readings.iter().map(|reading| reading.restore.changelog.clone()).collect();
    consumer.assign(&changelogs).map_err(Error::log(readings_failed(&readings)))?;
    for Reading { restore, start, .. } in &readings {
        consumer.seek(&restore.changelog, *start).map_err(Error::log(restore.failed()))?;
    }
    let mut restored = 0;
    while !readings.is_empty() {
        // Also where nothing comes: a cluster may be out of reach.
        restores.check()?;
        let batches = consumer.poll(POLL).map_err(Error::log(readings_failed(&readings)))?;
        for batch in batches {
            restores.check()?;
            let mut readings = readings.iter_mut();
            let found = readings.find(|each| each.restore.changelog == *batch.topic_partition());
            found.map_or(Ok(()), |reading| reading.take(&batch))?;
        }
        let mut left = Vec::new();
        for reading in readings {
            let Restore { changelog, .. } = reading.restore;
            let position = consumer.position(changelog);
            match position.map_err(Error::log(reading.restore.failed()))? < reading.target.offset {
                true => left.push(reading),
                false => restored += reading.end()?,
            }
        }
        readings = left;
    }
    Ok(restored)
}

/// What has failed if all have.
fn readings_failed(readings: &[Reading<'_>]) -> String {
    readings.first().map(|reading| reading.restore.failed()).unwrap_or_default()
}

/// The restore of one store that has something to read.
struct Reading<'a> {
    restore: &'a Restore<'a>,
    start: Offset,
    /// Where it goes to.
    target: Covered,
    report: RestoreReport<'a>,
    /// How many records were taken since the last write to disk.
    unwritten: u64,
}

impl Reading<'_> {
    fn take(&mut self, batch: &RecordBatch) -> Result<()> {
        let Self { restore, target, report, unwritten, .. } = self;
        let (mut restored, mut last) = (0, None);
        for view in batch.iter().filter(|view| view.offset < target.offset) {
            restore.take(&view)?;
            *unwritten += 1;
            if *unwritten == RECORDS_AT_ONCE {
                restore.write(Covered { offset: view.offset.next(), ..*target })?;
                *unwritten = 0;
            }
            (restored, last) = (restored + 1, Some(view.offset));
        }
        if let Some(last) = last {
            report.batch(last, target.offset, restored);
        }
        Ok(())
    }

    fn end(self) -> Result<u64> {
        self.restore.write(self.target)?;
        Ok(self.report.end())
    }
}

/// The restore of one store.
pub(crate) struct Restore<'a> {
    pub(crate) store: &'a TaskStore,
    pub(crate) changelog: TopicPartition,
    pub(crate) log: &'a dyn Log,
    pub(crate) on_disk: Option<&'a OnDisk>,
    /// How far a standby copy has come, if the store is one.
    pub(crate) copied: Option<Offset>,
}

impl Restore<'_> {
    fn failed(&self) -> String {
        format!("the restore of store {} from {}", self.store.name, self.changelog)
    }

    /// Where the store is, as far as it is there, and where its changelog ends: it begins and ends
    /// there, as was just seen.
    pub(crate) fn begin(&self, watermarks: Watermarks) -> Result<(Offset, Covered)> {
        let changelog = &self.changelog;
        let target = match self.on_disk {
            Some(on_disk) => on_disk.end_of_changelog(self.log, changelog)?,
            // Of rows in memory nobody asks for the epoch.
            None => Covered { offset: watermarks.end, epoch: LeaderEpoch::new(0), state: 0 },
        };
        if let Some(copied) = self.copied {
            return Ok((copied, target));
        }
        let start = match (self.covered()?, self.on_disk) {
            (Some(covered), Some(on_disk))
                if on_disk.is_covered_by(self.log, changelog, watermarks, covered)? =>
            {
                covered.offset
            }
            _ => {
                self.clear()?;
                watermarks.start
            }
        };
        self.resume()?;
        Ok((start, target))
    }

    /// Takes a line of the changelog.
    pub(crate) fn take(&self, view: &RecordView<'_>) -> Result<()> {
        self.store.store.borrow_mut().restore(view).map_err(|reason| Error::Restore {
            store: self.store.name.clone(),
            position: RecordPosition {
                topic_partition: self.changelog.clone(),
                offset: view.offset,
            },
            reason: reason.to_string(),
        })
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
    pub(crate) fn write(&self, covered: Covered) -> Result<()> {
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use headwater_log_store::{
        LeaderEpoch, Log, LogStore, NewTopic, Offset, ProducerConfig, ProducerRecord,
    };

    use super::{Covered, Reading, Restore, changelog_of, read};
    use crate::config::StreamsConfig;
    use crate::dsl::builder::StreamsBuilder;
    use crate::runtime::restoring::{Restores, is_interruption};
    use crate::runtime::task_set::TaskSet;

    /// An application of one task with one store.
    fn counting(log: &Arc<dyn Log>) -> TaskSet {
        log.create_topic(&NewTopic::new("in")).unwrap();
        let builder = StreamsBuilder::new();
        builder.stream::<String, String>("in").group_by_key().count("counts");
        let graph = builder.build().unwrap().graph;
        TaskSet::open_all(&graph, StreamsConfig::new("app"), log).unwrap()
    }

    /// Retention may delete the first lines while the restore is on its way to them. The consumer
    /// went to the end of the changelog then, and the store was left empty.
    #[test]
    fn a_restore_whose_first_lines_are_deleted_goes_on_with_those_that_are_left() {
        let log: Arc<dyn Log> = Arc::new(LogStore::in_memory().unwrap());
        let tasks = counting(&log);
        let (task, restores) = (&tasks.tasks[0], Restores::default());
        let store = &task.stores[0];
        let changelog = changelog_of(store.changelog.as_ref().unwrap(), task.id).unwrap();
        let mut producer = log.producer(&ProducerConfig::default()).unwrap();
        for key in ["a", "b", "c"] {
            let (key, value) = (Some(key.as_bytes()), Some(&[0, 0, 0, 0, 0, 0, 0, 1][..]));
            let topic = changelog.topic.as_str();
            let _ = producer.send(&ProducerRecord { key, value, ..ProducerRecord::to(topic) });
        }
        producer.flush().unwrap();
        let log = log.as_ref();
        let restore = Restore { store, changelog, log, on_disk: None, copied: None };
        let watermarks = log.watermarks(&restore.changelog).unwrap();
        let (start, target) = restore.begin(watermarks).unwrap();
        let range = (start, target.offset);
        assert_eq!(range, (Offset::ZERO, Offset::new(3)));
        let report = restores.begin(&restore.changelog, "counts", range);
        log.delete_records(&restore.changelog, Offset::new(1)).unwrap();
        let reading = Reading { restore: &restore, start, target, report, unwritten: 0 };
        assert_eq!(read(vec![reading], log, &restores).unwrap(), 2);
        assert_eq!(store.store.borrow().resident_rows(), 2);
    }

    #[test]
    fn a_close_ends_a_restore_of_which_nothing_comes() {
        let log: Arc<dyn Log> = Arc::new(LogStore::in_memory().unwrap());
        let tasks = counting(&log);
        let (task, restores) = (&tasks.tasks[0], Restores::default());
        let store = &task.stores[0];
        let changelog = changelog_of(store.changelog.as_ref().unwrap(), task.id).unwrap();
        let log = log.as_ref();
        let restore = Restore { store, changelog, log, on_disk: None, copied: None };
        // As of a cluster that is out of reach: the record before this end does not come.
        let target = Covered { offset: Offset::new(1), epoch: LeaderEpoch::new(0), state: 0 };
        let range = (Offset::ZERO, target.offset);
        let report = restores.begin(&restore.changelog, "counts", range);
        restores.interrupt();
        let reading =
            Reading { restore: &restore, start: Offset::ZERO, target, report, unwritten: 0 };
        assert!(is_interruption(&read(vec![reading], log, &restores).unwrap_err()));
    }
}
