//! The format of a case: JSON that both sides read.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A file of cases.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct CaseFile {
    /// The cases.
    pub cases: Vec<Case>,
    /// What else the file says, for its readers.
    #[serde(flatten)]
    pub notes: BTreeMap<String, Value>,
}

impl CaseFile {
    /// The file as JSON with one operator and one record a line.
    ///
    /// # Errors
    /// What JSON cannot say.
    pub fn to_lines(&self) -> serde_json::Result<String> {
        let mut text = String::from("{\n");
        for (name, note) in &self.notes {
            text.push_str(&format!("  {}: {note},\n", Value::from(name.as_str())));
        }
        text.push_str("  \"cases\": [");
        for (number, case) in self.cases.iter().enumerate() {
            text.push_str(if number == 0 { "\n    {\n" } else { ",\n    {\n" });
            text.push_str(&format!("      \"name\": {},\n", Value::from(case.name.as_str())));
            for (name, note) in &case.notes {
                text.push_str(&format!("      {}: {note},\n", Value::from(name.as_str())));
            }
            if case.settings != Config::default() {
                let settings = serde_json::to_string(&case.settings)?;
                text.push_str(&format!("      \"settings\": {settings},\n"));
            }
            text.push_str(&lines("operators", &case.operators)?);
            text.push_str(",\n");
            text.push_str(&lines("inputs", &case.inputs)?);
            text.push_str(",\n");
            text.push_str(&lines("expected", &case.expected)?);
            text.push_str("\n    }");
        }
        text.push_str("\n  ]\n}\n");
        Ok(text)
    }
}

fn lines(name: &str, items: &[impl Serialize]) -> serde_json::Result<String> {
    let items = items.iter().map(serde_json::to_string).collect::<serde_json::Result<Vec<_>>>()?;
    Ok(format!("      \"{name}\": [\n        {}\n      ]", items.join(",\n        ")))
}

/// A topology, what goes in, and what comes out.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Case {
    /// What it is called.
    pub name: String,
    /// Settings that are not the defaults.
    #[serde(default)]
    pub settings: Config,
    /// The topology.
    #[serde(default)]
    pub operators: Vec<Op>,
    /// What goes in, in order.
    pub inputs: Vec<Input>,
    /// What has to come out, in order.
    #[serde(default)]
    pub expected: Vec<Expected>,
    /// What else the case says, for its readers.
    #[serde(flatten)]
    pub notes: BTreeMap<String, Value>,
}

/// Settings of a case.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// `topology.optimization`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub optimization: Option<String>,
    /// `max.task.idle.ms`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle_ms: Option<i64>,
    /// Whether the record cache is on, with its default size.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub cache: bool,
    /// How long deferred results wait for each other, by wall clock; 0 by default, as in Kafka
    /// Streams' test driver.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub emit_interval_ms: Option<u64>,
}

/// One operator: each kind reads the fields that it needs.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct Op {
    /// What others call its result.
    pub id: String,
    /// Its kind.
    pub op: String,
    /// What it reads.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// What else it reads.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub with: Vec<String>,
    /// The name of its node.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The topic that it reads or writes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub topic: Option<String>,
    /// The store that it materializes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub store: Option<String>,
    /// The history of a versioned store in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub history: Option<u64>,
    /// The retention of its store in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retention: Option<u64>,
    /// The user's function.
    #[serde(rename = "fn", skip_serializing_if = "Option::is_none")]
    pub function: Option<String>,
    /// The functions of several inputs.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub fns: Vec<String>,
    /// The user's function for keys.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// `inner`, `left` or `outer`; `count`, `reduce` or `aggregate`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// The window of an aggregation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window: Option<WindowSpec>,
    /// Whether windows are emitted when they close.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub on_close: bool,
    /// What an aggregate starts from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub init: Option<String>,
    /// How an aggregate of a table takes a value in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub add: Option<String>,
    /// How an aggregate of a table takes a value away.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subtract: Option<String>,
    /// The name of the grouping.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grouped: Option<String>,
    /// How far a join looks back, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<i64>,
    /// How far a join looks ahead, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<i64>,
    /// The grace of a join in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grace: Option<u64>,
    /// Whether the windows of a join are those of the deprecated `JoinWindows.of`.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub legacy: bool,
    /// How long a suppression waits in milliseconds; without it until windows close.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
    /// How many records a suppression holds back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_records: Option<u64>,
    /// The predicates of branches.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub branches: Vec<String>,
    /// Whether there is a default branch.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub default: bool,
    /// How many partitions a repartition topic has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub partitions: Option<u32>,
}

/// The windows of an aggregation, in milliseconds.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub struct WindowSpec {
    /// `time`, `unlimited`, `sliding` or `session`.
    pub kind: String,
    /// The size, the difference or the gap; the start of an unlimited window.
    pub size: u64,
    /// How far a window advances.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advance: Option<u64>,
    /// How late records may be.
    pub grace: u64,
}

/// A record that goes in, or a step of the wall clock.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(default)]
pub struct Input {
    /// Its number.
    pub i: usize,
    /// How far the wall clock moves.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advance_wall_clock_ms: Option<u64>,
    /// The topic.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub topic: Option<String>,
    /// The key.
    pub key: Option<Key>,
    /// The value.
    pub value: Option<Key>,
    /// The time.
    pub ts: i64,
    /// Names and values.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<(String, Option<String>)>,
}

/// A key or a value as a case writes it. Both sides run on its text.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(untagged)]
pub enum Key {
    /// A text.
    Text(String),
    /// A number.
    Number(i64),
    /// A key in a window.
    Windowed {
        /// The key.
        key: String,
        /// The start of the window.
        start: i64,
        /// Its end.
        end: i64,
    },
}

impl Key {
    /// The text that the topology sees, or writes.
    #[must_use]
    pub fn text(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Number(number) => number.to_string(),
            Self::Windowed { key, start, end } => format!("{key}@{start}/{end}"),
        }
    }
}

/// A record that comes out.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(default)]
pub struct Expected {
    /// The input that it follows from.
    pub after_input: usize,
    /// The topic.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub topic: Option<String>,
    /// The key.
    pub key: Option<Key>,
    /// The value.
    pub value: Option<Key>,
    /// The time.
    pub ts: i64,
    /// Names and values.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<(String, Option<String>)>,
    /// What the row was before, where the case says it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub old_value: Option<Value>,
    /// The time that a punctuator was called with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub punctuated_at: Option<i64>,
}

/// What one side made of a case.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(default)]
pub struct Outcome {
    /// The records.
    pub expected: Vec<Expected>,
    /// The topology's description.
    pub describe: String,
    /// Why it stopped before the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}
