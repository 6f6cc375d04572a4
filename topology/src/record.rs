//! Records on their way through a task, and the changes that a table sends.

use std::sync::Arc;

use headwater_log_store::{Header, HeadersView, Timestamp};

/// The name and value of one header.
type OwnedHeader = (Box<str>, Option<Box<[u8]>>);

/// The headers of a record: shared, so that a fork costs a reference count, and free where there
/// are none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers(Option<Arc<[OwnedHeader]>>);

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
        Self((!headers.is_empty()).then(|| headers.into()))
    }

    /// Copies the headers of a record that was read, but for those named `left_out`.
    pub(crate) fn copied(view: &HeadersView<'_>, left_out: Option<&str>) -> Self {
        if view.is_empty() {
            return Self(None);
        }
        let kept = view.iter().filter(|header| Some(header.key) != left_out);
        Self::from_pairs(kept.map(|header| (header.key, header.value)))
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// The headers in order.
    pub fn iter(&self) -> impl Iterator<Item = Header<'_>> {
        self.0
            .iter()
            .flat_map(|headers| headers.iter())
            .map(|(key, value)| Header { key, value: value.as_deref() })
    }
}

/// A typed record inside a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record<K, V> {
    pub(crate) key: K,
    pub(crate) value: V,
    pub(crate) timestamp: Timestamp,
    pub(crate) headers: Headers,
}

impl<K, V> Record<K, V> {
    /// The same record with another value.
    #[inline]
    pub(crate) fn with_value<V2>(self, value: impl FnOnce(&K, V) -> V2) -> Record<K, V2> {
        let value = value(&self.key, self.value);
        Record { key: self.key, value, timestamp: self.timestamp, headers: self.headers }
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
