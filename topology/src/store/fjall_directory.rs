//! Persistent stores on `fjall`: one database for an application, a keyspace for each store.

use std::ops::Bound;
use std::path::Path;

use fjall::{Database, Keyspace, KeyspaceCreateOptions};
use headwater_log_store::{LeaderEpoch, Offset};

use crate::error::BoxError;
use crate::store::backing::{Backing, Change, Covered, StateDirectory, Visitor};
use crate::types::TaskId;

/// The keyspace that notes how far each store is, by the name of its keyspace.
const POSITIONS: &str = "positions";

/// See the module.
pub(crate) struct FjallDirectory {
    database: Database,
    positions: Keyspace,
}

impl FjallDirectory {
    /// Opens the folder, or makes it. No other process has it open then.
    pub(crate) fn open(path: &Path) -> Result<Self, BoxError> {
        let database = Database::builder(path).open()?;
        let positions = database.keyspace(POSITIONS, KeyspaceCreateOptions::default)?;
        Ok(Self { database, positions })
    }
}

impl StateDirectory for FjallDirectory {
    fn store(&self, task: TaskId, store: &str) -> Result<Box<dyn Backing>, BoxError> {
        let name = format!("{task}.{store}");
        if name.len() > 255 {
            return Err(format!("its name {name} is longer than 255 bytes").into());
        }
        let rows = self.database.keyspace(&name, KeyspaceCreateOptions::default)?;
        let (database, positions) = (self.database.clone(), self.positions.clone());
        Ok(Box::new(FjallStore { database, positions, rows, name }))
    }
}

struct FjallStore {
    database: Database,
    positions: Keyspace,
    rows: Keyspace,
    name: String,
}

impl Backing for FjallStore {
    fn covered(&self) -> Result<Option<Covered>, BoxError> {
        let Some(bytes) = self.positions.get(&self.name)? else { return Ok(None) };
        let (offset, epoch) = bytes.split_at_checked(8).ok_or("its position is too short")?;
        Ok(Some(Covered {
            offset: Offset::new(u64::from_be_bytes(offset.try_into()?)),
            epoch: LeaderEpoch::new(u32::from_be_bytes(epoch.try_into()?)),
        }))
    }

    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, BoxError> {
        Ok(self.rows.get(key)?.map(|row| row.to_vec()))
    }

    fn visit(
        &self,
        range: (Bound<Vec<u8>>, Bound<Vec<u8>>),
        from_end: bool,
        visitor: &mut Visitor<'_>,
    ) -> Result<(), BoxError> {
        let mut rows = self.rows.range(range);
        while let Some(row) = if from_end { rows.next_back() } else { rows.next() } {
            let (key, row) = row.into_inner()?;
            if !visitor(&key, &row)? {
                break;
            }
        }
        Ok(())
    }

    fn write(&self, changes: Vec<Change>, covered: Covered) -> Result<(), BoxError> {
        let mut batch = self.database.batch();
        for (key, row) in changes {
            match row {
                Some(row) => batch.insert(&self.rows, key, row),
                None => batch.remove(&self.rows, key),
            }
        }
        let mut position = covered.offset.value().to_be_bytes().to_vec();
        position.extend(covered.epoch.value().to_be_bytes());
        batch.insert(&self.positions, self.name.as_str(), position);
        Ok(batch.commit()?)
    }

    fn clear(&self) -> Result<(), BoxError> {
        // Rows without a position are cleared by the next start, should this one stop here.
        self.positions.remove(self.name.as_str())?;
        Ok(self.rows.clear()?)
    }

    fn len(&self) -> usize {
        self.rows.approximate_len()
    }
}
