//! Stores on disk: the results of those in memory, restarts that replay only the difference, and
//! rows that are made anew where the changelog is another one.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "the helpers of a test fail it by panicking"
)]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use headwater_log_store::{
    Durability, Log, LogStore, NewTopic, OffsetReset, ProducerConfig, ProducerRecord,
};
use headwater_topology::{
    BuildError, Error, ErrorResponse, Materialized, Reset, StoreType, Streams, StreamsBuilder,
    StreamsConfig, Topology, TopologyTestDriver,
};
use tempfile::TempDir;

fn persistent<V: headwater_topology::DefaultSerde>(name: &str) -> Materialized<String, V> {
    Materialized::named(name).with_store_type(StoreType::Persistent)
}

fn counting() -> Topology {
    let builder = StreamsBuilder::new();
    let stream = builder.stream::<String, i64>("in");
    stream.group_by_key().count(persistent("counts")).to_stream().to("out");
    builder.build().unwrap()
}

fn log() -> Arc<dyn Log> {
    let log: Arc<dyn Log> = Arc::new(LogStore::in_memory().unwrap());
    for topic in ["in", "out"] {
        log.create_topic(&NewTopic::new(topic).partitions(2)).unwrap();
    }
    log
}

fn send(log: &dyn Log, keys: impl IntoIterator<Item = u32>) {
    let mut producer = log.producer(&ProducerConfig::default()).unwrap();
    for key in keys {
        let _ = producer
            .send(&ProducerRecord {
                key: Some(format!("k{key:05}").as_bytes()),
                value: Some(&1_i64.to_be_bytes()),
                ..ProducerRecord::to("in")
            })
            .unwrap();
    }
    producer.flush().unwrap();
}

fn start(log: &Arc<dyn Log>, dir: &Path) -> Streams {
    let config = StreamsConfig::new("app").state_dir(dir);
    let streams = Streams::new(&counting(), config, Arc::clone(log));
    streams.start().unwrap();
    streams.wait_until_caught_up().unwrap();
    streams
}

fn rows(streams: &Streams) -> Vec<(String, i64)> {
    streams.store::<String, i64>("counts").all().unwrap()
}

fn expected(counts: impl IntoIterator<Item = (u32, i64)>) -> Vec<(String, i64)> {
    counts.into_iter().map(|(key, count)| (format!("k{key:05}"), count)).collect()
}

#[test]
fn a_restart_replays_only_what_the_rows_on_disk_do_not_have() {
    let (log, dir) = (log(), TempDir::new().unwrap());
    send(log.as_ref(), 0..1_000);
    let streams = start(&log, dir.path());
    assert_eq!(rows(&streams), expected((0..1_000).map(|key| (key, 1))));
    streams.close().unwrap();
    drop(streams);
    send(log.as_ref(), 0..10);
    let streams = start(&log, dir.path());
    assert_eq!(streams.metrics().records_restored, 0, "the rows were all on disk");
    let both = (0..10).map(|key| (key, 2)).chain((10..1_000).map(|key| (key, 1)));
    assert_eq!(rows(&streams), expected(both));
    let counts = streams.store::<String, i64>("counts");
    assert_eq!(counts.get(&"k00003".to_owned()).unwrap(), Some(2));
    assert_eq!(counts.get(&"k00999".to_owned()).unwrap(), Some(1));
    assert_eq!(counts.get(&"k01000".to_owned()).unwrap(), None);
    let some = counts.range("k00008".to_owned().."k00012".to_owned()).unwrap();
    assert_eq!(some, expected([(8, 2), (9, 2), (10, 1), (11, 1)]));
}

#[test]
fn rows_that_are_behind_catch_up_and_those_of_another_changelog_are_made_anew() {
    let (log, dir) = (log(), TempDir::new().unwrap());
    send(log.as_ref(), 0..100);
    drop(start(&log, dir.path()));
    // As if the process had stopped between the commit of the log and the write to disk.
    let behind = TempDir::new().unwrap();
    copy(dir.path(), behind.path());
    send(log.as_ref(), 0..50);
    drop(start(&log, dir.path()));
    let streams = start(&log, behind.path());
    assert_eq!(streams.metrics().records_restored, 50);
    let both = (0..50).map(|key| (key, 2)).chain((50..100).map(|key| (key, 1)));
    assert_eq!(rows(&streams), expected(both));
    drop(streams);
    // The changelog of another log is shorter, so it is another one.
    let other = self::log();
    send(other.as_ref(), 5..10);
    let streams = start(&other, dir.path());
    assert_eq!(rows(&streams), expected((5..10).map(|key| (key, 1))));
}

