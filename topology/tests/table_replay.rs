//! Replays of topologies whose topics lead back, as those of foreign-key joins: two replays give
//! the same records in each output partition, also if the application died in between; and the
//! results are those that a model computes. Proven by dumping all output partitions byte by byte.
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
    AutoOffsetReset, ConsumerConfig, Log, LogStore, NewTopic, PartitionId, ProducerConfig,
    ProducerRecord, Timestamp, TopicName, TopicPartition,
};
use headwater_topology::{
    KTable, Reset, Streams, StreamsBuilder, StreamsConfig, StreamsState, Topology,
};

const OUTPUTS: [&str; 2] = ["joined", "counts"];

const PATIENCE: Duration = Duration::from_secs(60);

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

/// Orders joined with customers, the result with cities, and counted by city. `fuse` makes the
/// application die after that many results.
fn topology(fuse: &Arc<AtomicI64>) -> Topology {
    let fuse = Arc::clone(fuse);
    let builder = StreamsBuilder::new();
    let orders: KTable<String, String> = builder.table("orders");
    let customers: KTable<String, String> = builder.table("customers");
    let cities: KTable<String, String> = builder.table("cities");
    let value = |_: &String, value: &String| Some(value.clone());
    let city_of = orders.join_on(&customers, value, |_, city| city, "customer");
    let city_of = city_of.materialized("city-of-order");
    let joined = city_of.join_on(&cities, value, |city, name| format!("{city}:{name}"), "city");
    let joined = joined.materialized("joined");
    let burn = move || assert!(fuse.fetch_sub(1, Ordering::SeqCst) != 0, "the fuse has blown");
    joined.to_stream().peek(move |_, _| burn()).to("joined");
    joined
        .group_by(|order, name| (name.clone(), order.clone()))
        .count("n")
        .to_stream()
        .to("counts");
    builder.build().unwrap()
}

type Rows = BTreeMap<String, String>;

fn log_with_input(random: &mut Random) -> (Arc<dyn Log>, BTreeMap<String, i64>) {
    let log: Arc<dyn Log> = Arc::new(LogStore::in_memory().unwrap());
    for (topic, partitions) in
        [("orders", 3), ("customers", 2), ("cities", 4), ("joined", 2), ("counts", 1)]
    {
        log.create_topic(&NewTopic::new(topic).partitions(partitions)).unwrap();
    }
    let mut tables = [Rows::new(), Rows::new(), Rows::new()];
    let mut producer = log.producer(&ProducerConfig::default()).unwrap();
    for n in 0..600 {
        let table = usize::try_from(random.below(3)).unwrap();
        let (topic, key, value) = match table {
            0 => ("orders", format!("o{}", random.below(40)), format!("c{}", random.below(12))),
            1 => ("customers", format!("c{}", random.below(12)), format!("t{}", random.below(6))),
            _ => ("cities", format!("t{}", random.below(6)), format!("name{}", random.below(3))),
        };
        let value = Some(value).filter(|_| random.below(5) > 0);
        let time = i64::try_from(n / 10 + random.below(60)).unwrap();
        let _receipt = producer
            .send(&ProducerRecord {
                key: Some(key.as_bytes()),
                value: value.as_ref().map(String::as_bytes),
                timestamp: Some(Timestamp::from_millis(time)),
                ..ProducerRecord::to(topic)
            })
            .unwrap();
        match value {
            Some(value) => tables[table].insert(key, value),
            None => tables[table].remove(&key),
        };
    }
    producer.flush().unwrap();
    let [orders, customers, cities] = tables;
    let mut counts = BTreeMap::new();
    for customer in orders.values() {
        let found = customers.get(customer).and_then(|city| Some((city, cities.get(city)?)));
        if let Some((city, name)) = found {
            *counts.entry(format!("{city}:{name}")).or_insert(0) += 1;
        }
    }
    (log, counts)
}

/// Every record of the output topics as text, by partition.
fn dump(log: &dyn Log) -> Vec<String> {
    let mut lines = Vec::new();
    for topic in OUTPUTS {
        let name = TopicName::new(topic).unwrap();
        for partition in 0..log.describe_topic(topic).unwrap().partitions {
            let partition = TopicPartition::new(name.clone(), PartitionId::new(partition));
            let end = log.watermarks(&partition).unwrap().end;
            let config = ConsumerConfig {
                auto_offset_reset: AutoOffsetReset::Earliest,
                ..ConsumerConfig::default()
            };
            let mut consumer = log.consumer(&config).unwrap();
            consumer.assign(std::slice::from_ref(&partition)).unwrap();
            while consumer.position(&partition).unwrap() < end {
                for view in consumer.poll(PATIENCE).unwrap().iter().flat_map(|batch| batch.iter()) {
                    let (key, value, time) = (view.key, view.value, view.timestamp);
                    lines.push(format!("{partition}@{} {key:?} {value:?} {time}", view.offset));
                }
            }
        }
    }
    lines
}

fn config(random: &mut Random) -> StreamsConfig {
    let count = |random: &mut Random| (1 + random.below(50)).to_string();
    StreamsConfig::new("app")
        .set("commit.interval.ms", &random.below(5).to_string())
        .and_then(|config| config.set("max.poll.records", &count(random)))
        .and_then(|config| config.set("buffered.records.per.partition", &count(random)))
        .unwrap()
}

/// Replays everything, dying now and then, and returns what has come out.
fn replay(
    log: &Arc<dyn Log>,
    random: &mut Random,
    deaths: bool,
    expected: &BTreeMap<String, i64>,
) -> Vec<String> {
    let fuse = Arc::new(AtomicI64::new(-1));
    let topology = topology(&fuse);
    let mut reset = Reset::new(&topology, &config(random));
    for topic in OUTPUTS {
        reset = reset.empty_topic(topic);
    }
    reset.plan(log).unwrap().execute(log).unwrap();
    loop {
        let blow = deaths && random.below(4) > 0;
        let after = if blow { i64::try_from(random.below(60)).unwrap() } else { -1 };
        fuse.store(after, Ordering::SeqCst);
        let streams = Streams::new(&topology, config(random), Arc::clone(log));
        streams.start().unwrap();
        match streams.wait_until_caught_up_for(PATIENCE) {
            Ok(caught_up) => {
                assert!(caught_up, "{:?}", streams.progress());
                let counts = streams.store::<String, i64>("n");
                let rows = counts.all().unwrap().into_iter();
                let all: BTreeMap<String, i64> = rows.filter(|(_, count)| *count != 0).collect();
                assert_eq!(all, *expected);
                streams.close().unwrap();
                return dump(log.as_ref());
            }
            Err(_) => assert_eq!(streams.state(), StreamsState::Error),
        }
    }
}

#[test]
fn two_replays_through_topics_that_lead_back_give_the_same_records_whatever_happens() {
    for seed in 0..4 {
        println!("seed {seed}");
        let random = &mut Random(seed);
        let (log, expected) = log_with_input(random);
        let first = replay(&log, random, false, &expected);
        assert!(first.len() > 50, "{}", first.len());
        assert_eq!(replay(&log, random, false, &expected), first);
        assert_eq!(replay(&log, random, true, &expected), first);
    }
}
