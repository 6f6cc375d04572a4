//! What is noted beside a committed offset: partition time, and how far a replay has come.

use std::collections::BTreeMap;

use headwater_log_store::{Offset, Timestamp};

/// The first word of a note that is ours.
const VERSION: &str = "hw1";

/// See the module. As text: `hw1`, then `time=`, `end=`, `writers=` and `wipe=` as far as they
/// are set, with spaces between.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct CommitMetadata {
    /// The largest event time that was processed in the partition.
    pub(crate) partition_time: Option<Timestamp>,
    /// Where the replay ends that this partition is in.
    pub(crate) replay_end: Option<Offset>,
    /// How far a replay has come in the records of each task that wrote the partition.
    pub(crate) writers: BTreeMap<u32, Offset>,
    /// The topics that a reset has yet to delete, as notes: see `wipe`.
    pub(crate) wipe: Vec<String>,
}

impl CommitMetadata {
    /// Reads a note; one that is not ours says nothing.
    pub(crate) fn parse(text: &str) -> Self {
        let mut words = text.split(' ');
        let mut found = Self::default();
        if words.next() != Some(VERSION) {
            return found;
        }
        for (key, value) in words.filter_map(|word| word.split_once('=')) {
            match key {
                "time" => found.partition_time = value.parse().ok().map(Timestamp::from_millis),
                "end" => found.replay_end = value.parse().ok().map(Offset::new),
                "writers" => found.writers = value.split(',').filter_map(parse_writer).collect(),
                "wipe" => found.wipe = value.split(',').map(str::to_owned).collect(),
                _ => {}
            }
        }
        found
    }

    pub(crate) fn to_text(&self) -> String {
        use std::fmt::Write;
        if *self == Self::default() {
            return String::new();
        }
        let mut text = String::from(VERSION);
        if let Some(time) = self.partition_time {
            let _ = write!(text, " time={time}");
        }
        if let Some(end) = self.replay_end {
            let _ = write!(text, " end={end}");
        }
        if !self.writers.is_empty() {
            let writers: Vec<String> =
                self.writers.iter().map(|(writer, offset)| format!("{writer}:{offset}")).collect();
            let _ = write!(text, " writers={}", writers.join(","));
        }
        if !self.wipe.is_empty() {
            let _ = write!(text, " wipe={}", self.wipe.join(","));
        }
        text
    }
}

fn parse_writer(text: &str) -> Option<(u32, Offset)> {
    let (writer, offset) = text.split_once(':')?;
    Some((writer.parse().ok()?, Offset::new(offset.parse().ok()?)))
}

#[cfg(test)]
mod tests {
    use super::CommitMetadata;
    use headwater_log_store::{Offset, Timestamp};

    #[test]
    fn a_note_says_after_parsing_what_was_written() {
        let full = CommitMetadata {
            partition_time: Some(Timestamp::from_millis(-5)),
            replay_end: Some(Offset::new(70)),
            writers: [(0, Offset::new(3)), (2, Offset::new(9))].into(),
            wipe: vec!["a-b".to_owned(), "c.d".to_owned()],
        };
        assert_eq!(full.to_text(), "hw1 time=-5 end=70 writers=0:3,2:9 wipe=a-b,c.d");
        for metadata in [CommitMetadata::default(), full] {
            assert_eq!(CommitMetadata::parse(&metadata.to_text()), metadata);
        }
    }

    #[test]
    fn a_note_of_another_tool_says_nothing() {
        for text in ["", "AgAAAY1", "hello time=3"] {
            assert_eq!(CommitMetadata::parse(text), CommitMetadata::default());
        }
    }
}