#[test]
fn rows_of_an_end_that_the_log_has_lost_are_made_anew_although_it_is_longer_by_now() {
    let (dir, lost, state) =
        (TempDir::new().unwrap(), TempDir::new().unwrap(), TempDir::new().unwrap());
    let open = |dir: &TempDir| -> Arc<dyn Log> {
        let builder = LogStore::builder(dir.path()).durability(Durability::Os).create(true);
        Arc::new(builder.open().unwrap())
    };
    let log = open(&dir);
    for topic in ["in", "out"] {
        log.create_topic(&NewTopic::new(topic).partitions(2)).unwrap();
    }
    send(log.as_ref(), 0..50);
    drop(start(&log, state.path()));
    // What a power cut will leave of the log.
    copy(dir.path(), lost.path());
    send(log.as_ref(), 50..150);
    drop(start(&log, state.path()));
    drop(log);
    let log = open(&lost);
    send(log.as_ref(), 200..500);
    // Meanwhile the application runs without the rows, and its changelog grows past their position.
    drop(start(&log, TempDir::new().unwrap().path()));
    let streams = start(&log, state.path());
    assert_eq!(rows(&streams), expected((0..50).chain(200..500).map(|key| (key, 1))));
}

/// The epochs of the embedded log tell of a lost end, and not of a changelog that was made anew: rows
/// that were elsewhere at the reset were taken for its own as soon as it was longer than before.
#[test]
fn rows_of_before_a_reset_are_made_anew_although_the_new_changelog_is_longer() {
    let (log, before) = (log(), TempDir::new().unwrap());
    send(log.as_ref(), 0..50);
    drop(start(&log, before.path()));
    let config = StreamsConfig::new("app").state_dir(before.path());
    let reset = Reset::new(&counting(), &config).to(OffsetReset::ToLatest);
    reset.plan(&log).unwrap().execute(&log).unwrap();
    send(log.as_ref(), 200..500);
    drop(start(&log, TempDir::new().unwrap().path()));
    let streams = start(&log, before.path());
    assert_eq!(rows(&streams), expected((200..500).map(|key| (key, 1))));
    drop(streams);
    // Nor are they those of another log, however long it is.
    let other = self::log();
    send(other.as_ref(), 600..999);
    drop(start(&other, TempDir::new().unwrap().path()));
    let streams = start(&other, before.path());
    assert_eq!(rows(&streams), expected((600..999).map(|key| (key, 1))));
}

#[test]
fn a_start_that_is_over_has_said_how_much_it_has_restored() {
    let (log, dir) = (log(), TempDir::new().unwrap());
    send(log.as_ref(), 0..100);
    drop(start(&log, dir.path()));
    for _ in 0..20 {
        let config = StreamsConfig::new("app").state_dir(TempDir::new().unwrap().path());
        let streams = Streams::new(&counting(), config, Arc::clone(&log));
        streams.start().unwrap();
        assert_eq!(streams.metrics().records_restored, 100);
    }
}

fn copy(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap() {
        let (entry, to) = (entry.as_ref().unwrap(), to.join(entry.as_ref().unwrap().file_name()));
        if entry.file_type().unwrap().is_dir() {
            std::fs::create_dir(&to).unwrap();
            copy(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).unwrap();
        }
    }
}

#[test]
fn a_reset_makes_the_rows_anew() {
    let (log, dir) = (log(), TempDir::new().unwrap());
    send(log.as_ref(), 0..20);
    drop(start(&log, dir.path()));
    let config = StreamsConfig::new("app").state_dir(dir.path());
    let plan = Reset::new(&counting(), &config).empty_topic("out").plan(&log).unwrap();
    plan.execute(&log).unwrap();
    let streams = start(&log, dir.path());
    assert_eq!(rows(&streams), expected((0..20).map(|key| (key, 1))), "nothing is counted twice");
}

