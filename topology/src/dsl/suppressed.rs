//! `Suppressed`: which updates of a table are held back, for how long, and in how large a buffer.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use headwater_log_store::Timestamp;

use crate::window::windowed::{AnyWindow, Windowed, millis};

/// A buffer that stops the application when it is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strict {}

/// A buffer that sends its oldest updates early when it is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Eager {}

/// How many updates a suppression may hold back, and what happens beyond that.
///
/// ```
/// use headwater_topology::BufferConfig;
///
/// let all = BufferConfig::unbounded();
/// let early = BufferConfig::max_records(1_000).with_max_bytes(1_000_000);
/// let strict = BufferConfig::max_records(1_000_000).shut_down_when_full();
/// ```
pub struct BufferConfig<F> {
    pub(crate) records_max: u64,
    pub(crate) bytes_max: u64,
    pub(crate) logged: bool,
    pub(crate) configs: BTreeMap<String, String>,
    when_full: PhantomData<fn() -> F>,
}

impl BufferConfig<Strict> {
    /// As many updates as memory holds.
    #[must_use]
    pub fn unbounded() -> Self {
        Self::new(u64::MAX, u64::MAX)
    }
}

impl BufferConfig<Eager> {
    /// At most that many keys; beyond that the oldest updates are sent early.
    #[must_use]
    pub fn max_records(records_max: u64) -> Self {
        Self::new(records_max, u64::MAX)
    }

    /// At most that many bytes of serialized keys and values; beyond that the oldest updates are
    /// sent early.
    #[must_use]
    pub fn max_bytes(bytes_max: u64) -> Self {
        Self::new(u64::MAX, bytes_max)
    }

    /// Stops the application when the buffer is full, instead of sending updates early.
    #[must_use]
    pub fn shut_down_when_full(self) -> BufferConfig<Strict> {
        let Self { records_max, bytes_max, logged, configs, .. } = self;
        BufferConfig { records_max, bytes_max, logged, configs, when_full: PhantomData }
    }

    /// Sends the oldest updates early when the buffer is full. This is the default.
    #[must_use]
    pub fn emit_early_when_full(self) -> Self {
        self
    }
}

impl<F> BufferConfig<F> {
    fn new(records_max: u64, bytes_max: u64) -> Self {
        let configs = BTreeMap::new();
        Self { records_max, bytes_max, logged: true, configs, when_full: PhantomData }
    }

    /// At most that many keys. Default = no limit.
    #[must_use]
    pub fn with_max_records(mut self, records_max: u64) -> Self {
        self.records_max = records_max;
        self
    }

    /// At most that many bytes of serialized keys and values. Default = no limit.
    #[must_use]
    pub fn with_max_bytes(mut self, bytes_max: u64) -> Self {
        self.bytes_max = bytes_max;
        self
    }

    /// Without a changelog: what is held back at a restart is lost.
    #[must_use]
    pub fn without_logging(mut self) -> Self {
        self.logged = false;
        self
    }

    /// With a config for the changelog topic, over Kafka Streams' defaults.
    #[must_use]
    pub fn with_logging_config(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.configs.insert(key.into(), value.into());
        self
    }
}

impl<F> Clone for BufferConfig<F> {
    fn clone(&self) -> Self {
        let Self { records_max, bytes_max, logged, ref configs, .. } = *self;
        let configs = configs.clone();
        Self { records_max, bytes_max, logged, configs, when_full: PhantomData }
    }
}

impl<F> fmt::Debug for BufferConfig<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BufferConfig")
            .field("records_max", &self.records_max)
            .field("bytes_max", &self.bytes_max)
            .field("logged", &self.logged)
            .finish_non_exhaustive()
    }
}

/// What happens when a buffer is full.
pub trait WhenFull: 'static {
    /// Whether the application stops.
    const SHUTS_DOWN: bool;
}

impl WhenFull for Strict {
    const SHUTS_DOWN: bool = true;
}

impl WhenFull for Eager {
    const SHUTS_DOWN: bool = false;
}

/// Waiting for a window to close: for tables with windowed keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WindowCloses {}

/// Waiting for a time to pass: for all tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeLimit {}

/// Which updates of a table [`suppress`](crate::KTable::suppress) holds back.
///
/// ```
/// use headwater_topology::{BufferConfig, Suppressed};
/// use std::time::Duration;
///
/// let final_results = Suppressed::until_window_closes(BufferConfig::unbounded());
/// let calmer = Suppressed::until_time_limit(
///     Duration::from_secs(60),
///     BufferConfig::max_records(10_000),
/// );
/// ```
#[derive(Debug)]
pub struct Suppressed<U> {
    pub(crate) buffer: Buffer,
    /// How long after its buffer time an update is held back. Windows say so themselves.
    pub(crate) wait_ms: Option<i64>,
    until: PhantomData<fn() -> U>,
}

/// A buffer whose kind is known.
#[derive(Clone, Debug)]
pub(crate) struct Buffer {
    pub(crate) records_max: u64,
    pub(crate) bytes_max: u64,
    pub(crate) logged: bool,
    pub(crate) configs: BTreeMap<String, String>,
    pub(crate) shuts_down: bool,
}

impl Buffer {
    fn of<F: WhenFull>(config: BufferConfig<F>) -> Self {
        let BufferConfig { records_max, bytes_max, logged, configs, .. } = config;
        Self { records_max, bytes_max, logged, configs, shuts_down: F::SHUTS_DOWN }
    }
}

impl Suppressed<WindowCloses> {
    /// Holds back all updates of a window but the last one, until the window takes no more
    /// records: when stream time has passed its end by the grace of the aggregation above (for
    /// sessions by gap and grace). Tombstones are dropped.
    #[must_use]
    pub fn until_window_closes(buffer: BufferConfig<Strict>) -> Self {
        Self { buffer: Buffer::of(buffer), wait_ms: None, until: PhantomData }
    }
}

impl Suppressed<TimeLimit> {
    /// Holds back all updates of a key but the last one, until stream time has passed the time of
    /// the first one by `wait`. Tombstones are held back, and sent, like any other update.
    #[must_use]
    pub fn until_time_limit<F: WhenFull>(wait: Duration, buffer: BufferConfig<F>) -> Self {
        Self { buffer: Buffer::of(buffer), wait_ms: Some(millis(wait)), until: PhantomData }
    }
}

/// What a suppression can hold back: implemented by what [`Suppressed`] waits for, for the keys
/// that it makes sense for.
pub trait SuppressKey<K>: 'static {
    /// The time that an update of a key waits from.
    fn buffer_time_ms(key: &K, timestamp: Timestamp) -> i64;

    /// Whether tombstones are dropped: the results are final, so there is nothing to take back.
    const DROPS_TOMBSTONES: bool;
}

impl<K, W: AnyWindow> SuppressKey<Windowed<K, W>> for WindowCloses {
    const DROPS_TOMBSTONES: bool = true;

    fn buffer_time_ms(key: &Windowed<K, W>, _timestamp: Timestamp) -> i64 {
        key.window.end_ms()
    }
}

impl<K> SuppressKey<K> for TimeLimit {
    const DROPS_TOMBSTONES: bool = false;

    fn buffer_time_ms(_key: &K, timestamp: Timestamp) -> i64 {
        timestamp.as_millis()
    }
}
