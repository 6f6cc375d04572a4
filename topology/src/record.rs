//! Records on their way through a task, and the changes that a table sends.

use std::sync::Arc;

use headwater_log_store::{Header, HeadersView, Timestamp};

/// The name and value of one header.
type OwnedHeader = (Box<str>, Option<Box<[u8]>>);

/// The headers of a record: shared, so that a fork costs a reference count, and free where there
/// are none.
///
/// One pointer, not one and a length: every record carries it from node to node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers(Option<Arc<Vec<OwnedHeader>>>);

impl Headers {
    /// No headers.
    #[must_use]
    pub const fn none() -> Self {
        Self(None)
    }

    /// Copies headers.
    #[must_use]
    pub fn from_pairs<'a>(headers: impl IntoIterator<Item = (&'a str, Option<&'a [u8]>)>) -> Self {
        let headers: Vec<OwnedHeader> =
            headers.into_iter().map(|(key, value)| (key.into(), value.map(Into::into))).collect();
        Self((!headers.is_empty()).then(|| Arc::new(headers)))
    }

    /// Copies the headers of a record that was read, but for those named `left_out`.
    #[inline]
    pub(crate) fn copied(view: &HeadersView<'_>, left_out: Option<&str>) -> Self {
        if view.is_empty() || left_out.is_some_and(|left_out| view.is_only(left_out)) {
            return Self(None);
        }
        let kept = view.iter().filter(|header| Some(header.key) != left_out);
        Self::from_pairs(kept.map(|header| (header.key, header.value)))
    }

    /// Whether there are none.
    #[must_use]
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// These headers and one more, after them.
    #[must_use]
    pub fn with(&self, key: &str, value: Option<&[u8]>) -> Self {
        let header = (key, value);
        Self::from_pairs(self.iter().map(|header| (header.key, header.value)).chain([header]))
    }

    /// The value of the last header of that name; `None` inside is a header without a value.
    #[must_use]
    pub fn last(&self, key: &str) -> Option<Option<&[u8]>> {
        let headers = self.0.as_ref().map_or(&[][..], |headers| headers.as_slice());
        let found = headers.iter().rev().find(|(name, _)| **name == *key);
        found.map(|(_, value)| value.as_deref())
    }

    /// The headers in order.
    pub fn iter(&self) -> impl Iterator<Item = Header<'_>> {
        self.0
            .iter()
            .flat_map(|headers| headers.iter())
            .map(|(key, value)| Header { key, value: value.as_deref() })
    }
}

/// A typed record on its way through a topology: what a [`Processor`](crate::Processor) gets and
/// forwards.
///
/// ```
/// use headwater_log_store::Timestamp;
/// use headwater_topology::Record;
///
/// let record = Record::new("k", 1, Timestamp::from_millis(5));
/// let next = record.with_key(7).with_value("one");
/// assert_eq!((next.key, next.value, next.timestamp.as_millis()), (7, "one", 5));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record<K, V> {
    /// The key.
    pub key: K,
    /// The value.
    pub value: V,
    /// The event time.
    pub timestamp: Timestamp,
    /// The headers.
    pub headers: Headers,
}

impl<K, V> Record<K, V> {
    /// A record without headers.
    #[must_use]
    pub const fn new(key: K, value: V, timestamp: Timestamp) -> Self {
        Self { key, value, timestamp, headers: Headers::none() }
    }

    /// The same record with another key.
    #[must_use]
    pub fn with_key<K2>(self, key: K2) -> Record<K2, V> {
        Record { key, value: self.value, timestamp: self.timestamp, headers: self.headers }
    }

    /// The same record with another value.
    #[must_use]
    pub fn with_value<V2>(self, value: V2) -> Record<K, V2> {
        Record { key: self.key, value, timestamp: self.timestamp, headers: self.headers }
    }

    /// The same record with another time.
    #[must_use]
    pub fn with_timestamp(self, timestamp: Timestamp) -> Self {
        Self { timestamp, ..self }
    }

    /// The same record with other headers.
    #[must_use]
    pub fn with_headers(self, headers: Headers) -> Self {
        Self { headers, ..self }
    }

    /// The same record with a value that is made of its own.
    #[inline]
    pub(crate) fn map_value<V2>(self, value: impl FnOnce(&K, V) -> V2) -> Record<K, V2> {
        let value = value(&self.key, self.value);
        Record { key: self.key, value, timestamp: self.timestamp, headers: self.headers }
    }
}

/// A record whose key stays: what a [`FixedKeyProcessor`](crate::FixedKeyProcessor) gets and
/// forwards. Only the topology makes them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FixedKeyRecord<K, V>(Record<K, V>);

impl<K, V> FixedKeyRecord<K, V> {
    pub(crate) const fn new(record: Record<K, V>) -> Self {
        Self(record)
    }

    pub(crate) fn into_record(self) -> Record<K, V> {
        self.0
    }

    /// The key.
    #[must_use]
    pub const fn key(&self) -> &K {
        &self.0.key
    }

    /// The value.
    #[must_use]
    pub const fn value(&self) -> &V {
        &self.0.value
    }

    /// The event time.
    #[must_use]
    pub const fn timestamp(&self) -> Timestamp {
        self.0.timestamp
    }

    /// The headers.
    #[must_use]
    pub const fn headers(&self) -> &Headers {
        &self.0.headers
    }

    /// The value, and the record without one.
    #[must_use]
    pub fn take_value(self) -> (V, FixedKeyRecord<K, ()>) {
        let Record { key, value, timestamp, headers } = self.0;
        (value, FixedKeyRecord(Record { key, value: (), timestamp, headers }))
    }

    /// The same record with another value.
    #[must_use]
    pub fn with_value<V2>(self, value: V2) -> FixedKeyRecord<K, V2> {
        FixedKeyRecord(self.0.with_value(value))
    }

    /// The same record with another time.
    #[must_use]
    pub fn with_timestamp(self, timestamp: Timestamp) -> Self {
        Self(self.0.with_timestamp(timestamp))
    }

    /// The same record with other headers.
    #[must_use]
    pub fn with_headers(self, headers: Headers) -> Self {
        Self(self.0.with_headers(headers))
    }
}

/// What a table sends downstream: the new value of a key, and its old one where a node has asked
/// for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Change<V> {
    pub(crate) old: Option<V>,
    pub(crate) new: Option<V>,
    /// Whether it is the newest of its key by event time: always, but for a versioned table that
    /// has taken a record out of order.
    pub(crate) is_latest: bool,
}

impl<V> Change<V> {
    /// A change that is the newest of its key.
    pub(crate) const fn latest(old: Option<V>, new: Option<V>) -> Self {
        Self { old, new, is_latest: true }
    }
}
