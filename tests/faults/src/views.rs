//! A topology with state of several kinds, and what has to come out of it as a fold over its input.

use std::collections::BTreeMap;
use std::time::Duration;

use headwater_log_store::{
    AutoOffsetReset, ConsumerConfig, Log, NewTopic, PartitionId, TopicName, TopicPartition,
};
use headwater_topology::{
    Materialized, SessionWindows, StoreType, StreamsBuilder, Suppressed, TimeWindows, Topology,
    TopologyConfig,
};

use crate::failure::{Context as _, Promise as _, Result, violation};

pub(crate) const IN: &str = "in";
const OUTPUTS: [&str; 5] = ["counts", "sums", "least", "finals", "sessions"];
const PARTITIONS: u32 = 3;
const WINDOW_MS: i64 = 50;
const GAP_MS: i64 = 6;
/// For so long sessions are kept: longer than a record is ever late, so that none is missed.
const SESSIONS_KEPT: Duration = Duration::from_secs(1);

fn group(value: i64) -> String {
    format!("g{}", value % 7)
}

/// Counts, sums behind a repartition topic, the least value, final counts of windows, and sessions.
pub(crate) fn topology(store_type: StoreType) -> Result<Topology> {
    let builder = StreamsBuilder::with_config(TopologyConfig::new().store_type(store_type));
    let input = builder.stream::<String, i64>(IN);
    let by_key = input.group_by_key();
    by_key.count("counts").to_stream().to("counts");
    by_key.reduce(|least: i64, value| least.min(value), "least").to_stream().to("least");
    let groups = input.select_key(|_, value| group(*value)).group_by_key();
    let sums = groups.aggregate(|| 0_i64, |_, value, sum: i64| sum + value, "sums");
    sums.to_stream().to("sums");
    let windows = TimeWindows::of_size_with_no_grace(Duration::from_millis(50));
    by_key
        .windowed_by(windows)
        .count("windows")
        .suppress(
            Suppressed::until_window_closes(headwater_topology::BufferConfig::unbounded()),
            "finals",
        )
        .to_stream()
        .map(|key, count| (key.to_string(), count))
        .to("finals");
    let gap = SessionWindows::of_inactivity_gap_with_no_grace(Duration::from_millis(6));
    let kept = Materialized::named("sessions").with_retention(SESSIONS_KEPT);
    let sessions = by_key.windowed_by(gap).count(kept).to_stream();
    sessions.map(|key, count| (key.to_string(), count.unwrap_or(-1))).to("sessions");
    builder.build().to("build a topology")
}

/// Makes the topics that are not there yet.
pub(crate) fn create_topics(log: &dyn Log) -> Result {
    for topic in std::iter::once(&IN).chain(&OUTPUTS) {
        if log.describe_topic(topic).is_err() {
            let new = NewTopic::new(*topic).partitions(PARTITIONS).config("segment.bytes", "65536");
            log.create_topic(&new).promised(format!("topic {topic} was not made"))?;
        }
    }
    Ok(())
}

struct Line {
    partition: u32,
    key: String,
    value: i64,
    time_ms: i64,
}

/// All committed records of a topic, each partition in its order.
fn read(log: &dyn Log, topic: &str) -> Result<Vec<Line>> {
    let reading = || format!("{topic} could not be read");
    let config = ConsumerConfig {
        auto_offset_reset: AutoOffsetReset::Earliest,
        ..ConsumerConfig::default()
    };
    let mut consumer = log.consumer(&config).promised(reading())?;
    let found = log.describe_topic(topic).promised(reading())?;
    let name = TopicName::new(topic).to("name a topic")?;
    let partitions: Vec<_> = (0..found.partitions)
        .map(|number| TopicPartition::new(name.clone(), PartitionId::new(number)))
        .collect();
    consumer.assign(&partitions).promised(reading())?;
    let mut lines = Vec::new();
    loop {
        let batches = consumer.poll(Duration::ZERO).promised(reading())?;
        if batches.is_empty() {
            return Ok(lines);
        }
        for batch in &batches {
            let partition = batch.topic_partition().partition.value();
            for view in batch.iter() {
                let value = view.value.and_then(|bytes| bytes.try_into().ok());
                let Some(value) = value.map(i64::from_be_bytes) else {
                    return violation(format!("{topic}-{partition}@{} is no number", view.offset));
                };
                let key = String::from_utf8_lossy(view.key.unwrap_or_default()).into_owned();
                lines.push(Line { partition, key, value, time_ms: view.timestamp.as_millis() });
            }
        }
    }
}

type Values = BTreeMap<String, Vec<i64>>;

fn values(lines: &[Line]) -> Values {
    let mut values = Values::new();
    for line in lines {
        values.entry(line.key.clone()).or_default().push(line.value);
    }
    values
}

/// The last value of each key.
pub(crate) type Rows = BTreeMap<String, i64>;

