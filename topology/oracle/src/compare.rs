//! Compares what both sides made of a case.

use std::collections::BTreeSet;

use crate::case::{Case, Expected, Key, Op, Outcome};
use crate::origin::changes_keys;
use crate::processors::PUNCTUATIONS;

/// The first difference of two outcomes in the records of one topic, as a sentence; descriptions
/// and the texts of errors are not compared.
#[must_use]
pub fn difference(expected: &Outcome, found: &Outcome) -> Option<String> {
    let topics = |outcome: &Outcome| -> BTreeSet<String> {
        outcome.expected.iter().map(|record| topic_of(record).to_owned()).collect()
    };
    for topic in topics(expected).union(&topics(found)) {
        let of_topic = |outcome: &Outcome| {
            let records = outcome.expected.iter();
            records.filter(|record| topic_of(record) == topic).map(line).collect()
        };
        let (expected, found): (Vec<String>, Vec<String>) = (of_topic(expected), of_topic(found));
        let length = expected.len().max(found.len());
        let at = (0..length).find(|&at| expected.get(at) != found.get(at));
        if let Some(at) = at {
            let none = "nothing".to_owned();
            return Some(format!(
                "record {at} of {topic}: expected {}, found {}",
                expected.get(at).unwrap_or(&none),
                found.get(at).unwrap_or(&none),
            ));
        }
    }
    (expected.error.is_some() != found.error.is_some())
        .then(|| format!("expected the error {:?}, found {:?}", expected.error, found.error))
}

/// The topic of a record; calls of punctuators are compared as records of a topic of their own.
fn topic_of(record: &Expected) -> &str {
    match record.punctuated_at {
        Some(_) => PUNCTUATIONS,
        None => record.topic.as_deref().unwrap_or_default(),
    }
}

fn line(record: &Expected) -> String {
    if let Some(at) = record.punctuated_at {
        return format!("(at, {at}, {at}) after input {}", record.after_input);
    }
    let text = |key: &Option<Key>| key.as_ref().map_or_else(|| "~".to_owned(), Key::text);
    let headers: String = record
        .headers
        .iter()
        .map(|(name, value)| format!(" {name}={}", value.as_deref().unwrap_or("~")))
        .collect();
    format!(
        "({}, {}, {}){headers} after input {}",
        text(&record.key),
        text(&record.value),
        record.ts,
        record.after_input
    )
}

/// The first line in which the descriptions of both sides differ. Left out are topologies with
/// stores and topics that have no name: Kafka Streams makes one of numbers.
#[must_use]
pub fn description_difference(case: &Case, kafka: &Outcome, ours: &Outcome) -> Option<String> {
    let is_rekeyed = |id: &String| changes_keys(&case.operators, id);
    let has_no_name = |op: &Op| match op.op.as_str() {
        "toTable" => op.from.iter().any(is_rekeyed),
        "join" => op.name.is_none() && op.from.iter().chain(&op.with).any(is_rekeyed),
        "table" => op.store.is_none(),
        _ => false,
    };
    let is_numbered = case.operators.iter().any(has_no_name);
    if is_numbered || kafka.error.is_some() || ours.error.is_some() {
        return None;
    }
    if kafka.describe == ours.describe {
        return None;
    }
    let (expected, found) = (&kafka.describe, &ours.describe);
    let mut pairs = expected.lines().zip(found.lines());
    let pair = pairs.find(|(expected, found)| expected != found);
    let (expected, found) = pair.unwrap_or(("another length", "this one"));
    Some(format!("description: expected `{}`, found `{}`", expected.trim(), found.trim()))
}
