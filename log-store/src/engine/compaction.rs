//! Compacts partitions and puts the outcome in the place of what was there.

use std::sync::Arc;

use crate::compaction::{Cleaned, Cleaner, CompactionReport, Stopped};
use crate::engine::checkpoints::Kind;
use crate::engine::state::{Engine, Writer};
use crate::error::{Error, Result};
use crate::partition::Partition;
use crate::segment::Segment;

/// What a key takes in memory while a compaction knows its newest offset.
const BYTES_PER_KEY: usize = 40;

impl Engine {
    /// Compacts all partitions that are due. Those that cannot be are left as they are, and the
    /// first error is returned after the others had their turn.
    ///
    /// `pause` is asked every now and then whether to go on.
    pub(crate) fn compact(&self, pause: &mut dyn FnMut() -> bool) -> Result<CompactionReport> {
        let writer = self.writer("compact")?;
        writer.check("compact")?;
        let mut report = CompactionReport::default();
        let mut failed = None;
        let topics = self.topics();
        let compacted = topics.iter().filter(|topic| topic.config.compact);
        for partition in compacted.flat_map(|topic| &topic.partitions) {
            if !pause() {
                break;
            }
            match self.compact_partition(writer, partition, pause, &mut report) {
                Ok(()) | Err(Stopped::Interrupted) => {}
                Err(Stopped::Failed(error)) => {
                    writer.check_poison()?;
                    let name = &partition.topic_partition;
                    tracing::warn!(partition = %name, %error, "it cannot be compacted");
                    failed.get_or_insert(error);
                }
            }
        }
        failed.map_or(Ok(report), Err)
    }

    fn compact_partition(
        &self,
        writer: &Writer,
        partition: &Partition,
        pause: &mut dyn FnMut() -> bool,
        report: &mut CompactionReport,
    ) -> Result<(), Stopped> {
        // A second one would write the same files; a deletion or a close waits until none does.
        let _compacting = partition.compacting.lock();
        let mut go_on = || {
            let goes_on = pause() && writer.check("compact").is_ok() && self.has(partition);
            goes_on.then_some(()).ok_or(Stopped::Interrupted)
        };
        go_on()?;
        let mut cleaner = Cleaner {
            storage: &*self.storage,
            partition,
            now: self.clock.now(),
            keys_max: writer.compaction_bytes_max / BYTES_PER_KEY,
            pause: &mut go_on,
        };
        let cleaned = cleaner.run(|cleaned| {
            let group = cleaned.report.clone();
            self.replace(writer, partition, cleaned)?;
            report.add(&group);
            Ok(())
        });
        cleaned.map_err(|stopped| match stopped {
            Stopped::Failed(error) => Stopped::Failed(writer.poison_after_sync(error)),
            Stopped::Interrupted => Stopped::Interrupted,
        })
    }

    /// Lets a checkpoint know the new segments instead of the old ones, which then go.
    fn replace(
        &self,
        writer: &Writer,
        partition: &Partition,
        cleaned: Cleaned,
    ) -> Result<(), Stopped> {
        let Cleaned { old, fresh, .. } = cleaned;
        let replaced = {
            let mut side = writer.journal.lock();
            let there = writer.check("compact").is_ok() && self.has(partition);
            // Retention may have taken some of them.
            let replaced = there && partition.replace_segments(&old, fresh.clone());
            if replaced {
                self.checkpoint(writer, &mut side, Kind::Plain)
                    .map_err(|error| writer.poison(&error))?;
            }
            replaced
        };
        let gone = if replaced { &old } else { &fresh };
        self.remove_segments(partition, gone)?;
        if replaced { Ok(()) } else { Err(Stopped::Interrupted) }
    }

    /// Removes the files of segments that no checkpoint knows, durably: after a close nothing
    /// looks for them any more.
    pub(super) fn remove_segments(
        &self,
        partition: &Partition,
        gone: &[Arc<Segment>],
    ) -> Result<()> {
        if gone.is_empty() {
            return Ok(());
        }
        for segment in gone {
            segment.remove_files(&*self.storage)?;
        }
        let dir = &partition.dir;
        self.storage.sync_dir(dir).map_err(|e| Error::io("sync", dir, e))
    }

    /// Whether a partition is still one of this store's.
    fn has(&self, partition: &Partition) -> bool {
        let found = self.partition(&partition.topic_partition);
        found.is_ok_and(|found| std::ptr::eq(&*found, partition))
    }
}
