//! Bugs that were there once, each with its story. They are found on a file system that loses power,
//! fails at a chosen call or stops a thread there.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::expect_used,
    clippy::disallowed_methods,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "helpers of tests"
)]

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use headwater_log_store::*;

fn tp(topic: &str, n: u32) -> TopicPartition {
    TopicPartition::new(TopicName::new(topic).unwrap(), PartitionId::new(n))
}
fn sim(storage: &SimulatedStorage, d: Durability) -> Result<LogStore, Error> {
    LogStore::builder("store")
        .storage(Arc::new(storage.clone()) as Arc<dyn Storage>)
        .clock(Arc::new(ManualClock::new(Timestamp::from_millis(0))))
        .durability(d)
        .journal_bytes(64 << 10)
        .housekeeping(false)
        .create(true)
        .open()
}
fn put(store: &LogStore, t: &TopicPartition, v: &str) -> Result<Offset, Error> {
    store.append(t, &Record::value(v.as_bytes()))
}
fn strings(batches: &[RecordBatch]) -> Vec<String> {
    batches
        .iter()
        .flat_map(RecordBatch::iter)
        .map(|r| String::from_utf8(r.value.unwrap_or(b"null").to_vec()).unwrap())
        .collect()
}
fn values(store: &LogStore, t: &TopicPartition) -> Vec<String> {
    let w = store.watermarks(t).unwrap();
    strings(&store.fetch(t, w.start, usize::MAX).unwrap())
}

/// A failed sync of a segment is retried by close, which then declares the store clean.
#[test]
fn close_after_a_failed_sync_keeps_what_was_acknowledged() {
    for skip in 0..40 {
        let storage = SimulatedStorage::new();
        let store = sim(&storage, Durability::Sync).unwrap();
        store.create_topic(&NewTopic::new("t")).unwrap();
        put(&store, &tp("t", 0), "acknowledged").unwrap();
        // One call fails, once, while another topic is created.
        let at = storage.calls() + 1 + skip;
        storage.set_fault(Some(CallFault { at, from_then_on: false, kind: io::ErrorKind::Other }));
        let created = store.create_topic(&NewTopic::new("other"));
        storage.set_fault(None);
        let closed = store.close();
        drop(store);
        let storage = storage.crash(CrashKind::PowerCut, |n| if n == 5 { 0 } else { n - 1 });
        let store = sim(&storage, Durability::Sync);
        let store = store.unwrap_or_else(|e| panic!("call +{skip}: {e}"));
        assert_eq!(
            values(&store, &tp("t", 0)),
            ["acknowledged"],
            "call +{skip} {created:?} {closed:?}"
        );
    }
}

/// An entry of an earlier life is replayed behind a new one.
#[test]
fn no_entry_of_an_earlier_life_comes_back() {
    for d in [Durability::Interval(Duration::from_secs(1)), Durability::Os] {
        let storage = SimulatedStorage::new();
        let store = sim(&storage, d).unwrap();
        store.create_topic(&NewTopic::new("t")).unwrap();
        let tx = |store: &LogStore, v: &str| {
            let mut p = store
                .producer(&ProducerConfig {
                    transactional_id: Some("p".into()),
                    ..Default::default()
                })
                .unwrap();
            p.begin_transaction().unwrap();
            drop(
                p.send(&ProducerRecord { value: Some(v.as_bytes()), ..ProducerRecord::to("t") })
                    .unwrap(),
            );
            p.commit_transaction().unwrap();
        };
        for n in 0..3 {
            tx(&store, &format!("old {n}"));
        }
        std::mem::forget(store);
        // Of the unsynced sectors all survive but the first one of the journal.
        let journal = Path::new("store/journal/journal.0");
        assert!(storage.contents(journal).is_some());
        // find a way: names survive (0), odds 4 (all) except first pending sector => scripted
        for lost in 0..60 {
            let mut calls = 0;
            let cut = storage.crash(CrashKind::PowerCut, |n| {
                if n == 5 {
                    return 4;
                }
                if n == 4 {
                    calls += 1;
                    return if calls - 1 == lost { 4 } else { 0 };
                }
                0
            });
            let again = match sim(&cut, d) {
                Ok(s) => s,
                Err(e) => panic!("{e}"),
            };
            if !values(&again, &tp("t", 0)).is_empty() {
                continue;
            }
            tx(&again, "new 0");
            assert_eq!(values(&again, &tp("t", 0)), ["new 0"]);
            std::mem::forget(again);
            let killed = cut.crash(CrashKind::Kill, |_| 0);
            let last = sim(&killed, d).unwrap();
            assert_eq!(values(&last, &tp("t", 0)), ["new 0"], "{d:?} lost {lost}");
        }
    }
}

/// After a reset the position stays behind what was returned.
#[test]
fn an_out_of_range_position_delivers_each_record_once() {
    let store = LogStore::in_memory().unwrap();
    store.create_topic(&NewTopic::new("t")).unwrap();
    let t = tp("t", 0);
    for n in 0..10 {
        put(&store, &t, &n.to_string()).unwrap();
    }
    store.delete_records(&t, Offset::new(5)).unwrap();
    let mut c = store
        .consumer(&ConsumerConfig {
            auto_offset_reset: AutoOffsetReset::Earliest,
            ..Default::default()
        })
        .unwrap();
    c.assign(std::slice::from_ref(&t)).unwrap();
    c.seek(&t, Offset::new(2)).unwrap();
    let mut seen = strings(&c.poll(Duration::ZERO).unwrap());
    seen.extend(strings(&c.poll(Duration::ZERO).unwrap()));
    assert_eq!(seen, ["5", "6", "7", "8", "9"]);
}

/// Interval never syncs while sends keep the housekeeping thread busy.
#[test]
fn interval_syncs_under_load() {
    let storage = SimulatedStorage::new();
    let store = LogStore::builder("store")
        .storage(Arc::new(storage.clone()))
        .durability(Durability::Interval(Duration::from_millis(10)))
        .journal_bytes(64 << 20)
        .create(true)
        .open()
        .unwrap();
    store.create_topic(&NewTopic::new("t")).unwrap();
    let mut p = store.producer(&ProducerConfig::default()).unwrap();
    let started = std::time::Instant::now();
    let mut sent = 0;
    while started.elapsed() < Duration::from_millis(700) {
        drop(p.send(&ProducerRecord { value: Some(b"x"), ..ProducerRecord::to("t") }).unwrap());
        sent += 1;
    }
    let cut = storage.crash(CrashKind::PowerCut, |n| n - 1 - (n == 5) as usize * 4);
    let again = sim(&cut, Durability::Sync).unwrap();
    let left = again.watermarks(&tp("t", 0)).unwrap().end;
    println!("sent {sent}, left {left}");
    assert!(left.value() > sent / 4, "of {sent} sent in 700 ms, {left} are durable");
}

/// An index of a lost life is trusted.
#[test]
fn an_index_of_a_lost_life_is_not_used() {
    for skip in 1..60 {
        let storage = SimulatedStorage::new();
        let d = Durability::Os;
        let store = sim(&storage, d).unwrap();
        store.create_topic(&NewTopic::new("t").config("index.interval.bytes", "200")).unwrap();
        let t = tp("t", 0);
        for n in 0..50 {
            put(&store, &t, &format!("old {n} {}", "x".repeat(200))).unwrap();
        }
        let at = storage.calls() + skip;
        storage.set_fault(Some(CallFault { at, from_then_on: true, kind: io::ErrorKind::Other }));
        let closed = store.close();
        std::mem::forget(store);
        if closed.is_ok() {
            break;
        }
        // everything unsynced survives
        let storage = storage.crash(CrashKind::PowerCut, |n| if n == 5 { 4 } else { 0 });
        let store = sim(&storage, d).unwrap();
        if !values(&store, &t).is_empty() {
            std::mem::forget(store);
            continue;
        }
        let expected: Vec<_> = (0..400).map(|n| format!("new {n}")).collect();
        for v in &expected {
            put(&store, &t, v).unwrap();
        }
        store.create_topic(&NewTopic::new("other")).unwrap(); // a checkpoint
        std::mem::forget(store);
        let storage = storage.crash(CrashKind::Kill, |_| 0);
        let store = sim(&storage, d).unwrap();
        for from in 0..400 {
            let got = strings(
                &store
                    .fetch(&t, Offset::new(from), 100)
                    .unwrap_or_else(|e| panic!("close died at call {skip}, from {from}: {e}")),
            );
            assert_eq!(
                got.first(),
                Some(&expected[from as usize]),
                "close died at call {skip}, from {from}"
            );
        }
    }
}

/// A flipped base offset makes records vanish without an error.
#[test]
fn a_damaged_base_offset_is_reported_from_every_offset() {
    let dir = tempfile::tempdir().unwrap();
    let t = tp("t", 0);
    let store = LogStore::create(dir.path()).unwrap();
    store.create_topic(&NewTopic::new("t")).unwrap();
    for n in 0..12 {
        put(&store, &t, &n.to_string()).unwrap();
    }
    drop(store);
    let path = dir.path().join("t-0/00000000000000000000.log");
    let mut bytes = std::fs::read(&path).unwrap();
    // find the batch with base offset 8
    let mut at = 0;
    loop {
        let base = i64::from_be_bytes(bytes[at..at + 8].try_into().unwrap());
        if base == 8 {
            break;
        }
        at += 12 + i32::from_be_bytes(bytes[at + 8..at + 12].try_into().unwrap()) as usize;
    }
    bytes[at + 7] ^= 8;
    std::fs::write(&path, &bytes).unwrap();
    let store = LogStore::open(dir.path()).unwrap();
    let got = store.fetch(&t, Offset::new(8), usize::MAX);
    assert!(got.is_err(), "{:?}", strings(&got.unwrap()));
}

