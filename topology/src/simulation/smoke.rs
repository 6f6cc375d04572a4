//! The topology that is simulated, and its results as a fold over the input.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use headwater_log_store::{AutoOffsetReset, ConsumerConfig, Log, RecordView};

use crate::config::{StreamsConfig, TopologyConfig};
use crate::dsl::builder::StreamsBuilder;
use crate::dsl::options::Materialized;
use crate::dsl::suppressed::{BufferConfig, Suppressed};
use crate::error_handler::{ErrorResponse, FailedRecord, FailureKind};
use crate::graph::plan::Topology;
use crate::types::StoreType;
use crate::window::session_windows::SessionWindows;
use crate::window::time_windows::TimeWindows;

/// The input; keys of one letter, values of eight bytes, or of three, which cannot be decoded.
pub(crate) const IN: &str = "in";
pub(crate) const DEAD: &str = "dead";
/// Two more inputs of one task, which chooses between them; their records are all good.
pub(crate) const SIDES: [&str; 2] = ["left", "right"];
pub(crate) const OUTPUTS: [&str; 8] =
    ["counts", "sums", "least", "windows", "finals", "sessions", "each", "both"];
pub(crate) const WINDOW_MS: i64 = 50;
const GAP_MS: i64 = 6;

/// All topics of the application's users.
pub(crate) fn topics() -> impl Iterator<Item = &'static str> {
    [IN, DEAD].into_iter().chain(SIDES).chain(OUTPUTS)
}

/// Values below zero make a closure panic.
pub(crate) fn is_poison(value: i64) -> bool {
    value < 0
}

/// The group of a value, for the aggregation behind a repartition topic.
fn group(value: i64) -> String {
    format!("g{}", value % 5)
}

/// Counts, sums, minimum, windows, their final results, sessions, and each record once; and two
/// topics merged.
pub(crate) fn topology(store_type: StoreType) -> Topology {
    let builder = StreamsBuilder::with_config(TopologyConfig::new().store_type(store_type));
    let input = builder.stream::<String, i64>(IN).map_values(|value: i64| {
        assert!(!is_poison(value), "{value} is poison");
        value
    });
    let by_key = input.group_by_key();
    by_key.count("counts").to_stream().to("counts");
    by_key.reduce(|least: i64, value| least.min(value), "least").to_stream().to("least");
    input
        .select_key(|_, value| group(*value))
        .group_by_key()
        .aggregate(|| 0_i64, |_, value, sum: i64| sum + value, "sums")
        .to_stream()
        .to("sums");
    let windows = TimeWindows::of_size_with_no_grace(Duration::from_millis(50));
    let windowed = by_key.windowed_by(windows).count("windows");
    windowed.to_stream().map(|key, count| (key.to_string(), count)).to("windows");
    windowed
        .suppress(Suppressed::until_window_closes(BufferConfig::unbounded()), "finals")
        .to_stream()
        .map(|key, count| (key.to_string(), count))
        .to("finals");
    // Sessions are kept for longer than a record is ever late, so that none is missed.
    let sessions = Materialized::named("sessions").with_retention(Duration::from_millis(400));
    let gap = SessionWindows::of_inactivity_gap_with_no_grace(Duration::from_millis(6));
    let counts = by_key.windowed_by(gap).count(sessions).to_stream();
    counts.map(|key, count| (key.to_string(), count.unwrap_or(-1))).to("sessions");
    input.to("each");
    let [left, right] = SIDES.map(|side| builder.stream::<String, i64>(side));
    left.merge(&right).to("both");
    builder.build().expect("it is wired as it should be")
}

/// Poison becomes a dead letter, after some retries of some of it.
pub(crate) fn config(config: StreamsConfig) -> StreamsConfig {
    let on_panic = |failed: &FailedRecord<'_>| {
        let retried = failed.kind == FailureKind::Panic && failed.retries < 2;
        let number = failed.position.map(|position| position.offset.value());
        if retried && number.is_some_and(|number| number.is_multiple_of(2)) {
            return ErrorResponse::Retry;
        }
        ErrorResponse::DeadLetter
    };
    config
        .dead_letter_topic(DEAD)
        .deserialization_exception_handler(ErrorResponse::DeadLetter)
        .processing_exception_handler(on_panic)
}

/// A committed record.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Line {
    pub(crate) partition: u32,
    pub(crate) key: String,
    pub(crate) value: Vec<u8>,
    pub(crate) time_ms: i64,
}

