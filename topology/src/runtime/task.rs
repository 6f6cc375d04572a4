//! A task: one sub-topology on one partition number.
//!
//! Nothing in it is shared or locked: it belongs to one worker from its making to its end.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use headwater_log_store::{PartitionId, ProducerRecord};

use crate::context::{Context, Step};
use crate::error::Result;
use crate::error_handler::Failure;
use crate::runtime::poison::Poison;
use crate::runtime::record_queue::{Head, RecordQueue};
use crate::store::managed::ManagedStore;
use crate::types::TaskId;

/// A store of a task, with its changelog if it has one.
pub(crate) struct TaskStore {
    pub(crate) name: String,
    pub(crate) store: Rc<RefCell<dyn ManagedStore>>,
    pub(crate) changelog: Option<Arc<str>>,
}

/// See the module.
pub(crate) struct Task {
    pub(crate) id: TaskId,
    pub(crate) queues: Vec<RecordQueue>,
    pub(crate) stores: Vec<TaskStore>,
}

/// What a step has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// A record was processed or dropped.
    Processed,
    /// There is nothing to process, or a queue has to be filled first.
    Waiting,
}

impl Task {
    /// Processes the record with the lowest timestamp among the heads of the queues; of equals,
    /// that of the first queue. `may_go_on` says whether an empty queue has no records to come
    /// that could be earlier.
    #[inline]
    pub(crate) fn step(
        &mut self,
        context: &mut Context,
        poison: &Poison,
        mut may_go_on: impl FnMut(&mut RecordQueue) -> Result<bool>,
    ) -> Step<Progress> {
        if let [queue] = &mut self.queues[..] {
            return match queue.load_head(context, poison)? {
                Head::Ready(_) => queue.process_head(context).map(|()| Progress::Processed),
                Head::Dropped => Ok(Progress::Processed),
                Head::None => Ok(Progress::Waiting),
            };
        }
        let mut best = None;
        for (index, queue) in self.queues.iter_mut().enumerate() {
            match queue.load_head(context, poison)? {
                Head::Ready(timestamp) if best.is_none_or(|(least, _)| timestamp < least) => {
                    best = Some((timestamp, index));
                }
                Head::Ready(_) | Head::None => {}
                Head::Dropped => return Ok(Progress::Processed),
            }
        }
        let Some((_, best)) = best else { return Ok(Progress::Waiting) };
        for queue in self.queues.iter_mut().filter(|queue| !queue.has_head()) {
            if !may_go_on(queue).map_err(|error| Box::new(Failure::Fatal(error)))? {
                return Ok(Progress::Waiting);
            }
        }
        match self.queues.get_mut(best) {
            Some(queue) => queue.process_head(context).map(|()| Progress::Processed),
            None => Ok(Progress::Waiting),
        }
    }

    /// Whether something was processed since the last commit.
    pub(crate) fn is_changed(&self) -> bool {
        self.queues.iter().any(RecordQueue::is_changed)
    }

    /// How many keys of logged stores were changed since the last commit.
    pub(crate) fn dirty_len(&self) -> usize {
        let logged = self.stores.iter().filter(|store| store.changelog.is_some());
        logged.map(|store| store.store.borrow().dirty_len()).sum()
    }

    /// Writes the changes of the stores to their changelogs.
    pub(crate) fn log_changes(&self, context: &mut Context) -> Step {
        for store in &self.stores {
            let Some(changelog) = &store.changelog else { continue };
            let mut failure = None;
            let logged = store.store.borrow().log_changes(&mut |change| {
                if failure.is_some() {
                    return Ok(());
                }
                let sent = context.send(&ProducerRecord {
                    topic: changelog,
                    partition: Some(PartitionId::new(self.id.partition)),
                    key: Some(change.key),
                    value: change.value,
                    timestamp: change.timestamp,
                    headers: &[],
                });
                failure = sent.err();
                Ok(())
            });
            logged?;
            if let Some(failure) = failure {
                return Err(failure);
            }
        }
        Ok(())
    }

    /// Forgets what the stores have kept of their operators' stream times.
    pub(crate) fn forget_stream_times(&self) {
        for store in &self.stores {
            store.store.borrow_mut().forget_stream_times();
        }
    }

    /// The commit took place.
    pub(crate) fn commit(&mut self) {
        for store in &self.stores {
            store.store.borrow_mut().commit();
        }
        for queue in &mut self.queues {
            queue.commit();
        }
    }

    /// Puts stores and queues back to the last commit.
    pub(crate) fn abort(&mut self) {
        for store in &self.stores {
            store.store.borrow_mut().abort();
        }
        for queue in &mut self.queues {
            queue.rewind();
        }
    }
}
