//! The messages between the sides of a foreign-key join, in the bytes of Kafka Streams.

use std::io::Cursor;

use crate::error::BoxError;
use crate::serdes::{Serde, SerdeRef};

/// The seed of the hash that tells one value of a row from another.
const HASH_SEED: u32 = 104_729;

/// Set in the first byte where there is no hash.
const NO_HASH: u8 = 0x80;

/// The version of registrations, in the rest of the first byte.
const REGISTRATION_VERSION: u8 = 1;

/// The version of responses.
const RESPONSE_VERSION: u8 = 0;

/// Tells one value of a row from another.
pub(crate) type RowHash = [u8; 16];

/// The hash of a row's serialized value.
pub(crate) fn row_hash(value: &[u8]) -> RowHash {
    let hash =
        murmur3::murmur3_x64_128(&mut Cursor::new(value), HASH_SEED).expect("a slice can be read");
    // The crate has the first half in the low bits; Kafka writes it first.
    hash.rotate_left(64).to_be_bytes()
}

/// What a registration asks of the task that has the foreign key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Instruction {
    /// Forget the row without an answer.
    DeleteKeyNoPropagate,
    /// Forget the row and answer with nothing.
    DeleteKeyAndPropagate,
    /// Remember the row and answer, with nothing if the foreign key has no row.
    PropagateNullIfNoForeignValue,
    /// Remember the row and answer if the foreign key has a row.
    PropagateOnlyIfForeignValue,
}

impl Instruction {
    const ALL: [Self; 4] = [
        Self::DeleteKeyNoPropagate,
        Self::DeleteKeyAndPropagate,
        Self::PropagateNullIfNoForeignValue,
        Self::PropagateOnlyIfForeignValue,
    ];

    fn number(self) -> u8 {
        match self {
            Self::DeleteKeyNoPropagate => 0,
            Self::DeleteKeyAndPropagate => 1,
            Self::PropagateNullIfNoForeignValue => 2,
            Self::PropagateOnlyIfForeignValue => 3,
        }
    }
}

/// A row of the left side, as the task of its foreign key knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Registration<K> {
    /// The hash of the row, `None` for one that was removed.
    pub(crate) hash: Option<RowHash>,
    pub(crate) instruction: Instruction,
    pub(crate) primary_key: K,
    /// The partition of the left side that wants the answers.
    pub(crate) primary_partition: u32,
}

/// An answer to a registration, or what a change of the right side means for a row of the left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Response<V> {
    /// The hash of the row that was registered.
    pub(crate) hash: Option<RowHash>,
    pub(crate) foreign: Option<V>,
    /// Where it goes; not part of its bytes.
    pub(crate) primary_partition: u32,
}

/// Registrations as bytes.
pub(crate) struct RegistrationSerde<K>(pub(crate) SerdeRef<K>);

impl<K: 'static> Serde<Registration<K>> for RegistrationSerde<K> {
    fn format_name(&self) -> String {
        format!("registration of {}", self.0.format_name())
    }

    fn serialize(&self, value: &Registration<K>, buffer: &mut Vec<u8>) -> Result<(), BoxError> {
        put_hash(REGISTRATION_VERSION, Some(value.instruction.number()), value.hash, buffer);
        self.0.serialize(&value.primary_key, buffer)?;
        buffer.extend_from_slice(&value.primary_partition.to_be_bytes());
        Ok(())
    }

    fn deserialize(&self, bytes: &[u8]) -> Result<Registration<K>, BoxError> {
        let (first, bytes) = take_byte(bytes)?;
        check_version(first, REGISTRATION_VERSION)?;
        let (instruction, bytes) = take_byte(bytes)?;
        let instruction = Instruction::ALL
            .into_iter()
            .find(|each| each.number() == instruction)
            .ok_or_else(|| format!("{instruction} is no instruction of a registration"))?;
        let (hash, bytes) = take_hash(first, bytes)?;
        let (key, partition) = bytes.split_last_chunk::<4>().ok_or("it is cut short")?;
        Ok(Registration {
            hash,
            instruction,
            primary_key: self.0.deserialize(key)?,
            primary_partition: u32::from_be_bytes(*partition),
        })
    }
}

/// Responses as bytes.
pub(crate) struct ResponseSerde<V>(pub(crate) SerdeRef<V>);