/// All committed records of a topic, partition by partition.
pub(crate) fn read(log: &dyn Log, topic: &str) -> Vec<Line> {
    let config = ConsumerConfig {
        auto_offset_reset: AutoOffsetReset::Earliest,
        ..ConsumerConfig::default()
    };
    let mut consumer = log.consumer(&config).expect("a consumer");
    let partitions = log.describe_topic(topic).expect("the topic").partitions;
    let name = headwater_log_store::TopicName::new(topic).expect("a name");
    let partitions: Vec<_> = (0..partitions)
        .map(|number| {
            headwater_log_store::TopicPartition::new(
                name.clone(),
                headwater_log_store::PartitionId::new(number),
            )
        })
        .collect();
    consumer.assign(&partitions).expect("an assignment");
    let mut lines = Vec::new();
    loop {
        let batches = consumer.poll(Duration::ZERO).expect("a poll");
        if batches.is_empty() {
            lines.sort_by_key(|line: &Line| line.partition);
            return lines;
        }
        for batch in &batches {
            let partition = batch.topic_partition().partition.value();
            lines.extend(batch.iter().map(|view| line(partition, &view)));
        }
    }
}

fn line(partition: u32, view: &RecordView<'_>) -> Line {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Line {
        partition,
        key: view.key.map(text).unwrap_or_default(),
        value: view.value.unwrap_or_default().to_vec(),
        time_ms: view.timestamp.as_millis(),
    }
}

fn number(bytes: &[u8]) -> Option<i64> {
    bytes.try_into().ok().map(i64::from_be_bytes)
}

/// The values of each key, in the order of their partition.
fn values(lines: &[Line]) -> BTreeMap<String, Vec<i64>> {
    let mut values: BTreeMap<String, Vec<i64>> = BTreeMap::new();
    for line in lines {
        let value = number(&line.value).expect("outputs are numbers");
        values.entry(line.key.clone()).or_default().push(value);
    }
    values
}

/// What is wrong with the output.
#[derive(Default)]
struct Differences(Vec<String>);

impl Differences {
    fn compare<T: Ord + std::fmt::Debug>(
        &mut self,
        what: &str,
        found: impl IntoIterator<Item = T>,
        expected: impl IntoIterator<Item = T>,
    ) {
        let (mut found, mut expected) = (found.into_iter(), expected.into_iter());
        loop {
            match (found.next(), expected.next()) {
                (None, None) => return,
                (found, expected) if found == expected => {}
                (found, expected) => {
                    self.0.push(format!("{what}: found {found:?}, expected {expected:?}"));
                    return;
                }
            }
        }
    }
}

/// Compares all output with a fold over the input, and returns what is wrong with it.
pub(crate) fn differences(log: &dyn Log) -> Vec<String> {
    let input = read(log, IN);
    let is_good = |line: &&Line| number(&line.value).is_some_and(|value| !is_poison(value));
    let good: Vec<Line> = input.iter().filter(is_good).cloned().collect();
    let mut wrong = Differences::default();
    wrong.compare("each", read(log, "each"), good.clone());
    let unordered = |lines: Vec<Line>| {
        lines.into_iter().map(|l| (l.key, l.value, l.time_ms)).collect::<BTreeSet<_>>()
    };
    let bad: Vec<Line> = input.into_iter().filter(|line| !is_good(&line)).collect();
    let dead = read(log, DEAD);
    wrong.compare("the number of dead letters", [dead.len()], [bad.len()]);
    wrong.compare("dead letters", unordered(dead), unordered(bad));

    let by_key = values(&good);
    let counts = by_key.iter().map(|(key, all)| (key.clone(), (1..).take(all.len()).collect()));
    wrong.compare("counts", flat(values(&read(log, "counts"))), flat(counts));
    let least = by_key.iter().map(|(key, all)| {
        let mut least = i64::MAX;
        let each = all.iter().map(|value| {
            least = least.min(*value);
            least
        });
        (key.clone(), each.collect())
    });
    wrong.compare("least", flat(values(&read(log, "least"))), flat(least));
    let mut groups: BTreeMap<String, Vec<i64>> = BTreeMap::new();
    for value in by_key.values().flatten() {
        groups.entry(group(*value)).or_default().push(*value);
    }
    groups.values_mut().for_each(|all| all.sort_unstable());
    wrong.compare("sums", flat(added(&values(&read(log, "sums")))), flat(groups));
    let mut sides: Vec<Line> = SIDES.iter().flat_map(|side| read(log, side)).collect();
    let mut both = read(log, "both");
    sides.sort();
    both.sort();
    wrong.compare("both", both, sides);
    let (windows, finals) = windows(&good);
    wrong.compare("windows", flat(values(&read(log, "windows"))), flat(windows));
    wrong.compare("sessions", flat(values(&read(log, "sessions"))), flat(sessions(&good)));
    wrong.compare("finals", flat(values(&read(log, "finals"))), flat(finals));
    wrong.0
}

