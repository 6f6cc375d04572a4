//! Who sent which value, and which value is at which place.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::error::{Error, Result};
use crate::history::{Action, History, Operation, Outcome};

/// A value that was sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sent<'a> {
    pub(crate) operation: usize,
    pub(crate) outcome: Outcome,
    pub(crate) partition: &'a str,
    /// As its acknowledgement said.
    pub(crate) offset: Option<u64>,
    pub(crate) of: Option<u64>,
}

/// What is known of a partition.
#[derive(Debug, Default)]
pub(crate) struct Partition {
    /// The values at each offset, by readers and acknowledgements; more than one is a mistake.
    pub(crate) values: BTreeMap<u64, BTreeSet<u64>>,
    /// Whether somebody has read all of it at the end.
    pub(crate) is_whole: bool,
    /// The highest offset that was read.
    pub(crate) highest_read: Option<u64>,
}

/// A history, looked up by value and by place.
#[derive(Debug)]
pub(crate) struct Index<'a> {
    pub(crate) operations: Vec<&'a Operation>,
    pub(crate) sent: HashMap<u64, Sent<'a>>,
    pub(crate) partitions: BTreeMap<&'a str, Partition>,
    /// Where each value was read.
    pub(crate) places: HashMap<u64, BTreeSet<(&'a str, u64)>>,
}

impl<'a> Index<'a> {
    pub(crate) fn new(history: &'a History) -> Result<Self> {
        let operations = history.operations().map(|(_, operation)| operation).collect();
        let (sent, partitions, places) = (HashMap::new(), BTreeMap::new(), HashMap::new());
        let mut index = Self { operations, sent, partitions, places };
        for (number, operation) in history.operations() {
            for action in &operation.actions {
                index.take_send(number, operation, action)?;
            }
        }
        for (number, operation) in history.operations() {
            for action in &operation.actions {
                index.take_poll(number, action)?;
            }
        }
        Ok(index)
    }

    fn take_send(
        &mut self,
        number: usize,
        operation: &Operation,
        action: &'a Action,
    ) -> Result<()> {
        let Action::Send { partition, value, offset, of } = action else { return Ok(()) };
        let sent = Sent {
            operation: number,
            outcome: operation.outcome,
            partition,
            offset: offset.filter(|_| operation.outcome == Outcome::Ok),
            of: *of,
        };
        if let Some(first) = self.sent.insert(*value, sent) {
            let (first, second) = (first.operation, number);
            return Err(Error::ValueSentTwice { value: *value, first, second });
        }
        let known = self.partitions.entry(partition).or_default();
        if let Some(offset) = sent.offset {
            known.values.entry(offset).or_default().insert(*value);
        }
        Ok(())
    }

    fn take_poll(&mut self, number: usize, action: &'a Action) -> Result<()> {
        let Action::Poll { partition, records, whole, .. } = action else { return Ok(()) };
        let known = self.partitions.entry(partition).or_default();
        known.is_whole |= whole;
        for &(offset, value) in records {
            if !self.sent.contains_key(&value) {
                let partition = partition.clone();
                return Err(Error::UnknownValue { value, partition, operation: number });
            }
            known.values.entry(offset).or_default().insert(value);
            known.highest_read = known.highest_read.max(Some(offset));
            self.places.entry(value).or_default().insert((partition, offset));
        }
        Ok(())
    }

    /// Whether anybody has read it.
    pub(crate) fn is_read(&self, value: u64) -> bool {
        self.places.contains_key(&value)
    }

    /// Where a value is: as a reader or its acknowledgement says.
    pub(crate) fn offset(&self, value: u64) -> Option<u64> {
        let read = self.places.get(&value).and_then(|places| places.first());
        read.map(|&(_, offset)| offset).or_else(|| self.sent.get(&value)?.offset)
    }
}
