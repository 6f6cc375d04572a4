//! The engines, each as the folder of the stores of an application.

use std::path::Path;
use std::sync::Arc;

use headwater_log_store::{LeaderEpoch, Offset};
use headwater_topology::BoxError;
use headwater_topology::engines::{Covered, StateDirectory, fjall};

use crate::redb_engine::RedbDirectory;

/// What is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    Fjall,
    Redb,
    #[cfg(feature = "rocksdb")]
    RocksDb,
}

impl Engine {
    pub const ALL: &[Self] = &[
        Self::Fjall,
        Self::Redb,
        #[cfg(feature = "rocksdb")]
        Self::RocksDb,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Fjall => "fjall",
            Self::Redb => "redb",
            #[cfg(feature = "rocksdb")]
            Self::RocksDb => "rocksdb",
        }
    }

    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|engine| engine.name() == name)
    }

    /// Opens its files in a folder.
    pub fn open(self, path: &Path) -> Result<Arc<dyn StateDirectory>, BoxError> {
        Ok(match self {
            Self::Fjall => fjall(path)?,
            Self::Redb => Arc::new(RedbDirectory::open(path)?),
            #[cfg(feature = "rocksdb")]
            Self::RocksDb => Arc::new(crate::rocksdb_engine::RocksDbDirectory::open(path)?),
        })
    }
}

/// A note as bytes.
pub fn note(covered: Covered) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&covered.offset.value().to_be_bytes());
    bytes[8..12].copy_from_slice(&covered.epoch.value().to_be_bytes());
    bytes[12..].copy_from_slice(&covered.state.to_be_bytes());
    bytes
}

/// The note that [`note`] has written.
pub fn read_note(bytes: &[u8]) -> Result<Covered, BoxError> {
    let parts = bytes.split_at_checked(8);
    let parts = parts.and_then(|(offset, rest)| Some((offset, rest.split_at_checked(4)?)));
    let (offset, (epoch, state)) = parts.ok_or("a note is too short")?;
    Ok(Covered {
        offset: Offset::new(u64::from_be_bytes(offset.try_into()?)),
        epoch: LeaderEpoch::new(u32::from_be_bytes(epoch.try_into()?)),
        state: u32::from_be_bytes(state.try_into()?),
    })
}
