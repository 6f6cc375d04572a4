//! `StreamPartitioner`: which partitions of a topic a record goes to.

use std::sync::Arc;

/// Chooses the partitions that a record is written to, as Kafka Streams' `StreamPartitioner`. Every
/// closure of that shape is one.
///
/// ```
/// # use headwater_topology::{Produced, StreamsBuilder};
/// # let builder = StreamsBuilder::new();
/// // Alarms go to all partitions, everything else where its key belongs.
/// let alarms = |_: &str, _: &String, value: &String, partitions: u32| {
///     (value == "alarm").then(|| (0..partitions).collect())
/// };
/// let events = builder.stream::<String, String>("events");
/// events.to_with("out", Produced::new().with_stream_partitioner(alarms));
/// ```
pub trait StreamPartitioner<K, V>: Send + Sync + 'static {
    /// The partitions of a record, of those from 0 up to and without `partitions`; `topic` is the
    /// name in the log. `None` leaves the choice to the default partitioner, which goes by the
    /// bytes of the key; with an empty list the record is dropped and counted; with several
    /// partitions it is written to each of them once.
    ///
    /// A partition that the topic does not have is a failure of the record, for the processing
    /// handler.
    fn partitions(&self, topic: &str, key: &K, value: &V, partitions: u32) -> Option<Vec<u32>>;
}

impl<K, V, F> StreamPartitioner<K, V> for F
where
    F: Fn(&str, &K, &V, u32) -> Option<Vec<u32>> + Send + Sync + 'static,
{
    fn partitions(&self, topic: &str, key: &K, value: &V, partitions: u32) -> Option<Vec<u32>> {
        self(topic, key, value, partitions)
    }
}

/// A shared partitioner.
pub(crate) type PartitionerRef<K, V> = Arc<dyn StreamPartitioner<K, V>>;

/// A partitioner by key, for records of any values.
pub(crate) struct ByKey<K>(pub(crate) PartitionerRef<K, ()>);

impl<K: 'static, V> StreamPartitioner<K, V> for ByKey<K> {
    fn partitions(&self, topic: &str, key: &K, _value: &V, partitions: u32) -> Option<Vec<u32>> {
        self.0.partitions(topic, key, &(), partitions)
    }
}

/// As [`ByKey`], for records that may have no key: those go where the default partitioner says.
pub(crate) struct ByKeyIfAny<K>(pub(crate) PartitionerRef<K, ()>);

impl<K: 'static, V> StreamPartitioner<Option<K>, V> for ByKeyIfAny<K> {
    fn partitions(
        &self,
        topic: &str,
        key: &Option<K>,
        _value: &V,
        partitions: u32,
    ) -> Option<Vec<u32>> {
        self.0.partitions(topic, key.as_ref()?, &(), partitions)
    }
}
