//! The sessions in docs/ are true: each command is run by a shell, and its output compared.
//!
//! `HEADWATER_TRANSCRIPT=write cargo test --package headwater-cli --test transcripts` writes what
//! the commands print into the pages.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

/// Runs all sessions of a page, one after the other in one folder, and returns the page as it is.
fn run(page: &str) -> String {
    let dir = tempfile::tempdir().unwrap();
    let program = Path::new(env!("CARGO_BIN_EXE_headwater"));
    let path = format!(
        "{}:{}",
        program.parent().unwrap().display(),
        std::env::var("PATH").unwrap_or_default()
    );
    let (mut shown, mut in_session, mut status) = (String::new(), false, 0);
    for line in page.lines() {
        match line.strip_prefix("$ ") {
            _ if line.starts_with("```") => {
                in_session = line == "```console";
                writeln!(shown, "{line}").unwrap();
            }
            Some(command) if in_session => {
                let ended = Command::new("sh")
                    .arg("-c")
                    .arg(format!("exec 2>&1; (exit {status}); {command}"))
                    .current_dir(dir.path())
                    .env("PATH", &path)
                    .env_remove("HEADWATER_DIR")
                    .output()
                    .unwrap();
                status = ended.status.code().unwrap();
                writeln!(shown, "{line}").unwrap();
                shown.push_str(&String::from_utf8(ended.stdout).unwrap());
            }
            None if in_session => {}
            _ => writeln!(shown, "{line}").unwrap(),
        }
    }
    shown
}

#[track_caller]
fn check(page: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs").join(page);
    let written = std::fs::read_to_string(&path).unwrap();
    let shown = run(&written);
    if std::env::var("HEADWATER_TRANSCRIPT").is_ok_and(|word| word == "write") {
        std::fs::write(&path, shown).unwrap();
        return;
    }
    for (number, (written, shown)) in (1..).zip(written.lines().zip(shown.lines())) {
        assert_eq!(shown, written, "{page} line {number}");
    }
    assert_eq!(shown.lines().count(), written.lines().count(), "{page} has other outputs");
}

#[test]
fn a_damaged_store_is_verified_and_repaired_as_the_page_says() {
    check("verify-and-repair.md");
}