/// One append grows the journal.
#[test]
fn no_append_grows_the_journal() {
    let storage = SimulatedStorage::new();
    let store = sim(&storage, Durability::Sync).unwrap();
    store.create_topic(&NewTopic::new("t")).unwrap();
    let value = vec![7; 4000];
    let records: Vec<_> = (0..100).map(|_| Record::value(&value)).collect();
    store.append_batch(&tp("t", 0), &records).unwrap();
    let len = storage.contents(Path::new("store/journal/journal.0")).unwrap().len();
    assert_eq!(len, 64 << 10);
}

/// A store without its `store` file is wiped by `create`.
#[test]
fn a_store_that_lost_its_id_is_not_made_anew() {
    let dir = tempfile::tempdir().unwrap();
    let t = tp("t", 0);
    let store = LogStore::create(dir.path()).unwrap();
    store.create_topic(&NewTopic::new("t")).unwrap();
    put(&store, &t, "precious").unwrap();
    if std::env::var("PARITY").is_ok() {
        store.create_topic(&NewTopic::new("u")).unwrap();
    }
    drop(store);
    let size = || std::fs::metadata(dir.path().join("t-0/00000000000000000000.log")).unwrap().len();
    let before = size();
    std::fs::remove_file(dir.path().join("store")).unwrap();
    let opened = LogStore::create(dir.path());
    println!("{:?}", opened.as_ref().map(|s| s.watermarks(&t)));
    println!("{:?}", opened.as_ref().map(|s| s.fetch(&t, Offset::ZERO, 1000)));
    assert_eq!(size(), before, "the segment was removed; opened: {}", opened.is_ok());
    assert!(opened.is_err(), "the store got a new id: nothing of it can be read any more");
}

/// Deleting a topic hangs once the offsets topic was deleted.
#[test]
fn deleting_the_offsets_topic_does_not_lock_up_the_store() {
    let (done, wait) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let store = LogStore::in_memory().unwrap();
        store.create_topic(&NewTopic::new("t")).unwrap();
        put(&store, &tp("t", 0), "x").unwrap();
        store.alter_group_offsets("g", &[(tp("t", 0), Some(Offset::new(1)))]).unwrap();
        if store.delete_topic("__consumer_offsets").is_ok() {
            store.delete_topic("t").unwrap();
        }
        done.send(()).unwrap();
        std::mem::forget(store);
    });
    wait.recv_timeout(Duration::from_secs(5)).expect("hangs");
}
/// What had been committed before hid what was committed after the topic was made anew.
#[test]
fn commits_after_the_offsets_topic_was_deleted_stand() {
    let store = LogStore::in_memory().unwrap();
    store.create_topic(&NewTopic::new("t")).unwrap();
    for _ in 0..9 {
        put(&store, &tp("t", 0), "x").unwrap();
    }
    for n in 0..5 {
        store.alter_group_offsets("g", &[(tp("t", 0), Some(Offset::new(n)))]).unwrap();
    }
    if store.delete_topic("__consumer_offsets").is_err() {
        return;
    }
    store.alter_group_offsets("g", &[(tp("t", 0), Some(Offset::new(7)))]).unwrap();
    assert_eq!(store.group_offsets("g").unwrap()[&tp("t", 0)].offset, Offset::new(7));
}

/// An assignment that failed in the middle had lost the partitions that it took over.
#[test]
fn a_failed_assign_changes_nothing() {
    let store = LogStore::in_memory().unwrap();
    store.create_topic(&NewTopic::new("t").partitions(2)).unwrap();
    put(&store, &tp("t", 0), "x").unwrap();
    let mut c = store
        .consumer(&ConsumerConfig {
            auto_offset_reset: AutoOffsetReset::Earliest,
            ..Default::default()
        })
        .unwrap();
    c.assign(&[tp("t", 0)]).unwrap();
    c.assign(&[tp("t", 0), tp("t", 7)]).unwrap_err();
    assert_eq!(c.assignment(), [tp("t", 0)]);
}
/// A partition that was named twice was read twice.
#[test]
fn a_partition_assigned_twice_is_read_once() {
    let store = LogStore::in_memory().unwrap();
    store.create_topic(&NewTopic::new("t")).unwrap();
    put(&store, &tp("t", 0), "x").unwrap();
    let mut c = store
        .consumer(&ConsumerConfig {
            auto_offset_reset: AutoOffsetReset::Earliest,
            ..Default::default()
        })
        .unwrap();
    c.assign(&[tp("t", 0), tp("t", 0)]).unwrap();
    assert_eq!(strings(&c.poll(Duration::ZERO).unwrap()), ["x"]);
}

/// A transactional producer went on with a topic that was gone.
#[test]
fn a_transactional_producer_finds_a_topic_that_was_made_anew() {
    let store = LogStore::in_memory().unwrap();
    store.create_topic(&NewTopic::new("t")).unwrap();
    let mut p = store
        .producer(&ProducerConfig { transactional_id: Some("p".into()), ..Default::default() })
        .unwrap();
    let one = |p: &mut Box<dyn Producer>| {
        p.begin_transaction()?;
        drop(p.send(&ProducerRecord { value: Some(b"v"), ..ProducerRecord::to("t") })?);
        p.commit_transaction()
    };
    one(&mut p).unwrap();
    store.delete_topic("t").unwrap();
    store.create_topic(&NewTopic::new("t")).unwrap();
    let _ = one(&mut p);
    one(&mut p).unwrap();
}

/// The name for a folder that is on its way out was longer than the system allows.
#[test]
fn a_topic_with_the_longest_name_can_be_deleted() {
    let dir = tempfile::tempdir().unwrap();
    let store = LogStore::create(dir.path()).unwrap();
    let name = "x".repeat(249);
    store.create_topic(&NewTopic::new(name.clone()).partitions(2)).unwrap();
    store.delete_topic(&name).unwrap();
    assert!(!dir.path().join(format!("{name}-0")).exists());
}

/// A few stray bytes behind a sealed segment were a panic for readers beside the writer.
#[test]
fn a_longer_sealed_segment_is_no_panic_for_a_reader_beside() {
    let dir = tempfile::tempdir().unwrap();
    let t = tp("t", 0);
    let store = LogStore::create(dir.path()).unwrap();
    store.create_topic(&NewTopic::new("t").config("segment.bytes", "1024")).unwrap();
    for n in 0..60 {
        put(&store, &t, &n.to_string()).unwrap();
    }
    use std::io::Write as _;
    let mut f = std::fs::OpenOptions::new()
        .append(true)
        .open(dir.path().join("t-0/00000000000000000000.log"))
        .unwrap();
    f.write_all(&[0; 10]).unwrap();
    let reader = LogStore::open_read_only(dir.path()).unwrap();
    let read = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        reader.fetch(&t, Offset::ZERO, usize::MAX).map(|b| strings(&b).len())
    }));
    assert!(read.is_ok());
    println!("{read:?}");
    let read = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        reader.fetch(&t, Offset::new(3), 10).map(|b| strings(&b).len())
    }));
    assert!(read.is_ok());
}

/// The time of the last append was forgotten with the process.
#[test]
fn append_time_does_not_go_back_over_a_reopen() {
    let dir = tempfile::tempdir().unwrap();
    let t = tp("t", 0);
    for now in [5_000, 1_000] {
        let store = LogStore::builder(dir.path())
            .create(true)
            .clock(Arc::new(ManualClock::new(Timestamp::from_millis(now))))
            .open()
            .unwrap();
        let _ = store
            .create_topic(&NewTopic::new("t").config("message.timestamp.type", "LogAppendTime"));
        put(&store, &t, "x").unwrap();
        store.close().unwrap();
    }
    let store = LogStore::open(dir.path()).unwrap();
    let b = store.fetch(&t, Offset::ZERO, usize::MAX).unwrap();
    let times: Vec<_> =
        b.iter().flat_map(RecordBatch::iter).map(|r| r.timestamp.as_millis()).collect();
    assert!(times[0] <= times[1], "{times:?}");
}

/// What a producer sent after a failed begin was written at once.
#[test]
fn a_transactional_producer_sends_only_inside_of_transactions() {
    let store = LogStore::in_memory().unwrap();
    store.create_topic(&NewTopic::new("t")).unwrap();
    let mut p = store
        .producer(&ProducerConfig { transactional_id: Some("p".into()), ..Default::default() })
        .unwrap();
    assert!(p.send(&ProducerRecord { value: Some(b"v"), ..ProducerRecord::to("t") }).is_err());
}

