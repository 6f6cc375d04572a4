//! What a running application tells of its stores to any thread: rows of a prefix, versions as of
//! a time, and how many rows there are. All of it is committed.
#![allow(clippy::unwrap_used, reason = "the helpers of a test fail it by panicking")]

use std::sync::Arc;
use std::time::Duration;

use headwater_log_store::{Log, LogStore, NewTopic, ProducerConfig, ProducerRecord, Timestamp};
use headwater_topology::{
    Error, Materialized, StoreType, Streams, StreamsBuilder, StreamsConfig, TaskId, Topology,
    VersionedRecord,
};
use tempfile::TempDir;

const HISTORY: Duration = Duration::from_millis(100);

fn log() -> Arc<dyn Log> {
    let log: Arc<dyn Log> = Arc::new(LogStore::in_memory().unwrap());
    for topic in ["in", "rows", "names"] {
        log.create_topic(&NewTopic::new(topic).partitions(3)).unwrap();
    }
    log
}

fn send<'a>(log: &dyn Log, topic: &str, rows: impl IntoIterator<Item = (&'a str, &'a str, i64)>) {
    let mut producer = log.producer(&ProducerConfig::default()).unwrap();
    for (key, value, time) in rows {
        let _ = producer
            .send(&ProducerRecord {
                key: Some(key.as_bytes()),
                value: Some(value.as_bytes()),
                timestamp: Some(Timestamp::from_millis(time)),
                ..ProducerRecord::to(topic)
            })
            .unwrap();
    }
    producer.flush().unwrap();
}

fn topology(store_type: StoreType) -> Topology {
    let builder = StreamsBuilder::new();
    let rows = Materialized::<String, String>::named("rows").with_store_type(store_type);
    builder.table_with::<String, String>("rows", rows);
    let versions = Materialized::<String, String>::named("versions").with_store_type(store_type);
    builder.table_with::<String, String>("in", versions.versioned(HISTORY));
    builder.build().unwrap()
}

fn run(log: &Arc<dyn Log>, topology: &Topology, dir: &TempDir) -> Streams {
    let config = StreamsConfig::new("app").num_stream_threads(2).state_dir(dir.path());
    let streams = Streams::new(topology, config, Arc::clone(log));
    streams.start().unwrap();
    streams.wait_until_caught_up().unwrap();
    streams
}

const KINDS: [StoreType; 2] = [StoreType::InMemory, StoreType::Persistent];

#[test]
fn a_prefix_scan_gives_the_rows_of_all_tasks_whose_keys_begin_so_from_any_thread() {
    for kind in KINDS {
        let (log, dir) = (log(), TempDir::new().unwrap());
        let keys: Vec<String> = (0..2_000).map(|n| format!("{}/{n:04}", n % 3)).collect();
        send(log.as_ref(), "rows", keys.iter().map(|key| (key.as_str(), "v", 1)));
        send(log.as_ref(), "rows", [("\u{ff}", "last", 1), ("", "first", 1)]);
        let streams = run(&log, &topology(kind), &dir);
        let scan = |prefix: &str| -> Vec<String> {
            let rows = streams.store::<String, String>("rows");
            rows.prefix_scan(prefix.as_bytes()).unwrap().into_iter().map(|(key, _)| key).collect()
        };
        let mut sorted = keys.clone();
        sorted.extend(["\u{ff}".to_owned(), String::new()]);
        sorted.sort_unstable();
        std::thread::scope(|scope| {
            for prefix in ["1/", "", "1/01", "2/1999", "3", "\u{ff}", "1/0100x"] {
                let (scan, sorted) = (&scan, &sorted);
                scope.spawn(move || {
                    let expected: Vec<String> =
                        sorted.iter().filter(|key| key.starts_with(prefix)).cloned().collect();
                    assert_eq!(scan(prefix), expected, "{prefix:?}, {kind:?}");
                });
            }
        });
        // Bytes after which nothing can come.
        let rows = streams.store::<String, String>("rows");
        assert_eq!(rows.prefix_scan(&[0xff, 0xff]).unwrap(), []);
        streams.close().unwrap();
    }
}

