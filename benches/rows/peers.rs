//! The peers: other embeddable logs and databases, each used as its documentation says, at the
//! durability of the row.

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;

use commitlog::message::{MessageBuf, MessageSet};
use commitlog::{CommitLog, LogOptions, ReadLimit};
use headwater_log_store::Record;
use okaywal::{LogVoid, WriteAheadLog};
use redb::{Database, Durability, ReadableDatabase, ReadableTable, TableDefinition};
use rusqlite::Connection;

use crate::contender::{Class, Contender, Handles, Kind, share};

/// Only survives the end of the process: its flush does not sync the records.
pub const COMMITLOG: Kind = Kind { name: "commitlog", open: open_commitlog };
/// Only D2: what it commits otherwise is gone with the process.
pub const REDB: Kind = Kind { name: "redb", open: open_redb };
/// A table with the offset as its row id, in WAL mode.
pub const SQLITE: Kind = Kind { name: "SQLite", open: open_sqlite };
/// Only D2, and only to write: a journal without offsets.
pub const OKAYWAL: Kind = Kind { name: "okaywal", open: open_okaywal };

const SCAN_BYTES: usize = 1 << 20;
/// What a read by offset takes at most: a record of 1 KiB with its header.
const POINT_BYTES: usize = 1100;

fn open_commitlog(folder: &Path, class: Class, handles: Handles) -> Vec<Box<dyn Contender>> {
    assert_eq!(class, Class::D1, "it cannot sync");
    let open = |n: usize| {
        let mut options = LogOptions::new(folder.join(n.to_string()));
        options.message_max_bytes(8 << 20);
        // Its index is a file of fixed size: one that is full ends the segment.
        options.index_max_items(10_000_000);
        CommitLog::new(options).unwrap()
    };
    share(open, handles)
}

impl Contender for CommitLog {
    fn append(&mut self, record: &Record<'_>) {
        self.append_msg(record.value.unwrap()).unwrap();
    }

    fn append_batch(&mut self, records: &[Record<'_>]) {
        let mut messages = MessageBuf::default();
        for record in records {
            messages.push(record.value.unwrap()).unwrap();
        }
        CommitLog::append(self, &mut messages).unwrap();
    }

    fn scan(&mut self) -> usize {
        let (mut next, mut records) = (0, 0);
        loop {
            // Reading checks the checksums.
            let messages = CommitLog::read(self, next, ReadLimit::max_bytes(SCAN_BYTES)).unwrap();
            let mut seen = 0;
            for message in messages.iter() {
                black_box(message.payload());
                next = message.offset() + 1;
                seen += 1;
            }
            if seen == 0 {
                return records;
            }
            records += seen;
        }
    }

    fn read(&mut self, offset: u64) -> usize {
        let limit = ReadLimit::max_bytes(POINT_BYTES);
        let messages = CommitLog::read(self, offset, limit).unwrap();
        let message = messages.iter().next().unwrap();
        assert_eq!(message.offset(), offset);
        message.payload().len()
    }
}

const TABLE: TableDefinition<'static, u64, &[u8]> = TableDefinition::new("records");

struct Redb {
    database: Arc<Database>,
}

fn open_redb(folder: &Path, class: Class, handles: Handles) -> Vec<Box<dyn Contender>> {
    assert_eq!(class, Class::D2, "it keeps nothing over the end of the process otherwise");
    let database = Arc::new(Database::create(folder.join("redb")).unwrap());
    let handle = |_| Box::new(Redb { database: Arc::clone(&database) }) as Box<dyn Contender>;
    (0..handles.count).map(handle).collect()
}

impl Contender for Redb {
    fn append(&mut self, record: &Record<'_>) {
        self.append_batch(std::slice::from_ref(record));
    }

