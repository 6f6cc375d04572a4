//! Windows, sessions and versions on disk: whatever stops the application, and however little of it
//! is in memory, results and rows are those of the same topology with its stores in memory.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::indexing_slicing,
    reason = "the helpers of a test fail it by panicking"
)]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use headwater_log_store::{
    AutoOffsetReset, ConsumerConfig, Log, LogStore, NewTopic, PartitionId, ProducerConfig,
    ProducerRecord, Timestamp, TopicName, TopicPartition,
};
use headwater_topology::{
    EmitStrategy, ErrorResponse, KGroupedStream, Materialized, Processor, ProcessorContext, Record,
    SessionWindows, SlidingWindows, StoreType, Stores, Streams, StreamsBuilder, StreamsConfig,
    TimeWindows, TimestampedWindowStore, Topology, TopologyConfig,
};
use tempfile::TempDir;

const OUTPUTS: [&str; 7] =
    ["tumbling", "hopping", "sessions", "sliding", "final", "final-sessions", "joined"];

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Counts what it has seen of a key in windows of a store of its own.
struct Recent(TimestampedWindowStore<String, i64>);

impl Processor for Recent {
    type KIn = String;
    type VIn = i64;
    type KOut = String;
    type VOut = i64;

    fn process(
        &mut self,
        record: Record<String, i64>,
        context: &mut ProcessorContext<'_, Self>,
    ) -> Result<(), headwater_topology::BoxError> {
        let time_ms = record.timestamp.as_millis();
        let start = Timestamp::from_millis(time_ms - time_ms.rem_euclid(7));
        let from = Timestamp::from_millis(time_ms - 30);
        let before = self.0.fetch(&record.key, start).map_or(0, |row| row.value);
        if record.value % 5 == 0 {
            self.0.delete(&record.key, start);
        } else {
            self.0.put(&record.key, before + 1, record.timestamp, start);
        }
        let near = self.0.fetch_range(&record.key, from, record.timestamp);
        let all = self.0.fetch_all(from, record.timestamp)?;
        let sum = near.iter().map(|(_, row)| row.value).sum::<i64>() * 1_000;
        let sum = sum + all.iter().map(|(_, _, row)| row.value).sum::<i64>();
        context.forward(Record { value: sum, ..record });
        Ok(())
    }
}

fn windows(grouped: &KGroupedStream<String, i64>) {
    let text = |key: String, count| (key, count);
    let tumbling = TimeWindows::of_size_and_grace(ms(10), ms(20));
    let counts = grouped.windowed_by(tumbling).count("tumbling");
    counts.to_stream().map(move |key, count| text(key.to_string(), count)).to("tumbling");
    let hopping = TimeWindows::of_size_and_grace(ms(20), ms(5)).advance_by(ms(5));
    let least =
        grouped.windowed_by(hopping).reduce(|least: i64, value| least.min(value), "hopping");
    least.to_stream().map(move |key, least| text(key.to_string(), least)).to("hopping");
    let sliding = SlidingWindows::of_time_difference_and_grace(ms(8), ms(15));
    let sums = grouped.windowed_by(sliding).reduce(|sum: i64, value| sum + value, "sliding");
    sums.to_stream().map(move |key, sum| text(key.to_string(), sum)).to("sliding");
    let sessions = SessionWindows::of_inactivity_gap_and_grace(ms(6), ms(12));
    let counts = grouped.windowed_by(sessions).count("sessions");
    let counts = counts.to_stream();
    counts.map(move |key, count| (key.to_string(), count.unwrap_or(-1))).to("sessions");
    let last = grouped.windowed_by(tumbling).emit_strategy(EmitStrategy::on_window_close());
    let counts = last.count("final").to_stream();
    counts.map(move |key, count| text(key.to_string(), count)).to("final");
    let last = grouped.windowed_by(sessions);
    let last = last.emit_strategy(EmitStrategy::on_window_close()).count("final-sessions");
    let last = last.to_stream();
    last.map(move |key, count| (key.to_string(), count.unwrap_or(-1))).to("final-sessions");
}

