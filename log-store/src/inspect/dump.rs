//! Shows what is in a file of a store, field by field.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use crate::batch::{BatchHeader, Place};
use crate::error::{Error, Result};
use crate::group::OffsetCommit;
use crate::inspect::image::{CHECKPOINTS, Image, journal_file};
use crate::inspect::journal::all_entries;
use crate::inspect::report::Severity;
use crate::inspect::rows::{
    DumpRow, batch_row, checkpoint_rows, damage_row, entry_rows, index_row, offsets_row,
    published_row, record_row, store_row, topic_row,
};
use crate::inspect::segments::{Seen, SegmentSpan, walk};
use crate::inspect::source::{Source, name};
use crate::record::{RecordBatch, RecordSpans};
use crate::segment::{OffsetIndex, SegmentFile, SegmentId};
use crate::storage::Storage;
use crate::topic::topics_dir;
use crate::types::{CONSUMER_OFFSETS_TOPIC, Offset, PartitionId, TopicName, TopicPartition};

/// What [`dump`] shows of a segment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DumpOptions {
    /// The records of each batch too. Default = false.
    pub records: bool,
    /// Records of committed offsets are shown as such. Default = false.
    pub offsets: bool,
}

/// Where a dump goes: called for each row; `Break` ends it.
pub type DumpSink<'a> = dyn FnMut(DumpRow) -> ControlFlow<()> + 'a;

/// The files of a store that [`dump`] can show, from the store's folder on.
///
/// # Errors
/// A failed system call.
pub fn dumpable_files(storage: &dyn Storage, dir: &Path) -> Result<Vec<PathBuf>> {
    let source = Source { storage, dir };
    let list = |path: &Path| source.list(path, Severity::Data).unwrap_or_default();
    let mut files = Vec::new();
    for path in list(Path::new("")) {
        if path == Path::new("journal") {
            files.push(journal_file());
        } else if path == topics_dir(Path::new("")) || topic_partition(&path).is_some() {
            let inside = list(&path).into_iter();
            files.extend(inside.filter(|path| kind(path).is_some()));
        } else if kind(&path).is_some() {
            files.push(path);
        }
    }
    Ok(files)
}

/// Shows one file, given from the store's folder on; nothing is written and no lock is taken.
///
/// A segment is shown to the end of its whole batches, also beyond the recovery point; damage is
/// a row between the others.
///
/// # Errors
/// `NoStore`, `UnsupportedVersion`, `CorruptFile` if the file is none that can be shown, or a
/// failed system call.
pub fn dump(
    storage: &dyn Storage,
    dir: &Path,
    file: &Path,
    options: DumpOptions,
    sink: &mut DumpSink<'_>,
) -> Result<()> {
    let source = Source { storage, dir };
    let unknown =
        |reason: &str| Error::CorruptFile { path: dir.join(file), reason: reason.to_owned() };
    let kind = kind(file).ok_or_else(|| unknown("it is no file of a store that can be shown"))?;
    let image = Image::read(&source)?;
    if let Err(finding) = source.open(file, Severity::Data) {
        return Err(unknown(&finding.reason));
    }
    let dumper = Dumper { source, image, file, options };
    let mut flow = ControlFlow::Continue(());
    let mut row = |row: DumpRow| {
        if flow.is_continue() {
            flow = sink(row);
        }
    };
    dumper.dump(kind, &mut row).map_err(|e| Error::io("read", &dir.join(file), e))
}

/// What a file is, by its path.
#[derive(Clone, Debug)]
enum DumpKind {
    Store,
    Checkpoint,
    Published,
    Topic,
    Journal,
    Segment(TopicPartition, SegmentId, SegmentFile),
}

fn kind(path: &Path) -> Option<DumpKind> {
    let parent = path.parent().unwrap_or(Path::new(""));
    if let Some(topic_partition) = topic_partition(parent) {
        let (id, file) = SegmentId::parse_file_name(name(path))?;
        return Some(DumpKind::Segment(topic_partition, id, file));
    }
    match name(path) {
        _ if path == journal_file() => Some(DumpKind::Journal),
        topic if parent == topics_dir(Path::new("")) => {
            TopicName::new(topic).ok().map(|_| DumpKind::Topic)
        }
        "store" => Some(DumpKind::Store),
        "published" => Some(DumpKind::Published),
        checkpoint if CHECKPOINTS.contains(&checkpoint) => Some(DumpKind::Checkpoint),
        _ => None,
    }
}

/// The partition whose folder that is, going by its name.
fn topic_partition(path: &Path) -> Option<TopicPartition> {
    let (topic, number) = path.to_str()?.rsplit_once('-')?;
    let partition = PartitionId::new(number.parse().ok()?);
    Some(TopicPartition::new(TopicName::new(topic).ok()?, partition))
}

struct Dumper<'a> {
    source: Source<'a>,
    image: Image,
    file: &'a Path,
    options: DumpOptions,
}