// ---- a file system that can stop a thread at a call ----
#[derive(Debug, Clone)]
struct Gate {
    inner: SimulatedStorage,
    rule: Arc<std::sync::Mutex<Option<(String, String)>>>, // (operation, path ends with)
    reached: Arc<(std::sync::Mutex<u32>, std::sync::Condvar)>,
    open: Arc<(std::sync::Mutex<bool>, std::sync::Condvar)>,
}
#[derive(Debug)]
struct GateFile {
    gate: Gate,
    path: String,
    file: Arc<dyn StorageFile>,
}
impl Gate {
    fn new() -> Self {
        Self {
            inner: SimulatedStorage::new(),
            rule: Default::default(),
            reached: Default::default(),
            open: Arc::new((std::sync::Mutex::new(true), Default::default())),
        }
    }
    fn stop_at(&self, op: &str, path: &str) {
        *self.open.0.lock().unwrap() = false;
        *self.rule.lock().unwrap() = Some((op.into(), path.into()));
    }
    fn wait_reached(&self) {
        let mut r = self.reached.0.lock().unwrap();
        while *r == 0 {
            r = self.reached.1.wait(r).unwrap();
        }
        *r = 0;
    }
    fn release(&self) {
        *self.open.0.lock().unwrap() = true;
        self.open.1.notify_all();
    }
    fn pass(&self, op: &str, path: &str) {
        let hit = {
            let mut rule = self.rule.lock().unwrap();
            let hit = rule.as_ref().is_some_and(|(o, p)| o == op && path.ends_with(p.as_str()));
            if hit {
                *rule = None;
            }
            hit
        };
        if hit {
            *self.reached.0.lock().unwrap() = 1;
            self.reached.1.notify_all();
            let mut open = self.open.0.lock().unwrap();
            while !*open {
                open = self.open.1.wait(open).unwrap();
            }
        }
    }
}
impl Storage for Gate {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn StorageFile>> {
        let p = path.to_str().unwrap().to_owned();
        self.pass("open", &p);
        Ok(Arc::new(GateFile { gate: self.clone(), path: p, file: self.inner.open(path, mode)? }))
    }
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.inner.create_dir(path)
    }
    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.inner.list(dir)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.pass("remove", path.to_str().unwrap());
        self.inner.remove(path)
    }
    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.inner.remove_dir(path)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.inner.rename(from, to)
    }
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.pass("sync_dir", dir.to_str().unwrap());
        self.inner.sync_dir(dir)
    }
    fn lock(&self, path: &Path, holder: &str) -> io::Result<Box<dyn StorageLock>> {
        self.inner.lock(path, holder)
    }
    fn boot_id(&self) -> Option<String> {
        self.inner.boot_id()
    }
}
impl StorageFile for GateFile {
    fn size(&self) -> io::Result<u64> {
        self.file.size()
    }
    fn read(&self, position: u64, len: usize) -> io::Result<bytes::Bytes> {
        self.file.read(position, len)
    }
    fn write(&self, position: u64, bytes: &[u8]) -> io::Result<()> {
        self.gate.pass("write", &self.path);
        self.file.write(position, bytes)
    }
    fn reserve(&self, len: u64) -> io::Result<()> {
        self.file.reserve(len)
    }
    fn truncate(&self, len: u64) -> io::Result<()> {
        self.file.truncate(len)
    }
    fn sync(&self) -> io::Result<()> {
        self.gate.pass("sync", &self.path);
        self.file.sync()
    }
}
fn gated(gate: &Gate, d: Durability) -> Result<LogStore, Error> {
    LogStore::builder("store")
        .storage(Arc::new(gate.clone()))
        .durability(d)
        .journal_bytes(64 << 10)
        .housekeeping(false)
        .create(true)
        .open()
}

/// The new producer was there while the zombie's commit was still on its way.
#[test]
fn when_a_producer_has_taken_over_the_commits_of_the_old_one_are_over() {
    let gate = Gate::new();
    let store = gated(&gate, Durability::Sync).unwrap();
    store.create_topic(&NewTopic::new("t")).unwrap();
    let id = ProducerConfig { transactional_id: Some("p".into()), ..Default::default() };
    let mut zombie = store.producer(&id).unwrap();
    zombie.begin_transaction().unwrap();
    drop(
        zombie.send(&ProducerRecord { value: Some(b"zombie"), ..ProducerRecord::to("t") }).unwrap(),
    );
    gate.stop_at("sync", "journal.0");
    let committing = std::thread::spawn(move || zombie.commit_transaction());
    gate.wait_reached();
    let (s2, id2) = (store.clone(), id.clone());
    let (done, wait) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let _new = s2.producer(&id2).unwrap();
        done.send(values(&s2, &tp("t", 0))).unwrap();
    });
    let early = wait.recv_timeout(Duration::from_millis(300));
    gate.release();
    let committed = committing.join().unwrap();
    let seen = early.unwrap_or_else(|_| wait.recv().unwrap());
    assert_eq!(
        seen.len(),
        usize::from(committed.is_ok()),
        "taken over with {seen:?} there; then the old one committed: {committed:?}"
    );
}

/// An admin call goes on writing after close has let the next opener in.
#[test]
fn nothing_is_written_after_close() {
    let gate = Gate::new();
    let store = gated(&gate, Durability::Sync).unwrap();
    store.create_topic(&NewTopic::new("t").config("segment.bytes", "1024")).unwrap();
    gate.stop_at("sync", "topics/~");
    let s2 = store.clone();
    let creating = std::thread::spawn(move || s2.create_topic(&NewTopic::new("late")));
    gate.wait_reached();
    let s3 = store.clone();
    let (done, wait) = std::sync::mpsc::channel();
    let closing = std::thread::spawn(move || {
        let c = s3.close();
        done.send(()).unwrap();
        c
    });
    let early = wait.recv_timeout(Duration::from_millis(300)).is_ok();
    if early {
        // Another process opens it and goes on.
        let next = gated(&gate, Durability::Sync).unwrap();
        for n in 0..3 {
            put(&next, &tp("t", 0), &format!("{n}{}", "x".repeat(900))).unwrap();
        }
        gate.release();
        println!("{:?}", creating.join().unwrap());
        std::mem::forget(next);
        let killed = gate.inner.crash(CrashKind::Kill, |_| 0);
        let again = sim(&killed, Durability::Sync).unwrap();
        assert_eq!(values(&again, &tp("t", 0)).len(), 3);
    } else {
        gate.release();
    }
    closing.join().unwrap().unwrap();
    assert!(!early, "close returned while a topic was being created");
}

/// Under `Os` a record was acknowledged before a checkpoint knows its topic.
#[test]
fn what_is_acknowledged_in_a_new_topic_survives_a_kill() {
    let gate = Gate::new();
    let store = gated(&gate, Durability::Os).unwrap();
    let at = if std::env::var("SLOT").is_ok() { "checkpoint.0" } else { "checkpoint.1" };
    gate.stop_at("sync", at);
    let s2 = store.clone();
    let creating = std::thread::spawn(move || s2.create_topic(&NewTopic::new("t")));
    gate.wait_reached();
    let appended = put(&store, &tp("t", 0), "x");
    println!("{appended:?}");
    let killed = gate.inner.crash(CrashKind::Kill, |_| 0);
    gate.release();
    let _ = creating.join();
    // The checkpoint was written but not whole: tear it as a kill would.
    let f = killed.open(Path::new(&format!("store/{at}")), OpenMode::Write).unwrap();
    f.write(20, &[0xff; 8]).unwrap();
    let again = sim(&killed, Durability::Os).unwrap();
    if appended.is_ok() {
        assert_eq!(values(&again, &tp("t", 0)), ["x"]);
    }
}

/// A topic whose creation failed left an empty slot in `published`, and readers stop at the first.
#[test]
fn a_failed_create_does_not_hide_later_topics_from_readers() {
    let dir = tempfile::tempdir().unwrap();
    drop(dir);
    for skip in 1..40 {
        let storage = SimulatedStorage::new();
        let store = sim(&storage, Durability::Sync).unwrap();
        storage.set_fault(Some(CallFault {
            at: storage.calls() + skip,
            from_then_on: false,
            kind: io::ErrorKind::StorageFull,
        }));
        let first = store.create_topic(&NewTopic::new("a"));
        storage.set_fault(None);
        let second = store.create_topic(&NewTopic::new("b"));
        if first.is_ok() || second.is_err() {
            continue;
        }
        let bytes = storage.contents(Path::new("store/published")).unwrap();
        assert!(
            bytes[64..128].iter().any(|&b| b != 0),
            "call +{skip}: slot 1 is a hole, a reader stops there: {first:?}"
        );
    }
}

/// A writer that was killed inside of the copy into its slot of `published` left bytes whose checksum
/// did not match, and no reader could open the store before the next writer had.
#[test]
fn a_reader_opens_beside_a_publication_that_was_cut_short() {
    let storage = SimulatedStorage::new();
    let store = sim(&storage, Durability::Os).unwrap();
    store.create_topic(&NewTopic::new("t")).unwrap();
    let published = storage.open(Path::new("store/published"), OpenMode::Write).unwrap();
    let file_len = usize::try_from(published.size().unwrap()).unwrap();
    let mut expected = Vec::new();
    for n in 0..6 {
        let before = published.read(0, file_len).unwrap();
        put(&store, &tp("t", 0), &n.to_string()).unwrap();
        let after = published.read(0, file_len).unwrap();
        let changed = (0..file_len).filter(|&at| before[at] != after[at]);
        let (first, last) = (changed.clone().min().unwrap(), changed.max().unwrap());
        for cut in first..last {
            published.write(cut as u64, &before[cut..=last]).unwrap();
            let reader = LogStore::builder("store").storage(Arc::new(storage.clone()));
            let reader = reader.open_read_only().unwrap_or_else(|e| panic!("cut at {cut}: {e}"));
            assert_eq!(values(&reader, &tp("t", 0)), expected, "cut at {cut}");
            published.write(0, &after).unwrap();
        }
        expected.push(n.to_string());
    }
}

