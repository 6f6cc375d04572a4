//! Looks at a damaged store for what can be made of it.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use crate::batch::{BatchHeader, Place};
use crate::checkpoint::{Checkpoint, PartitionMark, Redo};
use crate::epochs::EpochHistory;
use crate::error::{Error, Result};
use crate::inspect::image::{CHECKPOINTS, Image, is_partition_of, journal_file};
use crate::inspect::journal::{all_entries, replay};
use crate::inspect::partitions::PartitionSpec;
use crate::inspect::pieces::{Piece, bytes_len, end_of, end_offset, lost, pieces};
use crate::inspect::plan::{RepairPlan, RepairStep};
use crate::inspect::report::{Severity, VerifyReport};
use crate::inspect::segments::{SegmentSpan, Walk, walk};
use crate::inspect::source::{Source, name};
use crate::inspect::verify::{mark, spec};
use crate::journal::{JournalMark, batches};
use crate::partition::partition_dir;
use crate::segment::{SegmentFile, SegmentId, SegmentSpec};
use crate::storage::FileKind;
use crate::topic::TopicFile;
use crate::types::{LeaderEpoch, Offset, PartitionId, Timestamp, TopicName, TopicPartition};

/// A store, and what is to be done about it.
#[derive(Debug)]
pub(super) struct Survey {
    pub(super) plan: RepairPlan,
    pub(super) image: Image,
    /// The checkpoint that goes with the repaired files.
    pub(super) checkpoint: Option<Checkpoint>,
    pub(super) rewrites: Vec<Rewrite>,
}

/// A segment that is to be written anew.
#[derive(Debug)]
pub(super) struct Rewrite {
    pub(super) place: Place,
    pub(super) path: PathBuf,
    /// What of the old file is kept, and which offsets are lost, in their order.
    pub(super) pieces: Vec<Piece>,
    /// Where in the old file begins what lies behind the recovery point, if that counts.
    pub(super) tail: Option<u64>,
}

/// What a journal that lost its entries is recreated with, if no checkpoint knows better.
const JOURNAL_BYTES: u64 = 64 << 20;

impl Survey {
    /// Looks at everything. `now` is the time of the last append where nothing says it.
    pub(super) fn make(source: &Source<'_>, now: Timestamp) -> Result<Self> {
        let image = Image::read(source)?;
        let mut survey =
            Self { plan: RepairPlan::default(), image, checkpoint: None, rewrites: Vec::new() };
        survey.plan_store_file();
        survey.plan_topics(source);
        let rebuilt = survey.image.checkpoint.is_none();
        let mut checkpoint = match survey.image.checkpoint.clone() {
            Some(checkpoint) => checkpoint,
            None => survey.rebuild_checkpoint(source, now),
        };
        let abandon = survey.plan_journal(source, &checkpoint, rebuilt)?;
        let mut partitions = Vec::new();
        for (name, file) in survey.image.topics.clone() {
            for number in 0..file.partitions {
                let tp = TopicPartition::new(name.clone(), PartitionId::new(number));
                partitions.push(survey.plan_partition(source, tp, &file, &checkpoint, abandon)?);
            }
        }
        checkpoint.partitions = partitions;
        if abandon {
            survey.plan_abandoned(source, &mut checkpoint)?;
        }
        let is_damaged = |names: &[&str]| {
            let mut findings = survey.image.findings.iter();
            findings.any(|f| names.contains(&name(&f.path)) && f.severity > Severity::Harmless)
        };
        let changed = rebuilt || abandon || !survey.rewrites.is_empty();
        let checkpoints = changed || is_damaged(&CHECKPOINTS);
        let published = changed || is_damaged(&["published"]);
        if checkpoints {
            survey.plan.steps.push(RepairStep::WriteCheckpoint { rebuilt });
        }
        if published {
            survey.plan.steps.push(RepairStep::WritePublished);
        }
        survey.checkpoint = Some(checkpoint);
        Ok(survey)
    }

    fn plan_store_file(&mut self) {
        let damaged = self.image.findings.iter().any(|finding| {
            finding.path == Path::new("store") && finding.severity > Severity::Harmless
        });
        let from = match (self.image.store_id, self.image.published_id) {
            (Some(_), _) if !damaged => return,
            (Some(_), _) => "its other copy",
            (None, Some(id)) => {
                self.image.store_id = Some(id);
                "the published file"
            }
            (None, None) => {
                let sentence = "the store's id is lost: both copies in the store file and the one \
                                in the published file are damaged, and a checksum does not give it";
                return self.plan.beyond_repair.push(sentence.to_owned());
            }
        };
        self.plan.steps.push(RepairStep::RestoreStore { from });
    }