impl Dumper<'_> {
    fn dump(&self, kind: DumpKind, row: &mut dyn FnMut(DumpRow)) -> std::io::Result<()> {
        match kind {
            DumpKind::Store => row(store_row(self.image.store_id)),
            DumpKind::Checkpoint => self.checkpoint(row),
            DumpKind::Published => {
                self.image.published.iter().for_each(|end| row(published_row(end)))
            }
            DumpKind::Topic => {
                let topic = self.image.topics.iter().find(|(n, _)| n.as_str() == name(self.file));
                topic.into_iter().for_each(|(name, file)| row(topic_row(name, file)));
            }
            DumpKind::Journal => return self.journal(row),
            DumpKind::Segment(tp, id, SegmentFile::Log) => return self.segment(tp, id.base, row),
            DumpKind::Segment(_, id, SegmentFile::OffsetIndex | SegmentFile::TimeIndex) => {
                self.index(id, row);
            }
        }
        for finding in self.image.findings.iter().filter(|finding| finding.path == self.file) {
            row(damage_row(finding.position, finding.bytes, None, &finding.reason));
        }
        Ok(())
    }

    fn checkpoint(&self, row: &mut dyn FnMut(DumpRow)) {
        let Ok(bytes) = self.source.read(self.file, Severity::Copy) else { return };
        let path = self.source.dir.join(self.file);
        if let Ok(Some(checkpoint)) = crate::checkpoint::Checkpoint::parse(&path, &bytes) {
            checkpoint_rows(&checkpoint).into_iter().for_each(row);
        }
    }

    /// The two files are one index, and are shown as one.
    fn index(&self, id: SegmentId, row: &mut dyn FnMut(DumpRow)) {
        let dir = self.file.parent().unwrap_or(Path::new(""));
        let read = |file| self.source.read(&dir.join(id.file_name(file)), Severity::Cache);
        let files = (read(SegmentFile::OffsetIndex), read(SegmentFile::TimeIndex));
        let (Ok(offsets), Ok(times)) = files else {
            return row(damage_row(0, 0, None, "one of the two index files is missing"));
        };
        let place = topic_partition(dir).and_then(|tp| self.place(&tp));
        let decoded = place
            .and_then(|place| OffsetIndex::decode(&place, id.base, &offsets, &times, u32::MAX));
        match decoded {
            Some(index) => index.entries().for_each(|(relative, position, timestamp_before)| {
                let offset = id.base + u64::from(relative);
                row(index_row(offset, position, timestamp_before));
            }),
            None => {
                let bytes = self.source.read(self.file, Severity::Cache).map_or(0, |b| b.len());
                row(damage_row(0, bytes as u64, None, "the index files are damaged"));
            }
        }
    }

    /// What the batches and indexes of a partition are checked against.
    fn place(&self, topic_partition: &TopicPartition) -> Option<Place> {
        let topic = self.image.topics.get(&topic_partition.topic);
        self.image.store_id.zip(topic).map(|(store_id, file)| Place {
            store_id,
            topic_id: file.id,
            partition: topic_partition.partition,
        })
    }

    fn journal(&self, row: &mut dyn FnMut(DumpRow)) -> std::io::Result<()> {
        let Ok(mut file) = self.source.open(self.file, Severity::Data) else { return Ok(()) };
        let Some(store_id) = self.image.store_id else { return Ok(()) };
        for entry in all_entries(&mut file, store_id)? {
            entry_rows(&entry, &self.image.topics).into_iter().for_each(&mut *row);
        }
        Ok(())
    }

    fn segment(
        &self,
        topic_partition: TopicPartition,
        base: Offset,
        row: &mut dyn FnMut(DumpRow),
    ) -> std::io::Result<()> {
        let Ok(mut file) = self.source.open(self.file, Severity::Data) else { return Ok(()) };
        let place = self.place(&topic_partition);
        let span = SegmentSpan { base, end: None, place: place.as_ref(), gaps: true };
        let walked = walk(&mut file, &span, &mut |seen| match seen {
            Seen::Batch(position, header, bytes) => {
                row(batch_row(*position, header));
                if self.options.records {
                    self.records(&topic_partition, header, bytes, row);
                }
            }
            Seen::Damage(damage) => row(damage_row(
                damage.position,
                damage.bytes,
                Some(damage.offsets.clone()),
                &damage.reason,
            )),
        })?;
        if walked.torn > 0 {
            row(damage_row(walked.end, walked.torn, None, "these bytes are no whole batch"));
        }
        Ok(())
    }

    fn records(
        &self,
        topic_partition: &TopicPartition,
        header: &BatchHeader,
        bytes: &[u8],
        row: &mut dyn FnMut(DumpRow),
    ) {
        let mut records: Vec<RecordSpans> = Vec::new();
        // What the walk has shown, it has parsed before.
        let Ok(uncompressed) = header.records(bytes, 0, Offset::ZERO, &mut records) else {
            return;
        };
        let bytes = uncompressed.unwrap_or_else(|| Bytes::copy_from_slice(bytes));
        let batch = RecordBatch::new(topic_partition.clone(), bytes, records);
        let decode =
            self.options.offsets && topic_partition.topic.as_str() == CONSUMER_OFFSETS_TOPIC;
        for record in batch.iter() {
            let key = record.key.filter(|_| decode);
            match key.and_then(|key| OffsetCommit::decode(key, record.value)) {
                Some(commit) => row(offsets_row(&record, &commit)),
                None => row(record_row(&record)),
            }
        }
    }
}