/// A failed directory sync is retried.
#[test]
fn a_failed_sync_of_a_folder_poisons() {
    for skip in 1..80 {
        let storage = SimulatedStorage::new();
        let store = sim(&storage, Durability::Sync).unwrap();
        store.create_topic(&NewTopic::new("t").config("segment.bytes", "1024")).unwrap();
        let big = "x".repeat(900);
        put(&store, &tp("t", 0), &big).unwrap();
        storage.set_fault(Some(CallFault {
            at: storage.calls() + skip,
            from_then_on: false,
            kind: io::ErrorKind::Other,
        }));
        let first = put(&store, &tp("t", 0), &big);
        storage.set_fault(None);
        let second = put(&store, &tp("t", 0), &big);
        if let (Err(e), Ok(_)) = (&first, &second) {
            assert!(!format!("{e}").starts_with("sync"), "call +{skip}: {e}; then all went on");
        }
    }
}

/// A cut that was not synced comes undone under a clean checkpoint.
#[test]
fn what_a_recovery_cut_off_stays_cut_off() {
    let storage = SimulatedStorage::new();
    let d = Durability::Os;
    let store = sim(&storage, d).unwrap();
    let t = tp("t", 0);
    store.create_topic(&NewTopic::new("t")).unwrap();
    for n in 0..3 {
        put(&store, &t, &format!("old {n}")).unwrap();
    }
    std::mem::forget(store);
    let storage = storage.crash(CrashKind::PowerCut, |n| if n == 5 { 4 } else { 0 });
    let store = sim(&storage, d).unwrap();
    assert!(values(&store, &t).is_empty(), "the checkpoint knows nothing of them");
    store.close().unwrap();
    drop(store);
    let storage = storage.crash(CrashKind::PowerCut, |n| if n == 5 { 0 } else { n - 1 });
    let store = sim(&storage, d).unwrap();
    put(&store, &t, "new 0").unwrap();
    assert_eq!(values(&store, &t), ["new 0"]);
    std::mem::forget(store);
    let storage = storage.crash(CrashKind::Kill, |_| 0);
    let store = sim(&storage, d).unwrap();
    assert_eq!(values(&store, &t), ["new 0"]);
}

/// DiskFull says that nothing was written.
#[test]
fn an_append_that_met_a_full_disk_wrote_nothing() {
    for d in [Durability::Sync, Durability::Os] {
        for skip in 1..60 {
            let storage = SimulatedStorage::new();
            let store = sim(&storage, d).unwrap();
            store
                .create_topic(
                    &NewTopic::new("t")
                        .config("segment.bytes", "1024")
                        .config("max.message.bytes", "1000"),
                )
                .unwrap();
            let big = vec![b'x'; 800];
            let many: Vec<_> = (0..3).map(|_| Record::value(&big)).collect();
            storage.set_fault(Some(CallFault {
                at: storage.calls() + skip,
                from_then_on: false,
                kind: io::ErrorKind::StorageFull,
            }));
            let first = store.append_batch(&tp("t", 0), &many);
            storage.set_fault(None);
            if let Err(Error::DiskFull { .. }) = first {
                let _ = put(&store, &tp("t", 0), "after");
                assert!(
                    values(&store, &tp("t", 0)).len() <= 1,
                    "{d:?} call +{skip}: {} records",
                    values(&store, &tp("t", 0)).len()
                );
            }
        }
    }
}

/// A cursor into the segment of a topic that is gone.
#[test]
fn a_topic_that_was_made_anew_is_not_corrupt() {
    let store = LogStore::in_memory().unwrap();
    let t = tp("t", 0);
    store.create_topic(&NewTopic::new("t")).unwrap();
    for n in 0..3 {
        put(&store, &t, &n.to_string()).unwrap();
    }
    let mut c = store
        .consumer(&ConsumerConfig {
            auto_offset_reset: AutoOffsetReset::Earliest,
            max_poll_records: 1,
            ..Default::default()
        })
        .unwrap();
    c.assign(std::slice::from_ref(&t)).unwrap();
    c.poll(Duration::ZERO).unwrap();
    store.delete_topic("t").unwrap();
    store.create_topic(&NewTopic::new("t")).unwrap();
    for n in 0..5 {
        put(&store, &t, &format!("new {n}")).unwrap();
    }
    let polled = c.poll(Duration::ZERO);
    assert!(polled.is_ok(), "{polled:?}");
}

/// Delete_records unlinks a file of the topic that came after.
#[test]
fn delete_records_touches_no_other_topic() {
    let gate = Gate::new();
    let store = gated(&gate, Durability::Sync).unwrap();
    let t = tp("t", 0);
    store.create_topic(&NewTopic::new("t").config("segment.bytes", "1024")).unwrap();
    for _ in 0..4 {
        put(&store, &t, &"x".repeat(900)).unwrap();
    }
    gate.stop_at("remove", "t-0/00000000000000000000.log");
    let (s2, t2) = (store.clone(), t.clone());
    let deleting = std::thread::spawn(move || s2.delete_records(&t2, Offset::new(2)));
    gate.wait_reached();
    let (s3, t3) = (store.clone(), t.clone());
    let (done, wait) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        s3.delete_topic("t").unwrap();
        s3.create_topic(&NewTopic::new("t")).unwrap();
        put(&s3, &t3, "new").unwrap();
        done.send(()).unwrap();
    });
    let early = wait.recv_timeout(Duration::from_millis(300)).is_ok();
    gate.release();
    let _ = deleting.join().unwrap();
    if !early {
        wait.recv().unwrap();
    }
    store.close().unwrap();
    drop(store);
    let again = gated(&gate, Durability::Sync).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(values(&again, &t), ["new"]);
}

/// The panic of a reader beside, with a cursor into a segment that got longer.
#[test]
fn a_segment_that_got_longer_is_no_panic() {
    let dir = tempfile::tempdir().unwrap();
    let t = tp("t", 0);
    let store = LogStore::create(dir.path()).unwrap();
    store.create_topic(&NewTopic::new("t").config("segment.bytes", "1024")).unwrap();
    for n in 0..5 {
        put(&store, &t, &n.to_string()).unwrap();
    }
    let reader = LogStore::open_read_only(dir.path()).unwrap();
    let mut c = reader
        .consumer(&ConsumerConfig {
            auto_offset_reset: AutoOffsetReset::Earliest,
            ..Default::default()
        })
        .unwrap();
    c.assign(std::slice::from_ref(&t)).unwrap();
    assert_eq!(strings(&c.poll(Duration::ZERO).unwrap()).len(), 5);
    for n in 5..60 {
        put(&store, &t, &n.to_string()).unwrap();
    }
    use std::io::Write as _;
    let mut f = std::fs::OpenOptions::new()
        .append(true)
        .open(dir.path().join("t-0/00000000000000000000.log"))
        .unwrap();
    f.write_all(&[0; 10]).unwrap();
    for _ in 0..5 {
        println!("{:?}", c.poll(Duration::ZERO).map(|b| strings(&b).len()));
    }
}

/// An undone cut is taken for lost durable data.
#[test]
fn an_undone_cut_does_not_keep_the_store_closed() {
    let storage = SimulatedStorage::new();
    let store = sim(&storage, Durability::Os).unwrap();
    let t = tp("t", 0);
    store.create_topic(&NewTopic::new("t")).unwrap();
    for n in 0..3 {
        put(&store, &t, &format!("old {n}")).unwrap();
    }
    std::mem::forget(store);
    let storage = storage.crash(CrashKind::PowerCut, |n| if n == 5 { 4 } else { 0 });
    let store = sim(&storage, Durability::Sync).unwrap();
    assert!(values(&store, &t).is_empty());
    std::mem::forget(store);
    let storage = storage.crash(CrashKind::PowerCut, |n| if n == 5 { 0 } else { n - 1 });
    let store = sim(&storage, Durability::Sync).unwrap();
    assert!(values(&store, &t).is_empty());
}

/// An interval of zero left no time for anything but syncs, and the longest one overflowed.
#[test]
fn intervals_that_make_no_sense_are_refused() {
    for interval in [Duration::ZERO, Duration::MAX] {
        let storage = SimulatedStorage::new();
        let opened = LogStore::builder("store")
            .storage(Arc::new(storage))
            .durability(Durability::Interval(interval))
            .create(true)
            .open();
        let error = opened.unwrap_err().to_string();
        assert!(error.contains("Interval("), "{error}");
    }
}

