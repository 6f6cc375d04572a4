//! How tables are joined by a foreign key.

use std::fmt;
use std::sync::Arc;

use crate::partitioner::{PartitionerRef, StreamPartitioner};
use crate::serdes::{DefaultSerde, SerdeRef};

/// How tables are joined by a foreign key: the name of the join, which is the short form, and the
/// serdes of the values that its topics carry or hash; and the partitioners of both tables, by
/// their keys, if those are not Kafka's default.
pub struct TableJoined<K, F, V, V2> {
    pub(crate) name: String,
    pub(crate) value_serde: SerdeRef<V>,
    pub(crate) other_value_serde: SerdeRef<V2>,
    pub(crate) partitioner: Option<PartitionerRef<K, ()>>,
    pub(crate) other_partitioner: Option<PartitionerRef<F, ()>>,
}

impl<K, F, V: DefaultSerde, V2: DefaultSerde> TableJoined<K, F, V, V2> {
    /// A join of that name, which its nodes, its two topics and its store are named after, with
    /// the types' own serdes.
    #[must_use]
    pub fn named(name: impl Into<String>) -> Self {
        Self::with(name, V::default_serde(), V2::default_serde())
    }
}

impl<K, F, V: DefaultSerde, V2: DefaultSerde> From<&str> for TableJoined<K, F, V, V2> {
    fn from(name: &str) -> Self {
        Self::named(name)
    }
}

impl<K, F, V: DefaultSerde, V2: DefaultSerde> From<String> for TableJoined<K, F, V, V2> {
    fn from(name: String) -> Self {
        Self::named(name)
    }
}

impl<K, F, V, V2> TableJoined<K, F, V, V2> {
    /// A join of that name with these serdes of the values of both tables. That of the table with
    /// the foreign key has to give equal bytes for equal values: a hash of them tells whether a
    /// row has changed.
    #[must_use]
    pub fn with(
        name: impl Into<String>,
        value_serde: SerdeRef<V>,
        other_value_serde: SerdeRef<V2>,
    ) -> Self {
        let name = name.into();
        Self { name, value_serde, other_value_serde, partitioner: None, other_partitioner: None }
    }

    /// How the topics of the table with the foreign key are partitioned by its key, for answers to
    /// find their rows. Default = an answer goes to the partition that the row came from, which is
    /// right for any partitioning.
    #[must_use]
    pub fn with_partitioner(mut self, partitioner: impl StreamPartitioner<K, ()>) -> Self {
        self.partitioner = Some(Arc::new(partitioner));
        self
    }

    /// How the topics of the other table are partitioned by its key, for registrations to find its
    /// rows. Default = Kafka's default partitioner.
    #[must_use]
    pub fn with_other_partitioner(mut self, partitioner: impl StreamPartitioner<F, ()>) -> Self {
        self.other_partitioner = Some(Arc::new(partitioner));
        self
    }
}

impl<K, F, V, V2> fmt::Debug for TableJoined<K, F, V, V2> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TableJoined").field("name", &self.name).finish_non_exhaustive()
    }
}
