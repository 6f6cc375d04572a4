//! Read-only handles on the stores of a running application.

use std::hash::Hash;
use std::marker::PhantomData;
use std::ops::{Bound, RangeBounds};

use headwater_log_store::Timestamp;

use crate::error::{Error, Result};
use crate::runtime::query::first_rows;
use crate::runtime::streams::Streams;
use crate::state_stores::key_value::end_of_prefix;
use crate::state_stores::versioned::VersionedRecord;
use crate::store::key_value::Row;
use crate::store::slots::Session;
use crate::store::table::ValueAndTimestamp;
use crate::window::time_windows::TimeWindows;
use crate::window::windowed::{SessionWindow, Window, Windowed};

/// How many rows an iteration asks the worker for at once.
const ROWS_PER_PAGE: usize = 256;

impl Streams {
    /// A key-value store, to be read while the application runs.
    #[must_use]
    pub fn store<K, V>(&self, name: &str) -> ReadOnlyKeyValueStore<'_, K, V> {
        ReadOnlyKeyValueStore { streams: self, name: name.to_owned(), types: PhantomData }
    }

    /// A window store, to be read while the application runs. `windows` are those of its
    /// aggregation.
    #[must_use]
    pub fn window_store<K, V>(
        &self,
        name: &str,
        windows: TimeWindows,
    ) -> ReadOnlyWindowStore<'_, K, V> {
        ReadOnlyWindowStore { streams: self, name: name.to_owned(), windows, types: PhantomData }
    }

    /// A versioned store, to be read while the application runs.
    #[must_use]
    pub fn versioned_store<K, V>(&self, name: &str) -> ReadOnlyVersionedStore<'_, K, V> {
        ReadOnlyVersionedStore { streams: self, name: name.to_owned(), types: PhantomData }
    }

    /// A session store, to be read while the application runs.
    #[must_use]
    pub fn session_store<K, V>(&self, name: &str) -> ReadOnlySessionStore<'_, K, V> {
        ReadOnlySessionStore { streams: self, name: name.to_owned(), types: PhantomData }
    }
}

/// A key-value store of a running application. Reads see committed values.
#[derive(Debug)]
pub struct ReadOnlyKeyValueStore<'a, K, V> {
    streams: &'a Streams,
    name: String,
    types: PhantomData<fn() -> (K, V)>,
}

impl<K, V> ReadOnlyKeyValueStore<'_, K, V>
where
    K: Hash + Eq + Clone + Send + 'static,
    V: Clone + Send + 'static,
{
    /// The value of a key.
    ///
    /// # Errors
    /// `UnknownStore`, `StoreType`, or `NotRunning`.
    pub fn get(&self, key: &K) -> Result<Option<V>> {
        Ok(self.get_with_timestamp(key)?.map(|found| found.value))
    }

    /// The value of a key with its timestamp.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn get_with_timestamp(&self, key: &K) -> Result<Option<ValueAndTimestamp<V>>> {
        let (name, key) = (self.name.clone(), key.clone());
        let answers = self.streams.query(&self.name, move |tasks| tasks.query_get(&name, &key))?;
        Ok(answers.into_iter().flatten().next())
    }

    /// All rows, in the order of the bytes of their keys. They are fetched in pages: a commit in
    /// between may show in later rows.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn all(&self) -> Result<Vec<(K, V)>> {
        self.pages(Bound::Unbounded, &Bound::Unbounded)
    }

    /// The rows of a range of keys, in the order of their bytes.
    ///
    /// # Errors
    /// As [`get`](Self::get), and `Serde` for a bound that cannot be serialized.
    pub fn range(&self, range: impl RangeBounds<K>) -> Result<Vec<(K, V)>> {
        let from = self.bound(range.start_bound())?;
        let to = self.bound(range.end_bound())?;
        self.pages(from, &to)
    }

    /// The rows whose keys' bytes begin with these, in the order of their bytes.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn prefix_scan(&self, prefix: &[u8]) -> Result<Vec<(K, V)>> {
        self.pages(Bound::Included(prefix.to_vec()), &end_of_prefix(prefix))
    }

    fn bound(&self, bound: Bound<&K>) -> Result<Bound<Vec<u8>>> {
        let bytes = |key: &K| {
            let (name, key) = (self.name.clone(), key.clone());
            let answers = self
                .streams
                .query(&self.name, move |tasks| tasks.query_key_bytes::<K, V>(&name, &key))?;
            // Who has no task with the store cannot tell; without any there are no rows either.
            Ok::<_, Error>(answers.into_iter().flatten().next().unwrap_or_default())
        };
        Ok(match bound {
            Bound::Included(key) => Bound::Included(bytes(key)?),
            Bound::Excluded(key) => Bound::Excluded(bytes(key)?),
            Bound::Unbounded => Bound::Unbounded,
        })
    }

    fn pages(&self, mut from: Bound<Vec<u8>>, to: &Bound<Vec<u8>>) -> Result<Vec<(K, V)>> {
        let mut rows = Vec::new();
        loop {
            let (name, start, end) = (self.name.clone(), from, to.clone());
            let pages: Vec<Vec<Row<K, V>>> = self.streams.query(&self.name, move |tasks| {
                tasks.query_page(&name, &start, &end, ROWS_PER_PAGE)
            })?;
            let page = first_rows(pages.into_iter().flatten().collect(), ROWS_PER_PAGE);
            let full = page.len() >= ROWS_PER_PAGE;
            from = match page.last() {
                Some((bytes, _, _)) => Bound::Excluded(bytes.clone()),
                None => return Ok(rows),
            };
            rows.extend(page.into_iter().map(|(_, key, value)| (key, value.value)));
            if !full {
                return Ok(rows);
            }
        }
    }
}

