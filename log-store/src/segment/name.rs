//! Names of segment files: Kafka's, the base offset in 20 digits.
//!
//! A compaction writes a segment anew under the next revision, because the old file and the new
//! one must be told apart until a checkpoint has said which one counts:
//! `00000000000000000042.log`, `00000000000000000042.1.log`, …

use crate::types::Offset;

/// What tells the segments of a partition apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct SegmentId {
    /// Its first offset.
    pub(crate) base: Offset,
    /// How often it was written anew.
    pub(crate) revision: u32,
}

/// Which file of a segment a name is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SegmentFile {
    /// `.log`: the batches.
    Log,
    /// `.index`: from offsets to positions.
    OffsetIndex,
    /// `.timeindex`: from timestamps to offsets.
    TimeIndex,
}

impl SegmentFile {
    /// All files of a segment.
    pub(crate) const ALL: [Self; 3] = [Self::Log, Self::OffsetIndex, Self::TimeIndex];

    fn suffix(self) -> &'static str {
        match self {
            Self::Log => "log",
            Self::OffsetIndex => "index",
            Self::TimeIndex => "timeindex",
        }
    }
}

impl SegmentId {
    /// The segment that begins at `base`, as it was written first.
    pub(crate) fn first(base: Offset) -> Self {
        Self { base, revision: 0 }
    }

    /// The name of one of its files.
    pub(crate) fn file_name(self, file: SegmentFile) -> String {
        let (base, suffix) = (self.base.value(), file.suffix());
        match self.revision {
            0 => format!("{base:020}.{suffix}"),
            revision => format!("{base:020}.{revision}.{suffix}"),
        }
    }

    /// What a file in a partition's folder is; `None` if it is none of a segment's.
    pub(crate) fn parse_file_name(name: &str) -> Option<(Self, SegmentFile)> {
        let (digits, rest) = name.split_once('.')?;
        let (revision, suffix) = match rest.split_once('.') {
            None => (0, rest),
            Some((revision, suffix)) => (number(revision).filter(|r| *r > 0)?, suffix),
        };
        let file = SegmentFile::ALL.into_iter().find(|file| file.suffix() == suffix)?;
        let base = number(digits).filter(|_| digits.len() == 20).map(Offset::new)?;
        let revision = u32::try_from(revision).ok()?;
        Some((Self { base, revision }, file)).filter(|(id, file)| id.file_name(*file) == name)
    }
}

fn number(digits: &str) -> Option<u64> {
    digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::{SegmentFile, SegmentId};
    use crate::types::Offset;

    #[test]
    fn names_are_kafkas_and_parse_back() {
        let id = SegmentId::first(Offset::new(368_769));
        assert_eq!(id.file_name(SegmentFile::Log), "00000000000000368769.log");
        let again = SegmentId { revision: 12, ..id };
        assert_eq!(again.file_name(SegmentFile::TimeIndex), "00000000000000368769.12.timeindex");
        for (id, file) in [id, again].into_iter().flat_map(|id| SegmentFile::ALL.map(|f| (id, f))) {
            assert_eq!(SegmentId::parse_file_name(&id.file_name(file)), Some((id, file)));
        }
    }

    #[test]
    fn other_names_are_none_of_ours() {
        for name in [
            "1.log",
            "x.log",
            "0000000000000000000a.log",
            "00000000000000000001.0.log",
            "00000000000000000001.01.log",
            "00000000000000000001.log.1",
            "99999999999999999999.log",
            "",
            "partition.metadata",
        ] {
            assert_eq!(SegmentId::parse_file_name(name), None, "{name}");
        }
    }
}
