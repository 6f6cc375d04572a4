//! A clock that jumps, goes back or counts in another unit costs no records, keeps none for ever,
//! and leaves offsets and lookups by time what they are.
//!
//! Each case appends for a while, lets the wall clock jump as an administrator would, goes on, and
//! compares with what the definitions say.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "helpers of tests"
)]

use std::sync::Arc;
use std::time::Duration;

use headwater_log_store::{
    Clock, Durability, Log, LogStore, ManualClock, MemoryStorage, NewTopic, Offset, PartitionId,
    Record, RecordBatch, Timestamp, TopicName, TopicPartition,
};

const BEGIN_MS: i64 = 1_700_000_000_000;
const HOUR_MS: i64 = 3_600_000;
const YEAR_MS: i64 = 365 * 24 * HOUR_MS;
/// How long records are kept.
const KEEP_MS: i64 = 60_000;

/// Where the clock jumps to, from where it is.
const JUMPS: [(&str, i64); 8] = [
    ("ten years back", BEGIN_MS - 10 * YEAR_MS),
    ("an hour back", BEGIN_MS - HOUR_MS),
    ("an hour on", BEGIN_MS + HOUR_MS),
    ("a hundred years on", BEGIN_MS + 100 * YEAR_MS),
    ("before 1970", -5 * YEAR_MS),
    ("to zero", 0),
    ("to microseconds", BEGIN_MS * 1_000),
    ("to seconds", BEGIN_MS / 1_000),
];

struct Fixture {
    storage: MemoryStorage,
    clock: Arc<ManualClock>,
    store: LogStore,
    partition: TopicPartition,
}

impl Fixture {
    fn new(kind: &str) -> Self {
        let storage = MemoryStorage::new();
        let clock = Arc::new(ManualClock::new(Timestamp::from_millis(BEGIN_MS)));
        let store = open(&storage, &clock);
        let topic = NewTopic::new("t")
            .config("segment.bytes", "1024")
            .config("retention.ms", KEEP_MS.to_string())
            .config("message.timestamp.type", kind);
        store.create_topic(&topic).unwrap();
        let partition = TopicPartition::new(TopicName::new("t").unwrap(), PartitionId::new(0));
        Self { storage, clock, store, partition }
    }

    fn append(&self, millis: Option<i64>) {
        let value = [b'x'; 300];
        let timestamp = millis.map(Timestamp::from_millis);
        let record = Record { timestamp, ..Record::value(&value) };
        self.store.append(&self.partition, &record).unwrap();
    }

    fn reopen(&mut self) {
        self.store.close().unwrap();
        self.store = open(&self.storage, &self.clock);
    }

    fn bounds(&self) -> (u64, u64) {
        let watermarks = self.store.watermarks(&self.partition).unwrap();
        (watermarks.start.value(), watermarks.end.value())
    }

    /// The offsets and times of all records that are there.
    fn times(&self) -> Vec<(u64, i64)> {
        let start = self.store.watermarks(&self.partition).unwrap().start;
        let batches = self.store.fetch(&self.partition, start, usize::MAX).unwrap();
        let records = batches.iter().flat_map(RecordBatch::iter);
        records.map(|r| (r.offset.value(), r.timestamp.as_millis())).collect()
    }

    /// The first offset with that time or a later one, for every time that makes a difference.
    #[track_caller]
    fn check_lookups(&self, what: &str) {
        let times = self.times();
        let near = times
            .iter()
            .flat_map(|(_, millis)| [millis.saturating_sub(1), *millis, millis.saturating_add(1)]);
        for asked in near.chain([i64::MIN, -1, 0, i64::MAX]) {
            let expected = times.iter().find(|(_, millis)| *millis >= asked).map(|(at, _)| *at);
            let found =
                self.store.offset_for_time(&self.partition, Timestamp::from_millis(asked)).unwrap();
            assert_eq!(found.map(Offset::value), expected, "{what}: {asked} in {times:?}");
        }
    }
}

fn open(storage: &MemoryStorage, clock: &Arc<ManualClock>) -> LogStore {
    LogStore::builder("store")
        .storage(Arc::new(storage.clone()))
        .clock(Arc::clone(clock) as Arc<dyn Clock>)
        .durability(Durability::Sync)
        .journal_bytes(64 << 10)
        .housekeeping(false)
        .create(true)
        .open()
        .unwrap()
}

