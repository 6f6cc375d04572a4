//! What a side has written, as a number and a sum that does not depend on the order: two sides of a
//! row that do the same work have the same.

use crate::topology::frames::Frame;

/// See the module.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Digest {
    pub records: u64,
    sum: u64,
}

impl Digest {
    pub fn add(&mut self, frame: Frame<'_>) {
        let Frame { time_ms, key, value } = frame;
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&time_ms.to_be_bytes());
        hasher.update(&[u8::from(key.is_some()), u8::from(value.is_some())]);
        hasher.update(key.unwrap_or_default());
        let key = u64::from(hasher.clone().finalize());
        hasher.update(value.unwrap_or_default());
        let whole = u64::from(hasher.finalize());
        self.records += 1;
        self.sum = self.sum.wrapping_add(key << 32 | whole);
    }
}
