//! The restore listener: it hears of each restore from its start to its end, or that it was
//! suspended.
#![allow(clippy::unwrap_used, reason = "the helpers of a test fail it by panicking")]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, Weak};

use headwater_log_store::{
    Log, LogStore, NewTopic, Offset, PartitionId, ProducerConfig, ProducerRecord, TopicName,
    TopicPartition,
};
use headwater_topology::{
    Error, Materialized, StateRestoreListener, StoreType, Streams, StreamsBuilder, StreamsConfig,
    StreamsState, Topology,
};

/// What a listener has heard, by partition.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Heard {
    Start { from: u64, to: u64 },
    Batch { end: u64, restored: u64 },
    End { total: u64 },
    Suspended { total: u64 },
}

#[derive(Clone, Default)]
struct Ear(Arc<Mutex<BTreeMap<String, Vec<Heard>>>>);

impl Ear {
    fn hear(&self, partition: &TopicPartition, store: &str, heard: Heard) {
        let place = format!("{store} {partition}");
        self.0.lock().unwrap().entry(place).or_default().push(heard);
    }

    fn take(&self) -> BTreeMap<String, Vec<Heard>> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

impl StateRestoreListener for Ear {
    fn on_restore_start(
        &self,
        partition: &TopicPartition,
        store: &str,
        start: Offset,
        end: Offset,
    ) {
        self.hear(partition, store, Heard::Start { from: start.value(), to: end.value() });
    }

    fn on_batch_restored(
        &self,
        partition: &TopicPartition,
        store: &str,
        batch_end: Offset,
        restored: u64,
    ) {
        self.hear(partition, store, Heard::Batch { end: batch_end.value(), restored });
    }

    fn on_restore_end(&self, partition: &TopicPartition, store: &str, total: u64) {
        self.hear(partition, store, Heard::End { total });
    }

    fn on_restore_suspended(&self, partition: &TopicPartition, store: &str, total: u64) {
        self.hear(partition, store, Heard::Suspended { total });
    }
}

fn counting(store_type: StoreType) -> Topology {
    let builder = StreamsBuilder::new();
    let counts = Materialized::named("counts").with_store_type(store_type);
    builder.stream::<String, i64>("in").group_by_key().count(counts);
    builder.build().unwrap()
}

fn log() -> Arc<dyn Log> {
    let log: Arc<dyn Log> = Arc::new(LogStore::in_memory().unwrap());
    log.create_topic(&NewTopic::new("in").partitions(2)).unwrap();
    log
}

fn send(log: &dyn Log, numbers: std::ops::Range<i64>) {
    let mut producer = log.producer(&ProducerConfig::default()).unwrap();
    for number in numbers {
        let _ = producer
            .send(&ProducerRecord {
                key: Some(format!("k{number}").as_bytes()),
                value: Some(&number.to_be_bytes()),
                ..ProducerRecord::to("in")
            })
            .unwrap();
    }
    producer.flush().unwrap();
}

fn streams(log: &Arc<dyn Log>, topology: &Topology, dir: &Path, ear: &Ear) -> Streams {
    let config = StreamsConfig::new("app").state_dir(dir);
    let streams = Streams::new(topology, config, Arc::clone(log));
    streams.set_global_state_restore_listener(ear.clone());
    streams
}

fn run(log: &Arc<dyn Log>, topology: &Topology, dir: &Path, ear: &Ear) -> Streams {
    let streams = streams(log, topology, dir, ear);
    streams.start().unwrap();
    streams.wait_until_caught_up().unwrap();
    streams
}

fn place(partition: u32) -> String {
    format!("counts app-counts-changelog-{partition}")
}

fn end_of(log: &dyn Log, partition: u32) -> u64 {
    let topic = TopicName::new("app-counts-changelog").unwrap();
    let partition = TopicPartition::new(topic, PartitionId::new(partition));
    log.watermarks(&partition).unwrap().end.value()
}

/// One whole restore up to the end of its changelog. Returns how many records it has restored.
fn assert_whole(log: &dyn Log, partition: u32, from: u64, heard: &[Heard]) -> u64 {
    let to = end_of(log, partition);
    let [Heard::Start { from: start, to: end }, batches @ .., Heard::End { total }] = heard else {
        panic!("partition {partition}: {heard:?}");
    };
    assert_eq!((*start, *end), (from, to));
    let (mut before, mut sum) = (None, 0);
    for batch in batches {
        let Heard::Batch { end, restored } = batch else { panic!("{heard:?}") };
        assert!(Some(*end) > before && *restored > 0, "{heard:?}");
        (before, sum) = (Some(*end), sum + restored);
    }
    assert_eq!(sum, *total);
    assert_eq!(before.map_or(from, |last| last + 1), to, "the last record is restored: {heard:?}");
    *total
}

#[test]
fn each_restore_is_heard_of_from_its_start_to_its_end() {
    let dir = tempfile::TempDir::new().unwrap();
    let (log, ear, topology) = (log(), Ear::default(), counting(StoreType::InMemory));
    let first = run(&log, &topology, dir.path(), &ear);
    for (_, heard) in ear.take() {
        assert_eq!(heard, [Heard::Start { from: 0, to: 0 }, Heard::End { total: 0 }]);
    }
    for hundred in 0..20 {
        send(log.as_ref(), hundred * 100..hundred * 100 + 100);
        first.wait_until_caught_up().unwrap();
    }
    first.close().unwrap();
    let again = run(&log, &topology, dir.path(), &ear);
    let heard = ear.take();
    assert_eq!(heard.keys().cloned().collect::<Vec<_>>(), [place(0), place(1)]);
    let totals: u64 =
        [0, 1].map(|p| assert_whole(log.as_ref(), p, 0, &heard[&place(p)])).iter().sum();
    assert_eq!(totals, 2_000);
    let metrics = again.metrics();
    assert_eq!((metrics.records_restored, metrics.records_to_restore), (totals, 0));
    // A task that moves is restored where it goes.
    again.add_stream_thread().unwrap();
    again.wait_until_caught_up().unwrap();
    let heard = ear.take();
    let [(moved, heard)] = &heard.iter().collect::<Vec<_>>()[..] else { panic!("{heard:?}") };
    let partition = (0..2).find(|p| place(*p) == **moved).unwrap();
    assert_whole(log.as_ref(), partition, 0, heard);
    again.close().unwrap();
}

#[test]
fn a_store_on_disk_is_restored_from_where_its_rows_are() {
    let dir = tempfile::TempDir::new().unwrap();
    let (log, ear, topology) = (log(), Ear::default(), counting(StoreType::Persistent));
    send(log.as_ref(), 0..100);
    run(&log, &topology, dir.path(), &ear).close().unwrap();
    ear.take();
    run(&log, &topology, dir.path(), &ear).close().unwrap();
    let heard = ear.take();
    for partition in [0, 1] {
        let from = end_of(log.as_ref(), partition);
        assert!(from > 0);
        assert_eq!(assert_whole(log.as_ref(), partition, from, &heard[&place(partition)]), 0);
    }
}

/// Closes the application when the first batch is restored.
struct Closes {
    ear: Ear,
    streams: Mutex<Weak<Streams>>,
}

impl StateRestoreListener for Closes {
    fn on_batch_restored(
        &self,
        partition: &TopicPartition,
        store: &str,
        batch_end: Offset,
        restored: u64,
    ) {
        self.ear.on_batch_restored(partition, store, batch_end, restored);
        self.streams.lock().unwrap().upgrade().unwrap().close().unwrap();
    }

