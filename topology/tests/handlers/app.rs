//! The application that runs, and the fold over its input that it is compared with.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use headwater_log_store::{
    AutoOffsetReset, ConsumerConfig, Log, LogStore, NewTopic, PartitionId, ProducerConfig,
    ProducerRecord, Timestamp, TopicName, TopicPartition,
};
use headwater_topology::{
    KStream, Materialized, Result, StoreType, Streams, StreamsBuilder, StreamsConfig, Topology,
};

const PARTITIONS: u32 = 2;

/// How an application runs that is tried: with so many threads, and its stores there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setup {
    pub(crate) threads: usize,
    pub(crate) store_type: StoreType,
}

pub(crate) const SETUPS: [Setup; 4] = [
    Setup { threads: 1, store_type: StoreType::InMemory },
    Setup { threads: 2, store_type: StoreType::InMemory },
    Setup { threads: 1, store_type: StoreType::Persistent },
    Setup { threads: 2, store_type: StoreType::Persistent },
];

/// A record as it is in the log.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Line {
    pub(crate) partition: u32,
    pub(crate) offset: u64,
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) value: Option<Vec<u8>>,
    pub(crate) time_ms: i64,
    pub(crate) headers: BTreeMap<String, String>,
}

impl Line {
    pub(crate) fn number(&self) -> Option<i64> {
        Some(i64::from_be_bytes(self.value.as_deref()?.try_into().ok()?))
    }

    fn text(&self) -> String {
        String::from_utf8(self.key.clone().unwrap()).unwrap()
    }

    /// What of it goes through an application that changes nothing.
    fn content(&self) -> Content {
        (self.partition, self.key.clone(), self.value.clone(), self.time_ms)
    }
}

/// Partition, key, value and time of a record.
type Content = (u32, Option<Vec<u8>>, Option<Vec<u8>>, i64);

pub(crate) fn group(number: i64) -> String {
    format!("g{}", number % 7)
}

pub(crate) fn create_topics(log: &dyn Log) {
    for topic in ["in", "each", "counts", "sums", "dead"] {
        log.create_topic(&NewTopic::new(topic).partitions(PARTITIONS)).unwrap();
    }
}

pub(crate) fn memory_log() -> Arc<dyn Log> {
    let log: Arc<dyn Log> = Arc::new(LogStore::in_memory().unwrap());
    create_topics(log.as_ref());
    log
}

/// After `step`: each record, the counts by key, and, behind a repartition topic, the sums by
/// group, for which `add` adds a number.
pub(crate) fn topology(
    setup: Setup,
    step: impl Fn(KStream<String, i64>) -> KStream<String, i64>,
    add: impl Fn(i64, i64) -> i64 + Send + Sync + 'static,
) -> Topology {
    let builder = StreamsBuilder::new();
    let store =
        |name: &str| Materialized::<String, i64>::named(name).with_store_type(setup.store_type);
    let stream = step(builder.stream::<String, i64>("in"));
    stream.group_by_key().count(store("counts")).to_stream().to("counts");
    stream
        .select_key(|_, number| group(*number))
        .group_by_key()
        .aggregate(|| 0_i64, move |_, number, sum: i64| add(sum, number), store("sums"))
        .to_stream()
        .to("sums");
    stream.to("each");
    builder.build().unwrap()
}

pub(crate) fn plus(sum: i64, number: i64) -> i64 {
    sum + number
}

pub(crate) fn config(setup: Setup, dir: &Path) -> StreamsConfig {
    StreamsConfig::new("app")
        .dead_letter_topic("dead")
        .num_stream_threads(setup.threads)
        .state_dir(dir)
}

/// Runs an application until all of its input is done.
pub(crate) fn run(
    log: &Arc<dyn Log>,
    topology: &Topology,
    config: StreamsConfig,
) -> Result<Streams> {
    let streams = Streams::new(topology, config, Arc::clone(log));
    streams.start()?;
    streams.wait_until_caught_up()?;
    Ok(streams)
}

pub(crate) fn key(number: i64) -> String {
    format!("k{}", number % 97)
}

/// A record to be sent.
pub(crate) struct Sent {
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) value: Option<Vec<u8>>,
    pub(crate) time_ms: i64,
}

/// A number as a record, with a time of its own.
pub(crate) fn number(number: i64) -> Sent {
    let (key, value) = (key(number).into_bytes(), number.to_be_bytes().to_vec());
    Sent { key: Some(key), value: Some(value), time_ms: number }
}

/// Sends records to the input.
pub(crate) fn send(log: &dyn Log, records: impl IntoIterator<Item = Sent>) {
    let mut producer = log.producer(&ProducerConfig::default()).unwrap();
    for Sent { key, value, time_ms } in records {
        let _ = producer
            .send(&ProducerRecord {
                key: key.as_deref(),
                value: value.as_deref(),
                timestamp: Some(Timestamp::from_millis(time_ms)),
                ..ProducerRecord::to("in")
            })
            .unwrap();
    }
    producer.flush().unwrap();
}

