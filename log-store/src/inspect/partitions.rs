//! Looks at the folder of one partition: its segments, their indexes, and what else lies there.

use std::path::{Path, PathBuf};

use crate::batch::Place;
use crate::checkpoint::PartitionMark;
use crate::inspect::index_files::IndexFiles;
use crate::inspect::report::{Finding, Severity, VerifyReport};
use crate::inspect::segments::{SegmentSpan, Walk, walk};
use crate::inspect::source::{Source, finding, name};
use crate::partition::partition_dir;
use crate::segment::{SegmentFile, SegmentId, SegmentSpec};
use crate::types::{Offset, TopicPartition};

/// A partition that is to be looked at.
#[derive(Debug)]
pub(super) struct PartitionSpec<'a> {
    pub(super) topic_partition: TopicPartition,
    /// What its batches are checked against, if the store's id is known.
    pub(super) place: Option<Place>,
    /// What the checkpoint says of it.
    pub(super) mark: &'a PartitionMark,
    /// Whether the store was closed, so that no file has more than the checkpoint says.
    pub(super) clean: bool,
    /// Whether somebody writes to it right now.
    pub(super) live: bool,
    /// Whether the checkpoint knows it. If it does not, nothing was ever written to it, and the
    /// next open makes its files anew.
    pub(super) is_known: bool,
}

/// The name that repair gives to a segment that it has replaced.
pub(super) const DAMAGED_SUFFIX: &str = ".damaged";

