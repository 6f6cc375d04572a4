//! Runs the cases that were recorded from Kafka Streams 4.3.1 through the DSL and compares record
//! by record: which input a record follows from, key, value, time, headers, and the order in each
//! topic. `cases/README.md` says where they come from.
#![allow(clippy::unwrap_used, reason = "the helpers of a test fail it by panicking")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use headwater_oracle::{Case, CaseFile, OracleError, Outcome, difference, run, run_with};
use headwater_topology::{StoreType, StreamsConfig, TopologyConfig};

/// Cases that cannot apply, each with the reason.
const EXCEPTIONS: [(&str, &str); 1] = [(
    "oracle-semantics record choice tie reversed",
    "Of records with equal times Kafka Streams promises no order: here the first topic of the task \
     goes first, so that a replay gives the same results.",
)];

/// The name of each case with the name of its file before it.
fn cases() -> Vec<(String, Case)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conformance/cases");
    let mut files: Vec<_> =
        fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    files.sort();
    files.into_iter().flat_map(|path| cases_of(&path)).collect()
}

fn cases_of(path: &Path) -> Vec<(String, Case)> {
    let file: CaseFile = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    let stem = path.file_stem().unwrap().to_string_lossy().into_owned();
    let shared = file.notes.get("config");
    let named = file.cases.into_iter().map(|mut case| {
        if let Some(config) = shared.filter(|_| !case.notes.contains_key("config")) {
            case.notes.insert("config".to_owned(), config.clone());
        }
        (format!("{stem} {}", case.name), case)
    });
    named.collect()
}

fn assert_all_agree(cases: &[(String, Case)]) {
    assert_all_agree_with(cases, |case| run(case, true));
}

fn assert_all_agree_with(
    cases: &[(String, Case)],
    run: impl Fn(&Case) -> Result<Outcome, OracleError>,
) {
    let mut wrong = Vec::new();
    for (name, case) in cases {
        let expected = Outcome { expected: case.expected.clone(), ..Outcome::default() };
        let found = run(case).map(|found| difference(&expected, &found));
        match found {
            Ok(None) => {}
            Ok(Some(difference)) => wrong.push(format!("{name}: {difference}")),
            Err(error) => wrong.push(format!("{name}: {error}")),
        }
    }
    assert!(wrong.is_empty(), "{} cases differ:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn every_recorded_case_gives_the_same_records() {
    let mut cases = cases();
    cases.retain(|(name, _)| EXCEPTIONS.iter().all(|(exception, _)| exception != name));
    assert_all_agree(&cases);
}

#[test]
fn every_recorded_case_gives_the_same_records_with_stores_on_disk() {
    let mut cases = cases();
    cases.retain(|(name, _)| EXCEPTIONS.iter().all(|(exception, _)| exception != name));
    assert_all_agree_with(&cases, |case| {
        let dir = tempfile::TempDir::new().unwrap();
        let topology = TopologyConfig::new().kafka_compat(true).store_type(StoreType::Persistent);
        // So little memory that most rows are read from the disk again.
        let config = StreamsConfig::new("test").persistent_store_memory_bytes(64);
        run_with(case, topology, config.state_dir(dir.path()))
    });
}

#[test]
fn what_the_record_cache_changes_is_the_same_with_ours() {
    let mut cached = Vec::new();
    for (name, mut case) in cases() {
        if let Some(expected) = case.notes.get("expected_with_default_cache") {
            case.expected = serde_json::from_value(expected.clone()).unwrap();
            case.settings.cache = true;
            cached.push((name, case));
        }
    }
    assert_eq!(cached.len(), 4, "cases that were recorded with the cache as well");
    assert_all_agree(&cached);
}

/// The cases of a file that `scripts/oracle --expect` has written.
fn written_cases(file: &str) -> Vec<(String, Case)> {
    cases_of(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conformance").join(file))
}

#[test]
fn cases_that_were_recorded_with_the_record_cache_give_the_same_with_ours() {
    let mut cached = cases();
    cached.retain(|(name, case)| {
        let config = case.notes.get("config").map(ToString::to_string).unwrap_or_default();
        config.contains("10 MiB default")
            && EXCEPTIONS.iter().all(|(exception, _)| exception != name)
    });
    for (_, case) in &mut cached {
        case.settings.cache = true;
    }
    assert!(cached.len() > 40, "only {} cases were recorded with the cache", cached.len());
    assert_all_agree(&cached);
}

#[test]
fn what_random_cases_found_gives_the_same_records() {
    assert_all_agree(&written_cases("found.json"));
}

#[test]
fn old_values_are_the_same() {
    // No operator shows the old value of an update, which some recorded cases have: a grouping
    // takes it away from its sum.
    let cases = written_cases("old_values.json");
    assert_eq!(cases.len(), 3);
    assert_all_agree(&cases);
}

#[test]
fn every_case_is_run_or_an_exception_by_name() {
    let cases = cases();
    assert_eq!(cases.len(), 126, "the recorded cases are all here");
    let names: BTreeSet<&str> = cases.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names.len(), cases.len(), "each case has a name of its own");
    for (name, case) in &cases {
        assert!(!case.operators.is_empty(), "{name} has no topology");
        assert!(!case.inputs.is_empty() && !case.expected.is_empty(), "{name} shows nothing");
    }
    for (exception, reason) in EXCEPTIONS {
        assert!(names.contains(exception), "there is no case {exception}");
        assert!(reason.ends_with('.'), "the reason of {exception} is a sentence");
    }
}
