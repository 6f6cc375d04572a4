//! Keys by number: a key is copied once, when it comes, and hashed once wherever it is looked for.

use std::hash::{BuildHasher, Hash};

use hashbrown::DefaultHashBuilder;
use hashbrown::hash_table::{Entry, HashTable};

#[derive(Debug)]
struct Numbered<K, T> {
    hash: u64,
    /// `None` where the number is free.
    key: Option<K>,
    of_key: T,
}

/// Keys, each with a number and what belongs to it. Numbers of keys that were removed are given to
/// others.
#[derive(Debug)]
pub(crate) struct NumberedKeys<K, T> {
    numbers: HashTable<u32>,
    hasher: DefaultHashBuilder,
    keys: Vec<Numbered<K, T>>,
    free: Vec<u32>,
}

impl<K: Hash + Eq + Clone, T: Default> NumberedKeys<K, T> {
    pub(crate) fn new() -> Self {
        Self {
            numbers: HashTable::new(),
            hasher: DefaultHashBuilder::default(),
            keys: Vec::new(),
            free: Vec::new(),
        }
    }

    /// How many keys there are.
    pub(crate) fn len(&self) -> usize {
        self.numbers.len()
    }

    /// The number of a key, if it has one.
    #[inline]
    pub(crate) fn find(&self, key: &K) -> Option<u32> {
        let hash = self.hasher.hash_one(key);
        self.numbers.find(hash, |number| key_at(&self.keys, *number) == Some(key)).copied()
    }

    /// The number of a key, and whether it has just got it.
    #[inline]
    pub(crate) fn insert(&mut self, key: &K) -> (u32, bool) {
        let Self { numbers, hasher, keys, free } = self;
        let hash = hasher.hash_one(key);
        let hash_at = |number: &u32| keys.get(index(*number)).map_or(0, |numbered| numbered.hash);
        let is_key = |number: &u32| key_at(keys, *number) == Some(key);
        match numbers.entry(hash, is_key, hash_at) {
            Entry::Occupied(occupied) => (*occupied.get(), false),
            Entry::Vacant(vacant) => {
                // This is the caller's clone: if it panics, nothing has changed yet.
                let key = Some(key.clone());
                let new = || u32::try_from(keys.len()).expect("a task has < 2^32 keys");
                let number = free.last().copied().unwrap_or_else(new);
                vacant.insert(number);
                match free.pop().and_then(|number| keys.get_mut(index(number))) {
                    Some(numbered) => (numbered.key, numbered.hash) = (key, hash),
                    None => keys.push(Numbered { hash, key, of_key: T::default() }),
                }
                (number, true)
            }
        }
    }

    /// The key of a number, and what belongs to it.
    #[inline]
    pub(crate) fn get(&self, number: u32) -> Option<(&K, &T)> {
        let numbered = self.keys.get(index(number))?;
        Some((numbered.key.as_ref()?, &numbered.of_key))
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, number: u32) -> Option<(&K, &mut T)> {
        let numbered = self.keys.get_mut(index(number))?;
        Some((numbered.key.as_ref()?, &mut numbered.of_key))
    }

    /// All keys, in the order of their numbers.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &K, &T)> {
        (0..).zip(&self.keys).filter_map(|(number, numbered)| {
            Some((number, numbered.key.as_ref()?, &numbered.of_key))
        })
    }

    /// Numbers are smaller than this one.
    pub(crate) fn numbers_end(&self) -> u32 {
        u32::try_from(self.keys.len()).unwrap_or(u32::MAX)
    }

    /// Removes a key. What belonged to it is the next one's.
    pub(crate) fn remove(&mut self, number: u32) {
        let Some(numbered) = self.keys.get_mut(index(number)) else { return };
        if numbered.key.take().is_none() {
            return;
        }
        if let Ok(found) = self.numbers.find_entry(numbered.hash, |other| *other == number) {
            found.remove();
        }
        self.free.push(number);
    }

    pub(crate) fn clear(&mut self) {
        self.numbers.clear();
        self.keys.clear();
        self.free.clear();
    }
}

fn index(number: u32) -> usize {
    number as usize
}

#[inline]
fn key_at<K, T>(keys: &[Numbered<K, T>], number: u32) -> Option<&K> {
    keys.get(index(number))?.key.as_ref()
}

#[cfg(test)]
mod tests {
    use super::NumberedKeys;

    #[test]
    fn a_number_that_is_free_is_given_to_the_next_key_with_what_belonged_to_it() {
        let mut keys = NumberedKeys::<String, Vec<u8>>::new();
        let [a, b, c] = ["a", "b", "c"].map(str::to_owned);
        assert_eq!([keys.insert(&a), keys.insert(&b), keys.insert(&a)].map(|(n, _)| n), [0, 1, 0]);
        keys.get_mut(0).unwrap().1.push(7);
        keys.remove(0);
        keys.remove(0);
        assert_eq!((keys.len(), keys.find(&a), keys.get(0)), (1, None, None));
        assert_eq!(keys.insert(&c), (0, true));
        assert_eq!(keys.get(0), Some((&c, &vec![7])));
        assert_eq!(keys.iter().map(|(_, key, _)| key).collect::<Vec<_>>(), [&c, &b]);
        assert_eq!(keys.insert(&a), (2, true));
        keys.clear();
        assert_eq!((keys.len(), keys.numbers_end(), keys.insert(&b)), (0, 0, (0, true)));
    }
}
