//! Lists of records that readers of polls have done with, for the polls that come next.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::record::{RecordBatch, RecordSpans};

/// How many batches are remembered: a reader has a few in its hands at a time.
const LENT_MAX: usize = 8;
/// A longer list is not kept: it comes of a batch larger than most.
const RECORDS_MAX: usize = 16 << 10;

/// Who reads batch after batch, and lets go of each soon, spares the system to take the memory of
/// their lists back and to give it again each time.
#[derive(Debug)]
pub(crate) struct SpareSpans {
    /// The lists of the batches that were handed out last. Those which nobody else has are free.
    lent: VecDeque<Arc<Vec<RecordSpans>>>,
    lent_max: usize,
}

impl SpareSpans {
    /// For a reader of many batches.
    pub(crate) fn new() -> Self {
        Self { lent: VecDeque::new(), lent_max: LENT_MAX }
    }

    /// For one that keeps all that it reads, or reads only once: nothing is remembered.
    pub(crate) fn none() -> Self {
        Self { lent: VecDeque::new(), lent_max: 0 }
    }

    /// An empty list, one that is free if there is one.
    pub(super) fn take(&mut self) -> Vec<RecordSpans> {
        let free = self.lent.iter_mut().position(|list| Arc::get_mut(list).is_some());
        let list = free.and_then(|free| self.lent.remove(free)).and_then(Arc::into_inner);
        let mut list = list.unwrap_or_default();
        list.clear();
        list
    }

    /// Remembers a batch that is handed out.
    pub(super) fn lend(&mut self, batch: &RecordBatch) {
        let list = batch.spans();
        if self.lent_max == 0 || list.capacity() > RECORDS_MAX {
            return;
        }
        if self.lent.len() == self.lent_max {
            self.lent.pop_front();
        }
        self.lent.push_back(Arc::clone(list));
    }
}

#[cfg(test)]
mod tests {
    use super::{LENT_MAX, RECORDS_MAX, SpareSpans};
    use crate::record::{Record, RecordBatch, RecordBatchBuilder, RecordSpans};
    use crate::types::{Offset, PartitionId, Timestamp, TopicName, TopicPartition};

    fn batch(list: Vec<RecordSpans>) -> RecordBatch {
        let partition = TopicPartition::new(TopicName::new("t").unwrap(), PartitionId::new(0));
        let mut builder = RecordBatchBuilder::new(partition.clone());
        builder.push(Offset::ZERO, Timestamp::from_millis(0), &Record::value(b"v"));
        let span = builder.build().spans()[0];
        RecordBatch::new(partition, bytes::Bytes::new(), list.into_iter().chain([span]).collect())
    }

    #[test]
    fn a_list_is_used_again_only_when_nobody_has_its_batch_any_more() {
        let mut spare = SpareSpans::new();
        let (first, second) = (batch(Vec::with_capacity(100)), batch(Vec::new()));
        spare.lend(&first);
        spare.lend(&second);
        let clone = second.clone();
        drop((first, second));
        let list = spare.take();
        assert!(list.is_empty() && list.capacity() >= 1);
        assert_eq!(spare.take().capacity(), 0, "the other one is still read");
        assert_eq!(clone.len(), 1);
        drop(clone);
        assert_ne!(spare.take().capacity(), 0);
    }

    #[test]
    fn no_more_is_kept_than_a_reader_has_in_its_hands() {
        let mut spare = SpareSpans::new();
        let mut long = Vec::with_capacity(RECORDS_MAX + 1);
        long.extend_from_slice(batch(Vec::new()).spans());
        for list in [long].into_iter().chain((0..LENT_MAX + 3).map(|_| Vec::new())) {
            spare.lend(&batch(list));
        }
        let taken = (0..2 * LENT_MAX).map(|_| spare.take().capacity()).filter(|len| *len > 0);
        let taken: Vec<_> = taken.collect();
        assert_eq!(taken.len(), LENT_MAX);
        assert!(taken.iter().all(|capacity| *capacity <= RECORDS_MAX), "{taken:?}");
    }
}
