//! What an inspection found.

use std::fmt;
use std::ops::Range;
use std::path::PathBuf;

use crate::types::{Offset, TopicPartition};

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Nothing is missing and nothing reads it: a file that is not the store's, bytes behind the
    /// end, what an unclean stop leaves and the next open removes.
    Harmless,
    /// A cache of the log is damaged: the store drops it and makes it anew.
    Cache,
    /// One of two copies is damaged: the other one stands in for it.
    Copy,
    /// What was acknowledged cannot be read, or the store cannot be opened.
    Data,
}

impl Severity {
    /// The word for it, in lower case.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Harmless => "harmless",
            Self::Cache => "cache",
            Self::Copy => "copy",
            Self::Data => "data",
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One damaged or surprising place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// The file or folder, from the store's folder on.
    pub path: PathBuf,
    /// The byte position in the file.
    pub position: u64,
    /// How many bytes from there on are concerned; 0 if it is the file as such, or bytes that are
    /// not there.
    pub bytes: u64,
    /// The partition, if it is about one.
    pub topic_partition: Option<TopicPartition>,
    /// The offsets that cannot be read because of it.
    pub offsets: Option<Range<Offset>>,
    /// Which check failed.
    pub reason: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} byte {}", self.severity, self.path.display(), self.position)?;
        if self.bytes > 0 {
            write!(f, " to {}", self.position + self.bytes)?;
        }
        if let Some(topic_partition) = &self.topic_partition {
            write!(f, ", {topic_partition}")?;
        }
        if let Some(offsets) = &self.offsets {
            write!(f, " offsets {} to {}", offsets.start, offsets.end)?;
        }
        write!(f, ": {}", self.reason)
    }
}

/// What [`verify`](crate::inspect::verify) found in a store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct VerifyReport {
    /// Who writes the store right now. Then only what no longer changes was looked at: everything
    /// below the recovery points of the checkpoint.
    pub writer: Option<String>,
    /// Whether the store was closed; `None` if no checkpoint is left to say so.
    pub clean: Option<bool>,
    /// How many topics there are.
    pub topics: usize,
    /// How many partitions were looked at.
    pub partitions: usize,
    /// How many segments.
    pub segments: usize,
    /// How many whole batches.
    pub batches: u64,
    /// How many bytes of them.
    pub bytes: u64,
    /// Journal entries that the next open would read.
    pub journal_entries: usize,
    /// What is damaged or out of place, by file.
    pub findings: Vec<Finding>,
}

impl VerifyReport {
    /// The worst of the findings.
    #[must_use]
    pub fn severity(&self) -> Option<Severity> {
        self.findings.iter().map(|finding| finding.severity).max()
    }

    /// Whether anything is worse than harmless.
    #[must_use]
    pub fn is_damaged(&self) -> bool {
        self.severity() > Some(Severity::Harmless)
    }
}