/// While a writer was starting, readers beside it saw no topic at all.
#[test]
fn readers_beside_a_writer_that_starts_again_keep_their_topics() {
    let storage = SimulatedStorage::new();
    let store = sim(&storage, Durability::Sync).unwrap();
    store.create_topic(&NewTopic::new("t")).unwrap();
    put(&store, &tp("t", 0), "kept").unwrap();
    store.close().unwrap();
    drop(store);
    // Every call of the start is the last one once, and a look is taken then.
    for calls in 1..200 {
        let at = storage.crash(CrashKind::Kill, |_| 0);
        at.set_fault(Some(CallFault { at: calls, from_then_on: true, kind: io::ErrorKind::Other }));
        let started = sim(&at, Durability::Sync);
        let done = started.is_ok();
        std::mem::forget(started);
        at.set_fault(None);
        let reader = LogStore::builder("store").storage(Arc::new(at)).open_read_only().unwrap();
        assert_eq!(values(&reader, &tp("t", 0)), ["kept"], "after {calls} calls");
        if done {
            return;
        }
    }
    panic!("the start takes more calls than were tried");
}

/// A batch was still on its way to the segment when that was sealed: the checkpoint of the roll
/// ended it before the batch, and the next segment began behind it.
#[test]
fn a_roll_waits_for_what_is_queued() {
    let gate = Gate::new();
    let store = LogStore::builder("store")
        .storage(Arc::new(gate.clone()))
        .durability(Durability::Interval(Duration::from_millis(1)))
        .journal_bytes(64 << 10)
        .create(true)
        .open()
        .unwrap();
    store.create_topic(&NewTopic::new("t").config("segment.bytes", "1024")).unwrap();
    let t = tp("t", 0);
    // The thread that would commit what is queued is stopped in a sync behind the appends.
    gate.stop_at("sync", "journal.0");
    put(&store, &t, "first").unwrap();
    gate.wait_reached();
    let mut producer = store.producer(&ProducerConfig::default()).unwrap();
    let queued =
        producer.send(&ProducerRecord { value: Some(b"queued"), ..ProducerRecord::to("t") });
    let big = "x".repeat(950);
    let rolled = put(&store, &t, &big);
    gate.release();
    assert_eq!(rolled.unwrap(), Offset::new(2));
    assert_eq!(queued.unwrap().wait().unwrap().offset, Offset::new(1));
    assert_eq!(values(&store, &t), ["first", "queued", &big]);
    let storage = gate.inner.crash(CrashKind::Kill, |_| 0);
    store.close().unwrap();
    let store = sim(&storage, Durability::Sync).unwrap();
    assert_eq!(values(&store, &t), ["first", "queued", &big]);
}

/// A transaction's entry was applied to the partitions that it fits, though in one of them what
/// came before was gone: half of a transaction.
#[test]
fn a_journal_entry_that_leaves_a_gap_is_applied_nowhere() {
    let (first, second) = (tp("t", 0), tp("t", 1));
    let segment = Path::new("store/t-0/00000000000000000000.log");
    let storage = SimulatedStorage::new();
    let store = sim(&storage, Durability::Os).unwrap();
    store.create_topic(&NewTopic::new("t").partitions(2)).unwrap();
    put(&store, &first, "kept").unwrap();
    put(&store, &first, "rotten").unwrap();
    let id = ProducerConfig { transactional_id: Some("p".into()), ..Default::default() };
    let mut producer = store.producer(&id).unwrap();
    producer.begin_transaction().unwrap();
    for n in 0..2 {
        let partition = Some(PartitionId::new(n));
        let record = ProducerRecord { value: Some(b"both"), partition, ..ProducerRecord::to("t") };
        drop(producer.send(&record).unwrap());
    }
    // Killed when the entry is in the journal and nothing of it in the segments.
    let at = 1 + storage.calls() + 1;
    storage.set_fault(Some(CallFault { at, from_then_on: true, kind: io::ErrorKind::Other }));
    producer.commit_transaction().unwrap_err();
    let killed = storage.crash(CrashKind::Kill, |_| 0);
    drop((producer, store));
    let bytes = killed.contents(segment).unwrap();
    let rotten = bytes.windows(6).position(|w| w == b"rotten").unwrap();
    killed.open(segment, OpenMode::Write).unwrap().write(rotten as u64, b"R").unwrap();
    let store = sim(&killed, Durability::Os).unwrap();
    assert_eq!(store.recovery().journal_entries, 1, "the crash came too early");
    assert_eq!(values(&store, &first), ["kept"]);
    assert_eq!(values(&store, &second), Vec::<String>::new(), "half of a transaction");
}

/// What a crash kept from being removed took its space for ever.
#[test]
fn a_segment_that_a_crash_kept_from_being_removed_is_removed_at_the_next_open() {
    let storage = SimulatedStorage::new();
    let store = sim(&storage, Durability::Sync).unwrap();
    store.create_topic(&NewTopic::new("t").config("segment.bytes", "1024")).unwrap();
    let t = tp("t", 0);
    for _ in 0..5 {
        put(&store, &t, &"x".repeat(900)).unwrap();
    }
    let dir = Path::new("store/t-0");
    let segments = |storage: &SimulatedStorage| {
        let names = storage.lengths(dir).into_iter().map(|(name, _)| name);
        names.filter(|name| name.ends_with(".log")).collect::<Vec<_>>()
    };
    assert_eq!(segments(&storage).len(), 5);
    let mut kept = 0;
    for skip in 1..40 {
        let storage = storage.crash(CrashKind::Kill, |_| 0);
        let store = sim(&storage, Durability::Sync).unwrap();
        let at = storage.calls() + skip;
        storage.set_fault(Some(CallFault { at, from_then_on: true, kind: io::ErrorKind::Other }));
        let deleted = store.delete_records(&t, Offset::new(3));
        let killed = storage.crash(CrashKind::Kill, |_| 0);
        drop(store);
        let store = sim(&killed, Durability::Sync).unwrap();
        let start = store.watermarks(&t).unwrap().start;
        kept += u64::from(start == Offset::new(3) && deleted.is_err());
        let expected = if start == Offset::ZERO { 5 } else { 2 };
        assert_eq!(segments(&killed).len(), expected, "call +{skip}, log start {start}");
    }
    assert!(kept > 0, "no crash came between the checkpoint and the last removal");
}

/// Records were deleted up to the end of the active segment, and that was sealed later: nothing
/// freed its space until more records were deleted.
#[test]
fn retention_frees_a_segment_that_was_sealed_after_its_records_were_deleted() {
    let storage = SimulatedStorage::new();
    let store = sim(&storage, Durability::Sync).unwrap();
    let topic = NewTopic::new("t").config("segment.bytes", "1024").config("retention.ms", "-1");
    store.create_topic(&topic).unwrap();
    let t = tp("t", 0);
    put(&store, &t, &"x".repeat(900)).unwrap();
    store.delete_records(&t, Offset::new(1)).unwrap();
    put(&store, &t, &"y".repeat(900)).unwrap();
    let first = Path::new("store/t-0/00000000000000000000.log");
    assert!(storage.contents(first).is_some(), "the active segment was sealed by the roll");
    assert_eq!(store.enforce_retention().unwrap(), 1);
    assert!(storage.contents(first).is_none());
    assert_eq!(values(&store, &t), ["y".repeat(900)]);
}

/// A power cut took the removal of a deleted topic's offsets, and not its deletion: a topic of the
/// same name would have begun where the old one had been read up to.
#[test]
fn offsets_of_a_deleted_topic_do_not_come_back_with_a_power_cut() {
    let mut deleted = 0;
    for (d, skip, removed) in [Durability::Os, Durability::Interval(Duration::from_secs(1))]
        .into_iter()
        .flat_map(|d| (0..80).map(move |skip| (d, skip / 2, skip % 2 == 0)))
    {
        let storage = SimulatedStorage::new();
        let store = sim(&storage, d).unwrap();
        store.create_topic(&NewTopic::new("t")).unwrap();
        put(&store, &tp("t", 0), "x").unwrap();
        store.alter_group_offsets("g", &[(tp("t", 0), Some(Offset::new(1)))]).unwrap();
        store.create_topic(&NewTopic::new("other")).unwrap();
        if removed {
            store.alter_group_offsets("g", &[(tp("t", 0), None)]).unwrap();
        }
        let at = storage.calls() + 1 + skip;
        storage.set_fault(Some(CallFault { at, from_then_on: true, kind: io::ErrorKind::Other }));
        let _ = store.delete_topic("t");
        // Nothing is there that was not synced.
        let cut = storage.crash(CrashKind::PowerCut, |n| if n == 5 { 0 } else { n - 1 });
        drop(store);
        let store = sim(&cut, d).unwrap();
        if store.describe_topic("t").is_err() {
            deleted += 1;
            let left = store.group_offsets("g").unwrap();
            assert!(left.is_empty(), "{d:?}, call +{skip}: {left:?}");
        }
    }
    assert!(deleted > 0, "no power cut came after the deletion");
}

/// Of the two index files, which nothing syncs, one was of an earlier save: the latest time of the
/// segment was wrong, and records were not found by their time.
#[test]
fn index_files_of_two_saves_give_no_wrong_times() {
    let storage = SimulatedStorage::new();
    let store = sim(&storage, Durability::Sync).unwrap();
    store.create_topic(&NewTopic::new("t")).unwrap();
    let t = tp("t", 0);
    let at = |millis| Record::value(b"x").with_timestamp(Timestamp::from_millis(millis));
    store.append(&t, &at(10)).unwrap();
    store.close().unwrap();
    let times = Path::new("store/t-0/00000000000000000000.timeindex");
    let earlier = storage.contents(times).unwrap();
    let store = sim(&storage, Durability::Sync).unwrap();
    store.append(&t, &at(20)).unwrap();
    store.close().unwrap();
    assert_ne!(storage.contents(times).unwrap(), earlier);
    storage.open(times, OpenMode::Write).unwrap().write(0, &earlier).unwrap();
    let store = sim(&storage, Durability::Sync).unwrap();
    let found = store.offset_for_time(&t, Timestamp::from_millis(15)).unwrap();
    assert_eq!(found, Some(Offset::new(1)));
}

