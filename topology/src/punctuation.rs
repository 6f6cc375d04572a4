//! Punctuators: which are due when, and how an abort takes that back.

use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;

use headwater_log_store::Timestamp;

use crate::types::{NodeId, TaskId};

/// Which time drives a punctuator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PunctuationType {
    /// The time of the records: a punctuator can be called after each record of the task that
    /// moves it on, and never without one.
    StreamTime,
    /// The clock of the machine: a punctuator is called whether records come or not.
    WallClockTime,
}

/// One punctuator of one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Schedule {
    pub(crate) node: NodeId,
    /// The number of the punctuator among all that the task ever had.
    pub(crate) number: u64,
    pub(crate) kind: PunctuationType,
    interval_ms: i64,
    next_ms: i64,
    /// Which one it is of those that its node's `init` has made.
    in_init: Option<usize>,
}

/// One call of a punctuator, as it is known again after an abort.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct PunctuationKey {
    task: TaskId,
    node: NodeId,
    in_init: Option<usize>,
    interval_ms: i64,
    /// That of stream time: by the wall clock no call comes again with its time.
    time: Option<Timestamp>,
}

impl PunctuationKey {
    /// Whether what comes after an abort is the same call.
    pub(crate) fn comes_again(&self) -> bool {
        self.time.is_some()
    }
}

impl Schedule {
    /// The call with that time.
    pub(crate) fn key(&self, task: TaskId, time: Timestamp) -> PunctuationKey {
        let time = (self.kind == PunctuationType::StreamTime).then_some(time);
        let Self { node, in_init, interval_ms, .. } = *self;
        PunctuationKey { task, node, in_init, interval_ms, time }
    }

    /// When it is due after a call at `now_ms`: on its grid, and never twice for times gone by.
    fn after(&self, now_ms: i64) -> i64 {
        let next_ms = self.next_ms.saturating_add(self.interval_ms);
        if now_ms < next_ms {
            return next_ms;
        }
        let missed = now_ms.saturating_sub(self.next_ms) / self.interval_ms;
        self.next_ms.saturating_add(missed.saturating_add(1).saturating_mul(self.interval_ms))
    }
}

/// The punctuators of a task.
#[derive(Debug, Default)]
pub(crate) struct Punctuations {
    schedules: Vec<Schedule>,
    /// Those of the last commit.
    committed: Vec<Schedule>,
    numbers: u64,
    /// The node whose `init` runs, and how many punctuators it has made.
    initialising: Option<(NodeId, usize)>,
}

/// The first call that a punctuator asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Start {
    /// By stream time with the first record, on a grid from 0 on; by the wall clock after an
    /// interval.
    Now,
    /// At that time or, if it has passed, at the next one of its grid.
    At(i64),
}

impl Punctuations {
    pub(crate) fn begin_init(&mut self, node: NodeId) {
        self.initialising = Some((node, 0));
    }

    pub(crate) fn end_init(&mut self) {
        self.initialising = None;
    }

    /// Adds a punctuator and returns its number. One that a node's `init` makes again after an
    /// abort goes on as of the last commit. `now_ms` is the time of its kind, if that is known.
    pub(crate) fn add(
        &mut self,
        node: NodeId,
        kind: PunctuationType,
        interval_ms: i64,
        start: Start,
        now_ms: Option<i64>,
    ) -> u64 {
        let in_init = self.initialising.as_mut().map(|(_, made)| {
            *made += 1;
            *made
        });
        let before = self.committed.iter().find(|schedule| {
            in_init.is_some()
                && (schedule.node, schedule.in_init) == (node, in_init)
                && (schedule.kind, schedule.interval_ms) == (kind, interval_ms)
        });
        let next_ms = match (before, start, now_ms) {
            (Some(before), _, _) => before.next_ms,
            (None, Start::Now, now_ms) if kind == PunctuationType::WallClockTime => {
                now_ms.unwrap_or_default().saturating_add(interval_ms)
            }
            (None, Start::Now, _) => 0,
            (None, Start::At(start_ms), Some(now_ms)) if start_ms < now_ms => {
                let passed = now_ms.saturating_sub(start_ms);
                let steps = passed / interval_ms + i64::from(passed % interval_ms != 0);
                start_ms.saturating_add(steps.saturating_mul(interval_ms))
            }
            (None, Start::At(start_ms), _) => start_ms,
        };
        self.numbers += 1;
        let number = self.numbers;
        self.schedules.push(Schedule { node, number, kind, interval_ms, next_ms, in_init });
        number
    }

