//! Leader epochs of a partition: which offsets were written between which two unclean stops, so
//! that an offset that was lost and used again is known from the one that it was.

use crate::types::{LeaderEpoch, Offset};

/// An epoch and the first offset that was written in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EpochStart {
    pub(crate) epoch: LeaderEpoch,
    pub(crate) start: Offset,
}

/// The epochs of a partition that have records, and the current one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct EpochHistory {
    /// Rising in both.
    starts: Vec<EpochStart>,
}

impl EpochHistory {
    /// That of a partition that begins now, at `start`.
    pub(crate) fn new(epoch: LeaderEpoch, start: Offset) -> Self {
        Self { starts: vec![EpochStart { epoch, start }] }
    }

    /// What was stored; `None` if it cannot be a history.
    pub(crate) fn from_starts(starts: Vec<EpochStart>) -> Option<Self> {
        let rising = starts
            .windows(2)
            .all(|pair| matches!(pair, [a, b] if a.epoch < b.epoch && a.start < b.start));
        rising.then_some(Self { starts })
    }

    /// All of it, oldest first.
    pub(crate) fn starts(&self) -> &[EpochStart] {
        &self.starts
    }

    /// Begins an epoch where the log ends. What earlier ones had behind it is lost.
    pub(crate) fn begin(&mut self, epoch: LeaderEpoch, end: Offset) {
        self.starts.retain(|known| known.start < end && known.epoch < epoch);
        self.starts.push(EpochStart { epoch, start: end });
    }

    /// Without the epochs that have no record from the log start offset on.
    pub(crate) fn since(&self, log_start: Offset) -> Self {
        let gone = self.starts.iter().skip(1).take_while(|next| next.start <= log_start).count();
        Self { starts: self.starts.iter().skip(gone).copied().collect() }
    }

    /// The current epoch.
    pub(crate) fn latest(&self) -> LeaderEpoch {
        self.starts.last().map_or(LeaderEpoch::FIRST, |known| known.epoch)
    }

    /// The epoch that the record at this offset was, or would be, written in.
    pub(crate) fn of(&self, offset: Offset) -> LeaderEpoch {
        let before = self.starts.iter().rfind(|known| known.start <= offset);
        before.or(self.starts.first()).map_or(LeaderEpoch::FIRST, |known| known.epoch)
    }

    /// Where an epoch ends: where the next one begins, or `None` for the current one, which goes
    /// up to the log end, and for one that is not known yet.
    pub(crate) fn end_of(&self, epoch: LeaderEpoch) -> Option<Offset> {
        self.starts.iter().find(|known| known.epoch > epoch).map(|known| known.start)
    }

    /// The newest epoch up to `epoch` that is known.
    pub(crate) fn at_most(&self, epoch: LeaderEpoch) -> Option<LeaderEpoch> {
        self.starts.iter().rfind(|known| known.epoch <= epoch).map(|known| known.epoch)
    }
}

#[cfg(test)]
mod tests {
    use super::{EpochHistory, EpochStart};
    use crate::types::{LeaderEpoch, Offset};

    fn history(starts: &[(u32, u64)]) -> EpochHistory {
        let start = |&(epoch, start): &(u32, u64)| EpochStart {
            epoch: LeaderEpoch::new(epoch),
            start: Offset::new(start),
        };
        EpochHistory::from_starts(starts.iter().map(start).collect()).unwrap()
    }

    fn epoch(value: u32) -> LeaderEpoch {
        LeaderEpoch::new(value)
    }

    #[test]
    fn an_epoch_ends_where_the_next_begins() {
        let history = history(&[(0, 0), (2, 10), (5, 25)]);
        for (of, expected) in [(0, Some(10)), (1, Some(10)), (2, Some(25)), (4, Some(25))] {
            assert_eq!(history.end_of(epoch(of)), expected.map(Offset::new), "{of}");
        }
        assert_eq!((history.end_of(epoch(5)), history.end_of(epoch(9))), (None, None));
        for (offset, of) in [(0, 0), (9, 0), (10, 2), (24, 2), (25, 5), (1_000, 5)] {
            assert_eq!(history.of(Offset::new(offset)), epoch(of), "{offset}");
        }
        assert_eq!((history.latest(), history.at_most(epoch(4))), (epoch(5), Some(epoch(2))));
    }

    #[test]
    fn what_was_lost_belongs_to_no_epoch_any_more() {
        let mut lost = history(&[(0, 0), (2, 10), (5, 25)]);
        lost.begin(epoch(6), Offset::new(20));
        assert_eq!(lost, history(&[(0, 0), (2, 10), (6, 20)]));
        lost.begin(epoch(7), Offset::new(20));
        assert_eq!(lost, history(&[(0, 0), (2, 10), (7, 20)]), "an epoch without records is none");
        lost.begin(epoch(8), Offset::ZERO);
        assert_eq!(lost, history(&[(8, 0)]));
    }

    #[test]
    fn epochs_before_the_log_start_are_forgotten() {
        let history_of = history(&[(0, 0), (2, 10), (5, 25)]);
        for (start, left) in [
            (0, &[(0, 0), (2, 10), (5, 25)][..]),
            (9, &[(0, 0), (2, 10), (5, 25)]),
            (10, &[(2, 10), (5, 25)]),
            (25, &[(5, 25)]),
            (99, &[(5, 25)]),
        ] {
            assert_eq!(history_of.since(Offset::new(start)), history(left), "{start}");
        }
        assert_eq!(EpochHistory::default().since(Offset::new(3)), history(&[]));
    }
}
