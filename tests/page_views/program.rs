//! Runs the example's program, and looks into the store that it leaves.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::LazyLock;
use std::time::SystemTime;

use headwater::log_store::RecordView;
use headwater::prelude::*;

use crate::expected::Expected;

pub const LINES: &str = "web-access";
pub const VIEWS_BY_PATH: &str = "views-by-path";
pub const VIEWS_BY_PATH_AND_HOUR: &str = "views-by-path-and-hour";
pub const DEAD_LETTERS: &str = "web-access-dead-letters";
const APPLICATION_ID: &str = "page-views";

/// What a record is to those who compare: offset, key, value, timestamp, headers.
pub type Dumped = (u64, Option<String>, Option<String>, i64, Vec<(String, Option<String>)>);

/// How a run ended.
pub struct Ended {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

/// The program's command line for a store in `dir`.
pub fn command(dir: &Path, args: &[&str]) -> Command {
    static PROGRAM: LazyLock<PathBuf> = LazyLock::new(find_program);
    let mut command = Command::new(&*PROGRAM);
    command.arg("--dir").arg(dir).args(args).stdin(Stdio::null());
    command
}

/// Cargo builds a package's examples together with its tests, but not when it is told which tests
/// to build: the program may be missing, or not be what the sources say.
fn find_program() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let program = test.parent().unwrap().parent().unwrap().join("examples/page_views");
    let build = "run `cargo build --example page_views` (with --release for a release test) first";
    assert!(program.exists(), "{} is missing: {build}", program.display());
    let built = program.metadata().unwrap().modified().unwrap();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for sources in ["src", "log-store/src", "topology/src", "connectors/src", "examples"] {
        let newest = newest_change(&root.join(sources));
        assert!(newest <= built, "{} is older than {sources}: {build}", program.display());
    }
    program
}

fn newest_change(path: &Path) -> SystemTime {
    if !path.is_dir() {
        return path.metadata().unwrap().modified().unwrap();
    }
    let entries = std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path());
    entries.map(|entry| newest_change(&entry)).max().unwrap_or(SystemTime::UNIX_EPOCH)
}

pub fn run(dir: &Path, args: &[&str]) -> Ended {
    let output = command(dir, args).output().unwrap();
    Ended {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// Runs the program to its end and compares what it prints, and what it leaves in its output
/// topics, with what was expected.
#[track_caller]
pub fn run_and_check(dir: &Path, args: &[&str], expected: &Expected) {
    let ended = run(dir, args);
    assert_eq!(ended.code, Some(0), "{args:?}: {}", ended.stderr);
    assert_eq!(ended.stdout, expected.tables(), "{args:?}: {}", ended.stderr);
    check_topics(dir, expected);
}

/// Exactly once, all the way: each line of the file lies in the input topic as often as it was
/// appended, each count from 1 up to the last one was written to the output topics once and in
/// order, and each bad line is a dead letter once for each time.
#[track_caller]
pub fn check_topics(dir: &Path, expected: &Expected) {
    let log = LogStore::open_read_only(dir).unwrap();
    let mut lines: BTreeMap<String, u64> = BTreeMap::new();
    for_each_record(&log, LINES, |_, record| *count_of(&mut lines, record.value) += 1);
    let mut expected_lines: BTreeMap<String, u64> = BTreeMap::new();
    for line in &expected.lines {
        *expected_lines.entry(line.clone()).or_default() += expected.repeat;
    }
    assert!(lines == expected_lines, "the lines in {LINES} are not those of the file");

    assert_eq!(counts(&log, VIEWS_BY_PATH), expected.by_path);
    assert_eq!(counts(&log, VIEWS_BY_PATH_AND_HOUR), expected.by_hour_and_path);

    let mut dead_letters: BTreeMap<String, u64> = BTreeMap::new();
    for_each_record(&log, DEAD_LETTERS, |_, record| {
        *dead_letters.entry(text(record.value)).or_default() += 1;
        let reason = record.headers.last("__streams.errors.message").unwrap();
        assert_eq!(text(reason.value), "value: the user agent does not end with \"");
    });
    let bad_lines = expected.bad_lines.iter().map(|line| (line.clone(), expected.repeat));
    assert_eq!(dead_letters, bad_lines.collect());
}

/// The last count of each key of an output topic, after a look at all that came before it.
fn counts(log: &LogStore, topic: &str) -> BTreeMap<String, u64> {
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    for_each_record(log, topic, |place, record| {
        let count = count_of(&mut counts, record.key);
        let found: u64 = text(record.value).parse().unwrap();
        assert_eq!(found, *count + 1, "{} at {place} offset {}", text(record.key), record.offset);
        *count = found;
    });
    counts
}

/// The count of a text, which need not be there yet.
fn count_of<'a>(counts: &'a mut BTreeMap<String, u64>, text: Option<&[u8]>) -> &'a mut u64 {
    let text = std::str::from_utf8(text.expect("no nulls here")).unwrap();
    if !counts.contains_key(text) {
        counts.insert(text.to_owned(), 0);
    }
    counts.get_mut(text).unwrap()
}

