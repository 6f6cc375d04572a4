//! The real program on real folders: what it prints, where, and the exit code it ends with.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests")]

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use headwater_log_store::{LogStore, PartitionId, Record, Timestamp, TopicName, TopicPartition};
use serde_json::{Value, json};
use tempfile::TempDir;

/// A folder for a store, removed at the end.
struct Folder(TempDir);

/// How a command ended.
struct Ended {
    code: i32,
    stdout: String,
    stderr: String,
}

impl Folder {
    fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    fn with_topic(partitions: u32) -> Self {
        let folder = Self::new();
        folder.done(&["topic", "create", "t", "-p", &partitions.to_string()]);
        folder
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("store")
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_headwater"));
        command.arg("-D").arg(self.path()).args(args);
        command.env_remove("HEADWATER_DIR").stdin(Stdio::null());
        command
    }

    fn run(&self, args: &[&str]) -> Ended {
        Ended::from(self.command(args).output().unwrap())
    }

    /// Runs a command that has to go well, and returns what it prints to standard output.
    #[track_caller]
    fn done(&self, args: &[&str]) -> String {
        let ended = self.run(args);
        assert_eq!(ended.code, 0, "{args:?}: {}", ended.stderr);
        ended.stdout
    }

    /// Runs a command that has to fail, with all of these in its message.
    #[track_caller]
    fn fails(&self, args: &[&str], code: i32, message: &[&str]) {
        let ended = self.run(args);
        assert_eq!(ended.code, code, "{args:?}: {}", ended.stderr);
        assert_eq!(ended.stdout, "", "{args:?}");
        for part in message {
            assert!(ended.stderr.contains(part), "{args:?}: {part:?} is not in {}", ended.stderr);
        }
    }

    fn produce(&self, args: &[&str], input: &[u8]) -> Ended {
        let mut command = self.command(&["produce", "t"]);
        command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(input).unwrap();
        Ended::from(child.wait_with_output().unwrap())
    }

    fn follow(&self, args: &[&str]) -> (Child, impl Iterator<Item = String> + use<>) {
        let mut command = self.command(&["consume", "t", "--follow"]);
        command.args(args).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        (child, lines)
    }

    /// All records as JSON, but for their timestamps.
    fn records(&self) -> Vec<Value> {
        let lines = self.done(&["consume", "t", "-o", "json"]);
        let parse = |line: &str| {
            let mut record: Value = serde_json::from_str(line).unwrap();
            let timestamp = record.as_object_mut().unwrap().remove("timestamp").unwrap();
            assert!(timestamp.as_i64().unwrap() > 1_577_836_800_000, "{timestamp}");
            record
        };
        lines.lines().map(parse).collect()
    }
}