fn version(value: &str, from: i64, to: Option<i64>) -> Option<VersionedRecord<String>> {
    let (timestamp, valid_to) = (Timestamp::from_millis(from), to.map(Timestamp::from_millis));
    Some(VersionedRecord { value: value.to_owned(), timestamp, valid_to })
}

#[test]
fn a_versioned_store_tells_what_a_key_had_at_a_time() {
    for kind in KINDS {
        let (log, dir) = (log(), TempDir::new().unwrap());
        let rows = [("a", "5", 10), ("a", "7", 30), ("a", "6", 20), ("b", "1", 15)];
        send(log.as_ref(), "in", rows);
        let streams = run(&log, &topology(kind), &dir);
        let versions = streams.versioned_store::<String, String>("versions");
        let at = |key: &str, ms| {
            versions.get_as_of(&key.to_owned(), Timestamp::from_millis(ms)).unwrap()
        };
        assert_eq!(at("a", 9), None);
        assert_eq!(at("a", 10), version("5", 10, Some(20)));
        assert_eq!(at("a", 29), version("6", 20, Some(30)));
        assert_eq!(at("a", 1_000), version("7", 30, None));
        assert_eq!(versions.get(&"a".to_owned()).unwrap(), version("7", 30, None));
        assert_eq!(at("b", 15), version("1", 15, None));
        assert_eq!(versions.get(&"c".to_owned()).unwrap(), None);
        // The history moves on with the task's own time; the newest version stays.
        send(log.as_ref(), "in", [("a", "9", 500)]);
        streams.wait_until_caught_up().unwrap();
        assert_eq!(at("a", 29), None);
        assert_eq!(at("a", 450), version("7", 30, Some(500)));
        assert_eq!(versions.get(&"a".to_owned()).unwrap(), version("9", 500, None));
        let wrong = streams.versioned_store::<String, String>("rows");
        let error = wrong.get(&"a".to_owned()).unwrap_err();
        assert!(matches!(error, Error::StoreType { .. }), "{error}");
        streams.close().unwrap();
    }
}

#[test]
fn the_sizes_of_stores_are_counted_by_task_and_those_on_disk_in_bytes_too() {
    for kind in KINDS {
        let (log, dir) = (log(), TempDir::new().unwrap());
        let keys: Vec<String> = (0..900).map(|n| format!("k{n}")).collect();
        send(log.as_ref(), "rows", keys.iter().map(|key| (key.as_str(), "v", 1)));
        send(log.as_ref(), "names", [("x", "y", 1), ("z", "w", 1)]);
        let builder = StreamsBuilder::new();
        let rows = Materialized::<String, String>::named("rows").with_store_type(kind);
        builder.table_with::<String, String>("rows", rows);
        builder.global_table::<String, String>("names");
        let streams = run(&log, &builder.build().unwrap(), &dir);
        let sizes = streams.store_sizes().unwrap();
        let own: Vec<_> = sizes.iter().filter(|size| size.store == "rows").collect();
        let tasks: Vec<Option<u32>> =
            own.iter().map(|s| s.task.map(|t: TaskId| t.partition)).collect();
        assert_eq!(tasks, [Some(0), Some(1), Some(2)], "{sizes:?}");
        assert_eq!(own.iter().map(|size| size.rows).sum::<u64>(), 900, "{sizes:?}");
        assert!(
            own.iter().all(|size| size.rows > 200
                && size.disk_bytes.is_some() == (kind == StoreType::Persistent))
        );
        let globals: Vec<_> = sizes.iter().filter(|size| size.task.is_none()).collect();
        assert_eq!(globals.iter().map(|size| size.rows).collect::<Vec<_>>(), [2], "{sizes:?}");
        streams.close().unwrap();
        assert!(matches!(streams.store_sizes(), Err(Error::NotRunning { .. })));
    }
}