/// All records of a topic, partition by partition.
pub(crate) fn read(log: &dyn Log, topic: &str) -> Vec<Line> {
    let auto_offset_reset = AutoOffsetReset::Earliest;
    let mut consumer =
        log.consumer(&ConsumerConfig { auto_offset_reset, ..Default::default() }).unwrap();
    let name = TopicName::new(topic).unwrap();
    let partitions = log.describe_topic(topic).unwrap().partitions;
    let assigned: Vec<_> = (0..partitions)
        .map(|number| TopicPartition::new(name.clone(), PartitionId::new(number)))
        .collect();
    consumer.assign(&assigned).unwrap();
    let mut lines = Vec::new();
    loop {
        let batches = consumer.poll(Duration::ZERO).unwrap();
        if batches.is_empty() {
            lines.sort();
            return lines;
        }
        for batch in &batches {
            let partition = batch.topic_partition().partition.value();
            lines.extend(batch.iter().map(|view| {
                Line {
                    partition,
                    offset: view.offset.value(),
                    key: view.key.map(<[u8]>::to_vec),
                    value: view.value.map(<[u8]>::to_vec),
                    time_ms: view.timestamp.as_millis(),
                    headers: view
                        .headers
                        .iter()
                        .map(|header| {
                            let value = header.value.unwrap_or_default();
                            (header.key.to_owned(), String::from_utf8_lossy(value).into_owned())
                        })
                        .collect(),
                }
            }));
        }
    }
}

/// The numbers of each key, in the order of their partition.
fn by_key(lines: &[Line]) -> BTreeMap<String, Vec<i64>> {
    let mut found: BTreeMap<String, Vec<i64>> = BTreeMap::new();
    for line in lines {
        found.entry(line.text()).or_default().push(line.number().unwrap());
    }
    found
}

/// What the application is to have made of the lines that `is_good` takes and, in the sums, of
/// those of them that `is_added` takes.
pub(crate) struct Expected {
    each: Vec<Content>,
    counts: BTreeMap<String, i64>,
    sums: BTreeMap<String, i64>,
    /// What is added to each sum, by size: with several tasks, in any order.
    added: BTreeMap<String, Vec<i64>>,
}

impl Expected {
    pub(crate) fn fold(
        input: &[Line],
        is_good: impl Fn(&Line) -> bool,
        is_added: impl Fn(&Line) -> bool,
    ) -> Self {
        let mut expected = Self {
            each: Vec::new(),
            counts: BTreeMap::new(),
            sums: BTreeMap::new(),
            added: BTreeMap::new(),
        };
        for line in input.iter().filter(|line| is_good(line)) {
            let number = line.number().unwrap();
            expected.each.push(line.content());
            *expected.counts.entry(line.text()).or_default() += 1;
            if is_added(line) {
                *expected.sums.entry(group(number)).or_default() += number;
                expected.added.entry(group(number)).or_default().push(number);
            }
        }
        expected.added.values_mut().for_each(|added| added.sort_unstable());
        expected
    }

    /// Each output record is there once, and in its place; and the stores hold the same.
    pub(crate) fn check(&self, log: &dyn Log, streams: &Streams, story: &str) {
        let each: Vec<_> = read(log, "each").iter().map(Line::content).collect();
        assert!(each == self.each, "{story}: {} records, not {}", each.len(), self.each.len());
        let counts: BTreeMap<_, Vec<i64>> =
            self.counts.iter().map(|(key, count)| (key.clone(), (1..=*count).collect())).collect();
        assert_eq!(by_key(&read(log, "counts")), counts, "{story}");
        let mut sums = by_key(&read(log, "sums"));
        let last: BTreeMap<_, i64> =
            sums.iter().map(|(key, sums)| (key.clone(), *sums.last().unwrap())).collect();
        assert_eq!(last, self.sums, "{story}");
        for sums in sums.values_mut() {
            let mut before = 0;
            for sum in sums.iter_mut() {
                (*sum, before) = (*sum - before, *sum);
            }
            sums.sort_unstable();
        }
        assert!(sums == self.added, "{story}: something was added twice, or not at all");
        let rows = |store: &str| -> BTreeMap<String, i64> {
            streams.store::<String, i64>(store).all().unwrap().into_iter().collect()
        };
        assert_eq!(rows("counts"), self.counts, "{story}");
        assert_eq!(rows("sums"), self.sums, "{story}");
    }
}

/// Closes the application, and compares again what another start restores.
pub(crate) fn check_restart(
    log: &Arc<dyn Log>,
    streams: Streams,
    (topology, config): (&Topology, StreamsConfig),
    expected: &Expected,
    story: &str,
) {
    streams.close().unwrap();
    drop(streams);
    let again = run(log, topology, config).unwrap();
    expected.check(log.as_ref(), &again, &format!("{story}, after a restart"));
    again.close().unwrap();
}

/// The records of one partition of `each` are the first ones of those that are good there.
pub(crate) fn assert_prefix(
    log: &dyn Log,
    input: &[Line],
    is_good: impl Fn(&Line) -> bool,
    story: &str,
) {
    let each = read(log, "each");
    for partition in 0..PARTITIONS {
        let of = |lines: &[Line], is_good: &dyn Fn(&Line) -> bool| -> Vec<_> {
            let lines = lines.iter().filter(|line| line.partition == partition && is_good(line));
            lines.map(Line::content).collect()
        };
        let (found, good) = (of(&each, &|_| true), of(input, &is_good));
        assert!(good.starts_with(&found), "{story}: partition {partition} is no prefix");
    }
}

/// The dead letters are these records, with their own bytes and times and where they failed.
pub(crate) fn assert_dead(log: &dyn Log, mut expected: Vec<Line>, story: &str) {
    let mut dead: Vec<Line> = read(log, "dead")
        .into_iter()
        .map(|line| Line {
            partition: line.headers["__streams.errors.partition"].parse().unwrap(),
            offset: line.headers["__streams.errors.offset"].parse().unwrap(),
            headers: BTreeMap::new(),
            ..line
        })
        .collect();
    dead.sort();
    expected.iter_mut().for_each(|line| line.headers.clear());
    expected.sort();
    assert_eq!(dead, expected, "{story}");
}
