//! `with_dropped_records`: what windowed aggregations drop, as a stream. Kafka Streams has no such
//! output.

use std::rc::Rc;

use crate::dsl::handles::{DroppedConsumer, KStream, SessionWindowedKStream, TimeWindowedKStream};
use crate::dsl::scope::Scope;
use crate::graph::node::NodeKind;
use crate::operators::dropped::DroppedRecord;
use crate::operators::merge;
use crate::types::NodeId;

impl<K, V> TimeWindowedKStream<K, V> {
    /// Gives the records that the aggregations drop to `consumer`, as a stream: those that are
    /// late, once for each window that was closed already, and those without a key, or for
    /// sliding windows without a value. Kafka Streams only counts them, as this does too.
    ///
    /// They have the keys, times and headers with which they came. What is not dropped is
    /// the same with and without this. `consumer` is called once for each aggregation.
    ///
    /// Other operators have no such output because they drop nothing that is late: a join of two
    /// streams goes by what its stores still hold, a join with a grace period looks up late
    /// records at once, and suppress forwards late updates at once.
    ///
    /// ```
    /// use headwater_topology::{StreamsBuilder, TimeWindows, TopologyTestDriver};
    /// use std::time::Duration;
    ///
    /// let builder = StreamsBuilder::new();
    /// builder
    ///     .stream::<String, String>("clicks")
    ///     .group_by_key()
    ///     .windowed_by(TimeWindows::of_size_with_no_grace(Duration::from_millis(10)))
    ///     .with_dropped_records(|dropped| {
    ///         dropped.map_values(|dropped| format!("{} {:?}", dropped.value, dropped.reason)).to("late");
    ///     })
    ///     .count("counts");
    /// let driver = TopologyTestDriver::new(&builder.build()?)?;
    /// let clicks = driver.input_topic::<String, String>("clicks");
    /// clicks.pipe_input_at("k", "in time", 12)?;
    /// clicks.pipe_input_at("k", "too late", 9)?;
    /// let late = driver.output_topic::<String, String>("late")?.read_timed()?;
    /// assert_eq!(late, [("k".to_owned(), "too late Late".to_owned(), 9)]);
    /// # Ok::<(), headwater_topology::Error>(())
    /// ```
    #[must_use]
    pub fn with_dropped_records(
        self,
        consumer: impl Fn(KStream<K, DroppedRecord<V>>) + 'static,
    ) -> Self {
        Self { dropped: Some(Rc::new(consumer)), ..self }
    }
}

impl<K, V> SessionWindowedKStream<K, V> {
    /// Gives the records that the aggregations drop to `consumer`, as a stream: those that are
    /// late, with the session that they would have made, and those without a key. See
    /// [`TimeWindowedKStream::with_dropped_records`].
    #[must_use]
    pub fn with_dropped_records(
        self,
        consumer: impl Fn(KStream<K, DroppedRecord<V>>) + 'static,
    ) -> Self {
        Self { dropped: Some(Rc::new(consumer)), ..self }
    }
}

/// Adds the side output of an aggregation, if there is to be one.
pub(crate) fn add_side_output<K, V>(
    scope: &Scope,
    aggregation: NodeId,
    consumer: Option<&DroppedConsumer<K, V>>,
) where
    K: Clone + Send + 'static,
    V: Clone + Send + 'static,
{
    let Some(consumer) = consumer else { return };
    let name = scope.next_name("KSTREAM-DROPPED-");
    let factory = merge::factory::<K, DroppedRecord<V>>();
    let kind = NodeKind::Processor { stores: Vec::new(), factory };
    let node = scope.add_node(name, &[aggregation], kind);
    scope.set_side(node);
    consumer(KStream::new(scope.clone(), node, false));
}
