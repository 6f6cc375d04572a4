//! For the comparison of engines behind stores on disk, and not part of the API: what a store asks of an
//! engine, and a key-value store on one.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

pub use crate::backing::{Backing, Changes, Covered, Reader, StateDirectory, Visitor};
use crate::error::BoxError;
use crate::serdes::DefaultSerde;
use crate::store::backed_rows::BackedRows;
use crate::store::fjall_directory::FjallDirectory;
use crate::store::key_value::KeyValueStore;
use crate::store::managed::ManagedStore;
use crate::store::table::{Isolation, ValueAndTimestamp};

/// The engine of the feature `persistent`.
///
/// # Errors
/// What the engine says.
pub fn fjall(path: &Path) -> Result<Arc<dyn StateDirectory>, BoxError> {
    Ok(Arc::new(FjallDirectory::open(path)?))
}

/// A key-value store of bytes as tasks have it, on the rows of an engine, without a changelog.
pub struct StoreOn(KeyValueStore<Vec<u8>, Vec<u8>>);

impl StoreOn {
    /// A store on these rows that keeps as many bytes of them in memory.
    #[must_use]
    pub fn new(rows: Box<dyn Backing>, memory_bytes: usize) -> Self {
        let serde = Vec::<u8>::default_serde;
        let mut store = KeyValueStore::new("rows".to_owned(), serde(), serde());
        store.back(BackedRows::new(rows, memory_bytes));
        Self(store)
    }

    /// The value of a key.
    #[must_use]
    pub fn get(&mut self, key: &Vec<u8>) -> Option<Vec<u8>> {
        self.0.get(key, Isolation::Current).map(|row| row.value.clone())
    }

    /// Sets the value of a key.
    pub fn put(&mut self, key: &Vec<u8>, value: Vec<u8>) {
        let timestamp = headwater_log_store::Timestamp::from_millis(0);
        *self.0.change(key) = Some(ValueAndTimestamp { value, timestamp });
    }

    /// Does what a commit does to the store, but for the log's part of it.
    ///
    /// # Errors
    /// What the engine says.
    pub fn commit(&mut self, covered: Covered) -> Result<(), BoxError> {
        self.0.log_changes(&mut |_| Ok(()))?;
        self.0.write_to_disk(covered)?;
        self.0.commit();
        Ok(())
    }
}

impl fmt::Debug for StoreOn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StoreOn")
    }
}
