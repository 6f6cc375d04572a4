//! The rows of one key by their slots: a queue while there are few of them, because most come in
//! order, and a tree from then on, so that none of many has to make room for one that does not.

use std::collections::{BTreeMap, VecDeque, btree_map, vec_deque};

/// How many rows the queue may hold: about what can be moved while a tree finds a place.
const FEW_MAX: usize = 256;

/// See the module.
#[derive(Debug)]
pub(crate) enum KeyRows<S, R> {
    Few(VecDeque<(S, R)>),
    Many(BTreeMap<S, R>),
}

impl<S, R> Default for KeyRows<S, R> {
    fn default() -> Self {
        Self::Few(VecDeque::new())
    }
}

impl<S: Copy + Ord, R> KeyRows<S, R> {
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Few(rows) => rows.len(),
            Self::Many(rows) => rows.len(),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    #[inline]
    pub(crate) fn get(&self, slot: S) -> Option<&R> {
        match self {
            Self::Few(rows) => rows.get(find(rows, slot).ok()?).map(|(_, row)| row),
            Self::Many(rows) => rows.get(&slot),
        }
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, slot: S) -> Option<&mut R> {
        match self {
            Self::Few(rows) => {
                let index = find(rows, slot).ok()?;
                rows.get_mut(index).map(|(_, row)| row)
            }
            Self::Many(rows) => rows.get_mut(&slot),
        }
    }

    /// Sets a row, and returns the one before.
    pub(crate) fn insert(&mut self, slot: S, row: R) -> Option<R> {
        match self {
            Self::Many(rows) => rows.insert(slot, row),
            Self::Few(rows) => match find(rows, slot) {
                Ok(index) => rows.get_mut(index).map(|(_, before)| std::mem::replace(before, row)),
                Err(index) if rows.len() < FEW_MAX => {
                    rows.insert(index, (slot, row));
                    None
                }
                Err(_) => {
                    let mut many: BTreeMap<S, R> = rows.drain(..).collect();
                    many.insert(slot, row);
                    *self = Self::Many(many);
                    None
                }
            },
        }
    }

    pub(crate) fn remove(&mut self, slot: S) -> Option<R> {
        match self {
            Self::Few(rows) => {
                let index = find(rows, slot).ok()?;
                rows.remove(index).map(|(_, row)| row)
            }
            Self::Many(rows) => rows.remove(&slot),
        }
    }

    /// Gives back the room of rows that are gone, but for so many.
    pub(crate) fn shrink_to(&mut self, rows_max: usize) {
        match self {
            Self::Few(rows) => rows.shrink_to(rows_max),
            Self::Many(rows) if rows.is_empty() => *self = Self::default(),
            Self::Many(_) => {}
        }
    }

    /// The rows from a slot up to another one, which is not among them.
    #[inline]
    pub(crate) fn range(&self, from: S, to: S) -> RowsIter<'_, S, R> {
        match self {
            Self::Few(rows) => {
                let place = |of: S| rows.partition_point(|(slot, _)| *slot < of);
                let first = place(from);
                RowsIter::Few(rows.range(first..place(to).max(first)))
            }
            Self::Many(rows) => RowsIter::Many(rows.range(from..to.max(from))),
        }
    }

    /// All rows.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (S, &R)> {
        let (few, many) = match self {
            Self::Few(rows) => (Some(rows), None),
            Self::Many(rows) => (None, Some(rows)),
        };
        let few = few.into_iter().flatten().map(|(slot, row)| (*slot, row));
        few.chain(many.into_iter().flatten().map(|(slot, row)| (*slot, row)))
    }
}

/// Where a slot is, or where it would be: most are the last, or come behind it.
#[inline]
fn find<S: Copy + Ord, R>(rows: &VecDeque<(S, R)>, slot: S) -> Result<usize, usize> {
    match rows.back() {
        Some((last, _)) if *last >= slot => rows.binary_search_by(|(other, _)| other.cmp(&slot)),
        _ => Err(rows.len()),
    }
}

/// Some rows of a key.
#[derive(Debug)]
pub(crate) enum RowsIter<'a, S, R> {
    Few(vec_deque::Iter<'a, (S, R)>),
    Many(btree_map::Range<'a, S, R>),
}

impl<'a, S: Copy, R> Iterator for RowsIter<'a, S, R> {
    type Item = (S, &'a R);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Self::Few(rows) => rows.next().map(|(slot, row)| (*slot, row)),
            Self::Many(rows) => rows.next().map(|(slot, row)| (*slot, row)),
        }
    }
}

impl<S: Copy, R> DoubleEndedIterator for RowsIter<'_, S, R> {
    #[inline]
    fn next_back(&mut self) -> Option<Self::Item> {
        match self {
            Self::Few(rows) => rows.next_back().map(|(slot, row)| (*slot, row)),
            Self::Many(rows) => rows.next_back().map(|(slot, row)| (*slot, row)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{FEW_MAX, KeyRows};

    #[test]
    fn rows_are_those_of_a_map_whether_few_or_many() {
        let seed = fastrand::u64(..);
        let mut random = fastrand::Rng::with_seed(seed);
        for slots in [1, 4, 2 * FEW_MAX] {
            let (mut rows, mut model) = (KeyRows::default(), BTreeMap::new());
            for row in 0..8 * slots {
                let slot = random.usize(..slots);
                if random.u8(..3) > 0 {
                    assert_eq!(rows.insert(slot, row), model.insert(slot, row), "seed {seed}");
                } else {
                    assert_eq!(rows.remove(slot), model.remove(&slot), "seed {seed}");
                }
                let (from, to) = (random.usize(..slots), random.usize(..=slots));
                assert_eq!(rows.get(from), model.get(&from), "seed {seed}");
                assert_eq!(rows.get_mut(to), model.get_mut(&to), "seed {seed}");
                let expected: Vec<_> =
                    model.range(from..to.max(from)).map(|(slot, row)| (*slot, row)).collect();
                let found: Vec<_> = rows.range(from, to).collect();
                assert_eq!(found, expected, "seed {seed}");
                let reversed: Vec<_> = rows.range(from, to).rev().collect();
                assert!(reversed.iter().rev().eq(&expected), "seed {seed}");
            }
            assert!(rows.iter().eq(model.iter().map(|(slot, row)| (*slot, row))), "seed {seed}");
            assert_eq!(matches!(rows, KeyRows::Many(_)), slots > FEW_MAX, "seed {seed}");
        }
    }
}