impl PartitionSpec<'_> {
    /// Its folder, from the store's folder on.
    pub(super) fn dir(&self) -> PathBuf {
        partition_dir(Path::new(""), &self.topic_partition)
    }

    fn finding(&self, severity: Severity, path: &Path, reason: impl Into<String>) -> Finding {
        let topic_partition = Some(self.topic_partition.clone());
        Finding { topic_partition, ..finding(severity, path, reason) }
    }

    /// How bad it is if a file is missing.
    fn missing(&self) -> Severity {
        if self.is_known { Severity::Data } else { Severity::Harmless }
    }

    /// Looks at every file in the folder.
    pub(super) fn verify(&self, source: &Source<'_>, report: &mut VerifyReport) {
        report.partitions += 1;
        for (at, mark) in self.mark.segments.iter().enumerate() {
            let is_active = at + 1 == self.mark.segments.len();
            report.segments += 1;
            if let Some(walk) = self.verify_segment(source, mark, is_active, report) {
                report.batches += walk.batches.len() as u64;
                report.bytes += walk.bytes;
                self.verify_index(source, mark, &walk, report);
            }
        }
        self.verify_names(source, report);
    }

    /// The offset of the recovery point, and the one up to which the active segment has whole
    /// batches behind it.
    pub(super) fn whole_end(&self, source: &Source<'_>) -> (Offset, Offset) {
        let Some(active) = self.mark.segments.last() else { return Default::default() };
        let recovery_point = active.id.base + u64::from(active.end.relative_offset);
        let path = self.dir().join(active.id.file_name(SegmentFile::Log));
        let span = SegmentSpan {
            base: active.id.base,
            end: None,
            place: self.place.as_ref(),
            gaps: active.clean_since.is_some(),
        };
        let file = source.open(&path, Severity::Data).ok();
        let found = file.and_then(|mut file| walk(&mut file, &span, &mut |_| ()).ok());
        // Damage before the end is a finding of its own.
        let found = found.filter(|found| found.damage.is_empty());
        (recovery_point, found.map_or(recovery_point, |found| found.next.max(recovery_point)))
    }

    fn verify_segment(
        &self,
        source: &Source<'_>,
        mark: &SegmentSpec,
        is_active: bool,
        report: &mut VerifyReport,
    ) -> Option<Walk> {
        let path = self.dir().join(mark.id.file_name(SegmentFile::Log));
        let offsets = mark.id.base..mark.id.base + u64::from(mark.end.relative_offset);
        let lost = |finding: Finding| Finding {
            topic_partition: Some(self.topic_partition.clone()),
            offsets: (!offsets.is_empty()).then(|| offsets.clone()),
            ..finding
        };
        let mut file = match source.open(&path, self.missing()) {
            Ok(file) => file,
            Err(finding) => {
                report.findings.push(lost(finding));
                return None;
            }
        };
        let span = SegmentSpan {
            base: mark.id.base,
            end: Some(mark.end),
            place: self.place.as_ref(),
            gaps: mark.clean_since.is_some(),
        };
        let found = match walk(&mut file, &span, &mut |_| ()) {
            Ok(found) => found,
            Err(error) => {
                let reason = format!("it cannot be read: {error}");
                report.findings.push(lost(finding(Severity::Data, &path, reason)));
                return None;
            }
        };
        for damage in &found.damage {
            let offsets = damage.offsets.clone();
            report.findings.push(Finding {
                position: damage.position,
                bytes: damage.bytes,
                offsets: (!offsets.is_empty()).then_some(offsets),
                ..self.finding(Severity::Data, &path, damage.reason.clone())
            });
        }
        let end = u64::from(mark.end.position);
        if file.len > end && (self.clean || !is_active) && !self.live {
            report.findings.push(Finding {
                position: end,
                bytes: file.len - end,
                ..self.finding(Severity::Harmless, &path, "there are bytes behind its end")
            });
        }
        Some(found)
    }

    /// Holds the index files of a segment against its batches.
    pub(super) fn verify_index(
        &self,
        source: &Source<'_>,
        mark: &SegmentSpec,
        walk: &Walk,
        report: &mut VerifyReport,
    ) {
        let path = |file| self.dir().join(mark.id.file_name(file));
        let (index, times) = (path(SegmentFile::OffsetIndex), path(SegmentFile::TimeIndex));
        // An index that is not there was not written yet, or is made anew: nobody misses it.
        let is_missing = |path: &Path| matches!(source.kind(path), Ok(None));
        if self.live || is_missing(&index) || is_missing(&times) {
            return;
        }
        let mut read = |path: &Path| match source.read(path, Severity::Cache) {
            Ok(bytes) => Some(bytes),
            Err(finding) => {
                let topic_partition = Some(self.topic_partition.clone());
                report.findings.push(Finding { topic_partition, ..finding });
                None
            }
        };
        let (Some(offsets_bytes), Some(times_bytes)) = (read(&index), read(&times)) else { return };
        // Without the store's id no index can be told from another's.
        let Some(place) = &self.place else { return };
        // Among damaged batches nobody can say what an index should point at.
        let batches = if walk.damage.is_empty() { &*walk.batches } else { &[] };
        let files = IndexFiles { offsets: &offsets_bytes, times: &times_bytes };
        let Some((file, reason)) = files.fault(place, mark.id.base, mark.end.position, batches)
        else {
            return;
        };
        let (path, bytes) = match file {
            SegmentFile::TimeIndex => (&times, times_bytes.len()),
            SegmentFile::OffsetIndex | SegmentFile::Log => (&index, offsets_bytes.len()),
        };
        let damage = self.finding(Severity::Cache, path, reason);
        report.findings.push(Finding { bytes: bytes as u64, ..damage });
    }

    fn verify_names(&self, source: &Source<'_>, report: &mut VerifyReport) {
        let names = match source.list(&self.dir(), self.missing()) {
            Ok(names) => names,
            Err(finding) => {
                let topic_partition = Some(self.topic_partition.clone());
                report.findings.push(Finding { topic_partition, ..finding });
                return;
            }
        };
        for path in names {
            match SegmentId::parse_file_name(name(&path)) {
                Some((id, _)) if self.mark.segments.iter().any(|mark| mark.id == id) => {}
                _ if self.live => {}
                Some((id, SegmentFile::Log)) => self.verify_unknown(source, &path, id, report),
                Some(_) => {
                    let reason = "an index without a segment";
                    report.findings.push(self.finding(Severity::Harmless, &path, reason));
                }
                None if name(&path).contains(DAMAGED_SUFFIX) => {}
                None => {
                    let reason = "it is none of the partition's";
                    report.findings.push(self.finding(Severity::Harmless, &path, reason));
                }
            }
        }
    }

    /// A segment that no checkpoint knows is left over from a roll, and empty. If it begins with
    /// a batch of its own, there was a checkpoint that knew it, and that one is gone.
    fn verify_unknown(
        &self,
        source: &Source<'_>,
        path: &Path,
        id: SegmentId,
        report: &mut VerifyReport,
    ) {
        let is_newer = self.mark.segments.last().is_some_and(|last| last.id.base < id.base);
        let base = id.base;
        let span = SegmentSpan { base, end: None, place: self.place.as_ref(), gaps: false };
        let found = source
            .open(path, Severity::Harmless)
            .map(|mut file| walk(&mut file, &span, &mut |_| ()));
        let finding = match found {
            Ok(Ok(found)) if is_newer && !found.batches.is_empty() => Finding {
                bytes: found.end,
                offsets: Some(base..found.next),
                ..self.finding(
                    Severity::Data,
                    path,
                    "it holds batches, but the checkpoint that knew it is gone",
                )
            },
            Err(finding) => finding,
            _ => self.finding(Severity::Harmless, path, "a segment that no checkpoint knows"),
        };
        report.findings.push(finding);
    }
}
