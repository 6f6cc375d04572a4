//! Serdes: how keys and values become bytes, with a default for each type.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::BoxError;

/// How values of one type become bytes, and back.
///
/// Nulls are no business of a serde, but of the type: `Option<T>` stands for "may be null", and its
/// serde (see [`DefaultSerde`]) wraps that of `T`.
pub trait Serde<T>: Send + Sync + 'static {
    /// Appends the bytes of `value` to `buffer`.
    ///
    /// # Errors
    /// Whatever keeps the value from being written.
    fn serialize(&self, value: &T, buffer: &mut Vec<u8>) -> Result<(), BoxError>;

    /// Reads a value from exactly `bytes`.
    ///
    /// # Errors
    /// Why the bytes are not a value of the type.
    fn deserialize(&self, bytes: &[u8]) -> Result<T, BoxError>;

    /// What Kafka's null is in this type. Default = nothing: records with a null are dropped and
    /// counted.
    fn null(&self) -> Option<T> {
        None
    }

    /// Whether this value is written as Kafka's null. Default = never.
    fn is_null(&self, _value: &T) -> bool {
        false
    }

    /// How many of a serialized key's bytes decide about its partition. Default = all; a windowed
    /// key goes where its inner key goes.
    fn partition_bytes_len(&self, serialized: &[u8]) -> usize {
        serialized.len()
    }

    /// What the format of the bytes is called. A store whose rows were written in a format of
    /// another name is not read: see [`Topology::plan`](crate::Topology::plan). Default = the name
    /// of the serde's type, without its path. Give another one when the bytes change, and the old
    /// one when only the type gets another name.
    fn format_name(&self) -> String {
        short_type_name(std::any::type_name::<Self>())
    }
}

/// What the formats of a topic's keys and values are called.
pub(crate) fn pair_format<K: 'static, V: 'static>(
    key: &dyn Serde<K>,
    value: &dyn Serde<V>,
) -> String {
    format!("{} and {}", key.format_name(), value.format_name())
}

/// A type's name without the paths in it: `a::b<c::D>` is `b<D>`.
fn short_type_name(full: &str) -> String {
    let (mut short, mut word) = (String::new(), 0);
    for character in full.chars() {
        match character {
            ':' => short.truncate(word),
            _ => {
                short.push(character);
                if !(character.is_alphanumeric() || character == '_') {
                    word = short.len();
                }
            }
        }
    }
    short
}

/// A shared serde.
pub type SerdeRef<T> = Arc<dyn Serde<T>>;