impl From<Output> for Ended {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().expect("no signal ends it"),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

fn partition(number: u32) -> TopicPartition {
    TopicPartition::new(TopicName::new("t").unwrap(), PartitionId::new(number))
}

fn record(offset: u64, key: &Value, value: &Value) -> Value {
    json!({
        "topic": "t", "partition": 0, "offset": offset, "key": key, "value": value, "headers": []
    })
}

fn stderr_of(mut child: Child) -> String {
    let mut text = String::new();
    child.stderr.take().unwrap().read_to_string(&mut text).unwrap();
    text
}

#[test]
fn a_topic_is_created_listed_and_described() {
    let folder = Folder::new();
    let created =
        folder.run(&["topic", "create", "web-access", "-p", "4", "-c", "retention.ms=60000"]);
    assert_eq!((created.code, created.stdout.as_str()), (0, ""), "{}", created.stderr);
    assert!(created.stderr.contains("created topic web-access with 4 partitions"));
    folder.done(&["topic", "create", "b"]);

    assert_eq!(
        folder.done(&["topic", "list"]),
        "TOPIC       PARTITIONS\nb                    1\nweb-access           4\n"
    );
    assert_eq!(
        folder.done(&["topic", "list", "-o", "ndjson"]),
        "{\"name\":\"b\",\"partitions\":1,\"configs\":{}}\n\
         {\"name\":\"web-access\",\"partitions\":4,\"configs\":{\"retention.ms\":\"60000\"}}\n"
    );
    let list: Value = serde_json::from_str(&folder.done(&["topic", "list", "-o", "json"])).unwrap();
    assert_eq!(list[1]["configs"], json!({"retention.ms": "60000"}));

    let store = LogStore::open(folder.path()).unwrap();
    let web_access = TopicName::new("web-access").unwrap();
    let partition = TopicPartition::new(web_access, PartitionId::new(2));
    store.append(&partition, &Record::value(b"x")).unwrap();
    store.close().unwrap();
    assert_eq!(
        folder.done(&["topic", "describe", "web-access"]),
        "TOPIC       PARTITIONS\n\
         web-access           4\n\
         \n\
         CONFIG        VALUE\n\
         retention.ms  60000\n\
         \n\
         PARTITION  LEADER-EPOCH  LOG-START-OFFSET  LOG-END-OFFSET\n        \
                 0             0                 0               0\n        \
                 1             0                 0               0\n        \
                 2             0                 0               1\n        \
                 3             0                 0               0\n"
    );
    let described = folder.done(&["topic", "describe", "b", "-o", "json"]);
    assert_eq!(
        serde_json::from_str::<Value>(&described).unwrap(),
        json!({
            "name": "b", "partitions": 1, "configs": {},
            "offsets": [{"partition": 0, "leader_epoch": 0, "log_start_offset": 0, "log_end_offset": 0}]
        })
    );
}

#[test]
fn a_topic_that_exists_is_an_error_unless_told_otherwise() {
    let folder = Folder::with_topic(2);
    folder.fails(&["topic", "create", "t"], 1, &["topic t exists already"]);
    folder.done(&["topic", "create", "t", "-p", "9", "--if-not-exists"]);
    assert!(folder.done(&["topic", "list"]).contains("         2\n"));
}

#[test]
fn bad_input_is_named() {
    let folder = Folder::with_topic(2);
    let create = ["topic", "create"];
    folder.fails(&[&create[..], &["a/b"]].concat(), 1, &["\"a/b\"", "topic name"]);
    let config = ["u", "-c", "min.insync.replicas=2"];
    folder.fails(&[&create[..], &config].concat(), 1, &["min.insync.replicas=2 is refused"]);
    let no_value = ["u", "-c", "retention.ms"];
    folder.fails(&[&create[..], &no_value].concat(), 2, &["--config", "\"retention.ms\""]);
    folder.fails(&["topic", "describe", "no-such"], 1, &["topic no-such does not exist"]);
    folder.fails(&["consume", "no-such"], 1, &["topic no-such does not exist"]);
    folder.fails(&["produce", "no-such"], 1, &["topic no-such does not exist"]);
    folder.fails(&["consume", "t", "-p", "2"], 1, &["partition t-2", "2 partitions"]);
    folder.fails(&["produce", "t", "--partition", "7"], 1, &["partition t-7", "2 partitions"]);
    folder.fails(&["consume", "t", "--from", "noon"], 2, &["--from", "\"noon\"", "@TIME"]);
    folder.fails(&["consume", "t", "--from", "5"], 1, &["offset 5 of t-0 is out of range"]);
    folder.fails(&["produce", "t", "-k", "a", "-K", ":"], 2, &["--key", "--key-separator"]);
    folder.fails(&["frobnicate"], 2, &["frobnicate"]);
}

#[test]
fn a_folder_without_a_store_is_named_and_not_created() {
    let folder = Folder::new();
    let path = folder.path();
    for args in [&["topic", "list"][..], &["consume", "t"], &["produce", "t"]] {
        let what_to_do =
            "-D, or HEADWATER_DIR, says which folder; `topic create` makes a store there";
        folder.fails(args, 1, &[path.to_str().unwrap(), "no store", what_to_do]);
    }
    assert!(!path.exists());
}

#[test]
fn the_folder_can_come_from_the_environment() {
    let folder = Folder::with_topic(1);
    let output = Command::new(env!("CARGO_BIN_EXE_headwater"))
        .args(["topic", "list"])
        .env("HEADWATER_DIR", folder.path())
        .output()
        .unwrap();
    assert_eq!(Ended::from(output).stdout, "TOPIC  PARTITIONS\nt               1\n");
}

#[test]
fn lines_go_in_and_come_out_unchanged() {
    let folder = Folder::with_topic(1);
    let ended = folder.produce(&[], b"one\n\ntwo \xc3\xbc \x1b[0m\r\nlast");
    assert_eq!((ended.code, ended.stdout.as_str()), (0, ""));
    assert_eq!(ended.stderr, "produced 4 records to topic t\n");
    assert_eq!(folder.done(&["consume", "t"]), "one\n\ntwo ü \x1b[0m\nlast\n");
    assert_eq!(folder.done(&["consume", "t", "--from-beginning", "-n", "2"]), "one\n\n");
}

#[test]
fn keys_headers_and_tombstones_are_produced() {
    let folder = Folder::with_topic(1);
    folder.produce(&["-K", "::"], b"a::1\nb::2::3\n");
    folder.produce(&["-k", "c", "-Z"], b"\n4\n");
    folder.produce(&["-H", "h=1", "-H", "h=a=b"], b"\xff\n");
    let mut with_headers = record(4, &Value::Null, &json!({"hex": "ff"}));
    with_headers["headers"] = json!([{"key": "h", "value": "1"}, {"key": "h", "value": "a=b"}]);
    assert_eq!(
        folder.records(),
        [
            record(0, &json!("a"), &json!("1")),
            record(1, &json!("b"), &json!("2::3")),
            record(2, &json!("c"), &Value::Null),
            record(3, &json!("c"), &json!("4")),
            with_headers
        ]
    );
}

#[test]
fn a_line_without_its_key_is_named_and_the_lines_before_it_stay() {
    let folder = Folder::with_topic(1);
    let ended = folder.produce(&["-K", ":"], b"a:1\nb:2\nnothing\nc:3\n");
    assert_eq!(ended.code, 1);
    for part in ["line 3", "\":\"", "the 2 lines before it were produced"] {
        assert!(ended.stderr.contains(part), "{}", ended.stderr);
    }
    assert_eq!(folder.done(&["consume", "t"]), "1\n2\n");
}

#[test]
fn a_line_that_is_too_large_for_the_topic_is_named() {
    let folder = Folder::new();
    folder.done(&["topic", "create", "t", "-c", "max.message.bytes=1000"]);
    let input = format!("small\n{}\n", "x".repeat(2000));
    let ended = folder.produce(&[], input.as_bytes());
    assert_eq!(ended.code, 1);
    for part in ["line 2", "the 1 lines before it", "t-0", "max.message.bytes=1000"] {
        assert!(ended.stderr.contains(part), "{part:?} is not in {}", ended.stderr);
    }
    assert_eq!(folder.done(&["consume", "t"]), "small\n");
}

#[test]
fn reading_can_begin_anywhere_and_in_one_partition() {
    let folder = Folder::with_topic(2);
    folder.produce(&["--partition", "0"], b"a0\na1\na2\n");
    folder.produce(&["--partition", "1"], b"b0\nb1\nb2\n");
    for (from, expected) in [
        ("start", &["a0", "a1", "a2", "b0", "b1", "b2"][..]),
        ("end", &[]),
        ("1", &["a1", "a2", "b1", "b2"]),
        ("+2", &["a2", "b2"]),
        ("-1", &["a2", "b2"]),
        ("@2020-01-01", &["a0", "a1", "a2", "b0", "b1", "b2"]),
        ("@9999-01-01", &[]),
        ("@-1h", &["a0", "a1", "a2", "b0", "b1", "b2"]),
    ] {
        let shown = folder.done(&["consume", "t", "--from", from]);
        let mut lines: Vec<_> = shown.lines().collect();
        lines.sort_unstable();
        assert_eq!(lines, expected, "{from}");
    }
    assert_eq!(folder.done(&["consume", "t", "-p", "1", "--from", "-2"]), "b1\nb2\n");
}

#[test]
fn reading_from_a_time_begins_with_the_first_record_that_is_not_older() {
    let folder = Folder::with_topic(1);
    let store = LogStore::open(folder.path()).unwrap();
    // The third record is older than the second: it comes after the beginning all the same.
    for (value, seconds) in [(b"a", 1_000_000_000), (b"b", 1_000_000_002), (b"c", 1_000_000_001)] {
        let timestamp = Timestamp::from_millis(seconds * 1000);
        store.append(&partition(0), &Record::value(value).with_timestamp(timestamp)).unwrap();
    }
    store.close().unwrap();
    assert_eq!(folder.done(&["consume", "t", "--from", "@1000000002"]), "b\nc\n");
    assert_eq!(folder.done(&["consume", "t", "--from", "@1000000003"]), "");
    let table = folder.done(&["consume", "t", "-o", "table", "-n", "1"]);
    assert_eq!(
        table,
        "PARTITION        OFFSET  TIMESTAMP                 KEY                   VALUE\n        \
                 0             0  2001-09-09T01:46:40.000Z  null                  a\n"
    );
}

#[test]
fn reading_works_while_another_process_writes_and_writing_says_who_does() {
    let folder = Folder::with_topic(1);
    let writer = LogStore::open(folder.path()).unwrap();
    writer.append(&partition(0), &Record::value(b"live")).unwrap();
    assert_eq!(folder.done(&["consume", "t"]), "live\n");
    assert!(folder.done(&["topic", "describe", "t"]).contains("               1\n"));
    assert_eq!(folder.done(&["topic", "list"]), "TOPIC  PARTITIONS\nt               1\n");
    let path = folder.path();
    folder.fails(&["topic", "create", "u"], 4, &[path.to_str().unwrap(), "locked"]);
    folder.fails(&["produce", "t"], 4, &["locked"]);
    let holder = format!("process {} has it open", std::process::id());
    let in_use = format!("The store is in use ({holder}), and was looked at up to its checkpoint.");
    assert!(folder.done(&["log", "verify"]).contains(&in_use));
    writer.append(&partition(0), &Record::value(b"more")).unwrap();
    assert_eq!(folder.done(&["consume", "t"]), "live\nmore\n");
    writer.close().unwrap();
    assert_eq!(folder.produce(&[], b"again\n").code, 0);
}

#[test]
fn following_shows_what_another_process_appends() {
    let folder = Folder::with_topic(1);
    let writer = LogStore::open(folder.path()).unwrap();
    writer.append(&partition(0), &Record::value(b"before")).unwrap();
    let (mut child, mut lines) = folder.follow(&["--from-beginning", "-n", "3"]);
    assert_eq!(lines.next().unwrap(), "before");
    for value in ["first", "second"] {
        writer.append(&partition(0), &Record::value(value.as_bytes())).unwrap();
        assert_eq!(lines.next().unwrap(), value);
    }
    assert_eq!(lines.next(), None);
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[cfg(unix)]
#[test]
fn ctrl_c_ends_following_without_a_word() {
    let folder = Folder::with_topic(1);
    folder.produce(&[], b"one\n");
    let (mut child, mut lines) = folder.follow(&["--from", "start"]);
    assert_eq!(lines.next().unwrap(), "one");
    let kill = format!("kill -INT {}", child.id());
    assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert_eq!(lines.next(), None);
    assert_eq!(stderr_of(child), "");
}

#[test]
fn a_reader_that_goes_away_ends_the_command_quietly() {
    let folder = Folder::with_topic(1);
    // More than a pipe holds, so that the command has to notice.
    let input = "a line of some length, to fill the pipe\n".repeat(20_000);
    folder.produce(&[], input.as_bytes());
    let mut command = folder.command(&["consume", "t"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut first = [0; 6];
    child.stdout.take().unwrap().read_exact(&mut first).unwrap();
    assert_eq!(&first, b"a line");
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert_eq!(stderr_of(child), "");
}

#[test]
fn help_and_version_are_data() {
    let folder = Folder::new();
    let help = folder.done(&["--help"]);
    for word in ["topic", "produce", "consume", "HEADWATER_DIR", "./headwater-data"] {
        assert!(help.contains(word), "{word:?} is not in {help}");
    }
    let version = folder.done(&["--version"]);
    assert_eq!(version, format!("headwater {}\n", env!("CARGO_PKG_VERSION")));
    assert!(!Path::new(&folder.path()).exists());
}

#[test]
fn topic_alter_changes_configs_and_adds_partitions() {
    let folder = Folder::with_topic(2);
    let ended = folder.run(&[
        "topic",
        "alter",
        "t",
        "--add-config",
        "cleanup.policy=[compact,delete],segment.bytes=2048",
        "--add-config",
        "retention.ms=5000",
        "-p",
        "3",
    ]);
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    let said = "changed 3 configs of topic t\ntopic t has 3 partitions\n";
    assert_eq!(ended.stderr, said);
    folder.done(&["topic", "alter", "t", "--delete-config", "retention.ms,segment.ms"]);
    let topic: Value =
        serde_json::from_str(&folder.done(&["topic", "describe", "t", "-o", "json"])).unwrap();
    assert_eq!(topic["partitions"], 3);
    let configs = json!({"cleanup.policy": "compact,delete", "segment.bytes": "2048"});
    assert_eq!(topic["configs"], configs);
    let all = folder.done(&["topic", "describe", "t", "--all"]);
    let all: Vec<Vec<&str>> = all.lines().map(|line| line.split_whitespace().collect()).collect();
    for row in [["segment.bytes", "2048"], ["retention.ms", "604800000"]] {
        assert!(all.contains(&row.to_vec()), "{row:?}: {all:?}");
    }
}

#[test]
fn topic_alter_refuses_with_a_reason_and_changes_nothing() {
    let folder = Folder::with_topic(2);
    for (args, code, message) in [
        (&["-p", "1"][..], 1, "cannot be taken away"),
        (&["-p", "2"], 1, "the topic has 2 already"),
        (&["--add-config", "min.insync.replicas=2,segment.bytes=2048"], 1, "no replicas"),
        (&["--delete-config", "no.such.key"], 1, "no such topic config"),
        (&["--add-config", "a=[b"], 2, "no closing ]"),
        (&["--add-config", "a=[b]c=d"], 2, "a comma is missing"),
        (&[], 2, "required"),
    ] {
        folder.fails(&[&["topic", "alter", "t"][..], args].concat(), code, &[message]);
    }
    folder.fails(&["topic", "alter", "u", "-p", "5"], 1, &["topic u does not exist"]);
    let topic: Value =
        serde_json::from_str(&folder.done(&["topic", "describe", "t", "-o", "json"])).unwrap();
    assert_eq!((&topic["partitions"], &topic["configs"]), (&json!(2), &json!({})));
}

#[test]
fn topic_delete_deletes_once() {
    let folder = Folder::with_topic(1);
    assert_eq!(folder.run(&["topic", "delete", "t"]).stderr, "deleted topic t\n");
    assert_eq!(folder.done(&["topic", "list", "-o", "json"]).trim(), "[]");
    folder.fails(&["topic", "delete", "t"], 1, &["topic t does not exist"]);
    folder.done(&["topic", "delete", "t", "--if-exists"]);
}
