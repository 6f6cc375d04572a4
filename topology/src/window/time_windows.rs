//! Windows of a fixed size, side by side or overlapping, and the one window without an end.

use std::time::Duration;

use headwater_log_store::Timestamp;

use crate::window::windowed::{Window, millis};

/// Tumbling windows, side by side, or hopping ones, which overlap: of one size, aligned to
/// 1970-01-01 UTC, the end exclusive.
///
/// A record is late for a window when the window's end is at or before the stream time less the
/// grace, where stream time is the largest event time that the aggregation has seen, that record
/// included. It is then left out of that window and counted; of a hopping window's several it may
/// be late for some only.
///
/// ```
/// use headwater_topology::TimeWindows;
/// use std::time::Duration;
///
/// let hours = TimeWindows::of_size_and_grace(
///     Duration::from_secs(3_600),
///     Duration::from_secs(600),
/// );
/// assert_eq!(hours.size_ms(), 3_600_000);
/// // A new hour starts every minute: each record belongs to 60 of them.
/// let hopping = hours.advance_by(Duration::from_secs(60));
/// assert_eq!(hopping.advance_ms(), 60_000);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeWindows {
    size_ms: i64,
    advance_ms: i64,
    grace_ms: i64,
}

impl TimeWindows {
    /// Windows that take no late records.
    #[must_use]
    pub fn of_size_with_no_grace(size: Duration) -> Self {
        Self::of_size_and_grace(size, Duration::ZERO)
    }

    /// Windows that take records until stream time has passed their end by `grace`.
    ///
    /// A size below one millisecond is an error when the topology is built.
    #[must_use]
    pub fn of_size_and_grace(size: Duration, grace: Duration) -> Self {
        Self { size_ms: millis(size), advance_ms: millis(size), grace_ms: millis(grace) }
    }

    /// Hopping windows: a new one starts every `advance`. Default = the size.
    ///
    /// An advance below one millisecond, or beyond the size, is an error when the topology is
    /// built.
    #[must_use]
    pub fn advance_by(self, advance: Duration) -> Self {
        Self { advance_ms: millis(advance), ..self }
    }

    /// The size in milliseconds.
    #[must_use]
    pub const fn size_ms(&self) -> i64 {
        self.size_ms
    }

    /// The time from one window's start to the next one's, in milliseconds.
    #[must_use]
    pub const fn advance_ms(&self) -> i64 {
        self.advance_ms
    }

    /// The grace in milliseconds.
    #[must_use]
    pub const fn grace_ms(&self) -> i64 {
        self.grace_ms
    }

    /// The windows that a time of 0 or later lies in, by their start; none starts before 0.
    pub(crate) fn windows_for(&self, timestamp: Timestamp) -> impl Iterator<Item = Window> + use<> {
        let Self { size_ms, advance_ms, .. } = *self;
        let time_ms = timestamp.as_millis();
        // Of the windows that reach beyond the time, the first starts less than a size before it.
        let reach_ms = time_ms.saturating_sub(size_ms).saturating_add(advance_ms).max(0);
        let first_ms = reach_ms - reach_ms.rem_euclid(advance_ms);
        let next = move |start_ms: &i64| start_ms.checked_add(advance_ms);
        std::iter::successors(Some(first_ms), next)
            .take_while(move |start_ms| *start_ms <= time_ms)
            .map(move |start_ms| Window { start_ms, end_ms: start_ms.saturating_add(size_ms) })
    }

    /// Why these windows cannot be, if they cannot.
    pub(crate) fn problem(&self) -> Option<String> {
        if self.size_ms < 1 {
            return Some("windows are at least one millisecond long".to_owned());
        }
        if self.advance_ms < 1 || self.advance_ms > self.size_ms {
            let Self { size_ms, advance_ms, .. } = self;
            return Some(format!(
                "windows of {size_ms} ms advance by 1 to {size_ms} ms, not by {advance_ms} ms"
            ));
        }
        None
    }
}

/// One window that never ends, for aggregations from some time on (Kafka's `UnlimitedWindows`).
///
/// Records before its start are in no window, and leave no trace. No record is late.
///
/// ```
/// use headwater_topology::UnlimitedWindows;
/// use headwater_log_store::Timestamp;
///
/// let since_2015 = UnlimitedWindows::of().start_on(Timestamp::from_millis(1_420_070_400_000));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UnlimitedWindows {
    start_ms: i64,
}

impl UnlimitedWindows {
    /// A window that starts on 1970-01-01 UTC.
    #[must_use]
    pub const fn of() -> Self {
        Self { start_ms: 0 }
    }

    /// A window that starts at that time, which lies at 1970-01-01 UTC or later.
    #[must_use]
    pub const fn start_on(self, start: Timestamp) -> Self {
        Self { start_ms: start.as_millis() }
    }

    /// The window, if the time lies in it.
    pub(crate) fn window_for(self, timestamp: Timestamp) -> Option<Window> {
        (self.start_ms <= timestamp.as_millis())
            .then_some(Window { start_ms: self.start_ms, end_ms: i64::MAX })
    }

    /// Why this window cannot be, if it cannot.
    pub(crate) fn problem(self) -> Option<String> {
        (self.start_ms < 0).then(|| format!("windows start at 0 or later, not {}", self.start_ms))
    }
}

#[cfg(test)]
mod tests {
    use super::TimeWindows;
    use headwater_log_store::Timestamp;
    use std::time::Duration;

    fn starts(size_ms: u64, advance_ms: u64, time_ms: i64) -> Vec<i64> {
        let windows = TimeWindows::of_size_with_no_grace(Duration::from_millis(size_ms))
            .advance_by(Duration::from_millis(advance_ms));
        let size_ms = i64::try_from(size_ms).unwrap();
        let windows = windows.windows_for(Timestamp::from_millis(time_ms));
        windows
            .map(|window| {
                assert_eq!(window.end_ms, window.start_ms + size_ms);
                window.start_ms
            })
            .collect()
    }

    #[test]
    fn windows_are_aligned_to_the_epoch_with_their_end_exclusive() {
        for (time_ms, start_ms) in [(0, 0), (9, 0), (10, 10), (25, 20)] {
            assert_eq!(starts(10, 10, time_ms), [start_ms]);
        }
    }

    #[test]
    fn hopping_windows_overlap_and_none_starts_before_the_epoch() {
        assert_eq!(starts(10, 4, 1), [0]);
        assert_eq!(starts(10, 4, 9), [0, 4, 8]);
        assert_eq!(starts(10, 4, 10), [4, 8]);
        assert_eq!(starts(10, 3, 11), [3, 6, 9]);
    }
}
