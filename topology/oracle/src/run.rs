//! Runs a case on the test driver.

use std::collections::BTreeSet;
use std::time::Duration;

use headwater_topology::{
    Headers, StreamsConfig, TestOutputTopic, TestRecord, TopologyConfig, TopologyTestDriver,
};

use crate::build::build_with;
use crate::case::{Case, Expected, Input, Key, Outcome};
use crate::error::OracleError;
use crate::functions::Text;

/// What the DSL makes of a case. Topics are read after each input, in the order of their names.
///
/// # Errors
/// What keeps the topology from being built or started; what stops it later is in the outcome.
pub fn run(case: &Case, kafka_compat: bool) -> Result<Outcome, OracleError> {
    let topology = TopologyConfig::new().kafka_compat(kafka_compat);
    run_with(case, topology, StreamsConfig::new("test"))
}

/// As [`run`], with other choices than the default.
///
/// # Errors
/// As [`run`].
pub fn run_with(
    case: &Case,
    topology: TopologyConfig,
    mut config: StreamsConfig,
) -> Result<Outcome, OracleError> {
    let topology = build_with(case, topology)?;
    let mut outcome = Outcome { describe: topology.describe(), ..Outcome::default() };
    if let Some(interval) = case.settings.emit_interval_ms {
        config = config.emit_interval(Duration::from_millis(interval));
    }
    if let Some(idle) = case.settings.idle_ms {
        config = config.set("max.task.idle.ms", &idle.to_string())?;
    }
    let driver = TopologyTestDriver::with_config(&topology, config)?;
    let mut outputs = Vec::new();
    for topic in output_topics(case) {
        let output = driver.output_topic::<Text, Text>(topic)?;
        outputs.push((topic.to_owned(), output));
    }
    for input in &case.inputs {
        let piped = pipe(&driver, input);
        for (topic, output) in &outputs {
            let before = outcome.expected.len();
            read(topic, output, input.i, &mut outcome.expected)?;
            // Of a topic that is written as well, the record that was piped in is read first.
            if input.topic.as_ref() == Some(topic) && outcome.expected.len() > before {
                outcome.expected.remove(before);
            }
        }
        if let Err(error) = piped {
            outcome.error = Some(error.to_string());
            break;
        }
    }
    Ok(outcome)
}

fn output_topics(case: &Case) -> BTreeSet<&str> {
    let sinks = case.operators.iter().filter(|op| op.op == "to");
    sinks.filter_map(|op| op.topic.as_deref()).collect()
}

fn pipe(driver: &TopologyTestDriver, input: &Input) -> headwater_topology::Result<()> {
    if let Some(millis) = input.advance_wall_clock_ms {
        return driver.advance_wall_clock(Duration::from_millis(millis));
    }
    let topic = input.topic.as_deref().unwrap_or_default();
    let text = |key: &Option<Key>| key.as_ref().map(Key::text);
    let headers = input.headers.iter();
    let headers = Headers::from_pairs(
        headers.map(|(name, value)| (name.as_str(), value.as_ref().map(String::as_bytes))),
    );
    let record: TestRecord<Text, Text> =
        TestRecord::new(text(&input.key), text(&input.value), input.ts).with_headers(headers);
    driver.input_topic(topic).pipe_record(&record)
}

fn read(
    topic: &str,
    output: &TestOutputTopic<Text, Text>,
    after_input: usize,
    found: &mut Vec<Expected>,
) -> Result<(), OracleError> {
    for record in output.read_records()? {
        let headers = record.headers.iter().map(|header| {
            let value = header.value.map(|value| String::from_utf8_lossy(value).into_owned());
            (header.key.to_owned(), value)
        });
        found.push(Expected {
            after_input,
            topic: Some(topic.to_owned()),
            key: record.key.map(Key::Text),
            value: record.value.map(Key::Text),
            ts: record.timestamp.as_millis(),
            headers: headers.collect(),
            ..Expected::default()
        });
    }
    Ok(())
}
