//! Stores on redb: a database for an application, a table for each store, and one for the notes.

use std::cell::RefCell;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use headwater_topology::engines::{Backing, Changes, Covered, Reader, StateDirectory, Visitor};
use headwater_topology::{BoxError, TaskId};
use redb::{
    Database, Durability, ReadOnlyTable, ReadableDatabase, ReadableTableMetadata, TableDefinition,
};

use crate::engine::{note, read_note};

const NOTES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("notes");

/// A commit that is not durable is gone after a kill, and one that is waits for the disk; so only
/// each of so many is, and a kill takes what came since: it is in the changelog.
const COMMITS_PER_DURABLE_ONE: u32 = 50;

/// As much as the others have for their caches and memory tables.
const CACHE_BYTES: usize = 96 << 20;

type Rows = ReadOnlyTable<&'static [u8], &'static [u8]>;

pub struct RedbDirectory {
    database: Arc<Database>,
    file: PathBuf,
    commits: Arc<AtomicU32>,
}

impl RedbDirectory {
    pub fn open(path: &Path) -> Result<Self, BoxError> {
        let file = path.join("stores.redb");
        let database = Database::builder().set_cache_size(CACHE_BYTES).create(&file)?;
        Ok(Self { database: Arc::new(database), file, commits: Arc::default() })
    }
}

impl StateDirectory for RedbDirectory {
    fn store(&self, task: TaskId, store: &str) -> Result<Box<dyn Backing>, BoxError> {
        let store = RedbStore {
            database: Arc::clone(&self.database),
            file: self.file.clone(),
            commits: Arc::clone(&self.commits),
            name: format!("{task}.{store}"),
            rows: RefCell::new(None),
        };
        store.create()?;
        Ok(Box::new(store))
    }
}

struct RedbStore {
    database: Arc<Database>,
    /// Of all stores.
    file: PathBuf,
    commits: Arc<AtomicU32>,
    name: String,
    /// The rows as of the last write.
    rows: RefCell<Option<Rows>>,
}

impl RedbStore {
    fn table(&self) -> TableDefinition<'_, &'static [u8], &'static [u8]> {
        TableDefinition::new(&self.name)
    }

    fn create(&self) -> Result<(), BoxError> {
        let transaction = self.database.begin_write()?;
        transaction.open_table(self.table())?;
        transaction.open_table(NOTES)?;
        Ok(transaction.commit()?)
    }

    fn with_rows<T>(&self, read: impl FnOnce(&Rows) -> Result<T, BoxError>) -> Result<T, BoxError> {
        let mut rows = self.rows.borrow_mut();
        if rows.is_none() {
            *rows = Some(self.database.begin_read()?.open_table(self.table())?);
        }
        read(rows.as_ref().ok_or("it was just opened")?)
    }
}

impl Backing for RedbStore {
    fn covered(&self) -> Result<Option<Covered>, BoxError> {
        let notes = self.database.begin_read()?.open_table(NOTES)?;
        let note = notes.get(self.name.as_str())?;
        note.map(|note| read_note(note.value())).transpose()
    }

    fn read(&self, key: &[u8], reader: &mut Reader<'_>) -> Result<(), BoxError> {
        self.with_rows(|rows| rows.get(key)?.map_or(Ok(()), |row| reader(row.value())))
    }

    fn visit(
        &self,
        range: (Bound<Vec<u8>>, Bound<Vec<u8>>),
        from_end: bool,
        visitor: &mut Visitor<'_>,
    ) -> Result<(), BoxError> {
        let table = self.database.begin_read()?.open_table(self.table())?;
        let bounds = (range.0.as_ref().map(Vec::as_slice), range.1.as_ref().map(Vec::as_slice));
        let mut rows = table.range::<&[u8]>(bounds)?;
        while let Some(row) = if from_end { rows.next_back() } else { rows.next() } {
            let (key, row) = row?;
            if !visitor(key.value(), row.value())? {
                break;
            }
        }
        Ok(())
    }

    fn write(&self, changes: &mut Changes, covered: Covered) -> Result<(), BoxError> {
        self.rows.borrow_mut().take();
        let mut transaction = self.database.begin_write()?;
        let commits = self.commits.fetch_add(1, Ordering::Relaxed);
        if !commits.is_multiple_of(COMMITS_PER_DURABLE_ONE) {
            transaction.set_durability(Durability::None)?;
        }
        {
            let mut rows = transaction.open_table(self.table())?;
            for (key, row) in changes.iter() {
                match row {
                    Some(row) => drop(rows.insert(key, row)?),
                    None => drop(rows.remove(key)?),
                }
            }
            transaction.open_table(NOTES)?.insert(self.name.as_str(), &note(covered)[..])?;
        }
        Ok(transaction.commit()?)
    }

    fn clear(&self) -> Result<(), BoxError> {
        self.rows.borrow_mut().take();
        let transaction = self.database.begin_write()?;
        transaction.delete_table(self.table())?;
        transaction.open_table(self.table())?;
        transaction.open_table(NOTES)?.remove(self.name.as_str())?;
        Ok(transaction.commit()?)
    }

    fn len(&self) -> usize {
        let rows = self.with_rows(|rows| Ok(rows.len()?)).unwrap_or_default();
        usize::try_from(rows).unwrap_or(usize::MAX)
    }

    fn disk_bytes(&self) -> u64 {
        std::fs::metadata(&self.file).map_or(0, |file| file.len())
    }
}
