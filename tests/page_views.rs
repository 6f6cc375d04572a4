//! The example `page_views`, as a user runs it: its tables and output topics against a count of
//! the file by other means, after one run, several, replays, and kills at random moments.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    unreachable_pub,
    missing_docs,
    reason = "a test and its modules, not an API"
)]

// Cargo does not run the unit tests of an example, so they run here.
#[path = "../examples/page_views/access_log.rs"]
#[allow(dead_code, reason = "the example calls what its tests do not")]
mod access_log;
#[path = "page_views/expected.rs"]
mod expected;
#[path = "page_views/program.rs"]
mod program;
#[path = "page_views/kill.rs"]
mod kill;

use std::time::Instant;

use tempfile::TempDir;

use expected::Expected;
use kill::{Job, interrupt};
use program::{
    DEAD_LETTERS, VIEWS_BY_PATH, VIEWS_BY_PATH_AND_HOUR, dump, run, run_and_check, store_in,
};

/// `PAGE_VIEWS_KILLS` and `PAGE_VIEWS_REPEAT` ask for more than what a test has time for, and
/// `PAGE_VIEWS_SEED` for the moments of an earlier run: see `scripts/kill-page-views`.
fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

#[test]
fn the_tables_are_those_of_an_independent_count_and_a_second_run_changes_nothing() {
    let folder = TempDir::new().unwrap();
    let dir = store_in(&folder);
    let expected = Expected::count("v1", 1);
    assert_eq!(expected.lines.len(), 10_000);
    assert_eq!(expected.bad_lines.len(), 1);
    run_and_check(&dir, &[], &expected);

    let topics = [VIEWS_BY_PATH, VIEWS_BY_PATH_AND_HOUR, DEAD_LETTERS];
    let before = dump(&dir, &topics);
    run_and_check(&dir, &[], &expected);
    assert!(before == dump(&dir, &topics), "the second run has written to the output topics");
}

#[test]
fn another_logic_replays_and_is_kept_by_the_next_run() {
    let folder = TempDir::new().unwrap();
    let dir = store_in(&folder);
    let (v1, v2) = (Expected::count("v1", 1), Expected::count("v2", 1));
    assert_ne!(v1.tables(), v2.tables());
    run_and_check(&dir, &["--logic", "v1"], &v1);
    run_and_check(&dir, &["--logic", "v2"], &v2);
    run_and_check(&dir, &[], &v2);
    run_and_check(&dir, &["--logic", "v1"], &v1);
}

#[test]
fn a_file_is_appended_as_often_as_asked_for_however_often_one_asks() {
    let folder = TempDir::new().unwrap();
    let dir = store_in(&folder);
    run_and_check(&dir, &["--repeat", "2"], &Expected::count("v1", 2));
    let expected = Expected::count("v1", 3);
    run_and_check(&dir, &["--repeat", "3"], &expected);
    run_and_check(&dir, &["--repeat", "3"], &expected);
    run_and_check(&dir, &["--repeat", "1"], &expected);
    run_and_check(&dir, &[], &expected);
}

/// The replays start from different states: one from that of a first run, whose two sub-topologies
/// ran at once, the other from that of a replay.
#[test]
fn two_replays_write_the_same_records_to_each_output_partition() {
    let folder = TempDir::new().unwrap();
    let dir = store_in(&folder);
    let expected = Expected::count("v1", 3);
    run_and_check(&dir, &["--repeat", "3"], &expected);
    let replays = [(), ()].map(|()| {
        run_and_check(&dir, &["--replay"], &expected);
        dump(&dir, &[VIEWS_BY_PATH, VIEWS_BY_PATH_AND_HOUR, DEAD_LETTERS])
    });
    let records: usize = replays[0].values().map(Vec::len).sum();
    assert_eq!(records, 3 * (2 * 9_999 + 1));
    for (partition, records) in &replays[0] {
        for (one, other) in records.iter().zip(&replays[1][partition]) {
            assert_eq!(one, other, "{partition}");
        }
    }
    assert!(replays[0] == replays[1], "the replays differ in their numbers of records");
}

