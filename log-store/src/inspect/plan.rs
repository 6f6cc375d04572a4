//! What a repair would do, step by step, and what each step loses.

use std::fmt;
use std::ops::Range;
use std::path::PathBuf;

use crate::types::{Offset, TopicName, TopicPartition};

/// One thing that a repair does.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RepairStep {
    /// Writes the `store` file anew.
    RestoreStore {
        /// Where its id comes from.
        from: &'static str,
    },
    /// Writes a topic's file anew: its id is the one that its batches were written for.
    RestoreTopic {
        /// The topic.
        topic: TopicName,
        /// The id.
        id: u64,
        /// How many partitions it gets: as many as there are folders.
        partitions: u32,
    },
    /// Writes a segment anew with all its whole batches, and an empty batch in place of what is
    /// lost, so that no offset is given out twice. The damaged file is kept beside it.
    RewriteSegment {
        /// The partition.
        topic_partition: TopicPartition,
        /// The segment.
        path: PathBuf,
        /// How many bytes of whole batches are kept.
        kept: u64,
        /// The offsets that are lost.
        lost: Vec<Range<Offset>>,
    },
    /// Removes an index, which the store makes anew.
    RemoveIndex {
        /// One of its two files; both go.
        path: PathBuf,
    },
    /// Gives the journal its length again, or makes it anew.
    RestoreJournal {
        /// The length.
        bytes: u64,
    },
    /// Goes on without the entries of the journal: with what the segments have of them.
    AbandonJournal {
        /// The offsets that whole entries have and the segments do not.
        lost: Vec<(TopicPartition, Range<Offset>)>,
    },
    /// Writes anew what readers in other processes go by.
    WritePublished,
    /// Writes both checkpoints.
    WriteCheckpoint {
        /// Whether it is put together from the segments, because neither copy is whole.
        rebuilt: bool,
    },
}

impl fmt::Display for RepairStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RestoreStore { from } => {
                write!(f, "write the store file with the id from {from}")
            }
            Self::RestoreTopic { topic, id, partitions } => write!(
                f,
                "write the file of topic {topic} with id {id}, {partitions} partitions and default \
                 configs (its own are lost)"
            ),
            Self::RewriteSegment { topic_partition, path, kept, lost } => {
                write!(f, "write {} anew with {kept} bytes", path.display())?;
                for offsets in lost {
                    write!(f, "; lost: {topic_partition} offsets {}", show(offsets))?;
                }
                if lost.is_empty() { f.write_str("; nothing is lost") } else { Ok(()) }
            }
            Self::RemoveIndex { path } => {
                write!(f, "remove the index {}, which is made anew", path.display())
            }
            Self::RestoreJournal { bytes } => write!(f, "give the journal {bytes} bytes"),
            Self::AbandonJournal { lost } => {
                f.write_str("go on without the journal, with the whole batches of the segments")?;
                for (topic_partition, offsets) in lost {
                    write!(f, "; lost: {topic_partition} offsets {}", show(offsets))?;
                }
                f.write_str("; lost too: what only the damaged entries had")
            }
            Self::WritePublished => f.write_str("write the published file anew"),
            Self::WriteCheckpoint { rebuilt: true } => {
                f.write_str("write both checkpoints from what the segments hold")
            }
            Self::WriteCheckpoint { rebuilt: false } => f.write_str("write both checkpoints"),
        }
    }
}

fn show(offsets: &Range<Offset>) -> String {
    format!("{}..{}", offsets.start, offsets.end)
}

/// What a repair would do; empty if there is nothing to do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RepairPlan {
    /// The steps, in their order.
    pub steps: Vec<RepairStep>,
    /// What cannot be repaired, each in a sentence. A plan with any is not run.
    pub beyond_repair: Vec<String>,
}

impl RepairPlan {
    /// The offsets that will be gone, by partition.
    #[must_use]
    pub fn lost(&self) -> Vec<(TopicPartition, Range<Offset>)> {
        let mut all = Vec::new();
        for step in &self.steps {
            match step {
                RepairStep::RewriteSegment { topic_partition, lost, .. } => {
                    all.extend(lost.iter().map(|o| (topic_partition.clone(), o.clone())));
                }
                RepairStep::AbandonJournal { lost } => all.extend(lost.iter().cloned()),
                RepairStep::RestoreStore { .. }
                | RepairStep::RestoreTopic { .. }
                | RepairStep::RemoveIndex { .. }
                | RepairStep::RestoreJournal { .. }
                | RepairStep::WritePublished
                | RepairStep::WriteCheckpoint { .. } => {}
            }
        }
        all
    }
}
