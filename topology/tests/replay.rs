//! Replays: two of them give the same records in each output partition (offset, key, value, time
//! and headers), whatever the polls brought, whenever commits took place, and however often the
//! application died in between. Proven by dumping all output partitions byte by byte.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "the helpers of a test fail it by panicking"
)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use headwater_log_store::{
    AutoOffsetReset, ConsumerConfig, Header, Log, LogStore, NewTopic, PartitionId, ProducerConfig,
    ProducerRecord, Timestamp, TopicName, TopicPartition,
};
use headwater_topology::{
    Error, Reset, Streams, StreamsBuilder, StreamsConfig, TimeWindows, Topology,
};

const OUTPUTS: [&str; 3] = ["passed", "counts", "windows"];

/// A seeded sequence of numbers (SplitMix64).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }
}

/// Two inputs joined by a merge, passed on to one partition, counted by a new key, and counted by
/// windows. `fuse` makes the application die after that many records.
fn topology(fuse: &Arc<AtomicI64>) -> Topology {
    let fuse = Arc::clone(fuse);
    let builder = StreamsBuilder::new();
    let merged = builder.stream::<String, String>("a").merge(&builder.stream("b"));
    merged.to("passed");
    let grouped = merged.group_by(|_, value| value.clone());
    let burn = move || assert!(fuse.fetch_sub(1, Ordering::SeqCst) != 0, "the fuse has blown");
    let counts = grouped.count("counts").to_stream().peek(move |_, _| burn());
    counts.to("counts");
    let windows =
        TimeWindows::of_size_and_grace(Duration::from_millis(50), Duration::from_millis(20));
    grouped.windowed_by(windows).count("windows").to_stream().to("windows");
    builder.build().unwrap()
}

fn log_with_input(random: &mut Random) -> (Arc<dyn Log>, BTreeMap<String, i64>) {
    let log: Arc<dyn Log> = Arc::new(LogStore::in_memory().unwrap());
    for (topic, partitions) in [("a", 3), ("b", 3), ("passed", 1), ("counts", 2), ("windows", 2)] {
        log.create_topic(&NewTopic::new(topic).partitions(partitions)).unwrap();
    }
    let mut expected = BTreeMap::new();
    append(log.as_ref(), random, 3_000, &mut expected);
    (log, expected)
}

fn append(log: &dyn Log, random: &mut Random, records: u64, expected: &mut BTreeMap<String, i64>) {
    let mut producer = log.producer(&ProducerConfig::default()).unwrap();
    for n in 0..records {
        let value = format!("v{}", random.below(20));
        let time = i64::try_from(n / 10 + random.below(60)).unwrap();
        let headers = [Header { key: "n", value: Some(value.as_bytes()) }];
        let _receipt = producer
            .send(&ProducerRecord {
                topic: ["a", "b"][usize::try_from(random.below(2)).unwrap()],
                partition: Some(PartitionId::new(u32::try_from(random.below(3)).unwrap())),
                key: Some(b"k"),
                value: Some(value.as_bytes()),
                timestamp: Some(Timestamp::from_millis(time)),
                headers: if n % 3 == 0 { &headers } else { &[] },
            })
            .unwrap();
        *expected.entry(value).or_insert(0) += 1;
    }
    producer.flush().unwrap();
}

fn partitions(log: &dyn Log, topic: &str) -> Vec<TopicPartition> {
    let name = TopicName::new(topic).unwrap();
    let count = log.describe_topic(topic).unwrap().partitions;
    (0..count).map(|p| TopicPartition::new(name.clone(), PartitionId::new(p))).collect()
}

/// Every record of the output topics as text, by partition.
fn dump(log: &dyn Log) -> Vec<String> {
    let mut lines = Vec::new();
    for topic_partition in OUTPUTS.iter().flat_map(|topic| partitions(log, topic)) {
        let end = log.watermarks(&topic_partition).unwrap().end;
        let config = ConsumerConfig {
            auto_offset_reset: AutoOffsetReset::Earliest,
            ..ConsumerConfig::default()
        };
        let mut consumer = log.consumer(&config).unwrap();
        consumer.assign(std::slice::from_ref(&topic_partition)).unwrap();
        while consumer.position(&topic_partition).unwrap() < end {
            for batch in consumer.poll(Duration::from_secs(1)).unwrap() {
                lines.extend(batch.iter().map(|record| format!("{topic_partition} {record:?}")));
            }
        }
    }
    lines
}