/// A power cut after a close brought segments back that had been removed, and as the close was
/// clean, nothing looked for them: they took their space for ever.
#[test]
fn removed_segments_do_not_come_back_with_a_power_cut_and_leftovers_go() {
    let storage = SimulatedStorage::new();
    let store = sim(&storage, Durability::Sync).unwrap();
    store.create_topic(&NewTopic::new("t").config("segment.bytes", "1024")).unwrap();
    let t = tp("t", 0);
    for _ in 0..4 {
        put(&store, &t, &"x".repeat(900)).unwrap();
    }
    let first = Path::new("store/t-0/00000000000000000000.log");
    let bytes = storage.contents(first).unwrap();
    store.delete_records(&t, Offset::new(2)).unwrap();
    store.close().unwrap();
    // No change of a name survives that was not synced.
    let cut = storage.crash(CrashKind::PowerCut, |n| if n == 5 { 0 } else { n - 1 });
    assert!(cut.contents(first).is_none(), "the removal was not synced");
    // Where a removal has failed, the file is still there.
    cut.open(first, OpenMode::Create).unwrap().write(0, &bytes).unwrap();
    let store = sim(&cut, Durability::Sync).unwrap();
    assert!(store.recovery().clean);
    assert!(cut.contents(first).is_none());
    assert_eq!(values(&store, &t).len(), 2);
}

/// The sync of a segment failed, and the process was started again: what it found in the page cache
/// was not on the disk, the next sync said that all was well, and a checkpoint said that it was
/// durable. A power cut made a hole of it.
#[test]
fn what_a_failed_sync_left_in_the_page_cache_only_is_written_again() {
    let mut failed = 0;
    for skip in 1..40 {
        let storage = SimulatedStorage::new();
        let store = sim(&storage, Durability::Os).unwrap();
        store.create_topic(&NewTopic::new("t")).unwrap();
        put(&store, &tp("t", 0), "acknowledged").unwrap();
        let at = storage.calls() + skip;
        let effect = CallEffect { at, from_then_on: false, effect: Effect::FailsToSync };
        storage.set_effect(Some(effect));
        failed += u64::from(store.create_topic(&NewTopic::new("other")).is_err());
        drop(store);
        storage.set_effect(None);
        let store = sim(&storage, Durability::Os).unwrap();
        assert_eq!(values(&store, &tp("t", 0)), ["acknowledged"]);
        // A checkpoint has said that it is durable.
        let cut = storage.crash(CrashKind::PowerCut, |n| if n == 5 { 0 } else { n - 1 });
        let store = sim(&cut, Durability::Os).unwrap();
        assert_eq!(values(&store, &tp("t", 0)), ["acknowledged"], "call +{skip}");
    }
    assert!(failed > 1, "no sync failed");
}

/// A write to space that was only reserved had failed. As ext4 does, the system took that space for
/// written from then on, and the disk did not: what the next process wrote there, to the journal or to
/// a segment, was acknowledged and synced, and zeros after a power cut.
#[test]
fn where_a_write_has_failed_later_ones_are_kept() {
    let open = |storage: &SimulatedStorage, durability| {
        LogStore::builder("store")
            .storage(Arc::new(storage.clone()))
            .durability(durability)
            // Half a MiB more than is filled when the journal is made.
            .journal_bytes(3 << 19)
            .housekeeping(false)
            .create(true)
            .open()
            .unwrap()
    };
    let (t, large) = (tp("t", 0), "x".repeat(120 << 10));
    let put = |store: &LogStore, n: u64| put(store, &t, &format!("{n:02}{large}"));
    let numbers = |store: &LogStore| -> Vec<String> {
        values(store, &t).iter().map(|value| value[..2].to_owned()).collect()
    };
    let cut = |storage: &SimulatedStorage| {
        storage.crash(CrashKind::PowerCut, |n| if n == 5 { 0 } else { n - 1 })
    };
    let mut failed = 0;
    for (durability, skip) in
        [Durability::Sync, Durability::Os].into_iter().flat_map(|d| (1..30).map(move |n| (d, n)))
    {
        let storage = SimulatedStorage::new();
        let store = open(&storage, durability);
        store.create_topic(&NewTopic::new("t")).unwrap();
        (0..8).for_each(|n| assert_eq!(put(&store, n).unwrap(), Offset::new(n)));
        let at = storage.calls() + skip;
        let effect = CallEffect { at, from_then_on: false, effect: Effect::FailsToSync };
        storage.set_effect(Some(effect));
        let puts = (8..10).try_for_each(|n| put(&store, n).map(drop));
        failed += u64::from(puts.and_then(|()| store.close()).is_err());
        drop(store);
        storage.set_effect(None);
        let store = open(&storage, durability);
        // Once around the journal.
        for n in 10..22 {
            put(&store, n).unwrap();
            if durability == Durability::Sync {
                let found = numbers(&open(&cut(&storage), durability));
                assert_eq!(found, numbers(&store), "call +{skip}, {n}");
            }
        }
        let expected = numbers(&store);
        store.close().unwrap();
        let found = numbers(&open(&cut(&storage), durability));
        assert_eq!(found, expected, "{durability:?}, call +{skip}");
    }
    assert!(failed > 5, "hardly a sync failed: {failed}");
}

/// Making a store failed at the sync of the journal, and the next attempt took the file as it was
/// to be seen: after a power cut it was shorter, and the store did not open.
#[test]
fn a_store_whose_making_failed_once_is_made_from_nothing() {
    for skip in 1..60 {
        let storage = SimulatedStorage::new();
        let effect = CallEffect { at: skip, from_then_on: false, effect: Effect::FailsToSync };
        storage.set_effect(Some(effect));
        drop(sim(&storage, Durability::Sync));
        storage.set_effect(None);
        let store = sim(&storage, Durability::Sync).unwrap();
        store.create_topic(&NewTopic::new("t")).unwrap();
        put(&store, &tp("t", 0), "acknowledged").unwrap();
        let cut = storage.crash(CrashKind::PowerCut, |n| if n == 5 { 0 } else { n - 1 });
        drop(store);
        let store = sim(&cut, Durability::Sync).unwrap_or_else(|e| panic!("call {skip}: {e}"));
        assert_eq!(values(&store, &tp("t", 0)), ["acknowledged"], "call {skip}");
    }
}

/// A disk that could not be read was taken for a damaged file.
#[test]
fn a_store_that_cannot_be_read_is_not_called_damaged() {
    let storage = SimulatedStorage::new();
    sim(&storage, Durability::Sync).unwrap().close().unwrap();
    for skip in 1..40 {
        let storage = storage.crash(CrashKind::Kill, |_| 0);
        let fault = CallFault { at: skip, from_then_on: true, kind: io::ErrorKind::Other };
        storage.set_fault(Some(fault));
        let Err(error) = sim(&storage, Durability::Sync) else {
            assert!(skip > 5, "an open makes more calls");
            return;
        };
        let named = matches!(error, Error::Io { .. } | Error::Poisoned { .. });
        assert!(named, "call {skip}: {error}");
    }
    panic!("an open makes more calls than were tried");
}

/// What is not durable yet is not to be seen: a reader would act on what a power cut takes back.
#[test]
fn nothing_is_seen_before_the_sync_that_covers_it() {
    let gate = Gate::new();
    let store = gated(&gate, Durability::Sync).unwrap();
    store.create_topic(&NewTopic::new("t")).unwrap();
    let t = tp("t", 0);
    gate.stop_at("sync", "journal.0");
    let (writer, to) = (store.clone(), t.clone());
    let appending = std::thread::spawn(move || put(&writer, &to, "x"));
    gate.wait_reached();
    let seen = (store.watermarks(&t).unwrap().end, values(&store, &t));
    gate.release();
    assert_eq!(appending.join().unwrap().unwrap(), Offset::ZERO);
    assert_eq!(seen, (Offset::ZERO, vec![]));
    assert_eq!(values(&store, &t), ["x"]);
}

