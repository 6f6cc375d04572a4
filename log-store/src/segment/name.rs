//! Names of segment files: Kafka's, the base offset in 20 digits.

use crate::types::Offset;

/// Which file of a segment a name is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SegmentFile {
    /// `.log`: the batches.
    Log,
    /// `.index`: from offsets to positions.
    OffsetIndex,
}

/// The name of the file with the batches.
pub(crate) fn log_file_name(base: Offset) -> String {
    format!("{:020}.log", base.value())
}

/// The name of the offset index.
pub(crate) fn index_file_name(base: Offset) -> String {
    format!("{:020}.index", base.value())
}

/// What a file in a partition's folder is; `None` if it is none of a segment's.
pub(crate) fn parse_file_name(name: &str) -> Option<(Offset, SegmentFile)> {
    let (digits, suffix) = name.split_once('.')?;
    let file = match suffix {
        "log" => SegmentFile::Log,
        "index" => SegmentFile::OffsetIndex,
        _ => return None,
    };
    let well_formed = digits.len() == 20 && digits.bytes().all(|b| b.is_ascii_digit());
    let base: u64 = well_formed.then(|| digits.parse().ok())??;
    Some((Offset::new(base), file))
}

#[cfg(test)]
mod tests {
    use super::{SegmentFile, index_file_name, log_file_name, parse_file_name};
    use crate::types::Offset;

    #[test]
    fn names_are_kafkas_and_parse_back() {
        let base = Offset::new(368_769);
        assert_eq!(log_file_name(base), "00000000000000368769.log");
        assert_eq!(parse_file_name(&log_file_name(base)), Some((base, SegmentFile::Log)));
        let index = parse_file_name(&index_file_name(base));
        assert_eq!(index, Some((base, SegmentFile::OffsetIndex)));
    }

    #[test]
    fn other_names_are_none_of_ours() {
        for name in ["1.log", "x.log", "0000000000000000000a.log", "", "partition.metadata"] {
            assert_eq!(parse_file_name(name), None, "{name}");
        }
        assert_eq!(parse_file_name("99999999999999999999.log"), None);
    }
}
