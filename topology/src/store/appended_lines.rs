//! The lines of a changelog that are known as soon as their rows are: those of rows that are added,
//! and never changed again.
//!
//! To write them when the row is at hand saves a commit from looking for each row again, in memory
//! that it has left long ago.

use headwater_log_store::Timestamp;

use crate::error::BoxError;
use crate::serdes::Serde;
use crate::store::slots::Slot;
use crate::store::table::ValueAndTimestamp;

/// How many bytes stay reserved from one commit to the next.
const SPARE_BYTES: usize = 1 << 20;

#[derive(Debug)]
struct Ends<S> {
    slot: S,
    timestamp: Timestamp,
    key: usize,
    key_and_slot: usize,
    value: usize,
}

/// A line: the bytes of a key, with those of the slot behind them, and of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AppendedLine<'a, S> {
    pub(crate) slot: S,
    pub(crate) timestamp: Timestamp,
    pub(crate) key: &'a [u8],
    pub(crate) key_and_slot: &'a [u8],
    pub(crate) value: &'a [u8],
}

/// See the module.
#[derive(Debug)]
pub(crate) struct AppendedLines<S> {
    bytes: Vec<u8>,
    ends: Vec<Ends<S>>,
}

impl<S: Slot> AppendedLines<S> {
    pub(crate) const fn new() -> Self {
        Self { bytes: Vec::new(), ends: Vec::new() }
    }

    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    /// Adds the line of a row.
    pub(crate) fn push<K: 'static, V: 'static>(
        &mut self,
        (key_serde, value_serde): (&dyn Serde<K>, &dyn Serde<V>),
        (key, slot, row): (&K, S, &ValueAndTimestamp<V>),
    ) -> Result<(), BoxError> {
        // What a line has left that could not be written whole goes first.
        self.bytes.truncate(self.ends.last().map_or(0, |ends| ends.value));
        key_serde.serialize(key, &mut self.bytes)?;
        let key = self.bytes.len();
        slot.write(&mut self.bytes);
        let key_and_slot = self.bytes.len();
        value_serde.serialize(&row.value, &mut self.bytes)?;
        let value = self.bytes.len();
        self.ends.push(Ends { slot, timestamp: row.timestamp, key, key_and_slot, value });
        Ok(())
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = AppendedLine<'_, S>> {
        let mut from = 0;
        self.ends.iter().filter_map(move |ends| {
            let line = AppendedLine {
                slot: ends.slot,
                timestamp: ends.timestamp,
                key: self.bytes.get(from..ends.key)?,
                key_and_slot: self.bytes.get(from..ends.key_and_slot)?,
                value: self.bytes.get(ends.key_and_slot..ends.value)?,
            };
            from = ends.value;
            Some(line)
        })
    }

    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.bytes.shrink_to(SPARE_BYTES);
        self.ends.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::AppendedLines;
    use crate::error::BoxError;
    use crate::serdes::{DefaultSerde, Serde};
    use crate::store::slots::{Slot, WindowStart};
    use crate::store::table::ValueAndTimestamp;
    use headwater_log_store::Timestamp;

    /// Writes half of what it should, and then fails.
    struct Failing;

    impl Serde<String> for Failing {
        fn serialize(&self, _: &String, buffer: &mut Vec<u8>) -> Result<(), BoxError> {
            buffer.push(0xff);
            Err("no".into())
        }

        fn deserialize(&self, _: &[u8]) -> Result<String, BoxError> {
            Err("no".into())
        }
    }

    #[test]
    fn lines_are_those_of_their_rows_and_what_fails_leaves_none() {
        let (mut lines, serde) = (AppendedLines::new(), String::default_serde());
        let row = |value: &str, time_ms| ValueAndTimestamp {
            value: value.to_owned(),
            timestamp: Timestamp::from_millis(time_ms),
        };
        let (k, slot) = ("k".to_owned(), WindowStart(5));
        lines.push((&*serde, &*serde), (&k, slot, &row("a", 1))).unwrap();
        lines.push((&*serde, &Failing), (&k, slot, &row("b", 2))).unwrap_err();
        lines.push((&*serde, &*serde), (&"q".to_owned(), slot, &row("", 3))).unwrap();
        let mut suffix = Vec::new();
        slot.write(&mut suffix);
        let found: Vec<_> = lines
            .iter()
            .map(|line| (line.key, line.key_and_slot.to_vec(), line.value, line.timestamp))
            .collect();
        let line = |key: &'static str, value: &'static str, time_ms| {
            let key = key.as_bytes();
            let timestamp = Timestamp::from_millis(time_ms);
            (key, [key, &suffix].concat(), value.as_bytes(), timestamp)
        };
        assert_eq!(found, [line("k", "a", 1), line("q", "", 3)]);
        lines.clear();
        assert_eq!((lines.len(), lines.iter().count()), (0, 0));
    }
}