/// A group committed an offset for a topic while that was being deleted: behind the look for what is
/// to be removed, and before the topic was gone. The next topic of that name began there.
#[test]
fn no_offset_outlives_the_topic_that_it_was_committed_for() {
    for round in 0..60 {
        let store = LogStore::in_memory().unwrap();
        store.create_topic(&NewTopic::new("t")).unwrap();
        put(&store, &tp("t", 0), "x").unwrap();
        let barrier = std::sync::Barrier::new(3);
        let commit = |transactional: bool| {
            let id = format!("{transactional}");
            let group = GroupMetadata::outside(format!("g-{id}"));
            let config = ProducerConfig { transactional_id: Some(id), ..Default::default() };
            let mut producer = store.producer(&config).unwrap();
            barrier.wait();
            loop {
                let offset = [(tp("t", 0), Offset::new(1))];
                let done = if transactional {
                    producer.begin_transaction().unwrap();
                    let offsets = offset.map(|(tp, offset)| (tp, offset.into()));
                    let sent = producer.send_offsets_to_transaction(&offsets, &group);
                    match sent.and_then(|()| producer.commit_transaction()) {
                        Err(error) => {
                            drop(producer.abort_transaction());
                            Err(error)
                        }
                        done => done,
                    }
                } else {
                    let offset = offset.map(|(tp, offset)| (tp, Some(offset)));
                    store.alter_group_offsets(&group.group, &offset)
                };
                match done {
                    Ok(()) => {}
                    Err(Error::UnknownTopic { .. }) => return,
                    Err(error) => panic!("{error}"),
                }
            }
        };
        std::thread::scope(|scope| {
            scope.spawn(|| commit(false));
            scope.spawn(|| commit(true));
            barrier.wait();
            (0..round % 7).for_each(|_| std::thread::yield_now());
            store.delete_topic("t").unwrap();
        });
        assert_eq!(store.groups().unwrap(), Vec::<String>::new(), "round {round}");
        store.create_topic(&NewTopic::new("t")).unwrap();
        store.alter_group_offsets("after", &[(tp("t", 0), Some(Offset::ZERO))]).unwrap();
    }
}

/// A topic was deleted and made anew between two polls. The consumer went on at its position in the
/// old one, and left out what the new one had before it.
#[test]
fn a_topic_that_was_made_anew_is_read_from_its_beginning() {
    for subscribed in [false, true] {
        for reset in [AutoOffsetReset::Earliest, AutoOffsetReset::Latest, AutoOffsetReset::None] {
            let store = LogStore::in_memory().unwrap();
            store.create_topic(&NewTopic::new("t")).unwrap();
            for n in 0..3 {
                put(&store, &tp("t", 0), &format!("old {n}")).unwrap();
            }
            store.alter_group_offsets("g", &[(tp("t", 0), Some(Offset::ZERO))]).unwrap();
            let config = ConsumerConfig {
                group: Some("g".to_owned()),
                auto_offset_reset: reset,
                ..ConsumerConfig::default()
            };
            let mut consumer = store.consumer(&config).unwrap();
            match subscribed {
                true => consumer.subscribe(&["t"], Box::new(())).unwrap(),
                false => consumer.assign(&[tp("t", 0)]).unwrap(),
            }
            let mut poll = || consumer.poll(Duration::ZERO).map(|batches| strings(&batches));
            assert_eq!(poll().unwrap(), ["old 0", "old 1", "old 2"]);
            store.delete_topic("t").unwrap();
            store.create_topic(&NewTopic::new("t")).unwrap();
            for n in 0..5 {
                put(&store, &tp("t", 0), &format!("new {n}")).unwrap();
            }
            match reset {
                AutoOffsetReset::None => {
                    let error = poll().unwrap_err().to_string();
                    assert!(error.contains("auto.offset.reset is none"), "{error}");
                }
                _ => assert_eq!(poll().unwrap(), ["new 0", "new 1", "new 2", "new 3", "new 4"]),
            }
        }
    }
}

/// A recovery applied an entry that was in the page cache only, synced the segment, and the machine
/// stopped: the segment had more than the journal, the journal was taken to have lost what it had
/// confirmed, and the store did not open any more.
#[test]
fn a_second_stop_in_a_recovery_is_not_taken_for_lost_data() {
    for skip in 1..500 {
        let storage = SimulatedStorage::new();
        let store = sim(&storage, Durability::Sync).unwrap();
        store.create_topic(&NewTopic::new("t")).unwrap();
        let t = tp("t", 0);
        put(&store, &t, "acknowledged").unwrap();
        // The entry is written whole, and its sync is the call that does not come.
        let at = storage.calls() + 2;
        let other = io::ErrorKind::Other;
        storage.set_fault(Some(CallFault { at, from_then_on: true, kind: other }));
        put(&store, &t, "unknown").unwrap_err();
        let killed = storage.crash(CrashKind::Kill, |_| 0);
        drop(store);
        killed.set_fault(Some(CallFault { at: skip, from_then_on: true, kind: other }));
        let done = sim(&killed, Durability::Sync).is_ok();
        let cut = killed.crash(CrashKind::PowerCut, |n| if n == 5 { 0 } else { n - 1 });
        let store = sim(&cut, Durability::Sync).unwrap_or_else(|e| panic!("call {skip}: {e}"));
        assert_eq!(values(&store, &t)[0], "acknowledged", "call {skip}");
        if done {
            return;
        }
    }
    panic!("the recovery takes more calls than were tried");
}

/// A sealed segment was missing, or shorter than it had been: the whole store did not open.
#[test]
fn a_damaged_sealed_segment_closes_its_partition_to_writers_and_nothing_else() {
    for cut in [None, Some(100)] {
        let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
        let open = || {
            let builder = LogStore::builder("store").storage(Arc::clone(&storage));
            builder.journal_bytes(64 << 10).housekeeping(false).create(true).open().unwrap()
        };
        let store = open();
        store.create_topic(&NewTopic::new("a").config("segment.bytes", "1024")).unwrap();
        store.create_topic(&NewTopic::new("b")).unwrap();
        for n in 0..40 {
            put(&store, &tp("a", 0), &format!("{n} {}", "x".repeat(100))).unwrap();
        }
        put(&store, &tp("b", 0), "b").unwrap();
        store.close().unwrap();
        let dir = Path::new("store/a-0");
        let names = storage.list(dir).unwrap().into_iter().filter(|name| name.ends_with(".log"));
        let logs: Vec<String> = names.collect();
        let base = |name: &str| name[..20].parse::<u64>().unwrap();
        let (bad, after) = (dir.join(&logs[1]), base(&logs[2]));
        match cut {
            None => storage.remove(&bad).unwrap(),
            Some(len) => storage.open(&bad, OpenMode::Write).unwrap().truncate(len).unwrap(),
        }
        for _ in 0..2 {
            let store = open();
            let corrupt = |error: Error| assert!(matches!(error, Error::Corrupt { .. }), "{error}");
            let in_it = Offset::new(base(&logs[1]) + 1);
            corrupt(store.fetch(&tp("a", 0), in_it, 1).unwrap_err());
            corrupt(put(&store, &tp("a", 0), "no").unwrap_err());
            let behind = store.fetch(&tp("a", 0), Offset::new(after), usize::MAX).unwrap();
            assert_eq!(strings(&behind).len() as u64, 40 - after);
            let before = store.fetch(&tp("a", 0), Offset::ZERO, usize::MAX).unwrap();
            assert_eq!(strings(&before).len() as u64, base(&logs[1]));
            put(&store, &tp("b", 0), "b").unwrap();
            let damaged = store.health().damaged;
            assert_eq!((damaged.len(), &damaged[0].path), (1, &bad));
            assert_eq!(store.scrub().unwrap().damaged.len(), 1);
            // What is deleted needs not be read.
            store.close().unwrap();
        }
        let store = open();
        store.delete_records(&tp("a", 0), Offset::new(after)).unwrap();
        store.close().unwrap();
        let store = open();
        assert!(store.health().damaged.is_empty());
        put(&store, &tp("a", 0), "again").unwrap();
        assert_eq!(values(&store, &tp("b", 0)).len(), 3);
    }
}

/// One damaged byte among the committed offsets, and the whole store did not open.
#[test]
fn damage_among_committed_offsets_is_an_error_of_those_who_ask_for_them() {
    let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
    let open = || {
        let builder = LogStore::builder("store").storage(Arc::clone(&storage));
        builder.journal_bytes(64 << 10).housekeeping(false).create(true).open().unwrap()
    };
    let store = open();
    store.create_topic(&NewTopic::new("t")).unwrap();
    put(&store, &tp("t", 0), "x").unwrap();
    store.alter_group_offsets("g", &[(tp("t", 0), Some(Offset::new(1)))]).unwrap();
    store.close().unwrap();
    let path = Path::new("store/__consumer_offsets-0/00000000000000000000.log");
    storage.open(path, OpenMode::Write).unwrap().write(80, &[0xff]).unwrap();
    let store = open();
    let corrupt = |result: Result<(), Error>| {
        let error = result.unwrap_err();
        assert!(matches!(error, Error::Corrupt { .. }), "{error}");
    };
    corrupt(store.groups().map(drop));
    corrupt(store.group_offsets("g").map(drop));
    corrupt(store.describe_group("g").map(drop));
    corrupt(store.delete_group("g"));
    corrupt(store.delete_topic("t"));
    corrupt(store.alter_group_offsets("g", &[(tp("t", 0), Some(Offset::ZERO))]));
    let config = ConsumerConfig { group: Some("g".to_owned()), ..ConsumerConfig::default() };
    corrupt(store.consumer(&config).unwrap().assign(&[tp("t", 0)]));
    let config = ConsumerConfig::default();
    store.consumer(&config).unwrap().assign(&[tp("t", 0)]).unwrap();
    put(&store, &tp("t", 0), "y").unwrap();
    assert_eq!(values(&store, &tp("t", 0)), ["x", "y"]);
    let reader = LogStore::builder("store").storage(Arc::clone(&storage));
    let reader = reader.open_read_only().unwrap();
    assert_eq!(values(&reader, &tp("t", 0)), ["x", "y"]);
    corrupt(reader.group_offsets("g").map(drop));
    store.close().unwrap();
}

