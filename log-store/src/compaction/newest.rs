//! Which offset of each key is the newest.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

use crate::types::Offset;

/// The newest offset of each key in a part of the log.
///
/// Keys are known by 128 bits of keyed hashes, as Kafka knows them by their MD5, so that a key
/// takes the same space however long it is. The hash keys are drawn anew each time: nobody can
/// choose record keys that meet.
#[derive(Debug)]
pub(crate) struct NewestOffsets {
    hashes: [RandomState; 2],
    offsets: HashMap<[u64; 2], Offset>,
    keys_max: usize,
}

impl NewestOffsets {
    /// An empty one that is full when it has that many keys.
    pub(crate) fn new(keys_max: usize) -> Self {
        let hashes = [RandomState::new(), RandomState::new()];
        Self { hashes, offsets: HashMap::new(), keys_max }
    }

    /// Notes a record, which is newer than those before.
    pub(crate) fn note(&mut self, key: &[u8], offset: Offset) {
        self.offsets.insert(self.hash(key), offset);
    }

    /// Whether no more is to be noted.
    pub(crate) fn is_full(&self) -> bool {
        self.offsets.len() >= self.keys_max
    }

    /// Whether there is a newer record of that key.
    pub(crate) fn is_superseded(&self, key: &[u8], offset: Offset) -> bool {
        self.offsets.get(&self.hash(key)).is_some_and(|newest| *newest > offset)
    }

    fn hash(&self, key: &[u8]) -> [u64; 2] {
        self.hashes.each_ref().map(|state| state.hash_one(key))
    }
}

#[cfg(test)]
mod tests {
    use super::NewestOffsets;
    use crate::types::Offset;

    #[test]
    fn the_last_record_of_a_key_supersedes_those_before() {
        let mut newest = NewestOffsets::new(2);
        newest.note(b"a", Offset::new(1));
        newest.note(b"a", Offset::new(5));
        assert!(!newest.is_full());
        newest.note(b"b", Offset::new(2));
        newest.note(b"b", Offset::new(7));
        assert!(newest.is_full());
        let superseded = |key: &[u8], offset| newest.is_superseded(key, Offset::new(offset));
        assert!(superseded(b"a", 1) && superseded(b"a", 4) && superseded(b"b", 2));
        assert!(!superseded(b"a", 5) && !superseded(b"a", 6) && !superseded(b"c", 0));
    }
}
