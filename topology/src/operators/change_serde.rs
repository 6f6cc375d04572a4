//! A table's changes in the repartition topic of a grouping, in the bytes of Kafka Streams.

use crate::error::BoxError;
use crate::record::Change;
use crate::serdes::{Serde, SerdeRef};

/// The last byte says what stands before it.
const OLD_ONLY: u8 = 0;
const NEW_ONLY: u8 = 1;
const BOTH: u8 = 2;

/// New and old value, or one of them: with both, the length of the new one goes first, as a
/// zig-zag varint.
pub(crate) struct ChangeSerde<V>(SerdeRef<V>);

impl<V> ChangeSerde<V> {
    pub(crate) fn new(inner: SerdeRef<V>) -> Self {
        Self(inner)
    }
}

impl<V: 'static> Serde<Change<V>> for ChangeSerde<V> {
    fn format_name(&self) -> String {
        format!("change of {}", self.0.format_name())
    }

    fn serialize(&self, change: &Change<V>, buffer: &mut Vec<u8>) -> Result<(), BoxError> {
        match (&change.new, &change.old) {
            (Some(new), Some(old)) => {
                let mut bytes = Vec::new();
                self.0.serialize(new, &mut bytes)?;
                put_length(bytes.len(), buffer)?;
                buffer.extend_from_slice(&bytes);
                self.0.serialize(old, buffer)?;
                buffer.push(BOTH);
            }
            (Some(new), None) => {
                self.0.serialize(new, buffer)?;
                buffer.push(NEW_ONLY);
            }
            (None, Some(old)) => {
                self.0.serialize(old, buffer)?;
                buffer.push(OLD_ONLY);
            }
            (None, None) => return Err("a change has a new or an old value".into()),
        }
        Ok(())
    }

    fn deserialize(&self, bytes: &[u8]) -> Result<Change<V>, BoxError> {
        let (flag, bytes) = bytes.split_last().ok_or("a change has one byte at least")?;
        let value = |bytes| self.0.deserialize(bytes).map(Some);
        match *flag {
            OLD_ONLY => Ok(Change::latest(value(bytes)?, None)),
            NEW_ONLY => Ok(Change::latest(None, value(bytes)?)),
            BOTH => {
                let (length, values) = take_length(bytes)?;
                let (new, old) =
                    values.split_at_checked(length).ok_or("the new value is cut short")?;
                Ok(Change::latest(value(old)?, value(new)?))
            }
            other => Err(format!("{other} says nothing about the values of a change").into()),
        }
    }
}

fn put_length(length: usize, buffer: &mut Vec<u8>) -> Result<(), BoxError> {
    let mut rest = u64::from(u32::try_from(length)?) << 1;
    while let Some(high) = Some(rest >> 7).filter(|high| *high > 0) {
        buffer.push(u8::try_from(rest & 0x7f)? | 0x80);
        rest = high;
    }
    buffer.push(u8::try_from(rest)?);
    Ok(())
}

fn take_length(bytes: &[u8]) -> Result<(usize, &[u8]), BoxError> {
    let mut length = 0_u64;
    for (index, byte) in bytes.iter().enumerate().take(5) {
        length |= u64::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            if length % 2 == 1 {
                return Err("the length of the new value is negative".into());
            }
            return Ok((usize::try_from(length / 2)?, bytes.get(index + 1..).unwrap_or_default()));
        }
    }
    Err("the length of the new value does not end".into())
}

#[cfg(test)]
mod tests {
    use super::ChangeSerde;
    use crate::record::Change;
    use crate::serdes::{DefaultSerde, Serde};

    fn check(old: Option<&str>, new: Option<&str>, expected: &[u8]) {
        let serde = ChangeSerde::new(String::default_serde());
        let change = Change::latest(old.map(str::to_owned), new.map(str::to_owned));
        let mut bytes = Vec::new();
        serde.serialize(&change, &mut bytes).unwrap();
        assert_eq!(bytes, expected);
        assert_eq!(serde.deserialize(&bytes).unwrap(), change);
    }

    #[test]
    fn a_change_has_the_bytes_of_kafka_streams() {
        check(None, Some("x!"), &[0x78, 0x21, 0x01]);
        check(Some("x!"), None, &[0x78, 0x21, 0x00]);
        check(Some("x!"), Some("x!"), &[0x04, 0x78, 0x21, 0x78, 0x21, 0x02]);
        check(Some(""), Some(""), &[0x00, 0x02]);
        let long = "n".repeat(100);
        let mut expected = vec![0xc8, 0x01];
        expected.extend_from_slice(long.as_bytes());
        expected.extend_from_slice(b"o\x02");
        check(Some("o"), Some(&long), &expected);
    }

    #[test]
    fn bytes_that_are_no_change_are_an_error() {
        let serde = ChangeSerde::new(String::default_serde());
        let bad: [&[u8]; 6] =
            [b"", b"x\x03", &[0x09, b'x', 2], &[0x01, b'x', 2], &[0x80; 8], &[0x80, 0x80, 2]];
        for bytes in bad {
            assert!(serde.deserialize(bytes).is_err(), "{bytes:?}");
        }
        assert!(serde.serialize(&Change::latest(None, None), &mut Vec::new()).is_err());
    }
}
