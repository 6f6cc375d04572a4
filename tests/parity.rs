//! Holds docs/parity.md against the methods that Kafka Streams has, and against our sources: each of
//! Kafka's methods has one row, each name of ours is a public one, and each public one has a row.
//!
//! It reads text, as tests/tidy.rs does: what stands at the left margin of a file, and one step in.
#![allow(clippy::unwrap_used, reason = "the helpers of a test fail it by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// Public types that the table does not speak of: the runtime, serdes, errors and settings.
const LEFT_OUT: [&str; 25] = [
    "BytesSerde",
    "DefaultSerde",
    "ErrorHandler",
    "Headers",
    "JsonSerde",
    "MetricsSnapshot",
    "NumberSerde",
    "OptionSerde",
    "Progress",
    "ReadOnlyKeyValueStore",
    "ReadOnlySessionStore",
    "ReadOnlyWindowStore",
    "Reset",
    "ResetPlan",
    "Serde",
    "Streams",
    "StreamsConfig",
    "StringSerde",
    "TableOptions",
    "TaskId",
    "ThreadMetadata",
    "Topics",
    "UnitSerde",
    "ValueAndTimestamp",
    "VersionedMaterialized",
];

#[derive(Debug)]
struct Row {
    line: usize,
    kafka: Vec<String>,
    ours: Vec<String>,
    status: String,
    remarks: String,
}

/// The names in a cell of the table.
fn names(cell: &str) -> Vec<String> {
    cell.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

fn rows() -> Vec<Row> {
    let text = fs::read_to_string("docs/parity.md").unwrap();
    let mut rows = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let [_, kafka, ours, status, remarks, _] = cells[..] else { continue };
        if kafka == "Kafka Streams" || kafka.starts_with("---") {
            continue;
        }
        rows.push(Row {
            line: index + 1,
            kafka: names(kafka),
            ours: names(ours),
            status: status.to_owned(),
            remarks: remarks.to_owned(),
        });
    }
    rows
}

/// The types that the crate exports.
fn exported() -> BTreeSet<String> {
    let lib = fs::read_to_string("topology/src/lib.rs").unwrap();
    let uses = lib.split("pub use ").skip(1).filter_map(|rest| rest.split(';').next());
    let words = uses.flat_map(|list| list.split(|c: char| !c.is_alphanumeric() && c != '_'));
    words
        .filter(|word| word.starts_with(|c: char| c.is_ascii_uppercase()))
        .map(str::to_owned)
        .collect()
}

/// The type that a line at the left margin opens a block of, and whether it is a trait.
fn owner(line: &str) -> Option<(String, bool)> {
    let word = |text: &str| -> String {
        text.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
    };
    if let Some(rest) = line.strip_prefix("pub trait ") {
        return Some((word(rest), true));
    }
    let mut rest = line.strip_prefix("impl")?;
    if rest.starts_with('<') {
        let mut depth = 0;
        let mut before = ' ';
        let end = rest.find(|c| {
            match c {
                '<' => depth += 1,
                '>' if before != '-' => depth -= 1,
                _ => {}
            }
            before = c;
            depth == 0
        })?;
        rest = rest.get(end + 1..)?;
    }
    (!rest.contains(" for ")).then(|| (word(rest), false))
}

/// The public methods by the types that they belong to.
fn methods(folder: &Path, found: &mut BTreeMap<String, BTreeSet<String>>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            methods(&path, found);
            continue;
        }
        let mut current = None;
        for line in fs::read_to_string(&path).unwrap().lines() {
            if line.starts_with("impl") || line.starts_with("pub trait ") {
                current = owner(line);
            } else if line.starts_with('}') {
                current = None;
            } else if let Some((name, is_trait)) = &current {
                let prefix = if *is_trait { "    fn " } else { "    pub fn " };
                let constant = line.replacen("pub const fn", "pub fn", 1);
                let Some(rest) = constant.strip_prefix(prefix) else { continue };
                let method = rest.split(['(', '<']).next().unwrap_or_default();
                found.entry(name.clone()).or_default().insert(method.to_owned());
            }
        }
    }
}

fn public_methods() -> BTreeMap<String, BTreeSet<String>> {
    let (mut found, exported) = (BTreeMap::new(), exported());
    methods(Path::new("topology/src"), &mut found);
    found.retain(|name, _| exported.contains(name));
    found
}

#[test]
fn each_method_of_kafka_streams_has_one_row() {
    let list = fs::read_to_string("tests/parity/kafka-streams-4.3.1.txt").unwrap();
    let kafka: BTreeSet<&str> = list.lines().filter(|line| !line.starts_with('#')).collect();
    let mut named = BTreeMap::new();
    for row in rows() {
        for name in row.kafka {
            assert!(kafka.contains(name.as_str()), "line {}: Kafka has no {name}", row.line);
            let before = named.insert(name.clone(), row.line);
            assert_eq!(before, None, "{name} has another row, line {}", row.line);
        }
    }
    let missing: Vec<_> = kafka.iter().filter(|name| !named.contains_key(**name)).collect();
    assert!(missing.is_empty(), "docs/parity.md has no row for {missing:?}");
    assert!(kafka.len() > 300, "the list has only {} methods", kafka.len());
}

#[test]
fn each_name_of_ours_is_public_and_each_public_method_has_a_row() {
    let (methods, exported) = (public_methods(), exported());
    let mut named = BTreeSet::new();
    for row in rows() {
        for path in row.ours {
            let is_there = match path.split_once("::") {
                Some((owner, method)) => {
                    methods.get(owner).is_some_and(|methods| methods.contains(method))
                }
                None => exported.contains(&path),
            };
            assert!(is_there, "docs/parity.md, line {}: there is no {path}", row.line);
            named.insert(path);
        }
    }
    let mut missing = Vec::new();
    for (owner, methods) in &methods {
        if !LEFT_OUT.contains(&owner.as_str()) {
            missing.extend(methods.iter().map(|method| format!("{owner}::{method}")));
        }
    }
    missing.retain(|path| !named.contains(path));
    assert!(missing.is_empty(), "docs/parity.md has no row for {missing:?}");
    assert!(named.len() > 150, "only {} names were found", named.len());
}

#[test]
fn each_row_says_what_its_status_means() {
    for Row { line, kafka, ours, status, remarks } in rows() {
        let is_well_formed = match status.as_str() {
            "same" => !kafka.is_empty() && !ours.is_empty(),
            "renamed" | "differs" => !kafka.is_empty() && !ours.is_empty(),
            "absent" => !kafka.is_empty() && ours.is_empty(),
            "ours" => kafka.is_empty() && !ours.is_empty() && !remarks.is_empty(),
            _ => false,
        };
        assert!(is_well_formed, "docs/parity.md, line {line}: {status}, {kafka:?}, {ours:?}");
    }
}

#[test]
fn types_left_out_are_still_there() {
    let exported = exported();
    let gone: Vec<_> = LEFT_OUT.iter().filter(|name| !exported.contains(**name)).collect();
    assert!(gone.is_empty(), "no types of ours: {gone:?}");
}
