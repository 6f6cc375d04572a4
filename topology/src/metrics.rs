//! Counters of a worker, and the snapshot that the application sees of them.

use std::fmt;
use std::time::Duration;

use crate::types::TaskId;

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

impl fmt::Display for DropReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NullKey => "null-key",
            Self::NullValue => "null-value",
            Self::InvalidTimestamp => "invalid-timestamp",
            Self::Late => "late",
            Self::Stale => "stale",
            Self::Duplicate => "duplicate",
            Self::NoPartition => "no-partition",
            Self::Failed => "failed",
        })
    }
}

/// How many classes of durations are told apart: below 1 µs, 2 µs, 4 µs, and so on; the last one
/// has no end.
const CLASSES: usize = 32;

/// How long something has taken, over all times that it was done.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Latency {
    total: Duration,
    max: Duration,
    classes: [u64; CLASSES],
}

impl Latency {
    /// How often it was done.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.classes.iter().sum()
    }

    /// How long all times took together.
    #[must_use]
    pub const fn total(&self) -> Duration {
        self.total
    }

    /// How long the longest took.
    #[must_use]
    pub const fn max(&self) -> Duration {
        self.max
    }

    /// How long one took on average; `None` before the first.
    #[must_use]
    pub fn mean(&self) -> Option<Duration> {
        let nanos = self.total.as_nanos().checked_div(u128::from(self.count()))?;
        Some(Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX)))
    }

    /// How long at most the quickest part of them took: `quantile(0.99)` is what 99 of 100 stay
    /// below. It is exact to a factor of two; `None` before the first.
    #[must_use]
    pub fn quantile(&self, part: f64) -> Option<Duration> {
        let count = self.count();
        let (mut seen, mut found) = (0, None);
        for (end, times) in self.by_class() {
            seen += times;
            if times > 0 {
                found = Some(end.min(self.max));
            }
            #[expect(clippy::cast_precision_loss, reason = "a quantile of so many is no number")]
            if found.is_some() && seen as f64 >= count as f64 * part {
                break;
            }
        }
        found
    }

    /// How many took less than a duration, and not less than the one before it.
    pub(crate) fn by_class(&self) -> impl Iterator<Item = (Duration, u64)> {
        let ends = (0..).map(|class: u32| Duration::from_micros(1_u64 << class.min(63)));
        ends.zip(self.classes)
    }

    pub(crate) fn record(&mut self, took: Duration) {
        self.total = self.total.saturating_add(took);
        self.max = self.max.max(took);
        let micros = took.as_micros();
        let class = usize::try_from(u128::BITS - micros.leading_zeros()).unwrap_or(usize::MAX);
        if let Some(times) = self.classes.get_mut(class.min(CLASSES - 1)) {
            *times += 1;
        }
    }

    fn add(&mut self, other: &Self) {
        self.total = self.total.saturating_add(other.total);
        self.max = self.max.max(other.max);
        for (mine, theirs) in self.classes.iter_mut().zip(other.classes) {
            *mine += theirs;
        }
    }
}

impl fmt::Debug for Latency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { total, max, classes: _ } = self;
        f.debug_struct("Latency")
            .field("count", &self.count())
            .field("total", total)
            .field("max", max)
            .field("half_below", &self.quantile(0.5))
            .field("99_of_100_below", &self.quantile(0.99))
            .finish()
    }
}

/// What a running application has done since it started, and where it stands. Redone work counts
/// twice.
///
/// All of it is measured by batches and commits: no record reads a clock.
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
    /// Records read from changelogs for standby copies.
    pub standby_records: u64,
    /// How many offsets of changelogs lie ahead of the restores that are under way.
    pub records_to_restore: u64,
    /// How long it took to process records, each time up to 1,000 of them (Kafka Streams'
    /// `process-latency`).
    pub process_latency: Latency,
    /// How long commits took that took place (`commit-latency`).
    pub commit_latency: Latency,
    /// How many records lie ahead in input and repartition topics (`records-lag`).
    pub records_lag: u64,
    /// How far the latest event time that was processed lies behind the wall clock, in the partition
    /// where that is most among those with records ahead. Zero where none lies ahead.
    pub time_lag: Duration,
    dropped: Dropped,
}

/// How many records were dropped, by reason.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Dropped([u64; DropReason::ALL.len()]);

impl fmt::Debug for Dropped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counted = DropReason::ALL.iter().zip(self.0).filter(|(_, count)| *count > 0);
        f.debug_map().entries(counted).finish()
    }
}

/// How large the part of a store is that a task has.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoreSize {
    /// The store.
    pub store: String,
    /// The task; none where it is that of a global table.
    pub task: Option<TaskId>,
    /// How many rows it has, of each window, session or version one; about how many if they are on
    /// disk.
    pub rows: u64,
    /// How many bytes its files have, if it is on disk. What was written last is not in them yet.
    pub disk_bytes: Option<u64>,
}