/// Recovery after a power cut under `Os` went back to the checkpoint without a word: a store that had
/// lost records looked as if nobody had ever written them.
#[test]
fn recovery_says_what_a_power_cut_has_taken() {
    let storage = SimulatedStorage::new();
    let store = sim(&storage, Durability::Os).unwrap();
    store.create_topic(&NewTopic::new("t")).unwrap();
    put(&store, &tp("t", 0), "kept").unwrap();
    store.close().unwrap();
    let store = sim(&storage, Durability::Os).unwrap();
    put(&store, &tp("t", 0), "written to the disk, and not synced").unwrap();
    // All of it is there after the cut, which nobody can know.
    let storage = storage.crash(CrashKind::PowerCut, |n| if n == 5 { 4 } else { 0 });
    let recovered = sim(&storage, Durability::Os).unwrap();
    assert_eq!(values(&recovered, &tp("t", 0)), ["kept"]);
    let report = recovered.recovery();
    let [torn] = &report.torn[..] else { panic!("{report:?}") };
    assert_eq!((&torn.topic_partition, torn.offset), (&tp("t", 0), Offset::new(1)));
    assert!(torn.bytes > 60, "{torn:?}");
}

/// A kill while a topic was made, and a second one while the next open made its files anew, left a
/// partition without its first segment: `verify` called that damage, though nothing was ever in it
/// and the next open goes on as if nothing had happened.
#[test]
fn verify_finds_no_damage_where_the_making_of_a_topic_was_interrupted_twice() {
    let fail_at = |storage: &SimulatedStorage, call| {
        let at = storage.calls() + call;
        let kind = io::ErrorKind::Other;
        storage.set_fault(Some(CallFault { at, from_then_on: true, kind }));
    };
    let mut interrupted = 0;
    for first in 1..40 {
        let storage = SimulatedStorage::new();
        let store = sim(&storage, Durability::Sync).unwrap();
        fail_at(&storage, first);
        if store.create_topic(&NewTopic::new("t")).is_ok() {
            break;
        }
        for second in 1..80 {
            let killed = storage.crash(CrashKind::Kill, |_| 0);
            fail_at(&killed, second);
            let opened = sim(&killed, Durability::Sync);
            let again = killed.crash(CrashKind::Kill, |_| 0);
            let report = inspect::verify(&again, Path::new("store")).unwrap();
            let worst = report.severity();
            assert!(worst < Some(inspect::Severity::Data), "{first}, {second}: {report:?}");
            sim(&again, Durability::Sync).unwrap();
            if opened.is_ok() {
                break;
            }
            interrupted += 1;
        }
    }
    assert!(interrupted > 100, "{interrupted}");
}

/// A process was killed while a partition was empty: its recovery reserved no bytes at all for that,
/// which a real file system refuses, and the store did not open any more.
#[test]
fn a_killed_store_with_an_empty_partition_opens_on_a_real_file_system() {
    let folder = tempfile::tempdir().unwrap();
    let (killed, copy) = (folder.path().join("killed"), folder.path().join("copy"));
    for durability in [Durability::Sync, Durability::Os] {
        let open = |dir: &Path| {
            let builder = LogStore::builder(dir).durability(durability).journal_bytes(64 << 10);
            builder.create(true).open().unwrap()
        };
        let store = open(&killed);
        store.create_topic(&NewTopic::new("empty")).unwrap();
        store.create_topic(&NewTopic::new("t")).unwrap();
        put(&store, &tp("t", 0), "x").unwrap();
        // What a killed process leaves behind.
        let copied = std::process::Command::new("cp").arg("-r").args([&killed, &copy]).status();
        assert!(copied.unwrap().success());
        let opened = open(&copy);
        assert!(!opened.recovery().clean);
        assert_eq!(values(&opened, &tp("t", 0)), ["x"]);
        assert!(values(&opened, &tp("empty", 0)).is_empty());
        opened.close().unwrap();
        store.close().unwrap();
        std::fs::remove_dir_all(&killed).unwrap();
        std::fs::remove_dir_all(&copy).unwrap();
    }
}

/// Who was interrupted while a store was made found what was there called damage, though the next
/// open made the store there without a word.
#[test]
fn what_the_making_of_a_store_leaves_behind_that_was_interrupted_is_no_store() {
    let mut unfinished = 0;
    for skip in 1..100 {
        let storage = SimulatedStorage::new();
        let fault = CallFault { at: skip, from_then_on: true, kind: io::ErrorKind::Other };
        storage.set_fault(Some(fault));
        if sim(&storage, Durability::Sync).is_ok() {
            break;
        }
        let killed = storage.crash(CrashKind::Kill, |_| 0);
        let verified = inspect::verify(&killed, Path::new("store"));
        if killed.contents(Path::new("store/store")).is_some() {
            assert!(verified.is_ok(), "call {skip}: {verified:?}");
        } else {
            unfinished += u64::from(killed.contents(Path::new("store/checkpoint.0")).is_some());
            assert!(matches!(verified, Err(Error::NoStore { .. })), "call {skip}: {verified:?}");
        }
        assert!(sim(&killed, Durability::Sync).is_ok(), "call {skip}");
    }
    assert!(unfinished > 0, "nothing was interrupted in the middle");
}

/// Index files are not synced, and a power cut left them empty. They were made again at the first
/// lookup of each process, by reading the whole segment, and never saved.
#[test]
fn index_files_that_a_power_cut_has_taken_are_saved_again() {
    let storage = SimulatedStorage::new();
    let store = sim(&storage, Durability::Sync).unwrap();
    let topic = NewTopic::new("t").config("segment.bytes", "1024");
    store.create_topic(&topic.config("index.interval.bytes", "100")).unwrap();
    let t = tp("t", 0);
    (0..6).for_each(|_| assert!(put(&store, &t, &"x".repeat(400)).is_ok()));
    let cut = storage.crash(CrashKind::PowerCut, |n| if n == 5 { 0 } else { n - 1 });
    let index = Path::new("store/t-0/00000000000000000000.index");
    let is_there = || cut.contents(index).is_some_and(|bytes| !bytes.is_empty());
    assert!(!is_there(), "it was synced");
    let store = sim(&cut, Durability::Sync).unwrap();
    assert_eq!(store.fetch(&t, Offset::new(1), 1).unwrap().len(), 1);
    store.close().unwrap();
    assert!(is_there());
    let report = inspect::verify(&cut, Path::new("store")).unwrap();
    let of_it = report
        .findings
        .iter()
        .filter(|finding| finding.path.ends_with("t-0/00000000000000000000.index"));
    assert_eq!(of_it.count(), 0, "{report:?}");
}

/// A failed sync has dropped what it was to make durable; a second one finds nothing to do and
/// succeeds. An append that believes the second one is lost with the next power cut.
#[test]
fn an_append_whose_sync_has_failed_fails_or_is_durable() {
    let (mut refused, t) = (0, tp("t", 0));
    for skip in 1..20 {
        let storage = SimulatedStorage::new();
        let store = sim(&storage, Durability::Sync).unwrap();
        store.create_topic(&NewTopic::new("t")).unwrap();
        put(&store, &t, "first").unwrap();
        let at = storage.calls() + skip;
        let effect = CallEffect { at, from_then_on: false, effect: Effect::FailsToSync };
        storage.set_effect(Some(effect));
        let mut expected = vec!["first".to_owned()];
        for value in ["second", "third", "fourth"] {
            match put(&store, &t, value) {
                Ok(_) => expected.push(value.to_owned()),
                Err(_) => refused += 1,
            }
        }
        let cut = storage.crash(CrashKind::PowerCut, |n| if n == 5 { 0 } else { n - 1 });
        let found = values(&sim(&cut, Durability::Sync).unwrap(), &t);
        assert_eq!(found, expected, "call +{skip}");
    }
    assert!(refused > 0, "no sync failed");
}

/// The files of a topic stay open as long as somebody knows it: a producer kept the space of every
/// deleted topic in use that it had once written to, until it was dropped.
#[test]
fn a_producer_lets_go_of_the_files_of_deleted_topics() {
    let dir = tempfile::TempDir::new().unwrap();
    let store = LogStore::create(dir.path()).unwrap();
    for topic in ["kept", "gone"] {
        store.create_topic(&NewTopic::new(topic)).unwrap();
    }
    let mut producer = store.producer(&ProducerConfig::default()).unwrap();
    let mut send = |topic: &str| {
        producer.send(&ProducerRecord { value: Some(b"v"), ..ProducerRecord::to(topic) })
    };
    let files = || {
        let links = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
        let files = links.filter_map(|link| std::fs::read_link(link.path()).ok());
        files.filter(|file| file.starts_with(dir.path().join("gone-0"))).count()
    };
    let _ = [send("gone").unwrap(), send("kept").unwrap()];
    assert!(files() > 0);
    store.delete_topic("gone").unwrap();
    let _ = send("kept").unwrap();
    assert_eq!(files(), 0);
    assert_eq!(send("gone").unwrap_err().to_string(), "topic gone does not exist");
    store.create_topic(&NewTopic::new("gone")).unwrap();
    let _ = send("gone").unwrap();
}