#[test]
fn killed_at_any_moment_and_run_again_it_ends_with_the_same_tables() {
    let kills = usize::try_from(setting("PAGE_VIEWS_KILLS", 5)).unwrap();
    let repeat = setting("PAGE_VIEWS_REPEAT", 2);
    let seed = setting("PAGE_VIEWS_SEED", fastrand::u64(..));
    println!("{kills} kills, the file {repeat} times, PAGE_VIEWS_SEED={seed}");
    let expected = Expected::count("v1", repeat);
    let repeat = repeat.to_string();

    // How long the job takes undisturbed; its store serves for the replays.
    let folder = TempDir::new().unwrap();
    let finished = store_in(&folder);
    let started = Instant::now();
    run_and_check(&finished, &["--repeat", &repeat], &expected);
    let random = fastrand::Rng::with_seed(seed);
    let duration = started.elapsed();
    let mut job = Job { repeat: &repeat, expected: &expected, random, duration };

    // A kill that hits before the first append or after the last commit proves little; there are
    // more of them until four of five have hit in between.
    let (mut done, mut within) = (0, 0);
    while done < kills || within * 5 < kills * 4 {
        assert!(done < 10 * kills, "only {within} of {done} kills hit between append and commit");
        done += 1;
        within += usize::from(job.kill_a_first_run(done).is_within());
    }
    println!(
        "{done} kills, {within} between the first append and the last commit: all tables right"
    );

    let replay_kills = (kills / 10).max(1);
    let started = Instant::now();
    run_and_check(&finished, &["--replay"], &expected);
    job.duration = started.elapsed();
    let (mut done, mut within) = (0, 0);
    while within < replay_kills {
        assert!(done < 10 * replay_kills, "only {within} of {done} kills hit a replay");
        done += 1;
        within += usize::from(job.kill_a_replay(done, &finished));
    }
    println!("{done} kills of a replay, {within} while it replayed: all tables right");
}

#[test]
fn ctrl_c_ends_it_at_once_and_the_next_run_goes_on() {
    let folder = TempDir::new().unwrap();
    let dir = store_in(&folder);
    // Enough work to be in the middle of it when a line has been read and the signal is there.
    let repeat: u64 = if cfg!(debug_assertions) { 5 } else { 100 };
    // Once among the appends, once when all of them are done and views are counted.
    for said in ["appended ", "processed "] {
        let ended = interrupt(&dir, &["--repeat", &repeat.to_string()], said);
        assert_eq!(ended.code, Some(130), "{}", ended.stderr);
        assert!(ended.stderr.contains("run the same command again"), "{}", ended.stderr);
        assert_eq!(ended.stdout, "");
    }
    run_and_check(&dir, &[], &Expected::count("v1", repeat));
}

#[test]
fn what_it_cannot_do_it_says_in_a_sentence() {
    let folder = TempDir::new().unwrap();
    let dir = store_in(&folder);
    let check = |args: &[&str], code: i32, parts: &[&str]| {
        let ended = run(&dir, args);
        assert_eq!(ended.code, Some(code), "{args:?}: {}", ended.stderr);
        assert_eq!(ended.stdout, "", "{args:?}");
        for part in parts {
            assert!(ended.stderr.contains(part), "{args:?}: {part:?} is not in {}", ended.stderr);
        }
    };
    check(&["--file", "no-such.log"], 1, &["page_views: cannot read no-such.log: No such file"]);
    check(&["--file", "/"], 1, &["page_views: cannot read /: is a directory"]);
    assert!(!dir.exists(), "a store was made for a file that cannot be read");
    check(&["--colour"], 2, &["unexpected argument '--colour'", "Usage: page_views"]);
    check(&["--repeat", "0"], 2, &["'0'", "1..=100000"]);
    check(&["--logic", "v3"], 2, &["'v3'", "v1, v2"]);

    let file = folder.path().join("not-a-store");
    std::fs::write(&file, "").unwrap();
    let ended = run(&file, &[]);
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    assert!(ended.stderr.contains("not-a-store"), "{}", ended.stderr);

    run_and_check(&dir, &[], &Expected::count("v1", 1));
    let other = folder.path().join("other.log");
    std::fs::write(&other, "").unwrap();
    check(&["--file", other.to_str().unwrap()], 1, &["begun with another file"]);
    let writer = headwater::log_store::LogStore::open(&dir).unwrap();
    check(&[], 4, &["is locked"]);
    writer.close().unwrap();
}
