//! A short history of killed producers, copiers and consumers has nothing in it that must not be.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::process::Command;

#[test]
fn what_killed_processes_did_and_saw_is_exactly_once() {
    let mut histories = Command::new(env!("CARGO_BIN_EXE_headwater-faults"));
    let output = histories.args(["histories", "--count=2", "--operations=3000"]).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && said.contains("histories 2"), "{said}");
}