/// A versioned store of a running application. Reads see committed values.
#[derive(Debug)]
pub struct ReadOnlyVersionedStore<'a, K, V> {
    streams: &'a Streams,
    name: String,
    types: PhantomData<fn() -> (K, V)>,
}

impl<K, V> ReadOnlyVersionedStore<'_, K, V>
where
    K: Hash + Eq + Clone + Send + 'static,
    V: Clone + Send + 'static,
{
    /// The newest value of a key.
    ///
    /// # Errors
    /// `UnknownStore`, `StoreType`, or `NotRunning`.
    pub fn get(&self, key: &K) -> Result<Option<VersionedRecord<V>>> {
        self.find(key, None)
    }

    /// The value that a key had at that time; none from before the history, but for a newest one.
    ///
    /// ```
    /// use headwater_log_store::{Log, LogStore, NewTopic, ProducerConfig, ProducerRecord, Timestamp};
    /// use headwater_topology::{Materialized, Streams, StreamsBuilder, StreamsConfig};
    /// use std::sync::Arc;
    /// use std::time::Duration;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let log: Arc<dyn Log> = Arc::new(LogStore::in_memory()?);
    /// log.create_topic(&NewTopic::new("prices"))?;
    /// let mut producer = log.producer(&ProducerConfig::default())?;
    /// for (time, price) in [(10, "5"), (20, "7")] {
    ///     let (key, value) = (Some(&b"tea"[..]), Some(price.as_bytes()));
    ///     let timestamp = Some(Timestamp::from_millis(time));
    ///     let _ = producer.send(&ProducerRecord { key, value, timestamp, ..ProducerRecord::to("prices") })?;
    /// }
    /// producer.flush()?;
    ///
    /// let builder = StreamsBuilder::new();
    /// let history = Duration::from_secs(3_600);
    /// let prices = Materialized::<String, String>::named("prices").versioned(history);
    /// builder.table_with::<String, String>("prices", prices);
    /// let streams = Streams::new(&builder.build()?, StreamsConfig::new("shop"), log);
    /// streams.start()?;
    /// streams.wait_until_caught_up()?;
    /// let prices = streams.versioned_store::<String, String>("prices");
    /// let then = prices.get_as_of(&"tea".to_owned(), Timestamp::from_millis(15))?;
    /// assert_eq!(then.map(|record| record.value).as_deref(), Some("5"));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn get_as_of(&self, key: &K, time: Timestamp) -> Result<Option<VersionedRecord<V>>> {
        self.find(key, Some(time))
    }

    fn find(&self, key: &K, as_of: Option<Timestamp>) -> Result<Option<VersionedRecord<V>>> {
        let (name, key) = (self.name.clone(), key.clone());
        let answers = self
            .streams
            .query(&self.name, move |tasks| tasks.query_versioned::<K, V>(&name, &key, as_of))?;
        let found = answers.into_iter().flatten().next();
        Ok(found.map(|(ValueAndTimestamp { value, timestamp }, valid_to)| VersionedRecord {
            value,
            timestamp,
            valid_to,
        }))
    }
}

/// A window store of a running application. Reads see committed values.
#[derive(Debug)]
pub struct ReadOnlyWindowStore<'a, K, V> {
    streams: &'a Streams,
    name: String,
    windows: TimeWindows,
    types: PhantomData<fn() -> (K, V)>,
}

