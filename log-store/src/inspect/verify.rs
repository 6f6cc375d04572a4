//! Verifies a store: every file, without changing a byte.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::batch::{BatchHeader, Place};
use crate::checkpoint::{Checkpoint, PartitionMark, Redo};
use crate::engine::empty_mark;
use crate::error::{Error, Result};
use crate::inspect::image::{Image, is_partition_of, journal_file};
use crate::inspect::journal::{WholeEntry, replay};
use crate::inspect::partitions::PartitionSpec;
use crate::inspect::report::{Finding, Severity, VerifyReport};
use crate::inspect::source::{Source, finding};
use crate::journal::batches;
use crate::storage::Storage;
use crate::topic::TopicFile;
use crate::types::{LeaderEpoch, PartitionId, TopicName, TopicPartition};

/// Looks at every file of the store in the folder, and says what is damaged.
///
/// Nothing is written and no lock is taken. While another process writes the store, only what
/// lies below the recovery points of its last checkpoint is looked at, since the rest changes
/// under the reader's eyes.
///
/// A damaged batch is found with its neighbours whole: the walk goes on at the next batch whose
/// checksums match. Under a store's id that is lost, batches are checked by Kafka's checksum only.
///
/// ```
/// use headwater_log_store::{FileStorage, LogStore, Reads, inspect};
///
/// # fn main() -> Result<(), headwater_log_store::Error> {
/// # let dir = tempfile::tempdir().expect("a temporary folder");
/// # let path = dir.path();
/// LogStore::create(path)?.close()?;
/// let report = inspect::verify(&FileStorage::new(Reads::Positioned), path)?;
/// assert_eq!((report.clean, report.findings), (Some(true), vec![]));
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// `NoStore`, `UnsupportedVersion`, or a failed system call on the folder itself; damage is not
/// an error but a [`Finding`].
pub fn verify(storage: &dyn Storage, dir: &Path) -> Result<VerifyReport> {
    let source = Source { storage, dir };
    examine(&source).map(|(report, _)| report)
}

/// Verifies, and keeps what a repair needs to know.
pub(super) fn examine(source: &Source<'_>) -> Result<(VerifyReport, Image)> {
    let lock = source.dir.join("store.lock");
    let writer = source.storage.lock_holder(&lock).map_err(|e| Error::io("look at", &lock, e))?;
    let mut image = Image::read(source)?;
    let mut report = VerifyReport {
        writer,
        clean: image.checkpoint.as_ref().map(|checkpoint| checkpoint.clean),
        topics: image.topics.len(),
        ..VerifyReport::default()
    };
    let mut folders = Vec::new();
    for (name, file) in &image.topics {
        for number in 0..file.partitions {
            let tp = TopicPartition::new(name.clone(), PartitionId::new(number));
            let mark = mark(&image, file, tp.partition);
            let spec = spec(&image, tp, file, &mark, report.writer.is_some());
            folders.push(spec.dir());
            if image.checkpoint.is_some() {
                spec.verify(source, &mut report);
            }
        }
    }
    if let Some(checkpoint) = &image.checkpoint {
        verify_topics(&image, checkpoint, &mut report);
        if report.writer.is_none() {
            verify_journal(source, &image, checkpoint, &mut report);
        }
    }
    folders.extend(folders_of_damaged_topics(source, &image.damaged_topics));
    image.check_names(source, &folders);
    report.findings.append(&mut image.findings);
    report.findings.sort_by(|a, b| (&a.path, a.position).cmp(&(&b.path, b.position)));
    Ok((report, image))
}

/// What the checkpoint says of a partition; one that it does not know is empty.
pub(super) fn mark(image: &Image, file: &TopicFile, partition: PartitionId) -> PartitionMark {
    let marks = image.checkpoint.iter().flat_map(|checkpoint| &checkpoint.partitions);
    let known = marks.into_iter().find(|m| m.topic_id == file.id && m.partition == partition);
    known.cloned().unwrap_or_else(|| empty_mark(file.id, partition, LeaderEpoch::FIRST))
}

/// How a partition is to be looked at.
pub(super) fn spec<'a>(
    image: &Image,
    topic_partition: TopicPartition,
    file: &TopicFile,
    mark: &'a PartitionMark,
    live: bool,
) -> PartitionSpec<'a> {
    let (topic_id, partition) = (file.id, topic_partition.partition);
    let mut marks = image.checkpoint.iter().flat_map(|checkpoint| &checkpoint.partitions);
    PartitionSpec {
        is_known: marks.any(|mark| mark.topic_id == topic_id && mark.partition == partition),
        topic_partition,
        place: image.store_id.map(|store_id| Place { store_id, topic_id, partition }),
        mark,
        clean: image.checkpoint.as_ref().is_some_and(|checkpoint| checkpoint.clean),
        live,
    }
}

/// A topic that the checkpoint knows must have its file; a deletion leaves one that says so.
fn verify_topics(image: &Image, checkpoint: &Checkpoint, report: &mut VerifyReport) {
    let files = image.topics.values().chain(image.deleted.values());
    let known: BTreeSet<u64> = files.map(|file| file.id).collect();
    let named: BTreeSet<u64> = checkpoint.partitions.iter().map(|mark| mark.topic_id).collect();
    let missing: Vec<u64> = named.difference(&known).copied().collect();
    // A damaged file is a finding already, and one of the missing ids is its own.
    for id in missing.iter().skip(image.damaged_topics.len()) {
        let reason = format!("the file of the topic with id {id} is missing");
        report.findings.push(finding(Severity::Data, Path::new("topics"), reason));
    }
}

