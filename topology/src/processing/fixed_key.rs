//! `FixedKeyProcessor`: a processor that cannot change keys.

use std::fmt;
use std::time::Duration;

use headwater_log_store::Timestamp;

use crate::error::{BoxError, RecordPosition};
use crate::processing::context::{Processor, ProcessorContext};
use crate::punctuation::{Cancellable, PunctuationType};
use crate::record::{FixedKeyRecord, Record};
use crate::types::TaskId;

/// As [`Processor`], but the records that it forwards are made of those that come and have their
/// keys: made by [`KStream::process_values`](crate::KStream::process_values), after which nothing
/// need be repartitioned.
///
/// ```
/// use headwater_topology::{
///     BoxError, FixedKeyProcessor, FixedKeyProcessorContext, FixedKeyRecord,
/// };
///
/// /// Says with each value which task it came through.
/// struct Stamp;
///
/// impl FixedKeyProcessor for Stamp {
///     type K = String;
///     type VIn = String;
///     type VOut = String;
///
///     fn process(
///         &mut self,
///         record: FixedKeyRecord<String, String>,
///         context: &mut FixedKeyProcessorContext<'_, Self>,
///     ) -> Result<(), BoxError> {
///         let value = format!("{} by {}", record.value(), context.task_id());
///         context.forward(record.with_value(value));
///         Ok(())
///     }
/// }
/// ```
pub trait FixedKeyProcessor: Sized + 'static {
    /// The keys.
    type K: Clone + Send + 'static;
    /// The values that come.
    type VIn: Clone + Send + 'static;
    /// The values that are forwarded.
    type VOut: Clone + Send + 'static;

    /// See [`Processor::init`]. Default = nothing.
    ///
    /// # Errors
    /// What keeps the processor from its work: the application stops.
    fn init(&mut self, context: &mut FixedKeyProcessorContext<'_, Self>) -> Result<(), BoxError> {
        let _ = context;
        Ok(())
    }

    /// Called for each record.
    ///
    /// # Errors
    /// Why the record cannot be processed: the processing handler then decides about it.
    fn process(
        &mut self,
        record: FixedKeyRecord<Self::K, Self::VIn>,
        context: &mut FixedKeyProcessorContext<'_, Self>,
    ) -> Result<(), BoxError>;

    /// See [`Processor::close`]. Default = nothing.
    fn close(&mut self) {}
}

/// A fixed-key processor as a processor.
pub(crate) struct FixedKey<P>(pub(crate) P);

impl<P: FixedKeyProcessor> Processor for FixedKey<P> {
    type KIn = P::K;
    type VIn = P::VIn;
    type KOut = P::K;
    type VOut = P::VOut;

    fn init(&mut self, context: &mut ProcessorContext<'_, Self>) -> Result<(), BoxError> {
        self.0.init(&mut FixedKeyProcessorContext(context.reborrow()))
    }

    fn process(
        &mut self,
        record: Record<P::K, P::VIn>,
        context: &mut ProcessorContext<'_, Self>,
    ) -> Result<(), BoxError> {
        let record = FixedKeyRecord::new(record);
        self.0.process(record, &mut FixedKeyProcessorContext(context.reborrow()))
    }

    fn close(&mut self) {
        self.0.close();
    }
}

/// What a [`FixedKeyProcessor`] can do and know while it is called: what a [`ProcessorContext`]
/// offers, for records whose key stays.
pub struct FixedKeyProcessorContext<'a, P: FixedKeyProcessor>(ProcessorContext<'a, FixedKey<P>>);

impl<P: FixedKeyProcessor> FixedKeyProcessorContext<'_, P> {
    /// See [`ProcessorContext::forward`].
    pub fn forward(&mut self, record: FixedKeyRecord<P::K, P::VOut>) {
        self.0.forward(record.into_record());
    }

    /// See [`ProcessorContext::forward_to`].
    pub fn forward_to(&mut self, child: &str, record: FixedKeyRecord<P::K, P::VOut>) {
        self.0.forward_to(child, record.into_record());
    }

    /// See [`ProcessorContext::schedule`]. A punctuator has no record to forward, unless the
    /// processor has kept one.
    pub fn schedule(
        &mut self,
        interval: Duration,
        kind: PunctuationType,
        mut punctuator: impl FnMut(
            &mut P,
            Timestamp,
            &mut FixedKeyProcessorContext<'_, P>,
        ) -> Result<(), BoxError>
        + 'static,
    ) -> Cancellable {
        self.0.schedule(interval, kind, move |processor, time, context| {
            punctuator(&mut processor.0, time, &mut FixedKeyProcessorContext(context.reborrow()))
        })
    }

    /// See [`ProcessorContext::schedule_from`].
    pub fn schedule_from(
        &mut self,
        start: Timestamp,
        interval: Duration,
        kind: PunctuationType,
        mut punctuator: impl FnMut(
            &mut P,
            Timestamp,
            &mut FixedKeyProcessorContext<'_, P>,
        ) -> Result<(), BoxError>
        + 'static,
    ) -> Cancellable {
        self.0.schedule_from(start, interval, kind, move |processor, time, context| {
            punctuator(&mut processor.0, time, &mut FixedKeyProcessorContext(context.reborrow()))
        })
    }

    /// See [`ProcessorContext::commit`].
    pub fn commit(&mut self) {
        self.0.commit();
    }

    /// See [`ProcessorContext::application_id`].
    #[must_use]
    pub fn application_id(&self) -> &str {
        self.0.application_id()
    }

    /// See [`ProcessorContext::task_id`].
    #[must_use]
    pub fn task_id(&self) -> TaskId {
        self.0.task_id()
    }

    /// See [`ProcessorContext::record_metadata`].
    #[must_use]
    pub fn record_metadata(&self) -> Option<RecordPosition> {
        self.0.record_metadata()
    }

    /// See [`ProcessorContext::current_stream_time`].
    #[must_use]
    pub fn current_stream_time(&self) -> Option<Timestamp> {
        self.0.current_stream_time()
    }

    /// See [`ProcessorContext::current_system_time`].
    #[must_use]
    pub fn current_system_time(&self) -> Timestamp {
        self.0.current_system_time()
    }
}

impl<P: FixedKeyProcessor> fmt::Debug for FixedKeyProcessorContext<'_, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("FixedKeyProcessorContext").field(&self.0).finish()
    }
}
