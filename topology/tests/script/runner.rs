//! Runs a topology by a script: what goes in, line by line, and what has to come out of each.
//!
//! A line is `topic key value time => key value time | key value time`: a record that is piped in,
//! and the records of topic `out` that have to follow from it, in order, with nothing else. `~` is
//! a null; what follows a `#` is a comment. `wait 500` moves the wall clock on by 500 ms, `restart`
//! starts the application again on what its log holds. Both may be followed by `=>` as well.

use std::time::Duration;

use headwater_topology::{
    BuildError, StoreType, StreamsBuilder, StreamsConfig, TestOutputTopic, TopologyConfig,
    TopologyTestDriver,
};

type Out = TestOutputTopic<Option<String>, Option<String>>;

/// Checks a topology of default settings.
pub(crate) fn check(build: impl Fn(&StreamsBuilder), script: &str) {
    check_with(TopologyConfig::new(), &StreamsConfig::new("test"), build, script);
}

/// Checks a topology whose results are to be those of Kafka Streams in every case.
pub(crate) fn check_compat(build: impl Fn(&StreamsBuilder), script: &str) {
    let compat = TopologyConfig::new().kafka_compat(true);
    check_with(compat, &StreamsConfig::new("test"), build, script);
}

/// Checks a topology with these settings.
pub(crate) fn check_with(
    topology: TopologyConfig,
    streams: &StreamsConfig,
    build: impl Fn(&StreamsBuilder),
    script: &str,
) {
    check_once(topology, streams.clone(), &build, script);
    // And so with all rows on disk that can be there, hardly any of them in memory.
    let dir = tempfile::TempDir::new().unwrap();
    let streams = streams.clone().state_dir(dir.path()).persistent_store_memory_bytes(64);
    check_once(topology.store_type(StoreType::Persistent), streams, &build, script);
}

fn check_once(
    topology: TopologyConfig,
    streams: StreamsConfig,
    build: &impl Fn(&StreamsBuilder),
    script: &str,
) {
    let builder = StreamsBuilder::with_config(topology);
    build(&builder);
    let topology = builder.build().unwrap();
    let driver = TopologyTestDriver::with_config(&topology, streams).unwrap();
    let out = driver.output_topic::<Option<String>, Option<String>>("out").unwrap();
    for line in script.lines() {
        let line = line.split('#').next().unwrap_or_default().trim();
        if !line.is_empty() {
            step(&driver, &out, line);
        }
    }
}

fn step(driver: &TopologyTestDriver, out: &Out, line: &str) {
    let (input, expected) = line.split_once("=>").unwrap_or((line, ""));
    let words: Vec<&str> = input.split_whitespace().collect();
    match words[..] {
        ["restart"] => driver.restart().unwrap(),
        ["wait", millis] => {
            driver.advance_wall_clock(Duration::from_millis(millis.parse().unwrap())).unwrap()
        }
        [topic, key, value, time] => {
            let input = driver.input_topic::<Option<String>, Option<String>>(topic);
            input.pipe_input_at(word(key), word(value), time.parse().unwrap()).unwrap();
        }
        _ => panic!("no line of a script: {line}"),
    }
    let found: Vec<String> = out
        .read_timed()
        .unwrap()
        .into_iter()
        .map(|(key, value, time)| format!("{} {} {time}", text(key), text(value)))
        .collect();
    let expected: Vec<String> = expected
        .split('|')
        .map(|record| record.split_whitespace().collect::<Vec<_>>().join(" "))
        .filter(|record| !record.is_empty())
        .collect();
    assert_eq!(found, expected, "after `{}`", input.trim());
}

fn word(word: &str) -> Option<String> {
    (word != "~").then(|| word.to_owned())
}

fn text(word: Option<String>) -> String {
    word.unwrap_or_else(|| "~".to_owned())
}

/// The error of a topology that cannot be.
#[allow(dead_code, reason = "not every test that runs scripts builds what cannot be")]
pub(crate) fn build_error(build: impl Fn(&StreamsBuilder)) -> BuildError {
    let builder = StreamsBuilder::new();
    build(&builder);
    builder.build().unwrap_err()
}