fn folders_of_damaged_topics(source: &Source<'_>, damaged: &[TopicName]) -> Vec<PathBuf> {
    let names = source.list(Path::new(""), Severity::Data).unwrap_or_default();
    let of_damaged = |path: &PathBuf| damaged.iter().any(|topic| is_partition_of(path, topic));
    names.into_iter().filter(of_damaged).collect()
}

/// The journal counts after an unclean stop only, from the checkpoint's mark on.
fn verify_journal(
    source: &Source<'_>,
    image: &Image,
    checkpoint: &Checkpoint,
    report: &mut VerifyReport,
) {
    let path = journal_file();
    let mut file = match source.open(&path, Severity::Data) {
        Ok(file) => file,
        Err(finding) => return report.findings.push(finding),
    };
    if file.len != checkpoint.journal_bytes {
        let (found, known) = (file.len, checkpoint.journal_bytes);
        let reason = format!("it has {found} bytes, and the checkpoint says {known}");
        let position = found.min(known);
        report.findings.push(Finding { position, ..finding(Severity::Data, &path, reason) });
    }
    let Some(store_id) = image.store_id.filter(|_| !checkpoint.clean) else { return };
    let found = match replay(&mut file, store_id, checkpoint.journal) {
        Ok(found) => found,
        Err(error) => {
            let reason = format!("it cannot be read: {error}");
            return report.findings.push(finding(Severity::Data, &path, reason));
        }
    };
    report.journal_entries = found.entries.len();
    let (position, sequence) = (found.mark.position, found.mark.sequence);
    if found.durable >= sequence {
        let reason = format!(
            "entry {sequence} is damaged, yet entry {} was known to be durable",
            found.durable
        );
        report.findings.push(Finding { position, ..finding(Severity::Data, &path, reason) });
    } else if found.torn {
        let reason = match checkpoint.redo {
            Redo::Journal | Redo::SyncedJournal => {
                format!("entry {sequence} was written in part, or its end is damaged")
            }
            Redo::Segments => format!("entry {sequence}, a transaction, was written in part"),
        };
        report.findings.push(Finding { position, ..finding(Severity::Harmless, &path, reason) });
    }
    for entry in &found.entries {
        verify_entry(image, store_id, entry, &path, report);
    }
    let same_boot = source.storage.boot_id().unwrap_or_default() == checkpoint.boot_id;
    let must_have = match checkpoint.redo {
        Redo::SyncedJournal => true,
        Redo::Journal => same_boot,
        Redo::Segments => false,
    };
    if must_have && found.durable < sequence {
        let journal = Finding { position, ..finding(Severity::Data, &path, String::new()) };
        verify_segments_beyond(source, image, &found.entries, &journal, report);
    }
}

/// What is in a segment was in the journal first: whole batches that the journal does not bring
/// are acknowledged records of entries that it has lost.
fn verify_segments_beyond(
    source: &Source<'_>,
    image: &Image,
    entries: &[WholeEntry],
    journal: &Finding,
    report: &mut VerifyReport,
) {
    let batches: Vec<_> =
        entries.iter().flat_map(|e| batches(&e.payload).unwrap_or_default()).collect();
    for (name, file) in &image.topics {
        for partition in (0..file.partitions).map(PartitionId::new) {
            let mark = mark(image, file, partition);
            let topic_partition = TopicPartition::new(name.clone(), partition);
            let spec = spec(image, topic_partition, file, &mark, false);
            let mine = batches.iter().filter(|b| b.topic_id == file.id && b.partition == partition);
            let ends = mine.filter_map(|batch| BatchHeader::parse(batch.bytes).ok());
            let known = ends.map(|header| header.next_offset()).max().unwrap_or_default();
            let (recovery_point, whole) = spec.whole_end(source);
            let known = known.max(recovery_point);
            if known < whole {
                let reason = "its entries of these offsets are lost: the segment has them, and it \
                              gets only what the journal had";
                report.findings.push(Finding {
                    topic_partition: Some(spec.topic_partition.clone()),
                    offsets: Some(known..whole),
                    reason: reason.to_owned(),
                    ..journal.clone()
                });
            }
        }
    }
}

fn verify_entry(
    image: &Image,
    store_id: u128,
    entry: &WholeEntry,
    path: &Path,
    report: &mut VerifyReport,
) {
    let position = entry.position;
    let Some(journaled) = batches(&entry.payload) else {
        let reason = format!("entry {} cannot be parsed", entry.header.sequence);
        let found = finding(Severity::Data, path, reason);
        return report.findings.push(Finding { position, ..found });
    };
    for batch in journaled {
        let topic = image.topics.iter().find(|(_, file)| file.id == batch.topic_id);
        let Some((name, _)) = topic else { continue };
        let place = Place { store_id, topic_id: batch.topic_id, partition: batch.partition };
        let verified = BatchHeader::parse(batch.bytes)
            .and_then(|header| header.verify(batch.bytes, &place).map(|_| ()));
        if let Err(fault) = verified {
            report.findings.push(Finding {
                position,
                topic_partition: Some(TopicPartition::new(name.clone(), batch.partition)),
                ..finding(Severity::Data, path, format!("its journaled batch: {fault}"))
            });
        }
    }
}