fn reset(log: &Arc<dyn Log>) {
    let never = Arc::new(AtomicI64::new(-1));
    let mut reset = Reset::new(&topology(&never), &StreamsConfig::new("app"));
    for topic in OUTPUTS {
        reset = reset.empty_topic(topic);
    }
    reset.plan(log).unwrap().execute(log).unwrap();
}

/// Runs the application until it has caught up, starting it again whenever it dies. Returns how
/// often it died, and the counts of its store.
fn run(log: &Arc<dyn Log>, random: &mut Random, kills: u64) -> (u64, BTreeMap<String, i64>) {
    let mut died = 0;
    loop {
        let records = if died < kills { 50 + random.below(400) } else { u64::MAX >> 1 };
        let fuse = Arc::new(AtomicI64::new(i64::try_from(records).unwrap()));
        let config = StreamsConfig::new("app")
            .set("max.poll.records", &(1 + random.below(90)).to_string())
            .and_then(|config| config.set("commit.interval.ms", &random.below(3).to_string()))
            .unwrap();
        let streams = Streams::new(&topology(&fuse), config, Arc::clone(log));
        streams.start().unwrap();
        match streams.wait_until_caught_up() {
            Ok(()) => {
                let rows = streams.store::<String, i64>("counts").all().unwrap();
                streams.close().unwrap();
                return (died, rows.into_iter().collect());
            }
            Err(Error::Processing { reason, .. }) => {
                assert!(reason.contains("the fuse has blown"), "{reason}");
                died += 1;
            }
            Err(other) => panic!("{other}"),
        }
    }
}

#[test]
fn replays_give_the_same_records_whatever_the_timing_and_however_often_they_die() {
    for seed in [1, 7, 42] {
        println!("seed {seed}");
        let mut random = Random(seed);
        let (log, expected) = log_with_input(&mut random);
        reset(&log);
        let (_, counts) = run(&log, &mut random, 0);
        assert_eq!(counts, expected);
        let first = dump(log.as_ref());
        assert_eq!(first.iter().filter(|line| line.starts_with("passed-0 ")).count(), 3_000);
        assert_eq!(first.iter().filter(|line| line.starts_with("counts-")).count(), 3_000);
        assert!(!first.iter().any(|line| line.contains("__headwater")), "headers of ours leak");
        for kills in [0, 4] {
            reset(&log);
            let (died, counts) = run(&log, &mut random, kills);
            assert_eq!(died, kills);
            assert_eq!(counts, expected);
            let again = dump(log.as_ref());
            let differ = first.iter().zip(&again).find(|(one, other)| one != other);
            assert_eq!(differ, None);
            assert_eq!(first.len(), again.len());
        }
    }
}

/// The record of the first task is the most frequent one, so it is told by what it does not have.
/// One that comes with headers is marked all the same: one of those may have the mark's name.
#[test]
fn a_record_for_another_task_says_which_task_wrote_it_unless_the_first_one_did() {
    let log: Arc<dyn Log> = Arc::new(LogStore::in_memory().unwrap());
    for topic in ["in", "out"] {
        log.create_topic(&NewTopic::new(topic).partitions(2)).unwrap();
    }
    let mut producer = log.producer(&ProducerConfig::default()).unwrap();
    let foreign = [Header { key: "__headwater.task", value: Some(&[0, 0, 0, 1]) }];
    for (partition, value, headers) in
        [(0, b"plain", &[][..]), (0, b"liar.", &foreign[..]), (1, b"other", &[])]
    {
        let partition = Some(PartitionId::new(partition));
        let to = ProducerRecord::to("in");
        let record =
            ProducerRecord { partition, key: Some(b"k"), value: Some(value), headers, ..to };
        let _receipt = producer.send(&record).unwrap();
    }
    producer.flush().unwrap();
    let builder = StreamsBuilder::new();
    builder.stream::<String, String>("in").repartition("hop").to("out");
    let topology = builder.build().unwrap();
    let streams = Streams::new(&topology, StreamsConfig::new("app"), Arc::clone(&log));
    streams.start().unwrap();
    streams.wait_until_caught_up().unwrap();
    streams.close().unwrap();

    let config =
        ConsumerConfig { auto_offset_reset: AutoOffsetReset::Earliest, ..Default::default() };
    let mut consumer = log.consumer(&config).unwrap();
    consumer.assign(&partitions(log.as_ref(), "app-hop-repartition")).unwrap();
    let mut marks = BTreeMap::new();
    while marks.len() < 3 {
        for batch in consumer.poll(Duration::from_secs(1)).unwrap() {
            for record in batch.iter() {
                let mark = record.headers.last("__headwater.task").map(|mark| mark.value.unwrap());
                marks.insert(record.value.unwrap().to_vec(), mark.map(<[u8]>::to_vec));
            }
        }
    }
    let expected = [
        (b"liar.".to_vec(), Some(vec![0, 0, 0, 0])),
        (b"other".to_vec(), Some(vec![0, 0, 0, 1])),
        (b"plain".to_vec(), None),
    ];
    assert_eq!(marks, BTreeMap::from(expected));
}

