//! When the results of a windowed aggregation are sent.

/// When a windowed aggregation sends its results: at every update, or once for each window.
///
/// ```
/// use headwater_topology::{EmitStrategy, StreamsBuilder, TimeWindows};
/// use std::time::Duration;
///
/// let minutes = TimeWindows::of_size_with_no_grace(Duration::from_secs(60));
/// let builder = StreamsBuilder::new();
/// builder
///     .stream::<String, String>("clicks")
///     .group_by_key()
///     .windowed_by(minutes)
///     .emit_strategy(EmitStrategy::on_window_close())
///     .count("clicks-by-minute");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum EmitStrategy {
    /// Every update is a result.
    #[default]
    OnWindowUpdate,
    /// A window gives one result, once it takes no more records.
    OnWindowClose,
}

impl EmitStrategy {
    /// Every update is a result. This is the default.
    #[must_use]
    pub const fn on_window_update() -> Self {
        Self::OnWindowUpdate
    }

    /// A window gives one result, once it takes no more records: when stream time has passed its
    /// end by the grace (of a session: by the inactivity gap and the grace).
    ///
    /// Results come by the time of their windows, then by the bytes of their keys, with the
    /// timestamp of the aggregate (of a session: its end) and the headers of the record that
    /// moved stream time on. Only a record of that aggregation does, and outside of the test
    /// driver windows are looked for once a second at most.
    #[must_use]
    pub const fn on_window_close() -> Self {
        Self::OnWindowClose
    }
}
