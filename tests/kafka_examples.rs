//! The examples on a cluster, by their flag: they print what they print on a folder, and a second run
//! has nothing to do.
//!
//! The cluster is the one that `scripts/kafka up` has started; what earlier runs have left there is
//! removed.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    unreachable_pub,
    missing_docs,
    reason = "tests and their module, not an API"
)]

#[path = "flights/expected.rs"]
mod expected;

use std::process::Command;
use std::sync::LazyLock;

use headwater::connectors::KafkaLog;
use headwater::prelude::*;

/// What the topics and groups of the examples begin with, the positions of their sources included.
const LEFT_BEHIND: [&str; 9] = [
    "page-views",
    "web-access",
    "views-by-path",
    "flights",
    "flight-lines",
    "plane-lines",
    "airline-lines",
    "delays-by-manufacturer",
    "__connect_offsets",
];

/// The address of a cluster without anything of the examples.
static BROKERS: LazyLock<String> = LazyLock::new(|| {
    let bootstrap = std::env::var("HEADWATER_KAFKA_BOOTSTRAP").unwrap_or_else(|_| {
        panic!(
            "HEADWATER_KAFKA_BOOTSTRAP is not set: these tests need a broker; \
             `scripts/kafka up` starts one, and `export $(scripts/kafka env)` says where it is"
        )
    });
    let log = KafkaLog::builder(&bootstrap).connect().unwrap_or_else(|error| {
        panic!("{error}; these tests need a broker at {bootstrap}: `scripts/kafka up` starts one")
    });
    let is_left = |name: &str| LEFT_BEHIND.iter().any(|left| name.starts_with(left));
    for topic in log.topics().unwrap().iter().filter(|topic| is_left(topic.name.as_str())) {
        log.delete_topic(topic.name.as_str()).unwrap();
    }
    for group in log.groups().unwrap().iter().filter(|group| is_left(group)) {
        log.delete_group(group).unwrap();
    }
    bootstrap
});

/// What a run prints on its standard output, and on its standard error.
fn run(example: &str, args: &[&str]) -> (String, String) {
    let ended = Command::new(expected::program(example)).args(args).output().unwrap();
    let said = String::from_utf8(ended.stderr).unwrap();
    assert!(ended.status.success(), "{said}");
    (String::from_utf8(ended.stdout).unwrap(), said)
}

#[test]
fn page_views_prints_the_same_tables_on_a_cluster_also_after_a_replay() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("store");
    let dir = dir.to_str().unwrap();
    for (logic, is_replay) in [("v1", false), ("v2", true)] {
        let (on_a_folder, _) = run("page_views", &["--dir", dir, "--logic", logic]);
        let (on_a_cluster, said) = run("page_views", &["--kafka", &BROKERS, "--logic", logic]);
        assert_eq!(on_a_cluster, on_a_folder);
        assert_eq!(said.contains("replay:"), is_replay, "{said}");
        let (again, said) = run("page_views", &["--kafka", &BROKERS]);
        // The brokers count a window's retention from the times in the log, which are years ago: its
        // rows may be gone from the changelog by then.
        let paths = |tables: &str| tables.split_once("\n\n").map(|(paths, _)| paths.to_owned());
        assert!(paths(&again).is_some());
        assert_eq!(paths(&again), paths(&on_a_folder));
        assert!(!said.contains("appended"), "{said}");
    }
}

#[test]
fn flights_joins_the_same_on_a_cluster() {
    let (table, said) = run("flights", &["--kafka", &BROKERS]);
    assert_eq!(table, expected::table());
    assert!(said.contains("appended 5001 lines to flight-lines"), "{said}");
    let (table, said) = run("flights", &["--kafka", &BROKERS]);
    assert_eq!(table, expected::table());
    assert_eq!(said.matches("appended 0 lines").count(), 3, "{said}");
}