/// A type that has a serde of its own, which is used wherever none is given.
///
/// It is implemented for strings, bytes, integers, floats (big-endian, as Kafka's serdes) and
/// `Option` of any of them. For a type of yours:
///
/// ```
/// use headwater_topology::{DefaultSerde, JsonSerde, SerdeRef};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Clone, Serialize, Deserialize)]
/// struct Hit {
///     path: String,
/// }
///
/// impl DefaultSerde for Hit {
///     fn default_serde() -> SerdeRef<Self> {
///         JsonSerde::shared()
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` has no serde of its own",
    label = "no serde says how `{Self}` becomes bytes",
    note = "implement `DefaultSerde` for `{Self}`: `JsonSerde::shared()` does for all types with serde's traits",
    note = "or give a serde where options are taken: `Consumed::with`, `Grouped::with`, `Produced::with`, …"
)]
pub trait DefaultSerde: Sized {
    /// The type's serde.
    fn default_serde() -> SerdeRef<Self>;
}

/// Strings as UTF-8 (Kafka's `Serdes.String()`).
#[derive(Clone, Copy, Debug, Default)]
pub struct StringSerde;

impl Serde<String> for StringSerde {
    fn serialize(&self, value: &String, buffer: &mut Vec<u8>) -> Result<(), BoxError> {
        buffer.extend_from_slice(value.as_bytes());
        Ok(())
    }

    fn deserialize(&self, bytes: &[u8]) -> Result<String, BoxError> {
        Ok(std::str::from_utf8(bytes)?.to_owned())
    }

    fn format_name(&self) -> String {
        "string".to_owned()
    }
}

impl DefaultSerde for String {
    fn default_serde() -> SerdeRef<Self> {
        Arc::new(StringSerde)
    }
}

impl Serde<Arc<str>> for StringSerde {
    fn serialize(&self, value: &Arc<str>, buffer: &mut Vec<u8>) -> Result<(), BoxError> {
        buffer.extend_from_slice(value.as_bytes());
        Ok(())
    }

    fn deserialize(&self, bytes: &[u8]) -> Result<Arc<str>, BoxError> {
        Ok(Arc::from(std::str::from_utf8(bytes)?))
    }

    fn format_name(&self) -> String {
        "string".to_owned()
    }
}

impl DefaultSerde for Arc<str> {
    fn default_serde() -> SerdeRef<Self> {
        Arc::new(StringSerde)
    }
}

/// Bytes as they are (Kafka's `Serdes.ByteArray()`).
#[derive(Clone, Copy, Debug, Default)]
pub struct BytesSerde;

impl Serde<Vec<u8>> for BytesSerde {
    fn serialize(&self, value: &Vec<u8>, buffer: &mut Vec<u8>) -> Result<(), BoxError> {
        buffer.extend_from_slice(value);
        Ok(())
    }

    fn deserialize(&self, bytes: &[u8]) -> Result<Vec<u8>, BoxError> {
        Ok(bytes.to_vec())
    }

    fn format_name(&self) -> String {
        "bytes".to_owned()
    }
}

impl DefaultSerde for Vec<u8> {
    fn default_serde() -> SerdeRef<Self> {
        Arc::new(BytesSerde)
    }
}

/// Numbers as big-endian bytes of their width (Kafka's `Serdes.Long()` for `i64`, `Integer()` for
/// `i32`, `Short()`, `Double()`, `Float()`).
#[derive(Clone, Copy, Debug, Default)]
pub struct NumberSerde;

macro_rules! number_serdes {
    ($($number:ty),+) => {$(
        impl Serde<$number> for NumberSerde {
            fn serialize(&self, value: &$number, buffer: &mut Vec<u8>) -> Result<(), BoxError> {
                buffer.extend_from_slice(&value.to_be_bytes());
                Ok(())
            }

            fn deserialize(&self, bytes: &[u8]) -> Result<$number, BoxError> {
                let found = bytes.len();
                let bytes = bytes.try_into().map_err(|_| {
                    let needed = size_of::<$number>();
                    format!("{} takes {needed} bytes, not {found}", stringify!($number))
                })?;
                Ok(<$number>::from_be_bytes(bytes))
            }

            fn format_name(&self) -> String {
                stringify!($number).to_owned()
            }
        }

        impl DefaultSerde for $number {
            fn default_serde() -> SerdeRef<Self> {
                Arc::new(NumberSerde)
            }
        }
    )+};
}

number_serdes!(i8, i16, i32, i64, i128, u8, u16, u32, u64, u128, f32, f64);

/// The unit type as zero bytes: for keys or values that say nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct UnitSerde;

impl Serde<()> for UnitSerde {
    fn serialize(&self, (): &(), _buffer: &mut Vec<u8>) -> Result<(), BoxError> {
        Ok(())
    }

    fn deserialize(&self, _bytes: &[u8]) -> Result<(), BoxError> {
        Ok(())
    }

    fn format_name(&self) -> String {
        "unit".to_owned()
    }
}

impl DefaultSerde for () {
    fn default_serde() -> SerdeRef<Self> {
        Arc::new(UnitSerde)
    }
}

/// Any type with serde's traits as JSON.
pub struct JsonSerde<T>(PhantomData<fn() -> T>);

impl<T> JsonSerde<T> {
    /// A JSON serde.
    #[must_use]
    pub const fn new() -> Self {
        Self(PhantomData)
    }
}

impl<T: Serialize + DeserializeOwned + 'static> JsonSerde<T> {
    /// A shared JSON serde.
    #[must_use]
    pub fn shared() -> SerdeRef<T> {
        Arc::new(Self::new())
    }
}

impl<T> Default for JsonSerde<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> fmt::Debug for JsonSerde<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JsonSerde")
    }
}

impl<T: Serialize + DeserializeOwned + 'static> Serde<T> for JsonSerde<T> {
    fn serialize(&self, value: &T, buffer: &mut Vec<u8>) -> Result<(), BoxError> {
        Ok(serde_json::to_writer(buffer, value)?)
    }

    fn deserialize(&self, bytes: &[u8]) -> Result<T, BoxError> {
        Ok(serde_json::from_slice(bytes)?)
    }

    fn format_name(&self) -> String {
        format!("json of {}", short_type_name(std::any::type_name::<T>()))
    }
}

impl DefaultSerde for serde_json::Value {
    fn default_serde() -> SerdeRef<Self> {
        JsonSerde::shared()
    }
}

/// `Option<T>`: a null is `None`.
pub struct OptionSerde<T>(SerdeRef<T>);

impl<T> OptionSerde<T> {
    /// Lets nulls through to `inner`'s type.
    #[must_use]
    pub fn new(inner: SerdeRef<T>) -> Self {
        Self(inner)
    }
}

impl<T> fmt::Debug for OptionSerde<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OptionSerde")
    }
}

impl<T: 'static> Serde<Option<T>> for OptionSerde<T> {
    fn serialize(&self, value: &Option<T>, buffer: &mut Vec<u8>) -> Result<(), BoxError> {
        value.as_ref().map_or(Ok(()), |value| self.0.serialize(value, buffer))
    }

    fn deserialize(&self, bytes: &[u8]) -> Result<Option<T>, BoxError> {
        self.0.deserialize(bytes).map(Some)
    }

    fn null(&self) -> Option<Option<T>> {
        Some(None)
    }

    fn is_null(&self, value: &Option<T>) -> bool {
        value.as_ref().is_none_or(|value| self.0.is_null(value))
    }

    fn partition_bytes_len(&self, serialized: &[u8]) -> usize {
        self.0.partition_bytes_len(serialized)
    }

    // A null is no bytes, so the bytes are those of the inner type.
    fn format_name(&self) -> String {
        self.0.format_name()
    }
}

impl<T: DefaultSerde + 'static> DefaultSerde for Option<T> {
    fn default_serde() -> SerdeRef<Self> {
        Arc::new(OptionSerde::new(T::default_serde()))
    }
}

#[cfg(test)]
mod tests {
    use super::{DefaultSerde, short_type_name};

    fn check<T: DefaultSerde + PartialEq + std::fmt::Debug + 'static>(value: &T, expected: &[u8]) {
        let serde = T::default_serde();
        let mut buffer = Vec::new();
        serde.serialize(value, &mut buffer).unwrap();
        assert_eq!(buffer, expected);
        assert_eq!(&serde.deserialize(&buffer).unwrap(), value);
    }

    #[test]
    fn bytes_are_those_of_kafkas_serdes() {
        check(&"é".to_owned(), &[0xc3, 0xa9]);
        check(&vec![0_u8, 255], &[0, 255]);
        check(&42_i64, &[0, 0, 0, 0, 0, 0, 0, 42]);
        check(&-2_i32, &[0xff, 0xff, 0xff, 0xfe]);
        check(&1.5_f64, &[0x3f, 0xf8, 0, 0, 0, 0, 0, 0]);
        check(&Some(7_i16), &[0, 7]);
    }

    #[test]
    fn a_number_of_the_wrong_width_is_an_error_that_says_so() {
        let serde = i64::default_serde();
        assert_eq!(serde.deserialize(b"abc").unwrap_err().to_string(), "i64 takes 8 bytes, not 3");
    }

    #[test]
    fn a_format_has_the_name_of_its_type_without_a_path() {
        assert_eq!(short_type_name("alloc::vec::Vec<(a::B, c::d::E<f::G>)>"), "Vec<(B, E<G>)>");
        assert_eq!(short_type_name("Plain"), "Plain");
        assert_eq!(<Option<i64>>::default_serde().format_name(), "i64");
        assert_eq!(serde_json::Value::default_serde().format_name(), "json of Value");
    }

    #[test]
    fn only_option_types_know_a_null() {
        assert_eq!(String::default_serde().null(), None);
        let serde = <Option<String>>::default_serde();
        assert_eq!(serde.null(), Some(None));
        assert!(serde.is_null(&None));
        assert!(!serde.is_null(&Some(String::new())));
        let nested = <Option<Option<String>>>::default_serde();
        assert!(nested.is_null(&Some(None)), "nothing else could be written for it");
        assert!(!nested.is_null(&Some(Some(String::new()))));
    }
}
