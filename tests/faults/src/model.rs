//! What has to be in a store, by what its writers were told.

use std::collections::{BTreeMap, HashMap};

use crate::failure::{Result, violation};
use crate::message::Message;
use crate::plan::{CUT, Identity, Kind, PARTITIONS, Plan, Unit};
use crate::tally::Tally;

/// What a stop may take of what was acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Loss {
    /// Nothing.
    None,
    /// A suffix of the order in which it was acknowledged, none of it older than this.
    Since { nanos: u64 },
    /// In each partition a suffix of what was acknowledged since the store was opened last.
    SinceOpen,
}

/// A record that has to be at an offset.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Expected {
    pub(crate) identity: Identity,
    /// Whether a power cut may have taken it.
    pub(crate) losable: bool,
    /// When it was acknowledged; 0 if that was before the last verification.
    pub(crate) nanos: u64,
}

/// A unit that was acknowledged since the store was opened last.
#[derive(Clone, Debug)]
pub(crate) struct AcknowledgedUnit {
    pub(crate) number: u32,
    pub(crate) nanos: u64,
    pub(crate) offsets: Vec<u64>,
}

/// What is known of a thread's work.
#[derive(Clone, Debug, Default)]
pub(crate) struct ThreadModel {
    /// The first unit of the next writer.
    pub(crate) next: u32,
    pub(crate) acknowledged: Vec<AcknowledgedUnit>,
    /// Units whose outcome nobody knows.
    pub(crate) unknown: Vec<u32>,
    /// The offset that its group has committed.
    pub(crate) committed: Option<u32>,
    /// Whether its own topic is there, where that is known.
    pub(crate) own_topic: Option<bool>,
}

/// All that is known of a store.
#[derive(Clone, Debug)]
pub(crate) struct Model {
    pub(crate) plan: Plan,
    pub(crate) threads: Vec<ThreadModel>,
    /// By partition, what was found when it was looked at last.
    pub(crate) found: Vec<BTreeMap<u64, Identity>>,
    /// Log start offsets at that time.
    pub(crate) starts: Vec<u64>,
    /// What `delete_records` was asked for, and what it has acknowledged.
    pub(crate) cut_tried: u64,
    pub(crate) cut_acknowledged: u64,
    /// When the oldest record was acknowledged that a power cut has taken.
    pub(crate) oldest_lost: Option<u64>,
    units: HashMap<(u32, u32), Unit>,
}

impl Model {
    pub(crate) fn new(plan: Plan, threads: usize) -> Self {
        let fresh = ThreadModel { own_topic: Some(false), ..ThreadModel::default() };
        Self {
            plan,
            threads: vec![fresh; threads],
            found: vec![BTreeMap::new(); PARTITIONS.len()],
            starts: vec![0; PARTITIONS.len()],
            cut_tried: 0,
            cut_acknowledged: 0,
            oldest_lost: None,
            units: HashMap::new(),
        }
    }

    /// Where the threads of the next writer begin.
    pub(crate) fn from(&self) -> Vec<u32> {
        self.threads.iter().map(|thread| thread.next).collect()
    }

    /// The unit of that number.
    pub(crate) fn unit(&mut self, thread: u32, number: u32) -> &Unit {
        let plan = self.plan;
        self.units.entry((thread, number)).or_insert_with(|| plan.unit(thread, number))
    }

    /// Takes in what a writer has said until its end, and forgets what the one before has.
    pub(crate) fn absorb(&mut self, messages: &[Message], tally: &mut Tally) -> Result {
        let ready = messages.contains(&Message::Ready);
        for message in messages {
            match message {
                Message::Acknowledged { thread, unit, nanos, offsets } => {
                    self.acknowledge(*thread, *unit, *nanos, offsets, tally)?;
                }
                Message::Failed { thread, unit, .. } if ready && *unit != u32::MAX => {
                    let thread = &mut self.threads[*thread as usize];
                    thread.unknown.push(*unit);
                    thread.next = unit + 1;
                    tally.count("failed units");
                }
                Message::Cutting { before } => self.cut_tried = self.cut_tried.max(*before),
                Message::Opened(_)
                | Message::Ready
                | Message::Failed { .. }
                | Message::Full
                | Message::Violation(_)
                | Message::Closed => {}
            }
        }
        if ready && !messages.contains(&Message::Closed) {
            for thread in &mut self.threads {
                // This one may have been under way.
                thread.unknown.push(thread.next);
                thread.next += 1;
            }
        }
        Ok(())
    }

    fn acknowledge(
        &mut self,
        thread: u32,
        number: u32,
        nanos: u64,
        offsets: &[u64],
        tally: &mut Tally,
    ) -> Result {
        let unit = self.unit(thread, number).clone();
        let expected = if unit.kind == Kind::Aborted { 0 } else { unit.records.len() };
        if !unit.records.is_empty() && offsets.len() != expected {
            return violation(format!(
                "unit {number} of thread {thread} has {expected} records and got {offsets:?}"
            ));
        }
        tally.count("acknowledged units");
        tally.add("acknowledged records", expected as u64);
        let known = &mut self.threads[thread as usize];
        known.next = number + 1;
        match unit.kind {
            Kind::OwnTopic => known.own_topic = offsets.first().map(|exists| *exists == 1),
            Kind::DeleteRecords => {
                let before = offsets.first().copied().unwrap_or_default();
                self.cut_acknowledged = self.cut_acknowledged.max(before);
                self.cut_tried = self.cut_tried.max(before);
            }
            Kind::Append | Kind::Pipelined | Kind::Transaction => {
                let offsets = offsets.to_vec();
                known.acknowledged.push(AcknowledgedUnit { number, nanos, offsets });
            }
            Kind::Aborted | Kind::Read => {}
        }
        Ok(())
    }

    /// What each partition has to hold, by offset.
    pub(crate) fn expected(&mut self, loss: Loss) -> Result<Vec<BTreeMap<u64, Expected>>> {
        let sure = |map: &BTreeMap<u64, Identity>| {
            let expect = |(offset, identity): (&u64, &Identity)| {
                (*offset, Expected { identity: *identity, losable: false, nanos: 0 })
            };
            map.iter().map(expect).collect::<BTreeMap<_, _>>()
        };
        let mut expected: Vec<_> = self.found.iter().map(sure).collect();
        for (thread, known) in (0..).zip(self.threads.clone()) {
            for unit in &known.acknowledged {
                let losable = match loss {
                    Loss::None => false,
                    Loss::Since { nanos } => unit.nanos >= nanos,
                    Loss::SinceOpen => true,
                };
                let records = self.unit(thread, unit.number).records.clone();
                for (index, (record, offset)) in (0..).zip(records.iter().zip(&unit.offsets)) {
                    let identity = Identity { thread, unit: unit.number, index };
                    let expect = Expected { identity, losable, nanos: unit.nanos };
                    let other = expected[record.partition].insert(*offset, expect);
                    if let Some(other) = other {
                        return violation(format!(
                            "{identity:?} and {:?} were both acknowledged at offset {offset} of \
                             partition {}",
                            other.identity, record.partition
                        ));
                    }
                }
            }
        }
        Ok(expected)
    }

    /// How far the records of the cut partition may be gone.
    pub(crate) fn cut_range(&self, loss: Loss) -> std::ops::RangeInclusive<u64> {
        match loss {
            Loss::None => self.cut_acknowledged..=self.cut_tried,
            Loss::Since { .. } | Loss::SinceOpen => self.starts[CUT]..=self.cut_tried,
        }
    }
}