    /// Topics without a whole file get the id that the checkpoint knows and the batches confirm.
    fn plan_topics(&mut self, source: &Source<'_>) {
        let files = self.image.topics.values().chain(self.image.deleted.values());
        let known: BTreeSet<u64> = files.map(|file| file.id).collect();
        let marks = self.image.checkpoint.iter().flat_map(|checkpoint| &checkpoint.partitions);
        let named: BTreeSet<u64> = marks.map(|mark| mark.topic_id).collect();
        let folders = source.list(Path::new(""), Severity::Data).unwrap_or_default();
        let mut lost: BTreeSet<TopicName> = self.image.damaged_topics.iter().cloned().collect();
        lost.extend(folders.iter().filter_map(|folder| {
            let (topic, number) = name(folder).rsplit_once('-')?;
            number.parse::<u32>().ok()?;
            let topic = TopicName::new(topic).ok()?;
            let known =
                self.image.topics.contains_key(&topic) || self.image.deleted.contains_key(&topic);
            (!known).then_some(topic)
        }));
        for topic in lost {
            let mine: Vec<_> = folders.iter().filter(|f| is_partition_of(f, &topic)).collect();
            let mut ids = named.difference(&known).copied();
            let found = ids.find(|&id| mine.iter().any(|f| self.is_written_for(source, f, id)));
            let partitions = u32::try_from(mine.len()).unwrap_or(u32::MAX);
            match found {
                Some(id) => {
                    let file = TopicFile { id, partitions, configs: BTreeMap::new() };
                    self.image.topics.insert(topic.clone(), file);
                    self.plan.steps.push(RepairStep::RestoreTopic { topic, id, partitions });
                }
                None if self.image.damaged_topics.contains(&topic) => {
                    self.plan.beyond_repair.push(format!(
                        "the file of topic {topic} is damaged, and no batch says which id it has"
                    ));
                }
                None => {}
            }
        }
    }

    /// Whether a folder has a segment that begins with a batch for that topic id.
    fn is_written_for(&self, source: &Source<'_>, folder: &Path, topic_id: u64) -> bool {
        let number = name(folder).rsplit_once('-').and_then(|(_, number)| number.parse().ok());
        let (Some(store_id), Some(number)) = (self.image.store_id, number) else { return false };
        let place = Place { store_id, topic_id, partition: PartitionId::new(number) };
        let paths = source.list(folder, Severity::Data).unwrap_or_default();
        paths.iter().any(|path| {
            let id = SegmentId::parse_file_name(name(path));
            let Some((id, SegmentFile::Log)) = id else { return false };
            let span = SegmentSpan { base: id.base, end: None, place: Some(&place), gaps: true };
            let found =
                source.open(path, Severity::Data).map(|mut f| walk(&mut f, &span, &mut |_| ()));
            matches!(found, Ok(Ok(found)) if !found.batches.is_empty())
        })
    }

    /// A checkpoint of what lies in the folders. Opening the store then applies the journal.
    fn rebuild_checkpoint(&self, source: &Source<'_>, now: Timestamp) -> Checkpoint {
        let ids = self.image.topics.values().map(|file| file.id);
        let published = self.image.published.iter().map(|end| end.topic_id);
        let mut entries = Vec::new();
        let mut journal_bytes = JOURNAL_BYTES;
        if let (Some(id), Ok(mut file)) =
            (self.image.store_id, source.open(&journal_file(), Severity::Data))
        {
            journal_bytes = file.len;
            entries = all_entries(&mut file, id).unwrap_or_default();
        }
        let first = entries.iter().find(|entry| entry.position == 0);
        let highest = entries.iter().map(|entry| entry.header.sequence).max().unwrap_or_default();
        let sequence = first.map_or(highest + 1, |entry| entry.header.sequence);
        let journaled = entries.iter().flat_map(|e| batches(&e.payload).unwrap_or_default());
        let journaled: Vec<u64> = journaled.map(|batch| batch.topic_id).collect();
        Checkpoint {
            generation: 0,
            clean: false,
            redo: Redo::Journal,
            // Opening begins the next.
            epoch: LeaderEpoch::FIRST,
            boot_id: String::new(),
            journal: JournalMark { position: 0, sequence, durable_sequence: sequence - 1 },
            journal_bytes,
            next_topic_id: ids.chain(published).chain(journaled).max().unwrap_or_default() + 1,
            partitions: self
                .image
                .topics
                .iter()
                .flat_map(|(name, file)| {
                    (0..file.partitions).map(move |n| (name, file.id, PartitionId::new(n)))
                })
                .map(|(name, id, partition)| {
                    let tp = TopicPartition::new(name.clone(), partition);
                    self.rebuild_mark(source, &tp, id, now)
                })
                .collect(),
        }
    }