/// Every kind of store that is not by key alone. Of the values that 97 divides the stream panics,
/// behind the stores, so that changes of them are taken back.
fn topology(store_type: StoreType) -> Topology {
    let builder = StreamsBuilder::with_config(TopologyConfig::new().store_type(store_type));
    let input = builder.stream::<String, i64>("in");
    windows(&input.group_by_key());
    let rows = Materialized::named("rows").versioned(ms(40));
    let table = builder.table_with::<String, i64>("table", rows);
    input.join_table(&table, |value, row| value * 1_000 + row).to("joined");
    let recent = Stores::timestamped_window_store::<String, i64>("recent", ms(25));
    let recent = builder.add_state_store(recent.with_store_type(store_type));
    input.process_with_stores(&recent, Recent).to("recent");
    input.for_each(|_, value| assert!(value % 97 != 0, "{value} is refused"));
    builder.build().unwrap()
}

fn log() -> Arc<dyn Log> {
    let log: Arc<dyn Log> = Arc::new(LogStore::in_memory().unwrap());
    for topic in ["in", "table", "recent"].iter().chain(&OUTPUTS) {
        log.create_topic(&NewTopic::new(*topic)).unwrap();
    }
    log
}

struct Sent {
    topic: &'static str,
    key: String,
    value: Option<i64>,
    time_ms: i64,
}

fn send<'a>(log: &dyn Log, records: impl IntoIterator<Item = &'a Sent>) {
    let mut producer = log.producer(&ProducerConfig::default()).unwrap();
    for Sent { topic, key, value, time_ms } in records {
        let value = value.map(i64::to_be_bytes);
        let record = ProducerRecord {
            key: Some(key.as_bytes()),
            value: value.as_ref().map(<[u8; 8]>::as_slice),
            timestamp: Some(Timestamp::from_millis(*time_ms)),
            ..ProducerRecord::to(topic)
        };
        let _ = producer.send(&record).unwrap();
    }
    producer.flush().unwrap();
}

fn start(log: &Arc<dyn Log>, store_type: StoreType, dir: &Path) -> Streams {
    let config = StreamsConfig::new("app")
        .state_dir(dir)
        // A dozen rows: most of them are read from the disk again and again.
        .persistent_store_memory_bytes(400)
        .processing_exception_handler(ErrorResponse::Skip)
        .emit_interval(Duration::ZERO);
    let streams = Streams::new(&topology(store_type), config, Arc::clone(log));
    streams.start().unwrap();
    streams
}

type Lines = Vec<(String, Option<Vec<u8>>, i64)>;

fn read(log: &dyn Log, topic: &str) -> Lines {
    let config = ConsumerConfig {
        auto_offset_reset: AutoOffsetReset::Earliest,
        ..ConsumerConfig::default()
    };
    let mut consumer = log.consumer(&config).unwrap();
    let partition = TopicPartition::new(TopicName::new(topic).unwrap(), PartitionId::new(0));
    consumer.assign(&[partition]).unwrap();
    let mut lines = Lines::new();
    loop {
        let batches = consumer.poll(Duration::ZERO).unwrap();
        if batches.is_empty() {
            return lines;
        }
        for view in batches.iter().flat_map(|batch| batch.iter()) {
            let key = String::from_utf8(view.key.unwrap().to_vec()).unwrap();
            lines.push((key, view.value.map(<[u8]>::to_vec), view.timestamp.as_millis()));
        }
    }
}

/// All that can be asked of the stores, as text.
fn stores(streams: &Streams) -> BTreeMap<&'static str, String> {
    let tumbling = TimeWindows::of_size_and_grace(ms(10), ms(20));
    let mut found = BTreeMap::new();
    for name in ["tumbling", "hopping", "sliding", "final", "recent"] {
        let store = streams.window_store::<String, i64>(name, tumbling);
        let all = store.fetch_all(i64::MIN, i64::MAX).unwrap();
        let some = store.fetch(&"k1".to_owned(), 100, 2_000).unwrap();
        found.insert(name, format!("{all:?} {some:?}"));
    }
    for name in ["sessions", "final-sessions"] {
        let store = streams.session_store::<String, i64>(name);
        let all = store.fetch_all(i64::MIN, i64::MAX).unwrap();
        found.insert(name, format!("{all:?} {:?}", store.fetch(&"k1".to_owned()).unwrap()));
    }
    found
}

