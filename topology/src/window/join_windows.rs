//! Windows of joins: how far apart in time two records may lie.

use std::time::Duration;

use crate::window::windowed::millis;

/// The grace that Kafka Streams gives windows whose definition names none.
const EAGER_GRACE_MS: i64 = 86_400_000;

/// How far apart in time the records of a stream-stream join may lie: a record of the left stream
/// at `t` joins those of the right one from `t - before` to `t + after`, both inclusive.
///
/// ```
/// use headwater_topology::JoinWindows;
/// use std::time::Duration;
///
/// // A payment comes up to an hour after its order, and may be read ten minutes late.
/// let windows = JoinWindows::of_time_difference_and_grace(
///     Duration::from_secs(3_600),
///     Duration::from_secs(600),
/// )
/// .before(Duration::ZERO);
/// assert_eq!((windows.before_ms(), windows.after_ms()), (0, 3_600_000));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JoinWindows {
    before_ms: i64,
    after_ms: i64,
    grace_ms: i64,
    eager: bool,
}

impl JoinWindows {
    /// Records that lie no further apart than `difference`; a left or outer join gives up on a
    /// match as soon as stream time has passed that.
    #[must_use]
    pub fn of_time_difference_with_no_grace(difference: Duration) -> Self {
        Self::of_time_difference_and_grace(difference, Duration::ZERO)
    }

    /// Records that lie no further apart than `difference`; a left or outer join gives up on a
    /// match once stream time has passed that by `grace`.
    #[must_use]
    pub fn of_time_difference_and_grace(difference: Duration, grace: Duration) -> Self {
        let difference_ms = millis(difference);
        Self {
            before_ms: difference_ms,
            after_ms: difference_ms,
            grace_ms: millis(grace),
            eager: false,
        }
    }

    /// As [`of_time_difference_and_grace`](Self::of_time_difference_and_grace) with a grace of 24
    /// hours, but a left or outer join sends a result for a record without a match at once, and
    /// again when one comes: the behaviour of Kafka Streams before 3.1, which its deprecated
    /// `JoinWindows.of` still has.
    #[must_use]
    pub fn of(difference: Duration) -> Self {
        let windows = Self::of_time_difference_and_grace(difference, Duration::ZERO);
        Self { grace_ms: EAGER_GRACE_MS, eager: true, ..windows }
    }

    /// How much earlier than the left record the right one may be.
    #[must_use]
    pub fn before(self, before: Duration) -> Self {
        self.with_before_ms(millis(before))
    }

    /// How much later than the left record the right one may be.
    #[must_use]
    pub fn after(self, after: Duration) -> Self {
        self.with_after_ms(millis(after))
    }

    /// As [`before`](Self::before) in milliseconds. If it is negative, the right record has to be
    /// that much later. Before and after must not be negative together: that is an error when the
    /// topology is built.
    #[must_use]
    pub const fn with_before_ms(mut self, before_ms: i64) -> Self {
        self.before_ms = before_ms;
        self
    }

    /// As [`after`](Self::after) in milliseconds. If it is negative, the right record has to be
    /// that much earlier. Before and after must not be negative together: that is an error when
    /// the topology is built.
    #[must_use]
    pub const fn with_after_ms(mut self, after_ms: i64) -> Self {
        self.after_ms = after_ms;
        self
    }

    /// How much earlier than the left record the right one may be, in milliseconds.
    #[must_use]
    pub const fn before_ms(&self) -> i64 {
        self.before_ms
    }

    /// How much later than the left record the right one may be, in milliseconds.
    #[must_use]
    pub const fn after_ms(&self) -> i64 {
        self.after_ms
    }

    /// The grace in milliseconds.
    #[must_use]
    pub const fn grace_ms(&self) -> i64 {
        self.grace_ms
    }

    /// Whether results without a match are sent at once.
    pub(crate) const fn is_eager(&self) -> bool {
        self.eager
    }

    /// How long the records of either side are kept.
    pub(crate) fn retention_ms(&self) -> i64 {
        self.before_ms.saturating_add(self.after_ms).saturating_add(self.grace_ms)
    }

    /// The same, seen from the right stream.
    pub(crate) const fn reversed(self) -> Self {
        Self { before_ms: self.after_ms, after_ms: self.before_ms, ..self }
    }

    /// Why these windows cannot be, if they cannot.
    pub(crate) fn problem(&self) -> Option<String> {
        let Self { before_ms, after_ms, .. } = self;
        (before_ms.saturating_add(*after_ms) < 0)
            .then(|| format!("{before_ms} ms before and {after_ms} ms after are negative together"))
    }
}
