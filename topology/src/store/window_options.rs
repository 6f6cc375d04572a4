//! What a store of windows is like: how long it keeps them, and whose times it knows.

use crate::store::stream_times::StreamTimes;

/// Where the close time up to which windows were emitted stands among the times of a store: after
/// those of its operators.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Emission {
    /// A window is emitted when its time (its start, or the end of a session) and this many
    /// milliseconds lie at or before close time.
    pub(crate) span_ms: i64,
    /// How much longer than its retention a window is visible.
    pub(crate) extra_ms: i64,
    /// Whether windows are kept until they were emitted, however long that takes.
    pub(crate) keeps_windows: bool,
}

/// What a store of windows is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WindowStoreOptions {
    pub(crate) retention_ms: i64,
    /// How many operators share it, each with its own stream time.
    pub(crate) operators: usize,
    /// Set where windows are emitted when they close.
    pub(crate) emission: Option<Emission>,
}

impl WindowStoreOptions {
    /// The times of such a store. Those of one operator that emits updates are in its rows.
    pub(crate) fn times(&self) -> StreamTimes {
        let logged = self.emission.is_some() || self.operators > 1;
        StreamTimes::new(self.operators + usize::from(self.emission.is_some()), logged)
    }

    /// The last time, by the clock of the store, whose windows are hidden.
    pub(crate) fn hidden_ms(&self, clock_ms: Option<i64>) -> Option<i64> {
        let extra_ms = self.emission.map_or(0, |emission| emission.extra_ms);
        Some(clock_ms?.saturating_sub(self.retention_ms).saturating_sub(extra_ms))
    }

    /// The last time whose windows are over: they are hidden, and need not be emitted any more.
    pub(crate) fn expired_ms(&self, times: &StreamTimes, clock_ms: Option<i64>) -> Option<i64> {
        let hidden_ms = self.hidden_ms(clock_ms)?;
        match self.emission.filter(|emission| emission.keeps_windows) {
            Some(Emission { span_ms, .. }) => {
                Some(hidden_ms.min(times.get(self.operators)?.saturating_sub(span_ms)))
            }
            None => Some(hidden_ms),
        }
    }
}
