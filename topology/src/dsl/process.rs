//! `KStream::process` and `process_values`: processors of the application's own in a topology.

use std::sync::Arc;

use crate::dsl::handles::KStream;
use crate::operators::process;
use crate::processing::context::Processor;
use crate::processing::fixed_key::{FixedKey, FixedKeyProcessor};
use crate::state_stores::connect::{ConnectedStores, Connections};
use crate::types::NodeId;

impl<K, V> KStream<K, V>
where
    K: Clone + Send + 'static,
    V: Clone + Send + 'static,
{
    /// Puts a processor of the application's own into the stream: it may forward any records, at
    /// any time. `supplier` makes one for each task, at each start and after each abort.
    ///
    /// The processor sees null keys and null values where the types allow them, and late records
    /// like any other. Times and headers are those of the records that it forwards. The keys may
    /// be new: a grouping repartitions. A key that was changed before does not: for that, put
    /// [`repartition`](Self::repartition) before it.
    ///
    /// [`named`](Self::named) gives the node a name.
    ///
    /// ```
    /// use headwater_topology::{
    ///     BoxError, Processor, ProcessorContext, PunctuationType, Record, StreamsBuilder,
    ///     TopologyTestDriver,
    /// };
    /// use std::time::Duration;
    ///
    /// /// Counts what comes, and says so every 10 ms of stream time.
    /// struct Meter(i64);
    ///
    /// impl Processor for Meter {
    ///     type KIn = String;
    ///     type VIn = String;
    ///     type KOut = String;
    ///     type VOut = i64;
    ///
    ///     fn init(&mut self, context: &mut ProcessorContext<'_, Self>) -> Result<(), BoxError> {
    ///         let every = Duration::from_millis(10);
    ///         context.schedule(every, PunctuationType::StreamTime, |meter, time, context| {
    ///             context.forward(Record::new("seen".to_owned(), meter.0, time));
    ///             Ok(())
    ///         });
    ///         Ok(())
    ///     }
    ///
    ///     fn process(
    ///         &mut self,
    ///         _: Record<String, String>,
    ///         _: &mut ProcessorContext<'_, Self>,
    ///     ) -> Result<(), BoxError> {
    ///         self.0 += 1;
    ///         Ok(())
    ///     }
    /// }
    ///
    /// let builder = StreamsBuilder::new();
    /// builder.stream::<String, String>("in").process(|| Meter(0)).to("out");
    /// let driver = TopologyTestDriver::new(&builder.build()?)?;
    /// let input = driver.input_topic::<String, String>("in");
    /// for time in [3, 12, 13, 47] {
    ///     input.pipe_input_at("k", "v", time)?;
    /// }
    /// let out = driver.output_topic::<String, i64>("out")?.read_timed()?;
    /// let seen = |count, time| ("seen".to_owned(), count, time);
    /// assert_eq!(out, [seen(1, 3), seen(2, 12), seen(4, 47)]);
    /// # Ok::<(), headwater_topology::Error>(())
    /// ```
    pub fn process<P>(
        &self,
        supplier: impl Fn() -> P + Send + Sync + 'static,
    ) -> KStream<P::KOut, P::VOut>
    where
        P: Processor<KIn = K, VIn = V>,
    {
        self.process_with_stores((), move |()| supplier())
    }

    /// As [`process`](Self::process), with stores: the supplier is given them, opened for its task.
    /// `stores` is one [`StateStore`](crate::StateStore), or a tuple of them. A store may be
    /// connected to several processors, which then run in one task.
    ///
    /// ```
    /// use headwater_topology::{
    ///     BoxError, KeyValueStore, Processor, ProcessorContext, Record, Stores, StreamsBuilder,
    ///     TopologyTestDriver,
    /// };
    ///
    /// /// Sends a value on if it is larger than all before it of the same key.
    /// struct Records {
    ///     best: KeyValueStore<String, i64>,
    /// }
    ///
    /// impl Processor for Records {
    ///     type KIn = String;
    ///     type VIn = i64;
    ///     type KOut = String;
    ///     type VOut = i64;
    ///
    ///     fn process(
    ///         &mut self,
    ///         record: Record<String, i64>,
    ///         context: &mut ProcessorContext<'_, Self>,
    ///     ) -> Result<(), BoxError> {
    ///         if self.best.get(&record.key).is_none_or(|best| best < record.value) {
    ///             self.best.put(&record.key, record.value);
    ///             context.forward(record);
    ///         }
    ///         Ok(())
    ///     }
    /// }
    ///
    /// let builder = StreamsBuilder::new();
    /// let best = builder.add_state_store(Stores::key_value_store::<String, i64>("best"));
    /// let jumps = builder.stream::<String, i64>("jumps");
    /// jumps.process_with_stores(&best, |best| Records { best }).named("records").to("records");
    ///
    /// let driver = TopologyTestDriver::new(&builder.build()?)?;
    /// let jumps = driver.input_topic::<String, i64>("jumps");
    /// for centimetres in [780, 771, 803] {
    ///     jumps.pipe_input("ann", centimetres)?;
    /// }
    /// let records = driver.output_topic::<String, i64>("records")?.read_key_values()?;
    /// assert_eq!(records, [("ann".to_owned(), 780), ("ann".to_owned(), 803)]);
    /// assert_eq!(driver.store_value::<String, i64>("best", &"ann".to_owned())?, Some(803));
    /// # Ok::<(), headwater_topology::Error>(())
    /// ```
    pub fn process_with_stores<P, S>(
        &self,
        stores: S,
        supplier: impl Fn(S::Opened) -> P + Send + Sync + 'static,
    ) -> KStream<P::KOut, P::VOut>
    where
        P: Processor<KIn = K, VIn = V>,
        S: ConnectedStores,
    {
        let node = self.add_own_processor("KSTREAM-PROCESSOR-", &stores, supplier);
        KStream::new(self.scope.clone(), node, true)
    }

    /// Puts a processor of the application's own into the stream that cannot change keys: a
    /// grouping then repartitions only if the key was changed before. See
    /// [`process`](Self::process).
    pub fn process_values<P>(
        &self,
        supplier: impl Fn() -> P + Send + Sync + 'static,
    ) -> KStream<K, P::VOut>
    where
        P: FixedKeyProcessor<K = K, VIn = V>,
    {
        self.process_values_with_stores((), move |()| supplier())
    }

    /// As [`process_values`](Self::process_values), with stores: see
    /// [`process_with_stores`](Self::process_with_stores).
    pub fn process_values_with_stores<P, S>(
        &self,
        stores: S,
        supplier: impl Fn(S::Opened) -> P + Send + Sync + 'static,
    ) -> KStream<K, P::VOut>
    where
        P: FixedKeyProcessor<K = K, VIn = V>,
        S: ConnectedStores,
    {
        let supplier = move |stores| FixedKey(supplier(stores));
        let node = self.add_own_processor("KSTREAM-PROCESSVALUES-", &stores, supplier);
        KStream::new(self.scope.clone(), node, self.repartition_required)
    }

    fn add_own_processor<P, S>(
        &self,
        prefix: &str,
        stores: &S,
        supplier: impl Fn(S::Opened) -> P + Send + Sync + 'static,
    ) -> NodeId
    where
        P: Processor<KIn = K, VIn = V>,
        S: ConnectedStores,
    {
        let mut connections = Connections::default();
        let opener = stores.connect(&mut connections);
        let supplier = Arc::new(supplier);
        let factory = process::factory(
            self.scope.next_id(),
            Box::new(move |parts| {
                let (opened, supplier) = (opener.open(parts), Arc::clone(&supplier));
                Box::new(move || supplier(opened.clone()))
            }),
        );
        self.scope.add_own_processor(prefix, self.node, connections.0, factory)
    }
}
