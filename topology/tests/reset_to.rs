//! Resets to other places than the start of the input, in the words of Kafka's reset tool.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "the helpers of a test fail it by panicking"
)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use headwater_log_store::{
    Clock, Log, LogStore, ManualClock, NewTopic, Offset, OffsetReset, PartitionId, ProducerConfig,
    ProducerRecord, Timestamp,
};
use headwater_topology::{Reset, Streams, StreamsBuilder, StreamsConfig, Topology};

/// Partition 0 has records of the times 0, 10, 20, …, 90, and partition 1 one of the time 35.
fn log() -> Arc<dyn Log> {
    let log: Arc<dyn Log> = Arc::new(LogStore::in_memory().unwrap());
    log.create_topic(&NewTopic::new("in").partitions(2)).unwrap();
    log.create_topic(&NewTopic::new("names")).unwrap();
    let mut producer = log.producer(&ProducerConfig::default()).unwrap();
    let times = (0..10).map(|n| (0, n * 10)).chain([(1, 35)]);
    for (partition, time) in times {
        let _ = producer
            .send(&ProducerRecord {
                partition: Some(PartitionId::new(partition)),
                key: Some(format!("p{partition}").as_bytes()),
                value: Some(time.to_string().as_bytes()),
                timestamp: Some(Timestamp::from_millis(time)),
                ..ProducerRecord::to("in")
            })
            .unwrap();
    }
    for key in ["p0", "p1"] {
        let (key, value) = (Some(key.as_bytes()), Some(&b"named"[..]));
        let _ =
            producer.send(&ProducerRecord { key, value, ..ProducerRecord::to("names") }).unwrap();
    }
    producer.flush().unwrap();
    log
}

/// Joins the times of each key, of those that a global table has a name for.
fn topology() -> Topology {
    let builder = StreamsBuilder::new();
    let names = builder.global_table::<String, String>("names");
    builder
        .stream::<String, String>("in")
        .join_global_table(&names, |key, _| key.clone(), |time, _: String| time)
        .group_by_key()
        .reduce(|times, time| times + " " + &time, "times");
    builder.build().unwrap()
}

fn config(now_ms: i64) -> StreamsConfig {
    let clock = Arc::new(ManualClock::new(Timestamp::from_millis(now_ms)));
    StreamsConfig::new("app").clock(clock as Arc<dyn Clock>)
}

fn run(log: &Arc<dyn Log>) -> BTreeMap<String, String> {
    let streams = Streams::new(&topology(), config(100), Arc::clone(log));
    streams.start().unwrap();
    streams.wait_until_caught_up().unwrap();
    let rows = streams.store::<String, String>("times").all().unwrap();
    streams.close().unwrap();
    rows.into_iter().collect()
}

/// Runs the application, resets it so, and runs it again: it has seen these times then.
fn check(to: OffsetReset, expected: [&str; 2]) {
    let log = log();
    assert_eq!(run(&log)["p0"], "0 10 20 30 40 50 60 70 80 90");
    let plan = Reset::new(&topology(), &config(100)).to(to).plan(&log).unwrap();
    for input in plan.inputs.iter().filter(|input| input.topic_partition.topic.as_str() == "names")
    {
        assert_eq!(input.to, Offset::ZERO, "{to:?}: a global table is read from its start");
    }
    plan.execute(&log).unwrap();
    let found = run(&log);
    let expected = ["p0", "p1"].into_iter().zip(expected).filter(|(_, times)| !times.is_empty());
    let expected: BTreeMap<String, String> =
        expected.map(|(key, times)| (key.to_owned(), times.to_owned())).collect();
    assert_eq!(found, expected, "{to:?}");
}

#[test]
fn a_reset_goes_where_it_is_told_to_in_each_partition() {
    let at = |ms| OffsetReset::ToDatetime(Timestamp::from_millis(ms));
    check(OffsetReset::ToEarliest, ["0 10 20 30 40 50 60 70 80 90", "35"]);
    check(at(55), ["60 70 80 90", ""]);
    check(at(31), ["40 50 60 70 80 90", "35"]);
    check(at(1_000), ["", ""]);
    check(OffsetReset::ByDuration(Duration::from_millis(30)), ["70 80 90", ""]);
    check(OffsetReset::ByDuration(Duration::from_secs(10)), ["0 10 20 30 40 50 60 70 80 90", "35"]);
    check(OffsetReset::ToOffset(Offset::new(8)), ["80 90", ""]);
    check(OffsetReset::ShiftBy(-3), ["70 80 90", "35"]);
    check(OffsetReset::ToLatest, ["", ""]);
}

#[test]
fn a_shift_of_what_was_never_committed_reads_from_the_start() {
    let log = log();
    let to = OffsetReset::ShiftBy(-3);
    let plan = Reset::new(&topology(), &config(100)).to(to).plan(&log).unwrap();
    assert!(plan.inputs.iter().all(|input| (input.from, input.to) == (None, Offset::ZERO)));
    plan.execute(&log).unwrap();
    assert_eq!(run(&log)["p1"], "35");
}
