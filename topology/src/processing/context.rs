//! `Processor`, and the `ProcessorContext` that it is called with.

use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use headwater_log_store::Timestamp;

use crate::context::Context;
use crate::error::{BoxError, Error, RecordPosition};
use crate::processor::{NamedOutputs, RecordTime};
use crate::punctuation::{Cancellable, PunctuationType, Punctuations, Start};
use crate::record::Record;
use crate::types::{NodeId, TaskId};

/// A node with code of the application's own: made by
/// [`KStream::process`](crate::KStream::process), as Kafka Streams' `Processor`.
///
/// There is one for each task, made by the supplier that `process` was given, and it never leaves
/// the thread of its task. Its stores are what the supplier was given.
///
/// What it keeps in fields is not state: a start makes a new one, and so does an abort, after which
/// the records since the last commit come again. What is to last belongs into a store.
///
/// An error that one of its methods returns is for the processing handler, as is a panic. What it
/// has forwarded and put before an error stays if the handler says to go on; after a panic all
/// since the last commit is done again without the record.
///
/// ```
/// use headwater_log_store::Timestamp;
/// use headwater_topology::{BoxError, Processor, ProcessorContext, Record};
///
/// /// Sends each record on, and once more an hour later.
/// struct Echo;
///
/// impl Processor for Echo {
///     type KIn = String;
///     type VIn = String;
///     type KOut = String;
///     type VOut = String;
///
///     fn process(
///         &mut self,
///         record: Record<String, String>,
///         context: &mut ProcessorContext<'_, Self>,
///     ) -> Result<(), BoxError> {
///         let later = Timestamp::from_millis(record.timestamp.as_millis() + 3_600_000);
///         let later = record.clone().with_timestamp(later);
///         context.forward(record);
///         context.forward(later);
///         Ok(())
///     }
/// }
/// ```
pub trait Processor: Sized + 'static {
    /// The keys that come.
    type KIn: Clone + Send + 'static;
    /// The values that come.
    type VIn: Clone + Send + 'static;
    /// The keys that are forwarded.
    type KOut: Clone + Send + 'static;
    /// The values that are forwarded.
    type VOut: Clone + Send + 'static;

    /// Called before the first record, when the stores are restored: the place for
    /// [`schedule`](ProcessorContext::schedule). Default = nothing.
    ///
    /// # Errors
    /// What keeps the processor from its work: the application stops.
    fn init(&mut self, context: &mut ProcessorContext<'_, Self>) -> Result<(), BoxError> {
        let _ = context;
        Ok(())
    }

    /// Called for each record.
    ///
    /// # Errors
    /// Why the record cannot be processed: the processing handler then decides about it.
    fn process(
        &mut self,
        record: Record<Self::KIn, Self::VIn>,
        context: &mut ProcessorContext<'_, Self>,
    ) -> Result<(), BoxError>;

    /// Called when the task ends or is taken back to its last commit. Default = nothing.
    fn close(&mut self) {}
}

/// A punctuator of a processor.
pub(crate) type Punctuator<P> =
    Box<dyn FnMut(&mut P, Timestamp, &mut ProcessorContext<'_, P>) -> Result<(), BoxError>>;

/// The punctuators of a processor by their numbers.
pub(crate) type Punctuators<P> = Vec<(u64, Punctuator<P>)>;

/// What a processor has around it, as the context sees it.
pub(crate) struct Surroundings<'a> {
    pub(crate) context: &'a mut Context,
    pub(crate) node: NodeId,
    pub(crate) punctuations: &'a Rc<RefCell<Punctuations>>,
    pub(crate) time: &'a RecordTime,
}

/// What a [`Processor`] can do and know while it is called.
pub struct ProcessorContext<'a, P: Processor> {
    surroundings: Surroundings<'a>,
    outputs: &'a mut NamedOutputs<P::KOut, P::VOut>,
    punctuators: &'a mut Punctuators<P>,
}

impl<'a, P: Processor> ProcessorContext<'a, P> {
    pub(crate) fn new(
        surroundings: Surroundings<'a>,
        outputs: &'a mut NamedOutputs<P::KOut, P::VOut>,
        punctuators: &'a mut Punctuators<P>,
    ) -> Self {
        Self { surroundings, outputs, punctuators }
    }