/// The row was in the changelog before the disk refused it, and no start could ever restore it.
#[test]
fn a_key_that_is_too_long_for_the_disk_is_the_production_handlers_and_not_in_the_changelog() {
    let (log, dir) = (log(), TempDir::new().unwrap());
    send(log.as_ref(), 0..10);
    let mut producer = log.producer(&ProducerConfig::default()).unwrap();
    let (key, value) = (vec![b'x'; 70_000], 1_i64.to_be_bytes());
    let record = ProducerRecord { key: Some(&key), ..ProducerRecord::to("in") };
    let _ = producer.send(&ProducerRecord { value: Some(&value), ..record }).unwrap();
    producer.flush().unwrap();
    send(log.as_ref(), 10..20);
    let config = StreamsConfig::new("app").state_dir(dir.path());
    let streams = Streams::new(&counting(), config.clone(), Arc::clone(&log));
    streams.start().unwrap();
    let error = streams.wait_until_caught_up().unwrap_err().to_string();
    assert!(error.contains("counts") && error.contains("it has 70000 bytes"), "{error}");
    drop(streams);
    let config = config.production_exception_handler(ErrorResponse::Skip);
    let streams = Streams::new(&counting(), config, Arc::clone(&log));
    streams.start().unwrap();
    streams.wait_until_caught_up().unwrap();
    assert_eq!(rows(&streams), expected((0..20).map(|key| (key, 1))));
}

#[test]
fn a_store_on_disk_needs_a_folder_and_a_changelog() {
    let streams = Streams::new(&counting(), StreamsConfig::new("app"), log());
    let error = streams.start().unwrap_err().to_string();
    assert!(error.contains("state.dir") && error.contains("counts"), "{error}");
    let build = |materialized: Materialized<String, i64>| {
        let builder = StreamsBuilder::new();
        let grouped = builder.stream::<String, i64>("in").group_by_key();
        grouped.count(materialized);
        builder.build().unwrap_err()
    };
    let error = build(persistent("counts").without_logging());
    assert!(matches!(&error, BuildError::NotPersistent { store, .. } if store == "counts"));
    // A file is in the place of the folder.
    let dir = TempDir::new().unwrap();
    std::fs::write(dir.path().join("app"), "a file").unwrap();
    let config = StreamsConfig::new("app").state_dir(dir.path());
    let error = Streams::new(&counting(), config, log()).start().unwrap_err();
    assert!(
        matches!(&error, Error::StateDirectory { path, .. } if path.ends_with("app")),
        "{error}"
    );
}

fn table(store_type: StoreType) -> Topology {
    let builder = StreamsBuilder::new();
    let materialized = Materialized::<String, String>::named("rows").with_store_type(store_type);
    builder.table_with::<String, String>("rows", materialized).to_stream().to("out");
    builder.build().unwrap()
}

#[test]
fn random_changes_restarts_and_failures_leave_the_rows_of_a_store_in_memory() {
    let seed =
        std::env::var("HEADWATER_SEED").map_or_else(|_| fastrand::u64(..), |s| s.parse().unwrap());
    println!("HEADWATER_SEED={seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let dir = TempDir::new().unwrap();
    let config = StreamsConfig::new("app").state_dir(dir.path());
    let on_disk = TopologyTestDriver::with_config(&table(StoreType::Persistent), config).unwrap();
    let in_memory = TopologyTestDriver::new(&table(StoreType::InMemory)).unwrap();
    let mut model = BTreeMap::new();
    for time in 0..600 {
        let key = format!("k{}", random.u32(0..40));
        let value = (random.u8(0..4) > 0).then(|| format!("v{time}"));
        for driver in [&on_disk, &in_memory] {
            let input = driver.input_topic::<String, Option<String>>("rows");
            input.pipe_input_at(key.clone(), value.clone(), time).unwrap();
        }
        match value {
            Some(value) => model.insert(key, (value, time)),
            None => model.remove(&key),
        };
        if random.u8(0..40) == 0 {
            on_disk.restart().unwrap();
        }
        let expected: Vec<_> =
            model.iter().map(|(key, (value, time))| (key.clone(), value.clone(), *time)).collect();
        for driver in [&on_disk, &in_memory] {
            assert_eq!(driver.store_rows::<String, String>("rows").unwrap(), expected);
        }
    }
}