impl<V: 'static> Serde<Response<V>> for ResponseSerde<V> {
    fn format_name(&self) -> String {
        format!("response of {}", self.0.format_name())
    }

    fn serialize(&self, value: &Response<V>, buffer: &mut Vec<u8>) -> Result<(), BoxError> {
        put_hash(RESPONSE_VERSION, None, value.hash, buffer);
        match &value.foreign {
            Some(foreign) => self.0.serialize(foreign, buffer),
            None => Ok(()),
        }
    }

    fn deserialize(&self, bytes: &[u8]) -> Result<Response<V>, BoxError> {
        let (first, bytes) = take_byte(bytes)?;
        check_version(first, RESPONSE_VERSION)?;
        let (hash, bytes) = take_hash(first, bytes)?;
        // As in Kafka Streams, a value of no bytes cannot be told from none.
        let foreign = if bytes.is_empty() { None } else { Some(self.0.deserialize(bytes)?) };
        Ok(Response { hash, foreign, primary_partition: 0 })
    }
}

fn put_hash(version: u8, second: Option<u8>, hash: Option<RowHash>, buffer: &mut Vec<u8>) {
    buffer.push(if hash.is_some() { version } else { version | NO_HASH });
    buffer.extend(second);
    buffer.extend(hash.into_iter().flatten());
}

fn take_byte(bytes: &[u8]) -> Result<(u8, &[u8]), BoxError> {
    let (first, rest) = bytes.split_first().ok_or("it is cut short")?;
    Ok((*first, rest))
}

fn take_hash(first: u8, bytes: &[u8]) -> Result<(Option<RowHash>, &[u8]), BoxError> {
    if first & NO_HASH != 0 {
        return Ok((None, bytes));
    }
    let (hash, rest) = bytes.split_first_chunk::<16>().ok_or("it is cut short")?;
    Ok((Some(*hash), rest))
}

fn check_version(first: u8, expected: u8) -> Result<(), BoxError> {
    let found = first & !NO_HASH;
    if found == expected {
        return Ok(());
    }
    Err(format!("version {found} of the message is not known, only {expected}").into())
}

#[cfg(test)]
mod tests {
    use super::{
        Instruction, Registration, RegistrationSerde, Response, ResponseSerde, RowHash, row_hash,
    };
    use crate::serdes::{DefaultSerde, Serde};

    fn bytes<T: 'static>(serde: &dyn Serde<T>, value: &T) -> Vec<u8> {
        let mut bytes = Vec::new();
        serde.serialize(value, &mut bytes).unwrap();
        bytes
    }

    const HASH: RowHash = [
        0xc7, 0x2e, 0x42, 0xea, 0x32, 0x61, 0x72, 0x59, 0x2a, 0xf5, 0x72, 0xbe, 0xed, 0x3f, 0x25,
        0xbc,
    ];

    #[test]
    fn a_row_has_kafkas_hash() {
        assert_eq!(row_hash(b"f-1"), HASH);
    }

    #[test]
    fn a_registration_has_kafkas_bytes() {
        let serde = RegistrationSerde(String::default_serde());
        let registration = Registration {
            hash: Some(HASH),
            instruction: Instruction::PropagateOnlyIfForeignValue,
            primary_key: "k".to_owned(),
            primary_partition: 0,
        };
        let mut expected = vec![1, 3];
        expected.extend_from_slice(&HASH);
        expected.extend_from_slice(&[b'k', 0, 0, 0, 0]);
        assert_eq!(bytes(&serde, &registration), expected);
        assert_eq!(serde.deserialize(&expected).unwrap(), registration);
        let removed = Registration { hash: None, primary_partition: 258, ..registration };
        assert_eq!(bytes(&serde, &removed), [0x81, 3, b'k', 0, 0, 1, 2]);
        assert_eq!(serde.deserialize(&[0x81, 3, b'k', 0, 0, 1, 2]).unwrap(), removed);
    }

    #[test]
    fn a_response_has_kafkas_bytes() {
        let serde = ResponseSerde(String::default_serde());
        let response =
            Response { hash: Some(HASH), foreign: Some("x".to_owned()), primary_partition: 0 };
        let mut expected = vec![0];
        expected.extend_from_slice(&HASH);
        expected.push(b'x');
        assert_eq!(bytes(&serde, &response), expected);
        assert_eq!(serde.deserialize(&expected).unwrap(), response);
        let nothing = Response { hash: None, foreign: None, primary_partition: 0 };
        assert_eq!(bytes(&serde, &nothing), [0x80]);
        assert_eq!(serde.deserialize(&[0x80]).unwrap(), nothing);
    }

    #[test]
    fn bytes_that_are_no_message_are_an_error() {
        let registrations = RegistrationSerde(String::default_serde());
        for bad in [&[][..], &[0x81], &[0x82, 3, 0, 0, 0, 0], &[0x81, 4, 0, 0, 0, 0], &[1, 3, 9]] {
            assert!(registrations.deserialize(bad).is_err(), "{bad:?}");
        }
        let responses = ResponseSerde(String::default_serde());
        for bad in [&[][..], &[1, 2, 3], &[0, 1, 2]] {
            assert!(responses.deserialize(bad).is_err(), "{bad:?}");
        }
    }
}