    /// The same context for a shorter time.
    pub(crate) fn reborrow(&mut self) -> ProcessorContext<'_, P> {
        let Surroundings { context, node, punctuations, time } = &mut self.surroundings;
        ProcessorContext {
            surroundings: Surroundings { context, node: *node, punctuations, time },
            outputs: self.outputs,
            punctuators: self.punctuators,
        }
    }

    /// Sends a record to all children, one after the other, each with all that follows from it
    /// downstream. It takes part in the task's transaction like any other.
    ///
    /// A failure below that voids the work since the last commit is not seen here: what is
    /// forwarded after it goes nowhere.
    /// A time before 1970 is none that a topic takes: it stops the application.
    pub fn forward(&mut self, record: Record<P::KOut, P::VOut>) {
        self.check_time(record.timestamp);
        self.pass(|outputs, context| Some(outputs.forward(record, context)));
    }

    /// Sends a record to the child of that name: the names are those of
    /// [`Topology::describe`](crate::Topology::describe). A name that no child has stops the
    /// application.
    pub fn forward_to(&mut self, child: &str, record: Record<P::KOut, P::VOut>) {
        self.check_time(record.timestamp);
        let known = self.pass(|outputs, context| outputs.forward_to(child, record, context));
        if !known {
            self.refuse("a forward", format!("it has no child {child}"));
        }
    }

    /// Calls `send` unless something failed before; `false` if that did not know the child.
    fn pass(
        &mut self,
        send: impl FnOnce(
            &mut NamedOutputs<P::KOut, P::VOut>,
            &mut Context,
        ) -> Option<crate::context::Step>,
    ) -> bool {
        let Surroundings { context, node, time, .. } = &mut self.surroundings;
        if context.pending_failure.is_some() {
            return true;
        }
        let own_time = time.get();
        let sent = send(self.outputs, context);
        // A processor below has set its own.
        time.set(own_time);
        context.enter(*node);
        if let Some(Err(failure)) = sent {
            context.pending_failure = Some(failure);
            return true;
        }
        sent.is_some()
    }

    fn check_time(&mut self, timestamp: Timestamp) {
        if timestamp.as_millis() < 0 {
            self.refuse("a forward", format!("the timestamp {timestamp} is negative"));
        }
    }

    fn refuse(&mut self, operation: &'static str, reason: String) {
        let context = &mut self.surroundings.context;
        let (task, node) = (context.current.task, context.current_node_name());
        let error = Error::Processor { task, node, operation, reason };
        context.pending_failure.get_or_insert_with(|| error.into());
    }

    /// Calls `punctuator` again and again: with the processor, the time by the clock that drives
    /// it, and a context in which no record is current. What it forwards and puts is part of the
    /// task's transaction.
    ///
    /// By [`StreamTime`](PunctuationType::StreamTime) it is called with the first record and from
    /// then on after the first record at or after each multiple of the interval; by
    /// [`WallClockTime`](PunctuationType::WallClockTime), every interval from now on, records or
    /// not. However many intervals have passed, there is one call, with the time that it is. If
    /// several are due, that which is due for longest goes first. They are all as in Kafka
    /// Streams.
    ///
    /// An abort calls `init` again; the punctuators that it makes go on as of the last commit, those
    /// made elsewhere are gone, as with a restart.
    ///
    /// The interval is 1 ms at least: less stops the application.
    pub fn schedule(
        &mut self,
        interval: Duration,
        kind: PunctuationType,
        punctuator: impl FnMut(&mut P, Timestamp, &mut ProcessorContext<'_, P>) -> Result<(), BoxError>
        + 'static,
    ) -> Cancellable {
        self.add(Start::Now, interval, kind, Box::new(punctuator))
    }

    /// As [`schedule`](Self::schedule), first due at `start` and then every interval after it. If
    /// that has passed already, the first time on that grid that has not.
    pub fn schedule_from(
        &mut self,
        start: Timestamp,
        interval: Duration,
        kind: PunctuationType,
        punctuator: impl FnMut(&mut P, Timestamp, &mut ProcessorContext<'_, P>) -> Result<(), BoxError>
        + 'static,
    ) -> Cancellable {
        self.add(Start::At(start.as_millis()), interval, kind, Box::new(punctuator))
    }

    fn add(
        &mut self,
        start: Start,
        interval: Duration,
        kind: PunctuationType,
        punctuator: Punctuator<P>,
    ) -> Cancellable {
        let interval_ms = i64::try_from(interval.as_millis()).unwrap_or(i64::MAX);
        if interval_ms == 0 {
            self.refuse("a schedule", "its interval is below 1 ms".to_owned());
        }
        let now = match kind {
            PunctuationType::StreamTime => self.current_stream_time(),
            PunctuationType::WallClockTime => Some(self.current_system_time()),
        };
        let Surroundings { node, punctuations, .. } = &self.surroundings;
        let mut list = punctuations.borrow_mut();
        let now_ms = now.map(Timestamp::as_millis);
        let number = list.add(*node, kind, interval_ms.max(1), start, now_ms);
        self.punctuators.retain(|(number, _)| list.is_live(*number));
        self.punctuators.push((number, punctuator));
        Cancellable::new(number, Rc::clone(punctuations))
    }

    /// Asks for a commit soon: after the record or the punctuation that is at work, at the latest
    /// after the ones that are processed with it.
    pub fn commit(&mut self) {
        self.surroundings.context.commit_requested = true;
    }

    /// The application's id.
    #[must_use]
    pub fn application_id(&self) -> &str {
        self.surroundings.context.application_id()
    }

    /// The task.
    #[must_use]
    pub fn task_id(&self) -> TaskId {
        self.surroundings.context.current.task
    }

    /// Where the source record is that is being processed; `None` in `init` and in punctuators.
    #[must_use]
    pub fn record_metadata(&self) -> Option<RecordPosition> {
        self.surroundings.context.position()
    }

    /// The latest time of a record that the task has processed, the current one included; `None`
    /// before the first. It survives restarts.
    #[must_use]
    pub fn current_stream_time(&self) -> Option<Timestamp> {
        self.surroundings.context.current.stream_time
    }

    /// The time of the application's clock.
    #[must_use]
    pub fn current_system_time(&self) -> Timestamp {
        self.surroundings.context.emit_timer.clock.now()
    }
}

impl<P: Processor> fmt::Debug for ProcessorContext<'_, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProcessorContext")
            .field("task_id", &self.task_id())
            .field("record_metadata", &self.record_metadata())
            .finish_non_exhaustive()
    }
}
