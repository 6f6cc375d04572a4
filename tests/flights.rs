//! The example `flights`, as a user runs it: its table against one that is computed by other means,
//! and a second run that has nothing to do.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    unreachable_pub,
    missing_docs,
    reason = "a test and its module, not an API"
)]

#[path = "flights/expected.rs"]
mod expected;

use std::process::Command;

/// It said what could not be opened, and not why.
#[test]
fn what_it_cannot_do_it_says_with_the_cause() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(expected::program("flights"));
    command.arg("--dir").arg(folder.path().join("store")).args(["--data", "/nowhere"]);
    let ended = command.output().unwrap();
    let said = String::from_utf8(ended.stderr).unwrap();
    assert_eq!(ended.status.code(), Some(1), "{said}");
    let cause = "cannot open /nowhere/airlines.csv.gz: No such file or directory";
    assert!(said.contains(cause), "{said}");
}

#[test]
fn the_table_is_that_of_an_independent_join_and_a_second_run_appends_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let run = || {
        let mut command = Command::new(expected::program("flights"));
        let ended = command.arg("--dir").arg(folder.path().join("store")).output().unwrap();
        let said = String::from_utf8(ended.stderr).unwrap();
        assert!(ended.status.success(), "{said}");
        (String::from_utf8(ended.stdout).unwrap(), said)
    };
    let (table, said) = run();
    assert_eq!(table, expected::table());
    assert!(said.contains("appended 5001 lines to flight-lines"), "{said}");
    let (table, said) = run();
    assert_eq!(table, expected::table());
    assert_eq!(said.matches("appended 0 lines").count(), 3, "{said}");
}