/// All records of some topics, by partition.
pub fn dump(dir: &Path, topics: &[&str]) -> BTreeMap<String, Vec<Dumped>> {
    let log = LogStore::open_read_only(dir).unwrap();
    let mut dumped: BTreeMap<String, Vec<Dumped>> = BTreeMap::new();
    for topic in topics {
        for_each_record(&log, topic, |place, record| {
            let headers = record.headers.iter();
            let headers = headers.map(|h| (h.key.to_owned(), h.value.map(|v| text(Some(v)))));
            dumped.entry(place.to_string()).or_default().push((
                record.offset.value(),
                record.key.map(|key| text(Some(key))),
                record.value.map(|value| text(Some(value))),
                record.timestamp.as_millis(),
                headers.collect(),
            ));
        });
    }
    dumped
}

/// How far a run has come, by what it has left in the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    BeforeFirstAppend,
    Appending { lines: u64 },
    Processing { records_ahead: u64 },
    AfterLastCommit,
}

impl Moment {
    /// Looks at a store that `lines` lines are to be appended to.
    pub fn of(dir: &Path, lines: u64) -> Self {
        let Ok(log) = LogStore::open_read_only(dir) else { return Self::BeforeFirstAppend };
        let committed = log.group_offsets(APPLICATION_ID).unwrap();
        let (mut appended, mut records_ahead) = (0, 0);
        for topic in log.topics().unwrap() {
            let is_input = topic.name.as_str() == LINES;
            if !is_input && !topic.name.as_str().ends_with("-repartition") {
                continue;
            }
            for partition in partitions(&log, topic.name.as_str()) {
                let watermarks = log.watermarks(&partition).unwrap();
                let next = committed.get(&partition).map_or(watermarks.start, |o| o.offset);
                records_ahead += watermarks.end - next;
                if is_input {
                    appended += watermarks.end.value();
                }
            }
        }
        match (appended, records_ahead) {
            (0, _) => Self::BeforeFirstAppend,
            (appended, _) if appended < lines => Self::Appending { lines: appended },
            (_, 0) => Self::AfterLastCommit,
            (_, records_ahead) => Self::Processing { records_ahead },
        }
    }

    /// Whether it lies between the first append and the last commit.
    pub fn is_within(self) -> bool {
        matches!(self, Self::Appending { .. } | Self::Processing { .. })
    }
}

pub fn for_each_record(
    log: &LogStore,
    topic: &str,
    mut each: impl FnMut(&TopicPartition, &RecordView<'_>),
) {
    for partition in partitions(log, topic) {
        let watermarks = log.watermarks(&partition).unwrap();
        let mut next = watermarks.start;
        while next < watermarks.end {
            let batches = log.fetch(&partition, next, 4 << 20).unwrap();
            assert!(!batches.is_empty(), "{partition} ends at {next}, before {}", watermarks.end);
            for batch in &batches {
                batch.iter().for_each(|record| each(&partition, &record));
                next = batch.next_offset().unwrap();
            }
        }
    }
}

fn partitions(log: &LogStore, topic: &str) -> Vec<TopicPartition> {
    let topic = log.describe_topic(topic).unwrap();
    let partition = |id| TopicPartition::new(topic.name.clone(), PartitionId::new(id));
    (0..topic.partitions).map(partition).collect()
}

fn text(bytes: Option<&[u8]>) -> String {
    std::str::from_utf8(bytes.expect("no nulls here")).unwrap().to_owned()
}

/// The folder of the store within a temporary one.
pub fn store_in(folder: &tempfile::TempDir) -> PathBuf {
    folder.path().join("store")
}
