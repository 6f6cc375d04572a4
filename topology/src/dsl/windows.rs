//! What a grouped stream can be windowed by, and which stream that gives.

use crate::dsl::handles::{KGroupedStream, TimeWindowedKStream};
use crate::operators::window_aggregate::AlignedWindows;
use crate::window::emit_strategy::EmitStrategy;
use crate::window::time_windows::{TimeWindows, UnlimitedWindows};

/// The windows of this crate, each of which makes its own kind of stream.
pub trait Windows: sealed::Sealed {
    /// What a grouped stream becomes.
    type WindowedStream<K, V>;

    /// Groups a grouped stream by windows as well: what
    /// [`KGroupedStream::windowed_by`](crate::KGroupedStream::windowed_by) calls.
    fn window<K, V>(self, grouped: KGroupedStream<K, V>) -> Self::WindowedStream<K, V>;
}

mod sealed {
    //! Keeps the trait to the windows that aggregations know.

    pub trait Sealed {}
}

impl sealed::Sealed for TimeWindows {}
impl sealed::Sealed for UnlimitedWindows {}

impl Windows for TimeWindows {
    type WindowedStream<K, V> = TimeWindowedKStream<K, V>;

    fn window<K, V>(self, grouped: KGroupedStream<K, V>) -> TimeWindowedKStream<K, V> {
        let (windows, emit) = (AlignedWindows::Time(self), EmitStrategy::default());
        TimeWindowedKStream { grouped, windows, emit }
    }
}

impl Windows for UnlimitedWindows {
    type WindowedStream<K, V> = TimeWindowedKStream<K, V>;

    fn window<K, V>(self, grouped: KGroupedStream<K, V>) -> TimeWindowedKStream<K, V> {
        let (windows, emit) = (AlignedWindows::Unlimited(self), EmitStrategy::default());
        TimeWindowedKStream { grouped, windows, emit }
    }
}
