//! Stores on RocksDB: a database for each.

use std::ops::Bound;
use std::path::{Path, PathBuf};

use headwater_topology::engines::{Backing, Changes, Covered, Reader, StateDirectory, Visitor};
use headwater_topology::{BoxError, TaskId};
use rocksdb::{
    BlockBasedOptions, Cache, DB, DBCompressionType, Direction, IteratorMode, Options, WriteBatch,
};

use crate::engine::{note, read_note};

/// Before the keys of rows; the note has none behind it.
const ROW: u8 = 1;
const NOTE: [u8; 1] = [0];

pub struct RocksDbDirectory(PathBuf);

impl RocksDbDirectory {
    pub fn open(path: &Path) -> Result<Self, BoxError> {
        Ok(Self(path.to_owned()))
    }
}

impl StateDirectory for RocksDbDirectory {
    fn store(&self, task: TaskId, store: &str) -> Result<Box<dyn Backing>, BoxError> {
        let mut options = Options::default();
        options.create_if_missing(true);
        options.set_compression_type(DBCompressionType::Lz4);
        options.set_write_buffer_size(64 << 20);
        options.set_max_background_jobs(2);
        let mut blocks = BlockBasedOptions::default();
        blocks.set_bloom_filter(10.0, false);
        blocks.set_block_cache(&Cache::new_lru_cache(32 << 20));
        options.set_block_based_table_factory(&blocks);
        let database = DB::open(&options, self.0.join(format!("{task}.{store}")))?;
        Ok(Box::new(RocksDbStore(database)))
    }
}

struct RocksDbStore(DB);

impl Backing for RocksDbStore {
    fn covered(&self) -> Result<Option<Covered>, BoxError> {
        self.0.get(NOTE)?.map(|note| read_note(&note)).transpose()
    }

    fn read(&self, key: &[u8], reader: &mut Reader<'_>) -> Result<(), BoxError> {
        self.0.get_pinned(row_key(key))?.map_or(Ok(()), |row| reader(&row))
    }

    fn visit(
        &self,
        range: (Bound<Vec<u8>>, Bound<Vec<u8>>),
        from_end: bool,
        visitor: &mut Visitor<'_>,
    ) -> Result<(), BoxError> {
        let (from, to) = (range.0.clone(), range.1.clone());
        let start = match if from_end { to } else { from } {
            Bound::Included(key) | Bound::Excluded(key) => row_key(&key),
            Bound::Unbounded => vec![if from_end { ROW + 1 } else { ROW }],
        };
        let direction = if from_end { Direction::Reverse } else { Direction::Forward };
        for row in self.0.iterator(IteratorMode::From(&start, direction)) {
            let (key, row) = row?;
            let Some((&ROW, key)) = key.split_first() else {
                if from_end && key.first().is_some_and(|first| *first > ROW) {
                    continue;
                }
                break;
            };
            let after = match &range.0 {
                Bound::Included(from) => key >= from.as_slice(),
                Bound::Excluded(from) => key > from.as_slice(),
                Bound::Unbounded => true,
            };
            let before = match &range.1 {
                Bound::Included(to) => key <= to.as_slice(),
                Bound::Excluded(to) => key < to.as_slice(),
                Bound::Unbounded => true,
            };
            match (after, before) {
                (true, true) => {}
                // The bound itself, where it is left out.
                (false, true) if !from_end => continue,
                (true, false) if from_end => continue,
                _ => break,
            }
            if !visitor(key, &row)? {
                break;
            }
        }
        Ok(())
    }

    fn write(&self, changes: &mut Changes, covered: Covered) -> Result<(), BoxError> {
        let mut batch = WriteBatch::default();
        for (key, row) in changes.iter() {
            match row {
                Some(row) => batch.put(row_key(key), row),
                None => batch.delete(row_key(key)),
            }
        }
        batch.put(NOTE, note(covered));
        Ok(self.0.write(batch)?)
    }

    fn clear(&self) -> Result<(), BoxError> {
        let mut batch = WriteBatch::default();
        batch.delete(NOTE);
        batch.delete_range([ROW], [ROW + 1]);
        Ok(self.0.write(batch)?)
    }

    fn len(&self) -> usize {
        let keys = self.0.property_int_value("rocksdb.estimate-num-keys").ok().flatten();
        usize::try_from(keys.unwrap_or_default()).unwrap_or(usize::MAX)
    }

    fn disk_bytes(&self) -> u64 {
        let files = self.0.property_int_value("rocksdb.total-sst-files-size").ok().flatten();
        files.unwrap_or_default()
    }
}

fn row_key(key: &[u8]) -> Vec<u8> {
    let mut row = Vec::with_capacity(1 + key.len());
    row.push(ROW);
    row.extend_from_slice(key);
    row
}
