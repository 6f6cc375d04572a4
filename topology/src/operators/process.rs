//! The node of an application's own processor.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;

use headwater_log_store::Timestamp;

use crate::context::{Context, Step};
use crate::error::BoxError;
use crate::error_handler::FailureKind;
use crate::graph::node::NodeFactory;
use crate::processing::context::{Processor, ProcessorContext, Punctuators, Surroundings};
use crate::processor::{AnyReceiver, NamedOutputs, Receiver, RecordTime, TaskParts, TaskProcessor};
use crate::punctuation::Punctuations;
use crate::record::Record;
use crate::types::NodeId;

struct ProcessorNode<P: Processor> {
    node: NodeId,
    supplier: Box<dyn Fn() -> P>,
    /// `None` before `init` and after an abort.
    processor: Option<P>,
    outputs: NamedOutputs<P::KOut, P::VOut>,
    punctuators: Punctuators<P>,
    punctuations: Rc<RefCell<Punctuations>>,
    time: RecordTime,
}

/// The node, which its parents and the task share.
struct Shared<P: Processor>(Rc<RefCell<ProcessorNode<P>>>);

/// Makes a supplier for one task, given the task's stores.
pub(crate) type TaskSupplier<P> = dyn Fn(&TaskParts) -> Box<dyn Fn() -> P> + Send + Sync;

/// Builds the node of a processor; `supplier` is called when the task is built, and what it makes
/// at each start of the processor.
pub(crate) fn factory<P: Processor>(node: NodeId, supplier: Box<TaskSupplier<P>>) -> NodeFactory {
    Arc::new(move |parts| {
        let shared = Rc::new(RefCell::new(ProcessorNode {
            node,
            supplier: supplier(parts),
            processor: None,
            outputs: parts.named_outputs(),
            punctuators: Vec::new(),
            punctuations: Rc::clone(&parts.punctuations),
            time: parts.time.clone(),
        }));
        parts.processors.push(Rc::clone(&shared) as Rc<RefCell<dyn TaskProcessor>>);
        AnyReceiver::new(Shared(shared))
    })
}

impl<P: Processor> Receiver<P::KIn, P::VIn> for Shared<P> {
    fn receive(&mut self, record: Record<P::KIn, P::VIn>, context: &mut Context) -> Step {
        let mut node = self.0.borrow_mut();
        node.time.set(record.timestamp);
        let outcome = node.call(context, |processor, context| processor.process(record, context));
        node.finish(outcome, context)
    }
}

impl<P: Processor> ProcessorNode<P> {
    /// Calls the processor, if there is one.
    fn call(
        &mut self,
        context: &mut Context,
        call: impl FnOnce(&mut P, &mut ProcessorContext<'_, P>) -> Result<(), BoxError>,
    ) -> Result<(), BoxError> {
        context.enter(self.node);
        let Self { node, processor, outputs, punctuators, punctuations, time, .. } = self;
        let Some(processor) = processor else { return Ok(()) };
        let surroundings = Surroundings { context, node: *node, punctuations, time };
        call(processor, &mut ProcessorContext::new(surroundings, outputs, punctuators))
    }

    /// What failed below comes first; an error of the processor is for the handler.
    fn finish(&self, outcome: Result<(), BoxError>, context: &mut Context) -> Step {
        if let Some(failure) = context.pending_failure.take() {
            return Err(failure);
        }
        context.enter(self.node);
        match outcome {
            Ok(()) => Ok(()),
            Err(reason) => context.fail(FailureKind::Processing, reason),
        }
    }

    /// Closes the processor. A panic of it must not hide what has led here.
    fn close(&mut self) {
        let Some(mut processor) = self.processor.take() else { return };
        if catch_unwind(AssertUnwindSafe(|| processor.close())).is_err() {
            tracing::error!(node = self.node.index(), "a processor has panicked in its close");
        }
    }
}

impl<P: Processor> TaskProcessor for ProcessorNode<P> {
    fn node(&self) -> NodeId {
        self.node
    }

    fn init(&mut self, context: &mut Context) -> Step {
        context.enter(self.node);
        self.processor = Some((self.supplier)());
        self.punctuations.borrow_mut().begin_init(self.node);
        let outcome = self.call(context, |processor, context| processor.init(context));
        self.punctuations.borrow_mut().end_init();
        if let Some(failure) = context.pending_failure.take() {
            return Err(failure);
        }
        context.enter(self.node);
        outcome.map_err(|reason| context.processor_error(reason.to_string()).into())
    }

    fn punctuate(&mut self, number: u64, time: Timestamp, context: &mut Context) -> Step {
        let found = self.punctuators.iter().position(|(of, _)| *of == number);
        let Some(found) = found else { return Ok(()) };
        // It may add others, or cancel itself.
        let (_, mut punctuator) = self.punctuators.remove(found);
        self.time.set(time);
        let outcome = self.call(context, |processor, context| punctuator(processor, time, context));
        if self.punctuations.borrow().is_live(number) {
            self.punctuators.push((number, punctuator));
        }
        self.finish(outcome, context)
    }

    fn abort(&mut self) {
        self.punctuators.clear();
        self.close();
    }
}

impl<P: Processor> Drop for ProcessorNode<P> {
    fn drop(&mut self) {
        self.close();
    }
}
