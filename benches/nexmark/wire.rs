//! How events and answers become bytes: big-endian numbers, and strings behind their length.

use std::marker::PhantomData;

use headwater_topology::{BoxError, Serde};

/// A type with a fixed layout.
pub trait Wire: Sized {
    /// Appends it.
    fn write(&self, bytes: &mut Vec<u8>);

    /// Takes it off the front; `None` where the bytes end before it does.
    fn read(bytes: &mut &[u8]) -> Option<Self>;

    /// Reads it from exactly these bytes.
    fn from_bytes(mut bytes: &[u8]) -> Option<Self> {
        let value = Self::read(&mut bytes)?;
        bytes.is_empty().then_some(value)
    }

    /// Its bytes.
    fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.write(&mut bytes);
        bytes
    }
}

macro_rules! wire_numbers {
    ($($number:ty),+) => {$(
        impl Wire for $number {
            fn write(&self, bytes: &mut Vec<u8>) {
                bytes.extend_from_slice(&self.to_be_bytes());
            }

            fn read(bytes: &mut &[u8]) -> Option<Self> {
                let (number, rest) = bytes.split_first_chunk()?;
                *bytes = rest;
                Some(Self::from_be_bytes(*number))
            }
        }
    )+};
}

wire_numbers!(u32, u64, i64);

impl Wire for String {
    fn write(&self, bytes: &mut Vec<u8>) {
        u32::try_from(self.len()).expect("a string is shorter than 4 GiB").write(bytes);
        bytes.extend_from_slice(self.as_bytes());
    }

    fn read(bytes: &mut &[u8]) -> Option<Self> {
        let len = usize::try_from(u32::read(bytes)?).ok()?;
        let (text, rest) = bytes.split_at_checked(len)?;
        *bytes = rest;
        Some(std::str::from_utf8(text).ok()?.to_owned())
    }
}

impl<T: Wire> Wire for Vec<T> {
    fn write(&self, bytes: &mut Vec<u8>) {
        u32::try_from(self.len()).expect("a list is shorter than 2^32").write(bytes);
        self.iter().for_each(|item| item.write(bytes));
    }

    fn read(bytes: &mut &[u8]) -> Option<Self> {
        let len = u32::read(bytes)?;
        (0..len).map(|_| T::read(bytes)).collect()
    }
}

/// The serde of a type with a fixed layout.
#[derive(Debug)]
pub struct WireSerde<T>(PhantomData<fn() -> T>);

impl<T> Default for WireSerde<T> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T: Wire + 'static> Serde<T> for WireSerde<T> {
    fn serialize(&self, value: &T, buffer: &mut Vec<u8>) -> Result<(), BoxError> {
        value.write(buffer);
        Ok(())
    }

    fn deserialize(&self, bytes: &[u8]) -> Result<T, BoxError> {
        T::from_bytes(bytes).ok_or_else(|| "its bytes have another layout".into())
    }
}

/// A struct whose layout is that of its fields, one after the other, with its default serde.
#[macro_export]
macro_rules! wire_struct {
    ($name:ident { $($field:ident),+ }) => {
        impl $crate::wire::Wire for $name {
            fn write(&self, bytes: &mut Vec<u8>) {
                $($crate::wire::Wire::write(&self.$field, bytes);)+
            }

            fn read(bytes: &mut &[u8]) -> Option<Self> {
                $(let $field = $crate::wire::Wire::read(bytes)?;)+
                Some(Self { $($field),+ })
            }
        }

        impl headwater_topology::DefaultSerde for $name {
            fn default_serde() -> headwater_topology::SerdeRef<Self> {
                std::sync::Arc::new($crate::wire::WireSerde::default())
            }
        }
    };
}
