//! The inputs: made once for each log, the same for all, from the same seeds. Times count from a
//! moment that the run chooses, for a broker deletes what is older than a topic is to keep.

use fastrand::Rng;
use headwater_log_store::{Log, NewTopic, Producer, ProducerConfig, ProducerRecord, Timestamp};

use crate::Scale;
use crate::kafka::topologies::Case;
use crate::topology::input::key;

/// How many partitions each topic has.
pub const PARTITIONS: u32 = 4;

const RECORDS_AT_ONCE: u32 = 10_000;
const WORDS_A_LINE: u32 = 8;
const VOCABULARY: u32 = 20_000;

/// Creates a topic whose records stay, whatever their times are.
pub fn create(log: &dyn Log, topic: &str) {
    let topic = NewTopic::new(topic).partitions(PARTITIONS).config("retention.ms", "-1");
    log.create_topic(&topic).unwrap();
}

/// Makes the input topics of a case, and returns how many records (or words) they count as.
pub fn fill(log: &dyn Log, case: &Case, scale: Scale, prefix: &str, start_ms: i64) -> u32 {
    for topic in case.topics {
        create(log, &format!("{prefix}{topic}"));
    }
    let config = ProducerConfig {
        transactional_id: Some(format!("{prefix}fill")),
        ..ProducerConfig::default()
    };
    let mut producer = log.producer(&config).unwrap();
    producer.begin_transaction().unwrap();
    let mut into = Into { producer, prefix, start_ms, sent: 0 };
    let units = match case.id {
        "filter-map" => numbers(&mut into, scale.size(25_000, 500_000), 1_000_000),
        "words" => lines(&mut into, scale.size(4_000, 60_000)),
        "tumbling" => numbers(&mut into, scale.size(20_000, 300_000), 50_000),
        "stream-table" => table_and_stream(&mut into, scale.size(10_000, 150_000)),
        _ => two_streams(&mut into, scale.size(20_000, 300_000)),
    };
    into.producer.commit_transaction().unwrap();
    units
}

/// Takes records in the order of their times.
struct Into<'a> {
    producer: Box<dyn Producer>,
    prefix: &'a str,
    start_ms: i64,
    sent: u32,
}

impl Into<'_> {
    fn push(&mut self, topic: &str, after_ms: u32, key: &str, value: &[u8]) {
        let topic = format!("{}{topic}", self.prefix);
        let record = ProducerRecord {
            key: Some(key.as_bytes()),
            value: Some(value),
            timestamp: Some(Timestamp::from_millis(self.start_ms + i64::from(after_ms))),
            ..ProducerRecord::to(&topic)
        };
        drop(self.producer.send(&record).unwrap());
        self.sent += 1;
        if self.sent.is_multiple_of(RECORDS_AT_ONCE) {
            self.producer.commit_transaction().unwrap();
            self.producer.begin_transaction().unwrap();
        }
    }
}

fn numbers(into: &mut Into<'_>, records: u32, keys: u32) -> u32 {
    let mut random = Rng::with_seed(11);
    for number in 0..records {
        let value = random.i64(1..1_000).to_be_bytes();
        into.push("in", number / 10, &key(random.u32(..keys)), &value);
    }
    records
}

fn lines(into: &mut Into<'_>, lines: u32) -> u32 {
    let mut random = Rng::with_seed(12);
    for number in 0..lines {
        // Some words are much more frequent than others.
        let mut word = || format!("word{}", random.u32(..=random.clone().u32(..VOCABULARY)));
        let words: Vec<String> = (0..WORDS_A_LINE).map(|_| word()).collect();
        into.push("in", number, &key(number), words.join(" ").as_bytes());
    }
    lines * WORDS_A_LINE
}

fn table_and_stream(into: &mut Into<'_>, keys: u32) -> u32 {
    for number in 0..keys {
        let row = format!("row {number:08} of a table");
        into.push("table", number / 1_000, &key(number), row.as_bytes());
    }
    let mut random = Rng::with_seed(13);
    let after_ms = keys / 1_000 + 1;
    for number in 0..keys {
        // One of eleven keys has no row.
        let key = key(random.u32(..keys + keys / 10));
        let value = random.i64(1..1_000).to_be_bytes();
        into.push("in", after_ms + number / 10, &key, &value);
    }
    2 * keys
}

fn two_streams(into: &mut Into<'_>, records: u32) -> u32 {
    let mut random = Rng::with_seed(14);
    for number in 0..records {
        let topic = if random.bool() { "left" } else { "right" };
        let value = random.i64(1..1_000).to_be_bytes();
        into.push(topic, number / 10, &key(random.u32(..10_000)), &value);
    }
    records
}
