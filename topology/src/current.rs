//! What a task works on at the moment.

use std::rc::Rc;

use headwater_log_store::{RecordBatch, Timestamp};

use crate::punctuation::PunctuationKey;
use crate::types::TaskId;

/// The record that a task works on, as it is in the log, and the node that works on it.
#[derive(Clone)]
pub(crate) struct Current {
    pub(crate) batch: Option<Rc<RecordBatch>>,
    pub(crate) index: usize,
    pub(crate) node: usize,
    pub(crate) task: TaskId,
    /// The latest time that the task has come to, that of the record included.
    pub(crate) stream_time: Option<Timestamp>,
    /// The call of a punctuator that runs.
    pub(crate) punctuation: Option<PunctuationKey>,
    /// The time that it was called with.
    pub(crate) time: Timestamp,
}

impl Current {
    /// The record of that index in a batch is worked on from now on.
    #[inline]
    pub(crate) fn enter(&mut self, batch: &Rc<RecordBatch>, index: usize) {
        if !self.batch.as_ref().is_some_and(|current| Rc::ptr_eq(current, batch)) {
            self.batch = Some(Rc::clone(batch));
        }
        self.index = index;
    }
}