    fn on_restore_end(&self, partition: &TopicPartition, store: &str, total: u64) {
        self.ear.on_restore_end(partition, store, total);
    }

    fn on_restore_suspended(&self, partition: &TopicPartition, store: &str, total: u64) {
        self.ear.on_restore_suspended(partition, store, total);
    }
}

#[test]
fn a_close_ends_a_restore_at_its_next_batch_and_the_next_start_does_it_whole() {
    for store_type in [StoreType::InMemory, StoreType::Persistent] {
        let dir = tempfile::TempDir::new().unwrap();
        let (log, ear, topology) = (log(), Ear::default(), counting(store_type));
        let first = run(&log, &topology, dir.path(), &ear);
        for hundred in 0..20 {
            send(log.as_ref(), hundred * 100..hundred * 100 + 100);
            first.wait_until_caught_up().unwrap();
        }
        first.close().unwrap();
        ear.take();

        // Without its rows, a store on disk has as much to restore as one in memory.
        let dir = tempfile::TempDir::new().unwrap();
        let closed = Arc::new(streams(&log, &topology, dir.path(), &ear));
        closed.set_global_state_restore_listener(Closes {
            ear: ear.clone(),
            streams: Mutex::new(Arc::downgrade(&closed)),
        });
        closed.start().unwrap();
        closed.close().unwrap();
        assert_eq!(closed.state(), StreamsState::NotRunning);
        assert!(closed.error().is_none());
        let heard = ear.take();
        // Both stores are read at once: one has its batch, and the other one none any more.
        let (mut batches, mut suspended) = (Vec::new(), Vec::new());
        for each in heard.values().flatten() {
            match each {
                Heard::Batch { restored, .. } => batches.push(*restored),
                Heard::Suspended { total } => suspended.push(*total),
                other => panic!("{other:?} in {heard:?}"),
            }
        }
        suspended.sort_unstable();
        let [restored] = batches[..] else { panic!("{heard:?}") };
        assert_eq!(suspended, [0, restored], "{heard:?}");

        run(&log, &topology, dir.path(), &ear).close().unwrap();
        let heard = ear.take();
        let totals: u64 =
            [0, 1].map(|p| assert_whole(log.as_ref(), p, 0, &heard[&place(p)])).iter().sum();
        assert_eq!(totals, 2_000);
    }
}

#[test]
fn a_restore_that_an_error_ends_is_suspended() {
    let dir = tempfile::TempDir::new().unwrap();
    let (log, ear, topology) = (log(), Ear::default(), counting(StoreType::InMemory));
    send(log.as_ref(), 0..100);
    run(&log, &topology, dir.path(), &ear).close().unwrap();
    ear.take();
    let restored = end_of(log.as_ref(), 0);
    let mut producer = log.producer(&ProducerConfig::default()).unwrap();
    let record = ProducerRecord {
        partition: Some(PartitionId::new(0)),
        key: Some(b"k"),
        value: Some(b"no number"),
        ..ProducerRecord::to("app-counts-changelog")
    };
    producer.send(&record).unwrap().wait().unwrap();
    let streams = streams(&log, &topology, dir.path(), &ear);
    let error = streams.start().unwrap_err();
    assert!(matches!(error, Error::Restore { .. }), "{error}");
    let heard = &ear.take()[&place(0)];
    assert_eq!(heard.first(), Some(&Heard::Start { from: 0, to: restored + 1 }));
    let Some(Heard::Suspended { total }) = heard.last() else { panic!("{heard:?}") };
    assert!(*total <= restored);
    assert_eq!(streams.metrics().records_to_restore, 0, "nothing is under way any more");
}
