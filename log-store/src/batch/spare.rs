//! Buffers of batches that were written, for those that come next.

use std::ops::RangeInclusive;

use parking_lot::Mutex;

use crate::batch::encode::BatchBuilder;

/// How many are kept: those of a large transaction, which is a quarter of the journal at most.
const BUFFERS_MAX: usize = 128;
/// Smaller ones are made as fast as they are found, and larger ones are rare.
const CAPACITY_BYTES: RangeInclusive<usize> = 64 << 10..=256 << 10;

/// Buffers that large transactions use again and again: memory that is given back to the system
/// after each commit comes again page by page, filled with zeros first.
#[derive(Debug, Default)]
pub(crate) struct SpareBuffers {
    buffers: Mutex<Vec<BatchBuilder>>,
}

impl SpareBuffers {
    /// An empty batch, with a buffer that is left over if there is one.
    pub(crate) fn take(&self) -> BatchBuilder {
        self.buffers.lock().pop().unwrap_or_default()
    }

    /// Keeps the buffers of batches that nobody needs any more.
    pub(crate) fn give_back(&self, batches: impl Iterator<Item = BatchBuilder>) {
        let mut buffers = self.buffers.lock();
        for mut batch in batches.filter(|batch| CAPACITY_BYTES.contains(&batch.capacity())) {
            if buffers.len() == BUFFERS_MAX {
                return;
            }
            batch.clear();
            buffers.push(batch);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{BUFFERS_MAX, SpareBuffers};
    use crate::batch::encode::BatchBuilder;
    use crate::record::Record;
    use crate::types::Timestamp;

    fn batch(value_len: usize) -> BatchBuilder {
        let mut batch = BatchBuilder::default();
        batch.push(&Record::value(&vec![1; value_len]), Timestamp::from_millis(0));
        batch
    }

    #[test]
    fn buffers_come_back_empty_and_only_as_many_as_are_worth_their_memory() {
        let spare = SpareBuffers::default();
        spare.give_back([batch(100), batch(1 << 20)].into_iter());
        assert_eq!(spare.take().capacity(), 0, "small and huge ones are let go");
        spare.give_back((0..BUFFERS_MAX + 2).map(|_| batch(100 << 10)));
        let taken: Vec<_> = (0..BUFFERS_MAX + 1).map(|_| spare.take()).collect();
        let (last, kept) = taken.split_last().unwrap();
        assert!(kept.iter().all(|batch| batch.len() == 0 && batch.capacity() > 100 << 10));
        assert_eq!(last.capacity(), 0);
    }
}
