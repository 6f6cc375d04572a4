//! The application's own processors in a task, and their punctuators.

use std::cell::RefCell;
use std::rc::Rc;

use headwater_log_store::Timestamp;

use crate::context::{Context, Step};
use crate::processor::TaskProcessor;
use crate::punctuation::{PunctuationType, Punctuations};
use crate::runtime::poison::Poison;
use crate::types::NodeId;

type SharedProcessor = Rc<RefCell<dyn TaskProcessor>>;

/// See the module.
pub(crate) struct TaskProcessors {
    /// By their nodes: those above come first.
    processors: Vec<(NodeId, SharedProcessor)>,
    punctuations: Rc<RefCell<Punctuations>>,
    /// Whether `init` was called.
    prepared: bool,
    /// Whether punctuators have left something to commit since the last time.
    pub(crate) changed: bool,
}

impl TaskProcessors {
    /// `None` if the task has no processors.
    pub(crate) fn new(
        processors: Vec<SharedProcessor>,
        punctuations: Rc<RefCell<Punctuations>>,
    ) -> Option<Self> {
        if processors.is_empty() {
            return None;
        }
        let mut processors: Vec<_> = processors
            .into_iter()
            .map(|processor| {
                let node = processor.borrow().node();
                (node, processor)
            })
            .collect();
        processors.sort_by_key(|(node, _)| *node);
        Some(Self { processors, punctuations, prepared: false, changed: false })
    }

    /// Calls `init` where it was not called yet. Returns whether it did.
    pub(crate) fn prepare(&mut self, context: &mut Context) -> Step<bool> {
        if self.prepared {
            return Ok(false);
        }
        context.current.batch = None;
        for (_, processor) in &self.processors {
            processor.borrow_mut().init(context)?;
        }
        self.punctuations.borrow_mut().commit();
        self.prepared = true;
        Ok(true)
    }

    /// Calls the punctuators that are due. Returns whether there were any.
    pub(crate) fn punctuate(
        &self,
        kind: PunctuationType,
        time: Timestamp,
        context: &mut Context,
        poison: &Poison,
    ) -> Step<bool> {
        let mut called = false;
        loop {
            let due = self.punctuations.borrow_mut().take_due(kind, time.as_millis());
            let Some(due) = due else { return Ok(called) };
            called = true;
            let found = self.processors.binary_search_by_key(&due.node, |(node, _)| *node).ok();
            let Some((_, processor)) = found.and_then(|index| self.processors.get(index)) else {
                continue;
            };
            let key = due.key(context.current.task, time);
            if poison.skips(&key) {
                continue;
            }
            context.current.batch = None;
            context.current.time = time;
            context.current.punctuation = Some(key);
            processor.borrow_mut().punctuate(due.number, time, context)?;
            context.current.punctuation = None;
        }
    }

    /// When the next punctuator of the wall clock is due, in milliseconds; at once if `init` has to
    /// say that again.
    pub(crate) fn next_ms(&self) -> Option<i64> {
        if !self.prepared {
            return Some(i64::MIN);
        }
        self.punctuations.borrow().next_ms(PunctuationType::WallClockTime)
    }

    pub(crate) fn commit(&mut self) {
        self.punctuations.borrow_mut().commit();
        self.changed = false;
    }

    pub(crate) fn abort(&mut self) {
        for (_, processor) in &self.processors {
            processor.borrow_mut().abort();
        }
        self.punctuations.borrow_mut().abort();
        self.prepared = false;
        self.changed = false;
    }
}