    /// The punctuator that has been due for longest; it is due again after `now_ms`.
    pub(crate) fn take_due(&mut self, kind: PunctuationType, now_ms: i64) -> Option<Schedule> {
        let due = self.schedules.iter_mut().filter(|schedule| schedule.kind == kind);
        let first = due.min_by_key(|schedule| (schedule.next_ms, schedule.number))?;
        if first.next_ms > now_ms {
            return None;
        }
        let due = first.clone();
        first.next_ms = first.after(now_ms);
        Some(due)
    }

    /// When the next punctuator of that kind is due.
    pub(crate) fn next_ms(&self, kind: PunctuationType) -> Option<i64> {
        let of_kind = self.schedules.iter().filter(|schedule| schedule.kind == kind);
        of_kind.map(|schedule| schedule.next_ms).min()
    }

    pub(crate) fn is_live(&self, number: u64) -> bool {
        self.schedules.iter().any(|schedule| schedule.number == number)
    }

    fn cancel(&mut self, number: u64) {
        self.schedules.retain(|schedule| schedule.number != number);
    }

    pub(crate) fn commit(&mut self) {
        self.committed.clone_from(&self.schedules);
    }

    /// Forgets all punctuators: the nodes make theirs again, which then go on as of the last
    /// commit.
    pub(crate) fn abort(&mut self) {
        self.schedules.clear();
        self.initialising = None;
    }
}

/// Ends a punctuator that `schedule` has started. Dropping it ends nothing.
#[derive(Clone)]
pub struct Cancellable {
    number: u64,
    punctuations: Rc<RefCell<Punctuations>>,
}

impl Cancellable {
    pub(crate) fn new(number: u64, punctuations: Rc<RefCell<Punctuations>>) -> Self {
        Self { number, punctuations }
    }

    /// Calls the punctuator no more, also if it is due already or calls this itself.
    pub fn cancel(&self) {
        self.punctuations.borrow_mut().cancel(self.number);
    }
}

impl fmt::Debug for Cancellable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cancellable").field("number", &self.number).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::{PunctuationType, Punctuations, Start};
    use crate::types::NodeId;

    const NODE: NodeId = NodeId::new(3);

    fn fired(punctuations: &mut Punctuations, kind: PunctuationType, times: &[i64]) -> Vec<i64> {
        let due = |time: &i64| {
            let mut calls = 0;
            while punctuations.take_due(kind, *time).is_some() {
                calls += 1;
            }
            assert!(calls <= 1, "{calls} calls at {time}");
            calls == 1
        };
        let mut due = due;
        times.iter().copied().filter(|time| due(time)).collect()
    }

    #[test]
    fn a_grid_is_kept_and_missed_times_are_one_call() {
        let cases = [
            (
                PunctuationType::StreamTime,
                Start::Now,
                None,
                vec![3, 12, 13, 47, 50],
                vec![3, 12, 47, 50],
            ),
            (
                PunctuationType::WallClockTime,
                Start::Now,
                Some(0),
                vec![9, 10, 45, 49, 50],
                vec![10, 45, 50],
            ),
            (PunctuationType::StreamTime, Start::At(25), None, vec![24, 26, 34, 35], vec![26, 35]),
            (
                PunctuationType::WallClockTime,
                Start::At(5),
                Some(31),
                vec![31, 34, 35, 44, 46],
                vec![35, 46],
            ),
            (
                PunctuationType::WallClockTime,
                Start::At(5),
                Some(35),
                vec![35, 36, 45],
                vec![35, 45],
            ),
        ];
        for (kind, start, now, times, expected) in cases {
            let mut punctuations = Punctuations::default();
            punctuations.add(NODE, kind, 10, start, now);
            assert_eq!(fired(&mut punctuations, kind, &times), expected, "{kind:?} {start:?}");
        }
    }

    #[test]
    fn an_abort_takes_the_grid_back_to_the_last_commit() {
        let kind = PunctuationType::WallClockTime;
        let mut punctuations = Punctuations::default();
        let init = |punctuations: &mut Punctuations, now_ms| {
            punctuations.begin_init(NODE);
            punctuations.add(NODE, kind, 10, Start::Now, Some(now_ms));
            punctuations.add(NODE, kind, 7, Start::Now, Some(now_ms));
            punctuations.end_init();
        };
        init(&mut punctuations, 0);
        let numbers = [7, 10, 14, 20].map(|now| punctuations.take_due(kind, now).unwrap().number);
        assert_eq!(numbers, [2, 1, 2, 1]);
        punctuations.commit();
        assert_eq!(punctuations.take_due(kind, 30).unwrap().number, 2);
        punctuations.abort();
        assert_eq!(punctuations.take_due(kind, 30), None);
        init(&mut punctuations, 30);
        assert_eq!(punctuations.take_due(kind, 30).unwrap().next_ms, 21);
        assert_eq!(punctuations.take_due(kind, 30).unwrap().next_ms, 30);
        assert_eq!(punctuations.next_ms(kind), Some(35));
    }
}