#[test]
fn a_replay_ends_where_the_input_ended_at_the_reset_and_live_work_follows() {
    let mut random = Random(3);
    println!("seed 3");
    let (log, mut expected) = log_with_input(&mut random);
    reset(&log);
    run(&log, &mut random, 0);
    let first = dump(log.as_ref());
    reset(&log);
    // This comes after the reset, so it comes after the replay.
    append(log.as_ref(), &mut random, 500, &mut expected);
    let (_, counts) = run(&log, &mut random, 2);
    assert_eq!(counts, expected);
    let again = dump(log.as_ref());
    for topic_partition in OUTPUTS.iter().flat_map(|topic| partitions(log.as_ref(), topic)) {
        let of = |lines: &[String]| {
            let prefix = format!("{topic_partition} ");
            lines.iter().filter(|line| line.starts_with(&prefix)).cloned().collect::<Vec<_>>()
        };
        let (first, again) = (of(&first), of(&again));
        assert_eq!(again[..first.len()], first);
        // What is new is late for its window, but not for the other outputs.
        assert_eq!(again.len() > first.len(), topic_partition.topic.as_str() != "windows");
    }
}

#[test]
fn a_plan_changes_nothing_and_says_what_would_change() {
    let mut random = Random(5);
    println!("seed 5");
    let (log, _) = log_with_input(&mut random);
    let never = Arc::new(AtomicI64::new(-1));
    run(&log, &mut random, 0);
    let before = (dump(log.as_ref()), log.group_offsets("app").unwrap());
    let plan = Reset::new(&topology(&never), &StreamsConfig::new("app"))
        .empty_topic("passed")
        .plan(&log)
        .unwrap();
    assert_eq!((dump(log.as_ref()), log.group_offsets("app").unwrap()), before);
    assert_eq!(
        plan.deleted,
        [
            "app-__topology-changelog",
            "app-counts-changelog",
            "app-counts-repartition",
            "app-windows-changelog",
            "app-windows-repartition",
        ]
    );
    assert_eq!(plan.emptied, ["passed"]);
    assert_eq!(plan.inputs.len(), 6);
    for input in &plan.inputs {
        assert_eq!(input.from, Some(input.replay_end));
        assert_eq!(input.to.value(), 0);
    }
    assert!(plan.to_string().contains("delete app-counts-changelog\n"), "{plan}");
}

#[test]
fn a_reset_is_refused_while_the_application_runs() {
    let mut random = Random(6);
    println!("seed 6");
    let (log, _) = log_with_input(&mut random);
    let never = Arc::new(AtomicI64::new(-1));
    let topology = topology(&never);
    let streams = Streams::new(&topology, StreamsConfig::new("app"), Arc::clone(&log));
    streams.start().unwrap();
    let plan = Reset::new(&topology, &StreamsConfig::new("app")).plan(&log).unwrap();
    let error = plan.execute(&log).unwrap_err();
    assert_eq!(error.to_string(), "application app runs on this log: close it first");
    let second = Streams::new(&topology, StreamsConfig::new("app"), Arc::clone(&log));
    assert!(matches!(second.start(), Err(Error::Running { .. })));
    streams.close().unwrap();
    plan.execute(&log).unwrap();
}