    fn append_batch(&mut self, records: &[Record<'_>]) {
        let mut transaction = self.database.begin_write().unwrap();
        transaction.set_durability(Durability::Immediate).unwrap();
        {
            let mut table = transaction.open_table(TABLE).unwrap();
            let next = table.last().unwrap().map_or(0, |(last, _)| last.value() + 1);
            for (offset, record) in (next..).zip(records) {
                table.insert(offset, record.value.unwrap()).unwrap();
            }
        }
        transaction.commit().unwrap();
    }

    fn scan(&mut self) -> usize {
        let transaction = self.database.begin_read().unwrap();
        let table = transaction.open_table(TABLE).unwrap();
        let mut records = 0;
        for entry in table.iter().unwrap() {
            let (_, value) = entry.unwrap();
            black_box(value.value());
            records += 1;
        }
        records
    }

    fn read(&mut self, offset: u64) -> usize {
        let transaction = self.database.begin_read().unwrap();
        let table = transaction.open_table(TABLE).unwrap();
        let value = table.get(offset).unwrap().unwrap();
        value.value().len()
    }
}

struct Sqlite {
    connection: Connection,
}

fn open_sqlite(folder: &Path, class: Class, handles: Handles) -> Vec<Box<dyn Contender>> {
    let open = |n: usize| {
        let connection = Connection::open(folder.join(format!("{n}.sqlite"))).unwrap();
        // With OFF a commit is with the operating system; with FULL it is synced.
        let synchronous = if class == Class::D1 { "OFF" } else { "FULL" };
        let set = |name: &str, value: &str| {
            connection.pragma_update(None, name, value).unwrap();
        };
        set("journal_mode", "WAL");
        set("synchronous", synchronous);
        let table = "CREATE TABLE IF NOT EXISTS records (id INTEGER PRIMARY KEY, value BLOB)";
        connection.execute(table, ()).unwrap();
        Sqlite { connection }
    };
    // Where many wait, one database for all partitions: its log is synced for all of them.
    let partitions = if handles.are_shared() { 1 } else { handles.partitions };
    share(open, Handles { partitions, ..handles })
}

const INSERT: &str = "INSERT INTO records (value) VALUES (?1)";

impl Contender for Sqlite {
    fn append(&mut self, record: &Record<'_>) {
        let mut insert = self.connection.prepare_cached(INSERT).unwrap();
        insert.execute([record.value.unwrap()]).unwrap();
    }

    fn append_batch(&mut self, records: &[Record<'_>]) {
        let transaction = self.connection.transaction().unwrap();
        {
            let mut insert = transaction.prepare_cached(INSERT).unwrap();
            for record in records {
                insert.execute([record.value.unwrap()]).unwrap();
            }
        }
        transaction.commit().unwrap();
    }

    fn scan(&mut self) -> usize {
        let query = "SELECT value FROM records ORDER BY id";
        let mut select = self.connection.prepare_cached(query).unwrap();
        let mut rows = select.query(()).unwrap();
        let mut records = 0;
        while let Some(row) = rows.next().unwrap() {
            black_box(row.get_ref(0).unwrap().as_blob().unwrap());
            records += 1;
        }
        records
    }

    fn read(&mut self, offset: u64) -> usize {
        let query = "SELECT value FROM records WHERE id = ?1";
        let mut select = self.connection.prepare_cached(query).unwrap();
        // Row ids begin at 1.
        let id = i64::try_from(offset + 1).unwrap();
        select.query_row([id], |row| Ok(row.get_ref(0)?.as_blob()?.len())).unwrap()
    }
}

struct Okaywal {
    log: WriteAheadLog,
}

fn open_okaywal(folder: &Path, class: Class, handles: Handles) -> Vec<Box<dyn Contender>> {
    assert_eq!(class, Class::D2, "a commit is a sync");
    let log = WriteAheadLog::recover(folder.join("okaywal"), LogVoid).unwrap();
    let handle = |_| Box::new(Okaywal { log: log.clone() }) as Box<dyn Contender>;
    (0..handles.count).map(handle).collect()
}

impl Contender for Okaywal {
    fn append(&mut self, record: &Record<'_>) {
        self.append_batch(std::slice::from_ref(record));
    }

    fn append_batch(&mut self, records: &[Record<'_>]) {
        let mut entry = self.log.begin_entry().unwrap();
        for record in records {
            entry.write_chunk(record.value.unwrap()).unwrap();
        }
        entry.commit().unwrap();
    }
}