fn records(random: &mut fastrand::Rng, time_ms: &mut i64) -> Vec<Sent> {
    let sent = (0..random.usize(1..40)).map(|_| {
        // Now and then all windows are left behind at once.
        *time_ms += if random.u8(0..60) == 0 { 200 } else { random.i64(0..4) };
        let late_ms = if random.u8(0..4) == 0 { random.i64(0..50) } else { 0 };
        let topic = if random.u8(0..4) == 0 { "table" } else { "in" };
        let value = (topic == "in" || random.u8(0..4) > 0).then(|| random.i64(1..400));
        let key = format!("k{}", random.u32(0..6));
        Sent { topic, key, value, time_ms: (*time_ms - late_ms).max(0) }
    });
    sent.collect()
}

#[test]
fn random_records_failures_and_restarts_give_the_results_and_rows_of_stores_in_memory() {
    let seed =
        std::env::var("HEADWATER_SEED").map_or_else(|_| fastrand::u64(..), |s| s.parse().unwrap());
    println!("HEADWATER_SEED={seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let (dir, unused) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let logs = [log(), log()];
    let mut on_disk = Some(start(&logs[0], StoreType::Persistent, dir.path()));
    let in_memory = start(&logs[1], StoreType::InMemory, unused.path());
    let (mut time_ms, mut restarts, mut restored) = (0, 0, 0);
    let mut compared = 0;
    for round in 0..120 {
        let streams = on_disk.take().unwrap();
        // One topic at a time: which of two comes first would be chance.
        let records = records(&mut random, &mut time_ms);
        for topic in ["table", "in"] {
            for log in &logs {
                send(log.as_ref(), records.iter().filter(|record| record.topic == topic));
            }
            in_memory.wait_until_caught_up().unwrap();
            streams.wait_until_caught_up().unwrap();
        }
        assert_eq!(stores(&streams), stores(&in_memory), "round {round}");
        on_disk = Some(match random.u8(0..6) {
            0 => {
                restarts += 1;
                streams.close().unwrap();
                drop(streams);
                let streams = start(&logs[0], StoreType::Persistent, dir.path());
                restored += streams.metrics().records_restored;
                assert_eq!(stores(&streams), stores(&in_memory), "round {round}, restarted");
                streams
            }
            _ => streams,
        });
        for topic in OUTPUTS.iter().chain(&["recent"]).filter(|_| round % 20 == 19) {
            let [found, expected] = [&logs[0], &logs[1]].map(|log| read(log.as_ref(), topic));
            assert_eq!(found, expected, "{topic} in round {round}");
            compared += found.len();
        }
    }
    let aborts = on_disk.unwrap().metrics().aborts + in_memory.metrics().aborts;
    assert!(compared > 10_000 && aborts > 0, "{compared} compared, {aborts} aborts");
    assert!(restarts == 0 || restored == 0, "{restored} records restored in {restarts} restarts");
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
fn rows_that_are_behind_catch_up_and_those_of_another_changelog_are_made_anew() {
    let mut random = fastrand::Rng::with_seed(7);
    let (dir, behind, unused) =
        (TempDir::new().unwrap(), TempDir::new().unwrap(), TempDir::new().unwrap());
    let logs = [log(), log(), log()];
    let mut time_ms = 0;
    let mut send_to = |logs: &[Arc<dyn Log>]| {
        for _ in 0..10 {
            let records = records(&mut random, &mut time_ms);
            logs.iter().for_each(|log| send(log.as_ref(), &records));
        }
    };
    let run = |log: &Arc<dyn Log>, store_type, dir: &Path| {
        let streams = start(log, store_type, dir);
        let restored = streams.metrics().records_restored;
        streams.wait_until_caught_up().unwrap();
        (stores(&streams), restored)
    };
    send_to(&logs[..2]);
    run(&logs[0], StoreType::Persistent, dir.path());
    // As if the process had stopped between the commit of the log and the write to disk.
    copy(dir.path(), behind.path());
    let (_, all) = run(&logs[0], StoreType::InMemory, unused.path());
    send_to(&logs[..2]);
    run(&logs[0], StoreType::Persistent, dir.path());
    let (expected, _) = run(&logs[1], StoreType::InMemory, unused.path());
    let (found, difference) = run(&logs[0], StoreType::Persistent, behind.path());
    assert_eq!(found, expected);
    assert!(difference > 0 && all > 0, "{difference} of more than {all}");
    // The changelogs of another log are shorter, so they are others.
    send_to(&logs[2..]);
    let (found, restored) = run(&logs[2], StoreType::Persistent, dir.path());
    let (expected, _) = run(&logs[2], StoreType::InMemory, unused.path());
    assert_eq!((found, restored), (expected, 0));
}