impl MetricsSnapshot {
    /// How many records were dropped for that reason (Kafka Streams' `dropped-records`).
    #[must_use]
    pub fn dropped(&self, reason: DropReason) -> u64 {
        DropReason::ALL
            .iter()
            .zip(self.dropped.0)
            .find_map(|(each, count)| (*each == reason).then_some(count))
            .unwrap_or_default()
    }

    /// How many records were dropped for any reason.
    #[must_use]
    pub fn dropped_total(&self) -> u64 {
        self.dropped.0.iter().sum()
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
            standby_records,
            records_to_restore,
            process_latency,
            commit_latency,
            records_lag,
            time_lag,
            dropped,
        } = other;
        self.records_in += records_in;
        self.records_out += records_out;
        self.dead_letters += dead_letters;
        self.commits += commits;
        self.aborts += aborts;
        self.records_restored += records_restored;
        self.standby_records += standby_records;
        self.records_to_restore += records_to_restore;
        self.process_latency.add(process_latency);
        self.commit_latency.add(commit_latency);
        self.records_lag += records_lag;
        self.time_lag = self.time_lag.max(*time_lag);
        for (mine, theirs) in self.dropped.0.iter_mut().zip(dropped.0) {
            *mine += theirs;
        }
    }

    /// Keeps what was done, and forgets where it stands: that is another worker's by now.
    pub(crate) fn forget_lag(&mut self) {
        (self.records_lag, self.time_lag) = (0, Duration::ZERO);
    }

    pub(crate) fn count_dropped(&mut self, reason: DropReason) {
        for (each, count) in DropReason::ALL.iter().zip(&mut self.dropped.0) {
            if *each == reason {
                *count += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{DropReason, Latency, MetricsSnapshot};
    use std::time::Duration;

    fn latency(micros: &[u64]) -> Latency {
        let mut latency = Latency::default();
        micros.iter().for_each(|micros| latency.record(Duration::from_micros(*micros)));
        latency
    }

    #[test]
    fn a_latency_knows_its_mean_its_longest_and_its_quantiles_to_a_factor_of_two() {
        let none = Latency::default();
        assert_eq!((none.count(), none.mean(), none.quantile(0.5)), (0, None, None));
        let micros: Vec<u64> = (1..=1_000).collect();
        let latency = latency(&micros);
        assert_eq!(latency.count(), 1_000);
        assert_eq!(latency.mean(), Some(Duration::from_nanos(500_500)));
        assert_eq!(latency.max(), Duration::from_millis(1));
        for (part, exact) in [(0.001, 1), (0.5, 500), (0.9, 900), (0.99, 990), (1.0, 1_000)] {
            let found = latency.quantile(part).unwrap().as_micros();
            assert!(exact <= found && found <= 2 * exact, "{part}: {found}, not {exact}");
        }
        let long = self::latency(&[0, u64::MAX / 2]);
        assert_eq!(long.quantile(0.5), Some(Duration::from_micros(1)));
        assert!(long.quantile(1.0).is_some_and(|longest| longest <= long.max()));
    }

    /// It showed thirty-two classes of durations, and dropped records without their reasons.
    #[test]
    fn a_snapshot_shows_latencies_and_reasons_in_words() {
        let mut snapshot =
            MetricsSnapshot { commit_latency: latency(&[3, 3]), ..MetricsSnapshot::default() };
        snapshot.count_dropped(DropReason::Late);
        let shown = format!("{snapshot:?}");
        let latency = "commit_latency: Latency { count: 2, total: 6µs, max: 3µs, half_below: \
                       Some(3µs), 99_of_100_below: Some(3µs) }";
        assert!(shown.contains(latency), "{shown}");
        assert!(shown.contains("dropped: {Late: 1}"), "{shown}");
    }

    #[test]
    fn what_workers_have_done_adds_up_and_of_time_lags_the_longest_counts() {
        let one = |micros, lag, time_lag| MetricsSnapshot {
            process_latency: latency(&[micros]),
            records_lag: lag,
            time_lag: Duration::from_secs(time_lag),
            ..MetricsSnapshot::default()
        };
        let mut sum = one(5, 10, 3);
        sum.add(&one(7, 20, 2));
        assert_eq!(sum.process_latency, latency(&[5, 7]));
        assert_eq!((sum.records_lag, sum.time_lag), (30, Duration::from_secs(3)));
        sum.forget_lag();
        assert_eq!((sum.records_lag, sum.time_lag), (0, Duration::ZERO));
        assert_eq!(sum.process_latency.count(), 2);
    }
}