#[test]
fn a_jump_of_the_clock_deletes_nothing_at_once() {
    for (what, to) in JUMPS {
        let fixture = Fixture::new("CreateTime");
        (0..8).for_each(|_| fixture.append(None));
        assert_eq!(fixture.store.enforce_retention().unwrap(), 0);
        fixture.clock.jump_to(Timestamp::from_millis(to));
        assert_eq!(fixture.store.enforce_retention().unwrap(), 0, "{what}");
        assert_eq!(fixture.bounds(), (0, 8), "{what}");
        // A clock that is set right again before the next look has done no harm.
        fixture.clock.jump_to(Timestamp::from_millis(BEGIN_MS));
        assert_eq!(fixture.store.enforce_retention().unwrap(), 0, "{what}, and back");
        fixture.clock.advance(Duration::from_secs(1));
        assert_eq!(fixture.store.enforce_retention().unwrap(), 0, "{what}, and on");
        assert_eq!(fixture.bounds(), (0, 8), "{what}");
    }
}

#[test]
fn offsets_and_append_times_go_on_whatever_the_clock_does() {
    for (what, to) in JUMPS {
        for reopened in [false, true] {
            let mut fixture = Fixture::new("LogAppendTime");
            (0..5).for_each(|_| fixture.append(Some(7)));
            fixture.clock.jump_to(Timestamp::from_millis(to));
            if reopened {
                fixture.reopen();
            }
            (0..5).for_each(|_| fixture.append(Some(7)));
            let times = fixture.times();
            let offsets: Vec<u64> = times.iter().map(|(offset, _)| *offset).collect();
            assert_eq!(offsets, (0..10).collect::<Vec<_>>(), "{what}");
            // Time of an append never goes back, and is otherwise what the clock says.
            let expected = [BEGIN_MS, BEGIN_MS.max(to)];
            for (offset, millis) in &times {
                let half = usize::from(*offset >= 5);
                assert_eq!(*millis, expected[half], "{what}, reopened {reopened}: {times:?}");
            }
            fixture.check_lookups(what);
        }
    }
}

#[test]
fn records_from_after_a_jump_back_go_when_their_time_has_come() {
    for (what, to) in JUMPS.into_iter().filter(|(_, to)| *to < BEGIN_MS) {
        let fixture = Fixture::new("CreateTime");
        fixture.clock.jump_to(Timestamp::from_millis(to));
        (0..8).for_each(|_| fixture.append(None));
        fixture.store.enforce_retention().unwrap();
        fixture.clock.advance(Duration::from_millis(KEEP_MS as u64));
        assert_eq!(fixture.store.enforce_retention().unwrap(), 0, "{what}: too early");
        fixture.clock.advance(Duration::from_millis(2));
        assert!(fixture.store.enforce_retention().unwrap() > 0, "{what}: kept for ever");
        assert_eq!(fixture.bounds(), (8, 8), "{what}");
    }
}

#[test]
fn a_clock_that_stays_where_it_was_set_to_is_believed_the_next_time() {
    let fixture = Fixture::new("CreateTime");
    (0..8).for_each(|_| fixture.append(None));
    fixture.store.enforce_retention().unwrap();
    fixture.clock.jump_to(Timestamp::from_millis(BEGIN_MS + 100 * YEAR_MS));
    assert_eq!(fixture.store.enforce_retention().unwrap(), 0);
    fixture.clock.advance(Duration::from_secs(300));
    assert!(fixture.store.enforce_retention().unwrap() > 0, "it waits for one look only");
    assert_eq!(fixture.bounds(), (8, 8));
}

#[test]
fn times_of_records_in_any_unit_and_order_expire_nothing_and_are_found() {
    let times = [
        BEGIN_MS,
        BEGIN_MS * 1_000,
        BEGIN_MS / 1_000,
        -YEAR_MS,
        0,
        BEGIN_MS - 1,
        i64::MAX,
        BEGIN_MS + 100 * YEAR_MS,
        1,
        BEGIN_MS - 10 * YEAR_MS,
    ];
    for rotated in 0..times.len() {
        let mut fixture = Fixture::new("CreateTime");
        let mut times = times;
        times.rotate_left(rotated);
        for millis in times {
            fixture.append(Some(millis));
        }
        fixture.store.enforce_retention().unwrap();
        fixture.clock.advance(Duration::from_millis(KEEP_MS as u64));
        assert_eq!(fixture.store.enforce_retention().unwrap(), 0, "an old time deleted something");
        let read: Vec<i64> = fixture.times().into_iter().map(|(_, millis)| millis).collect();
        assert_eq!(read, times);
        fixture.check_lookups("any unit");
        fixture.reopen();
        fixture.check_lookups("any unit, reopened");
        // And none of them keeps anything for ever.
        fixture.store.enforce_retention().unwrap();
        fixture.clock.advance(Duration::from_millis(2));
        fixture.store.enforce_retention().unwrap();
        assert_eq!(fixture.bounds(), (10, 10));
    }
}