/// Each value with its key and its number, so that a difference is short.
fn flat(
    values: impl IntoIterator<Item = (String, Vec<i64>)>,
) -> impl Iterator<Item = (String, usize, i64)> {
    values.into_iter().flat_map(|(key, all)| {
        let numbered = all.into_iter().enumerate();
        numbered.map(move |(number, value)| (key.clone(), number, value)).collect::<Vec<_>>()
    })
}

/// What was added to each sum, sorted: the tasks that write the repartition topic take turns as
/// they come, so the order of the values is free, but each is added once.
fn added(sums: &BTreeMap<String, Vec<i64>>) -> BTreeMap<String, Vec<i64>> {
    let steps = |sums: &Vec<i64>| {
        let before = std::iter::once(&0).chain(sums);
        let mut steps: Vec<i64> = before.zip(sums).map(|(before, sum)| sum - before).collect();
        steps.sort_unstable();
        steps
    };
    sums.iter().map(|(key, sums)| (key.clone(), steps(sums))).collect()
}

type Counts = BTreeMap<String, Vec<i64>>;

/// The counts of each window, and the last ones of the windows that have closed: stream time is
/// that of the task, so of the partition, and a record that is late for its window is not in it.
fn windows(good: &[Line]) -> (Counts, Counts) {
    let mut stream_time: BTreeMap<u32, i64> = BTreeMap::new();
    let mut counts: BTreeMap<(u32, String, i64), i64> = BTreeMap::new();
    for line in good {
        let start_ms = line.time_ms - line.time_ms.rem_euclid(WINDOW_MS);
        let time = stream_time.entry(line.partition).or_insert(line.time_ms);
        *time = line.time_ms.max(*time);
        if start_ms + WINDOW_MS > *time {
            *counts.entry((line.partition, line.key.clone(), start_ms)).or_default() += 1;
        }
    }
    let name = |key: &str, start: i64| format!("{key}@{start}/{}", start + WINDOW_MS);
    let updates = counts.iter().map(|((_, key, start), n)| (name(key, *start), (1..=*n).collect()));
    let closed = counts.iter().filter(|((partition, _, start), _)| {
        stream_time.get(partition).is_some_and(|time| *time >= start + WINDOW_MS)
    });
    let finals = closed.map(|((_, key, start), count)| (name(key, *start), vec![*count]));
    (updates.collect(), finals.collect())
}

/// A session: its start, its end, and how many records it has.
type Session = (i64, i64, i64);

/// The counts of each session; -1 is that it has become part of another one.
fn sessions(good: &[Line]) -> Counts {
    let mut stream_time: BTreeMap<u32, i64> = BTreeMap::new();
    let mut sessions: BTreeMap<(u32, &str), Vec<Session>> = BTreeMap::new();
    let mut counts = Counts::new();
    for Line { partition, key, time_ms, .. } in good {
        let time = stream_time.entry(*partition).or_insert(*time_ms);
        *time = *time_ms.max(time);
        let sessions = sessions.entry((*partition, key)).or_default();
        let is_near =
            |(start, end, _): &Session| *end >= time_ms - GAP_MS && *start <= time_ms + GAP_MS;
        let near: Vec<Session> = sessions.iter().copied().filter(is_near).collect();
        let start = near.iter().map(|(start, _, _)| *start).min().unwrap_or(*time_ms).min(*time_ms);
        let end = near.iter().map(|(_, end, _)| *end).max().unwrap_or(*time_ms).max(*time_ms);
        if end < *time - GAP_MS {
            continue;
        }
        sessions.retain(|session| !is_near(session));
        let count = near.iter().map(|(_, _, count)| count).sum::<i64>() + 1;
        sessions.push((start, end, count));
        let mut update = |start: i64, end: i64, count| {
            counts.entry(format!("{key}@{start}/{end}")).or_default().push(count);
        };
        if start != end {
            near.iter().for_each(|(start, end, _)| update(*start, *end, -1));
        }
        update(start, end, count);
    }
    counts
}