impl<K, V> ReadOnlyWindowStore<'_, K, V>
where
    K: Hash + Eq + Clone + Send + 'static,
    V: Clone + Send + 'static,
{
    /// The windows of a key that start from `from_ms` up to and including `to_ms`, in order.
    ///
    /// # Errors
    /// `UnknownStore`, `StoreType`, or `NotRunning`.
    pub fn fetch(&self, key: &K, from_ms: i64, to_ms: i64) -> Result<Vec<(Windowed<K>, V)>> {
        self.windows(Some(key.clone()), from_ms, to_ms)
    }

    /// The windows of all keys that start from `from_ms` up to and including `to_ms`, in order.
    ///
    /// # Errors
    /// As [`fetch`](Self::fetch).
    pub fn fetch_all(&self, from_ms: i64, to_ms: i64) -> Result<Vec<(Windowed<K>, V)>> {
        self.windows(None, from_ms, to_ms)
    }

    fn windows(&self, key: Option<K>, from_ms: i64, to_ms: i64) -> Result<Vec<(Windowed<K>, V)>> {
        let name = self.name.clone();
        let answers = self.streams.query(&self.name, move |tasks| {
            tasks.query_windows::<K, V>(&name, key.as_ref(), from_ms, to_ms)
        })?;
        let mut rows: Vec<_> = answers.into_iter().flatten().collect();
        // Stable: the keys of a window stay in the order of their tasks.
        rows.sort_by_key(|(start_ms, _, _)| *start_ms);
        let size_ms = self.windows.size_ms();
        Ok(rows
            .into_iter()
            .map(|(start_ms, key, value)| {
                let window = Window { start_ms, end_ms: start_ms.saturating_add(size_ms) };
                (Windowed { key, window }, value.value)
            })
            .collect())
    }
}

/// A session store of a running application. Reads see committed values.
#[derive(Debug)]
pub struct ReadOnlySessionStore<'a, K, V> {
    streams: &'a Streams,
    name: String,
    types: PhantomData<fn() -> (K, V)>,
}

impl<K, V> ReadOnlySessionStore<'_, K, V>
where
    K: Hash + Eq + Clone + Send + 'static,
    V: Clone + Send + 'static,
{
    /// All sessions of a key, by their ends, then by their starts.
    ///
    /// # Errors
    /// `UnknownStore`, `StoreType`, or `NotRunning`.
    pub fn fetch(&self, key: &K) -> Result<Vec<(Windowed<K, SessionWindow>, V)>> {
        self.sessions(Some(key.clone()), i64::MIN, i64::MAX)
    }

    /// The sessions of a key that end at `earliest_end_ms` or later and start at `latest_start_ms`
    /// or earlier, by their ends, then by their starts.
    ///
    /// # Errors
    /// As [`fetch`](Self::fetch).
    pub fn find_sessions(
        &self,
        key: &K,
        earliest_end_ms: i64,
        latest_start_ms: i64,
    ) -> Result<Vec<(Windowed<K, SessionWindow>, V)>> {
        let mut found = self.sessions(Some(key.clone()), earliest_end_ms, i64::MAX)?;
        found.retain(|(session, _)| session.window.start_ms <= latest_start_ms);
        Ok(found)
    }

    /// The sessions of all keys that end from `from_ms` up to and including `to_ms`, in order.
    ///
    /// # Errors
    /// As [`fetch`](Self::fetch).
    pub fn fetch_all(
        &self,
        from_ms: i64,
        to_ms: i64,
    ) -> Result<Vec<(Windowed<K, SessionWindow>, V)>> {
        self.sessions(None, from_ms, to_ms)
    }

    fn sessions(
        &self,
        key: Option<K>,
        from_ms: i64,
        to_ms: i64,
    ) -> Result<Vec<(Windowed<K, SessionWindow>, V)>> {
        let name = self.name.clone();
        let answers = self.streams.query(&self.name, move |tasks| {
            tasks.query_sessions::<K, V>(&name, key.as_ref(), from_ms, to_ms)
        })?;
        let mut rows: Vec<_> = answers.into_iter().flatten().collect();
        // Stable: the keys of a session stay in the order of their tasks.
        rows.sort_by_key(|(session, _, _)| *session);
        Ok(rows
            .into_iter()
            .map(|(Session { start_ms, end_ms }, key, row)| {
                (Windowed { key, window: SessionWindow { start_ms, end_ms } }, row.value)
            })
            .collect())
    }
}
