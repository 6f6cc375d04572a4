//! What a grouped stream can be windowed by, and which stream that gives.

use crate::dsl::cogroup_handles::{
    CogroupedKStream, SessionWindowedCogroupedKStream, TimeWindowedCogroupedKStream,
};
use crate::dsl::handles::{
    KGroupedStream, SessionWindowedKStream, TimeWindowKind, TimeWindowedKStream,
};
use crate::operators::window_aggregate::AlignedWindows;
use crate::window::emit_strategy::EmitStrategy;
use crate::window::session_windows::SessionWindows;
use crate::window::sliding_windows::SlidingWindows;
use crate::window::time_windows::{TimeWindows, UnlimitedWindows};

/// The windows of this crate, each of which makes its own kind of stream.
pub trait Windows: sealed::Sealed {
    /// What a grouped stream becomes.
    type WindowedStream<K, V>;

    /// Groups a grouped stream by windows as well: what
    /// [`KGroupedStream::windowed_by`](crate::KGroupedStream::windowed_by) calls.
    fn window<K, V>(self, grouped: KGroupedStream<K, V>) -> Self::WindowedStream<K, V>;

    /// What several grouped streams become.
    type WindowedCogroup<K, A>;

    /// Groups several grouped streams by windows as well: what
    /// [`CogroupedKStream::windowed_by`](crate::CogroupedKStream::windowed_by) calls.
    fn window_cogroup<K, A>(self, cogrouped: CogroupedKStream<K, A>)
    -> Self::WindowedCogroup<K, A>;
}

mod sealed {
    //! Keeps the trait to the windows that aggregations know.

    pub trait Sealed {}
}

impl sealed::Sealed for TimeWindows {}
impl sealed::Sealed for UnlimitedWindows {}
impl sealed::Sealed for SlidingWindows {}
impl sealed::Sealed for SessionWindows {}

impl Windows for TimeWindows {
    type WindowedStream<K, V> = TimeWindowedKStream<K, V>;

    fn window<K, V>(self, grouped: KGroupedStream<K, V>) -> TimeWindowedKStream<K, V> {
        let windows = TimeWindowKind::Aligned(AlignedWindows::Time(self));
        TimeWindowedKStream { grouped, windows, emit: EmitStrategy::default(), dropped: None }
    }

    type WindowedCogroup<K, A> = TimeWindowedCogroupedKStream<K, A>;

    fn window_cogroup<K, A>(
        self,
        cogrouped: CogroupedKStream<K, A>,
    ) -> TimeWindowedCogroupedKStream<K, A> {
        TimeWindowedCogroupedKStream {
            cogrouped,
            windows: TimeWindowKind::Aligned(AlignedWindows::Time(self)),
        }
    }
}

impl Windows for UnlimitedWindows {
    type WindowedStream<K, V> = TimeWindowedKStream<K, V>;

    fn window<K, V>(self, grouped: KGroupedStream<K, V>) -> TimeWindowedKStream<K, V> {
        let windows = TimeWindowKind::Aligned(AlignedWindows::Unlimited(self));
        TimeWindowedKStream { grouped, windows, emit: EmitStrategy::default(), dropped: None }
    }

    type WindowedCogroup<K, A> = TimeWindowedCogroupedKStream<K, A>;

    fn window_cogroup<K, A>(
        self,
        cogrouped: CogroupedKStream<K, A>,
    ) -> TimeWindowedCogroupedKStream<K, A> {
        TimeWindowedCogroupedKStream {
            cogrouped,
            windows: TimeWindowKind::Aligned(AlignedWindows::Unlimited(self)),
        }
    }
}

impl Windows for SlidingWindows {
    type WindowedStream<K, V> = TimeWindowedKStream<K, V>;

    fn window<K, V>(self, grouped: KGroupedStream<K, V>) -> TimeWindowedKStream<K, V> {
        let (windows, emit) = (TimeWindowKind::Sliding(self), EmitStrategy::default());
        TimeWindowedKStream { grouped, windows, emit, dropped: None }
    }

    type WindowedCogroup<K, A> = TimeWindowedCogroupedKStream<K, A>;

    fn window_cogroup<K, A>(
        self,
        cogrouped: CogroupedKStream<K, A>,
    ) -> TimeWindowedCogroupedKStream<K, A> {
        TimeWindowedCogroupedKStream { cogrouped, windows: TimeWindowKind::Sliding(self) }
    }
}

impl Windows for SessionWindows {
    type WindowedStream<K, V> = SessionWindowedKStream<K, V>;

    fn window<K, V>(self, grouped: KGroupedStream<K, V>) -> SessionWindowedKStream<K, V> {
        SessionWindowedKStream {
            grouped,
            windows: self,
            emit: EmitStrategy::default(),
            dropped: None,
        }
    }

    type WindowedCogroup<K, A> = SessionWindowedCogroupedKStream<K, A>;

    fn window_cogroup<K, A>(
        self,
        cogrouped: CogroupedKStream<K, A>,
    ) -> SessionWindowedCogroupedKStream<K, A> {
        SessionWindowedCogroupedKStream { cogrouped, windows: self }
    }
}
