//! How tables are joined by a foreign key.

use std::fmt;

use crate::serdes::{DefaultSerde, SerdeRef};

/// How tables are joined by a foreign key: the name of the join, which is the short form, and the
/// serdes of the values that its topics carry or hash.
pub struct TableJoined<V, V2> {
    pub(crate) name: String,
    pub(crate) value_serde: SerdeRef<V>,
    pub(crate) other_value_serde: SerdeRef<V2>,
}

impl<V: DefaultSerde, V2: DefaultSerde> TableJoined<V, V2> {
    /// A join of that name, which its nodes, its two topics and its store are named after, with
    /// the types' own serdes.
    #[must_use]
    pub fn named(name: impl Into<String>) -> Self {
        Self::with(name, V::default_serde(), V2::default_serde())
    }
}

impl<V: DefaultSerde, V2: DefaultSerde> From<&str> for TableJoined<V, V2> {
    fn from(name: &str) -> Self {
        Self::named(name)
    }
}

impl<V: DefaultSerde, V2: DefaultSerde> From<String> for TableJoined<V, V2> {
    fn from(name: String) -> Self {
        Self::named(name)
    }
}

impl<V, V2> TableJoined<V, V2> {
    /// A join of that name with these serdes of the values of both tables. That of the table with
    /// the foreign key has to give equal bytes for equal values: a hash of them tells whether a
    /// row has changed.
    #[must_use]
    pub fn with(
        name: impl Into<String>,
        value_serde: SerdeRef<V>,
        other_value_serde: SerdeRef<V2>,
    ) -> Self {
        Self { name: name.into(), value_serde, other_value_serde }
    }
}

impl<V, V2> fmt::Debug for TableJoined<V, V2> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TableJoined").field("name", &self.name).finish_non_exhaustive()
    }
}