    fn rebuild_mark(
        &self,
        source: &Source<'_>,
        topic_partition: &TopicPartition,
        topic_id: u64,
        now: Timestamp,
    ) -> PartitionMark {
        let partition = topic_partition.partition;
        let dir = partition_dir(Path::new(""), topic_partition);
        let place = self.image.store_id.map(|store_id| Place { store_id, topic_id, partition });
        let mut ids: BTreeMap<Offset, SegmentId> = BTreeMap::new();
        for path in source.list(&dir, Severity::Data).unwrap_or_default() {
            if let Some((id, SegmentFile::Log)) = SegmentId::parse_file_name(name(&path)) {
                let newest = ids.entry(id.base).or_insert(id);
                newest.revision = newest.revision.max(id.revision);
            }
        }
        let bases: Vec<Offset> = ids.keys().copied().collect();
        let mut segments = Vec::new();
        for (at, id) in ids.values().enumerate() {
            let span = SegmentSpan { base: id.base, end: None, place: place.as_ref(), gaps: true };
            let path = dir.join(id.file_name(SegmentFile::Log));
            let file = source.open(&path, Severity::Data);
            let found = file.map(|mut file| walk(&mut file, &span, &mut |_| ()));
            let found = found.ok().and_then(io::Result::ok).unwrap_or_default();
            let next = bases.get(at + 1).copied().unwrap_or(found.next.max(id.base));
            let mut end = end_of(&found, id.base);
            // A sealed segment goes up to the next one, whatever is left of it.
            end.relative_offset = u32::try_from(next - id.base).unwrap_or(u32::MAX);
            // Only a compaction writes a segment again, and only it leaves gaps.
            let clean_since = (id.revision > 0).then_some(now);
            let first_append_time = Some(now);
            segments.push(SegmentSpec {
                id: *id,
                end,
                first_append_time,
                append_time: now,
                clean_since,
            });
        }
        if segments.is_empty() {
            segments.push(SegmentSpec::empty(Offset::ZERO));
        }
        let first = segments.first().map_or(Offset::ZERO, |spec| spec.id.base);
        let mut published = self.image.published.iter();
        let published = published.find(|e| e.topic_id == topic_id && e.partition == partition);
        let start = published.map_or(first, |end| end.start.max(first));
        // Which epochs there were is lost with the checkpoint; what is there counts as one.
        let epochs = EpochHistory::new(LeaderEpoch::FIRST, first);
        PartitionMark { topic_id, partition, start, epochs, segments }
    }

    /// Whether the journal must be given up; a length that is wrong is put right.
    fn plan_journal(
        &mut self,
        source: &Source<'_>,
        checkpoint: &Checkpoint,
        rebuilt: bool,
    ) -> Result<bool> {
        let path = journal_file();
        let bytes = checkpoint.journal_bytes;
        let mut file = match source.open(&path, Severity::Data) {
            Ok(file) => file,
            Err(_) => {
                self.plan.steps.push(RepairStep::RestoreJournal { bytes });
                return Ok(!checkpoint.clean);
            }
        };
        let is_short = file.len < bytes;
        if file.len != bytes {
            self.plan.steps.push(RepairStep::RestoreJournal { bytes });
        }
        let Some(store_id) = self.image.store_id.filter(|_| !checkpoint.clean) else {
            return Ok(false);
        };
        let replayed = replay(&mut file, store_id, checkpoint.journal)
            .map_err(|e| Error::io("read", &source.dir.join(&path), e))?;
        let is_lost = replayed.durable >= replayed.mark.sequence;
        Ok(!rebuilt && (is_lost || is_short))
    }

