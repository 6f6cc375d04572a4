//! Sliding windows: around each record, as far as a time difference reaches.

use std::time::Duration;

use crate::window::windowed::millis;

/// Windows of records that lie no further apart than a time difference. There is one for each
/// distinct set of such records: it ends with a record, or starts right after one. Both ends are
/// inclusive.
///
/// A record is late when its time and the difference lie before the stream time less the grace.
///
/// ```
/// use headwater_topology::{SlidingWindows, StreamsBuilder};
/// use std::time::Duration;
///
/// // How many failures came within ten minutes of each other?
/// let windows = SlidingWindows::of_time_difference_with_no_grace(Duration::from_secs(600));
/// let builder = StreamsBuilder::new();
/// let failures = builder.stream::<String, String>("failures").group_by_key();
/// failures.windowed_by(windows).count("failures-together");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlidingWindows {
    difference_ms: i64,
    grace_ms: i64,
}

impl SlidingWindows {
    /// Windows that take no late records.
    #[must_use]
    pub fn of_time_difference_with_no_grace(difference: Duration) -> Self {
        Self::of_time_difference_and_grace(difference, Duration::ZERO)
    }

    /// Windows that take records until stream time has passed their end by `grace`.
    #[must_use]
    pub fn of_time_difference_and_grace(difference: Duration, grace: Duration) -> Self {
        Self { difference_ms: millis(difference), grace_ms: millis(grace) }
    }

    /// The time difference in milliseconds.
    #[must_use]
    pub const fn time_difference_ms(&self) -> i64 {
        self.difference_ms
    }

    /// The grace in milliseconds.
    #[must_use]
    pub const fn grace_ms(&self) -> i64 {
        self.grace_ms
    }
}
