//! Session windows: records that follow each other closely enough.

use std::time::Duration;

use crate::window::windowed::millis;

/// Sessions: a record belongs to the session of its key whose records lie no further away than the
/// inactivity gap, and joins two of them to one if it lies between. From the first record to the
/// last, both inclusive.
///
/// A record is late when the session that it makes, after joining, ends before the stream time
/// less gap and grace.
///
/// ```
/// use headwater_topology::{SessionWindows, StreamsBuilder};
/// use std::time::Duration;
///
/// // Visits end after half an hour without a click.
/// let visits = SessionWindows::of_inactivity_gap_with_no_grace(Duration::from_secs(1_800));
/// let builder = StreamsBuilder::new();
/// let clicks = builder.stream::<String, String>("clicks").group_by_key();
/// clicks.windowed_by(visits).count("clicks-by-visit");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionWindows {
    gap_ms: i64,
    grace_ms: i64,
}

impl SessionWindows {
    /// Sessions that take no late records.
    #[must_use]
    pub fn of_inactivity_gap_with_no_grace(gap: Duration) -> Self {
        Self::of_inactivity_gap_and_grace(gap, Duration::ZERO)
    }

    /// Sessions that take records until stream time has passed their end by gap and `grace`.
    #[must_use]
    pub fn of_inactivity_gap_and_grace(gap: Duration, grace: Duration) -> Self {
        Self { gap_ms: millis(gap), grace_ms: millis(grace) }
    }

    /// The inactivity gap in milliseconds.
    #[must_use]
    pub const fn inactivity_gap_ms(&self) -> i64 {
        self.gap_ms
    }

    /// The grace in milliseconds.
    #[must_use]
    pub const fn grace_ms(&self) -> i64 {
        self.grace_ms
    }

    /// How long after its end a session takes records: the gap and the grace.
    pub(crate) fn open_ms(&self) -> i64 {
        self.gap_ms.saturating_add(self.grace_ms)
    }
}
