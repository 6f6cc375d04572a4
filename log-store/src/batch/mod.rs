//! Kafka's record batch, version 2: the unit of everything that is written and read.
mod format;
mod checksum;
mod compression;
mod encode;
mod spare;
mod decode;
mod rewrite;

pub(crate) use checksum::{Place, PlaceChecksum};
pub(crate) use compression::UNCOMPRESSED_BYTES_MAX;
pub(crate) use decode::{BatchHeader, Fault};
pub(crate) use encode::BatchBuilder;
pub(crate) use format::HEADER_BYTES;
pub(crate) use spare::SpareBuffers;