/// Compares all output with a fold over the input. Returns the rows of `counts` and `sums`, and how
/// many records the input has.
pub(crate) fn check(log: &dyn Log) -> Result<(Rows, Rows, u64)> {
    let input = read(log, IN)?;
    let by_key = values(&input);
    let counts = counts(&by_key);
    compare("counts", &values(&read(log, "counts")?), &counts)?;
    compare("least", &values(&read(log, "least")?), &leasts(&by_key))?;
    let mut groups = Values::new();
    for line in &input {
        groups.entry(group(line.value)).or_default().push(line.value);
    }
    groups.values_mut().for_each(|all| all.sort_unstable());
    let sums = values(&read(log, "sums")?);
    // What was added: tasks of several partitions feed one sum in any order, each value once.
    let added = sums.iter().map(|(key, sums)| {
        let before = std::iter::once(&0).chain(sums);
        let mut added: Vec<i64> = before.zip(sums).map(|(before, sum)| sum - before).collect();
        added.sort_unstable();
        (key.clone(), added)
    });
    compare("sums", &added.collect(), &groups)?;
    compare("finals", &values(&read(log, "finals")?), &finals(&input))?;
    compare("sessions", &values(&read(log, "sessions")?), &sessions(&input))?;
    let last = |all: &Values| {
        all.iter().filter_map(|(key, all)| Some((key.clone(), *all.last()?))).collect()
    };
    Ok((last(&counts), last(&sums), input.len() as u64))
}

/// Compares what is there of two outputs with the beginning of a fold over the input. Returns how many
/// records are to come out of what the input has, and how many have.
pub(crate) fn check_so_far(log: &dyn Log) -> Result<(u64, u64)> {
    let (counted, least) = (values(&read(log, "counts")?), values(&read(log, "least")?));
    // Only then, so that there is an input for each output.
    let input = read(log, IN)?;
    let by_key = values(&input);
    let mut out = 0;
    for (what, found, expected) in
        [("counts", &counted, counts(&by_key)), ("least", &least, leasts(&by_key))]
    {
        for (key, values) in found {
            if !expected.get(key).is_some_and(|all| all.starts_with(values)) {
                return violation(format!("{what} of {key} does not begin as it has to"));
            }
            out += values.len() as u64;
        }
    }
    Ok((2 * input.len() as u64, out))
}

/// The running count of each key.
fn counts(by_key: &Values) -> Values {
    by_key.iter().map(|(key, all)| (key.clone(), (1..).take(all.len()).collect())).collect()
}

/// The least value so far of each key.
fn leasts(by_key: &Values) -> Values {
    let running_least = |all: &Vec<i64>| {
        let least = all.iter().scan(i64::MAX, |least, value| {
            *least = *value.min(least);
            Some(*least)
        });
        least.collect()
    };
    by_key.iter().map(|(key, all)| (key.clone(), running_least(all))).collect()
}

/// The counts of the windows that have closed; stream time is that of the partition.
fn finals(input: &[Line]) -> Values {
    let mut stream_time: BTreeMap<u32, i64> = BTreeMap::new();
    let mut counts: BTreeMap<(u32, String, i64), i64> = BTreeMap::new();
    for line in input {
        let start_ms = line.time_ms - line.time_ms.rem_euclid(WINDOW_MS);
        let time = stream_time.entry(line.partition).or_insert(line.time_ms);
        *time = line.time_ms.max(*time);
        if start_ms + WINDOW_MS > *time {
            *counts.entry((line.partition, line.key.clone(), start_ms)).or_default() += 1;
        }
    }
    let closed = counts.into_iter().filter(|((partition, _, start), _)| {
        stream_time.get(partition).is_some_and(|time| *time >= start + WINDOW_MS)
    });
    let named = closed.map(|((_, key, start), count)| {
        (format!("{key}@{start}/{}", start + WINDOW_MS), vec![count])
    });
    named.collect()
}

/// The counts of each session; -1 is that it has become part of another one.
fn sessions(input: &[Line]) -> Values {
    let mut stream_time: BTreeMap<u32, i64> = BTreeMap::new();
    let mut sessions: BTreeMap<&str, Vec<(i64, i64, i64)>> = BTreeMap::new();
    let mut counts = Values::new();
    for Line { partition, key, time_ms, .. } in input {
        let time = stream_time.entry(*partition).or_insert(*time_ms);
        *time = *time_ms.max(time);
        let sessions = sessions.entry(key).or_default();
        let is_near = |(start, end, _): &(i64, i64, i64)| {
            *end >= time_ms - GAP_MS && *start <= time_ms + GAP_MS
        };
        let near: Vec<_> = sessions.iter().copied().filter(is_near).collect();
        let start = near.iter().map(|(start, _, _)| *start).min().unwrap_or(*time_ms).min(*time_ms);
        let end = near.iter().map(|(_, end, _)| *end).max().unwrap_or(*time_ms).max(*time_ms);
        if end < *time - GAP_MS {
            continue;
        }
        // What is long gone is not looked at again.
        sessions.retain(|session| !is_near(session) && session.1 > *time - 1_000);
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

fn compare(what: &str, found: &Values, expected: &Values) -> Result {
    for key in found.keys().chain(expected.keys()) {
        let (found, expected) = (found.get(key), expected.get(key));
        if found != expected {
            let lens = [found, expected].map(|values| values.map_or(0, Vec::len));
            let first = found.into_iter().flatten().zip(expected.into_iter().flatten());
            let first = first.enumerate().find(|(_, (found, expected))| found != expected);
            return violation(format!(
                "{what} of {key}: {} values, {} expected; the first that differs: {first:?}",
                lens[0], lens[1]
            ));
        }
    }
    Ok(())
}
