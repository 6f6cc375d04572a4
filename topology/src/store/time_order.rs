//! Which rows of a store of windows end to matter next: their places by time, in segments.
//!
//! Kafka Streams drops whole segments, and so do we where a segment is over as a whole. A row is
//! gone exactly when its own time is over, though, so the first segment is put in order as soon as
//! a part of it is over.

use std::collections::{BTreeMap, BTreeSet};

use crate::store::slots::Slot;

/// How many segments a retention has, about.
const SEGMENTS: i64 = 256;

/// How many places without a row there may be before they are looked for, beside as many as there
/// are rows.
const STALE_MAX: usize = 1_024;

/// Where a row is: its slot, and the number of its key.
pub(crate) type Place<S> = (S, u32);

/// See the module.
///
/// A place whose row is gone may stay for a while, and come back: so who asks for places looks
/// whether there is a row, and may get one twice.
#[derive(Debug)]
pub(crate) struct TimeOrder<S> {
    segment_ms: i64,
    /// By number, in no order inside.
    segments: BTreeMap<i64, Vec<Place<S>>>,
    /// The places before `ordered_to_ms`.
    ordered: BTreeSet<Place<S>>,
    ordered_to_ms: i64,
    /// The number of places in segments.
    len: usize,
}

impl<S: Slot> TimeOrder<S> {
    pub(crate) fn new(retention_ms: i64) -> Self {
        Self {
            segment_ms: (retention_ms / SEGMENTS).max(1),
            segments: BTreeMap::new(),
            ordered: BTreeSet::new(),
            ordered_to_ms: i64::MIN,
            len: 0,
        }
    }

    #[inline]
    pub(crate) fn insert(&mut self, place: Place<S>) {
        let time_ms = place.0.time_ms();
        if time_ms < self.ordered_to_ms {
            self.ordered.insert(place);
            return;
        }
        self.len += 1;
        let number = time_ms.div_euclid(self.segment_ms);
        match self.segments.last_entry() {
            Some(mut last) if *last.key() == number => last.get_mut().push(place),
            _ => self.segments.entry(number).or_default().push(place),
        }
    }

    /// A row is gone, and with it or later its place.
    #[inline]
    pub(crate) fn remove(&mut self, place: &Place<S>) {
        if place.0.time_ms() < self.ordered_to_ms {
            self.ordered.remove(place);
        }
    }

    /// Drops places without a row, if there are many. `rows` is how many rows there are.
    pub(crate) fn tidy(&mut self, rows: usize, mut has_row: impl FnMut(&Place<S>) -> bool) {
        if self.len <= rows.saturating_mul(2).saturating_add(STALE_MAX) {
            return;
        }
        self.len = 0;
        self.segments.retain(|_, places| {
            places.retain(&mut has_row);
            places.sort_unstable();
            places.dedup();
            self.len += places.len();
            !places.is_empty()
        });
    }

    /// The places from a time up to and including another one, in no order.
    pub(crate) fn between(&self, from_ms: i64, to_ms: i64) -> impl Iterator<Item = &Place<S>> {
        let numbers = from_ms.div_euclid(self.segment_ms)..=to_ms.div_euclid(self.segment_ms);
        let segments = (from_ms <= to_ms).then(|| self.segments.range(numbers));
        let places = segments.into_iter().flatten().flat_map(|(_, places)| places);
        let is_asked = move |(slot, _): &&Place<S>| (from_ms..=to_ms).contains(&slot.time_ms());
        let ordered = self.ordered.range((S::first(from_ms), 0)..);
        let ordered = ordered.take_while(move |(slot, _)| slot.time_ms() <= to_ms);
        ordered.chain(places.filter(is_asked))
    }

    /// Takes out the places up to and including a time.
    pub(crate) fn take_up_to(&mut self, time_ms: i64, mut taken: impl FnMut(Place<S>)) {
        loop {
            while let Some(place) = self.ordered.first()
                && place.0.time_ms() <= time_ms
            {
                taken(*place);
                self.ordered.pop_first();
            }
            let Some(first) = self.segments.first_entry() else { return };
            let number = *first.key();
            if number > time_ms.div_euclid(self.segment_ms) {
                return;
            }
            let places = first.remove();
            self.len -= places.len();
            let last_ms =
                number.saturating_mul(self.segment_ms).saturating_add(self.segment_ms - 1);
            if last_ms <= time_ms {
                places.into_iter().for_each(&mut taken);
            } else {
                self.ordered.extend(places);
                self.ordered_to_ms = last_ms.saturating_add(1);
            }
        }
    }

    pub(crate) fn clear(&mut self) {
        self.segments.clear();
        self.ordered.clear();
        self.len = 0;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{Place, TimeOrder};
    use crate::store::slots::WindowStart;

    fn found(order: &TimeOrder<WindowStart>, from_ms: i64, to_ms: i64) -> BTreeSet<i64> {
        order.between(from_ms, to_ms).map(|(slot, _)| slot.0).collect()
    }

    #[test]
    fn places_leave_at_their_own_time_though_they_stand_in_segments() {
        let seed = fastrand::u64(..);
        let mut random = fastrand::Rng::with_seed(seed);
        for retention_ms in [1, 1_000, 10_000] {
            let (mut order, mut model) = (TimeOrder::new(retention_ms), BTreeSet::new());
            let mut clock_ms = 0;
            for _ in 0..2_000 {
                clock_ms += random.i64(0..30);
                let time_ms = (clock_ms - random.i64(0..=retention_ms)).max(0);
                if model.insert(time_ms) {
                    order.insert((WindowStart(time_ms), 0));
                }
                if random.u8(..8) == 0 {
                    let mut taken = BTreeSet::new();
                    let over_ms = clock_ms - retention_ms;
                    order.take_up_to(over_ms, |(slot, _)| assert!(taken.insert(slot.0)));
                    let kept = model.split_off(&(over_ms + 1));
                    assert_eq!(taken, model, "seed {seed}");
                    model = kept;
                }
                let from_ms = clock_ms - random.i64(0..=retention_ms);
                let to_ms = from_ms + random.i64(0..=retention_ms);
                let expected = model.range(from_ms..=to_ms).copied().collect();
                assert_eq!(found(&order, from_ms, to_ms), expected, "seed {seed}");
            }
            assert_eq!(found(&order, i64::MIN, i64::MAX), model, "seed {seed}");
        }
    }

    #[test]
    fn places_without_rows_are_dropped_when_they_are_many() {
        let mut order = TimeOrder::new(10);
        let is_kept = |place: &Place<WindowStart>| place.0.0 % 100 == 0;
        for start_ms in 0..5_000 {
            order.insert((WindowStart(start_ms), 0));
            order.insert((WindowStart(start_ms), 0));
            order.tidy(50, is_kept);
            assert!(order.len <= 100 + super::STALE_MAX, "{}", order.len);
        }
        order.tidy(0, is_kept);
        assert!(order.between(0, 3_000).filter(|place| is_kept(place)).count() >= 31);
    }
}