    /// What the journal has and the segments do not; entries of before are not read any more.
    fn plan_abandoned(&mut self, source: &Source<'_>, checkpoint: &mut Checkpoint) -> Result<()> {
        let mut lost = Vec::new();
        let mut highest = checkpoint.journal.sequence;
        let path = journal_file();
        if let (Some(id), Ok(mut file)) = (self.image.store_id, source.open(&path, Severity::Data))
        {
            let entries = all_entries(&mut file, id)
                .map_err(|e| Error::io("read", &source.dir.join(&path), e))?;
            for entry in &entries {
                highest = highest.max(entry.header.sequence).max(entry.header.durable_sequence);
                for batch in batches(&entry.payload).unwrap_or_default() {
                    let topic = self.image.topics.iter().find(|(_, f)| f.id == batch.topic_id);
                    let mark = checkpoint.partitions.iter().find(|mark| {
                        mark.topic_id == batch.topic_id && mark.partition == batch.partition
                    });
                    let (Some((name, _)), Some(mark)) = (topic, mark) else { continue };
                    let Ok(header) = BatchHeader::parse(batch.bytes) else { continue };
                    let end = mark.segments.last().map_or(Offset::ZERO, end_offset);
                    if header.next_offset() > end {
                        let tp = TopicPartition::new(name.clone(), batch.partition);
                        lost.push((tp, header.base_offset..header.next_offset()));
                    }
                }
            }
        }
        checkpoint.journal =
            JournalMark { position: 0, sequence: highest + 1, durable_sequence: highest };
        self.plan.steps.push(RepairStep::AbandonJournal { lost });
        Ok(())
    }

    fn plan_partition(
        &mut self,
        source: &Source<'_>,
        topic_partition: TopicPartition,
        file: &TopicFile,
        checkpoint: &Checkpoint,
        abandon: bool,
    ) -> Result<PartitionMark> {
        self.image.checkpoint = Some(checkpoint.clone());
        let mut mark = mark(&self.image, file, topic_partition.partition);
        let known = mark.clone();
        let spec = spec(&self.image, topic_partition, file, &known, false);
        let last = mark.segments.len().saturating_sub(1);
        for (at, segment) in mark.segments.iter_mut().enumerate() {
            let path = spec.dir().join(segment.id.file_name(SegmentFile::Log));
            let is_active = at == last;
            let opened = match source.kind(&path)? {
                Some(FileKind::File) => source.open(&path, Severity::Data).ok(),
                _ => None,
            };
            let (found, len) = match opened {
                Some(mut file) => {
                    let span = SegmentSpan {
                        base: segment.id.base,
                        end: Some(segment.end),
                        place: spec.place.as_ref(),
                        gaps: segment.clean_since.is_some(),
                    };
                    let found = walk(&mut file, &span, &mut |_| ());
                    let found = found.map_err(|e| Error::io("read", &source.dir.join(&path), e))?;
                    if found.damage.is_empty() && is_active && abandon {
                        let open_end = SegmentSpan { end: None, gaps: false, ..span };
                        let all = walk(&mut file, &open_end, &mut |_| ())
                            .map_err(|e| Error::io("read", &source.dir.join(&path), e))?;
                        if all.damage.is_empty() {
                            segment.end = end_of(&all, segment.id.base);
                        }
                    }
                    (Some(found), file.len)
                }
                None => (None, 0),
            };
            let end = end_offset(segment);
            let there = u64::from(segment.end.position).min(len);
            let pieces = match found {
                Some(found) if found.damage.is_empty() => {
                    self.plan_index(source, &spec, segment, &found);
                    continue;
                }
                Some(found) => pieces(&found, there),
                None if end > segment.id.base => vec![Piece::Lose(segment.id.base..end)],
                // Nothing was in it that anybody waits for.
                None => Vec::new(),
            };
            let Some(place) = spec.place else { continue };
            let (position, kept) = bytes_len(&pieces);
            segment.end.position = u32::try_from(position).unwrap_or(u32::MAX);
            self.plan.steps.push(RepairStep::RewriteSegment {
                topic_partition: spec.topic_partition.clone(),
                path: path.clone(),
                kept,
                lost: lost(&pieces),
            });
            let tail = (is_active && !checkpoint.clean).then_some(there);
            self.rewrites.push(Rewrite { place, path, pieces, tail });
        }
        Ok(mark)
    }

    fn plan_index(
        &mut self,
        source: &Source<'_>,
        spec: &PartitionSpec<'_>,
        segment: &SegmentSpec,
        found: &Walk,
    ) {
        let mut report = VerifyReport::default();
        spec.verify_index(source, segment, found, &mut report);
        for finding in report.findings {
            self.plan.steps.push(RepairStep::RemoveIndex { path: finding.path });
        }
    }
}
