//! Counters of a worker, and the snapshot that the application sees of them.

/// Why a record was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum DropReason {
    /// The key is null where the type or the operator has no use for a null.
    NullKey,
    /// The value is null where the type or the operator has no use for a null.
    NullValue,
    /// The timestamp is negative, or too far ahead of the wall clock, or the extractor found none.
    InvalidTimestamp,
    /// The record came after its window was closed.
    Late,
    /// The answer of a foreign-key join is about a row that has changed since.
    Stale,
    /// The record repeats one that `KStream::deduplicate` has let through.
    Duplicate,
    /// A `StreamPartitioner` gave the record no partition.
    NoPartition,
    /// A handler skipped the record, or made it a dead letter.
    Failed,
}

impl DropReason {
    /// All reasons, in the order of the counters.
    pub const ALL: [Self; 8] = [
        Self::NullKey,
        Self::NullValue,
        Self::InvalidTimestamp,
        Self::Late,
        Self::Stale,
        Self::Duplicate,
        Self::NoPartition,
        Self::Failed,
    ];
}

/// What a running application has done since it started. Redone work counts twice.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct MetricsSnapshot {
    /// Records taken from input and repartition topics.
    pub records_in: u64,
    /// Records written to output, repartition and changelog topics.
    pub records_out: u64,
    /// Records written to the dead letter topic.
    pub dead_letters: u64,
    /// Commits that took place.
    pub commits: u64,
    /// Commits that were taken back, their work redone.
    pub aborts: u64,
    /// Records read from changelogs to restore stores.
    pub records_restored: u64,
    /// How many offsets of changelogs lie ahead of the restores that are under way.
    pub records_to_restore: u64,
    dropped: [u64; DropReason::ALL.len()],
}

impl MetricsSnapshot {
    /// How many records were dropped for that reason (Kafka Streams' `dropped-records`).
    #[must_use]
    pub fn dropped(&self, reason: DropReason) -> u64 {
        DropReason::ALL
            .iter()
            .zip(self.dropped)
            .find_map(|(each, count)| (*each == reason).then_some(count))
            .unwrap_or_default()
    }

    /// How many records were dropped for any reason.
    #[must_use]
    pub fn dropped_total(&self) -> u64 {
        self.dropped.iter().sum()
    }

    /// Adds what another worker has counted.
    pub(crate) fn add(&mut self, other: &Self) {
        let Self {
            records_in,
            records_out,
            dead_letters,
            commits,
            aborts,
            records_restored,
            records_to_restore,
            dropped,
        } = other;
        self.records_in += records_in;
        self.records_out += records_out;
        self.dead_letters += dead_letters;
        self.commits += commits;
        self.aborts += aborts;
        self.records_restored += records_restored;
        self.records_to_restore += records_to_restore;
        for (mine, theirs) in self.dropped.iter_mut().zip(dropped) {
            *mine += theirs;
        }
    }

    pub(crate) fn count_dropped(&mut self, reason: DropReason) {
        for (each, count) in DropReason::ALL.iter().zip(&mut self.dropped) {
            if *each == reason {
                *count += 1;
            }
        }
    }
}
