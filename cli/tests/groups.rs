//! The group commands of the real program: what they print, what they change, and when they refuse.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests")]

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use headwater_log_store::{
    ConsumerConfig, Log, LogStore, NewTopic, Offset, PartitionId, Record, Timestamp, TopicName,
    TopicPartition,
};
use serde_json::{Value, json};
use tempfile::TempDir;

/// A folder with a store: topics `t` (2 partitions of 5 records, a second apart) and `u` (1 of 2).
struct Folder(TempDir);

/// How a command ended.
struct Ended {
    code: i32,
    stdout: String,
    stderr: String,
}

/// The timestamp of the first record in each partition of `t`.
const FIRST_MS: i64 = 1_431_857_103_000;

fn partition(topic: &str, number: u32) -> TopicPartition {
    TopicPartition::new(TopicName::new(topic).unwrap(), PartitionId::new(number))
}

impl Folder {
    fn new() -> Self {
        let folder = Self(TempDir::new().unwrap());
        let store = LogStore::create(folder.path()).unwrap();
        for (topic, partitions, records) in [("t", 2, 5), ("u", 1, 2)] {
            store.create_topic(&NewTopic::new(topic).partitions(partitions)).unwrap();
            for number in 0..partitions {
                for record in 0..records {
                    let value = format!("{topic}{number}.{record}");
                    let time = Timestamp::from_millis(FIRST_MS + 1000 * record);
                    let record = Record::value(value.as_bytes()).with_timestamp(time);
                    store.append(&partition(topic, number), &record).unwrap();
                }
            }
        }
        store.close().unwrap();
        folder
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("store")
    }

    fn commit(&self, group: &str, offsets: &[(&str, u32, u64)]) {
        let store = LogStore::open(self.path()).unwrap();
        let offsets: Vec<_> = offsets
            .iter()
            .map(|(topic, number, offset)| (partition(topic, *number), Some(Offset::new(*offset))))
            .collect();
        store.alter_group_offsets(group, &offsets).unwrap();
        store.close().unwrap();
    }

    /// What a group has committed, as `t-0=3`.
    fn committed(&self, group: &str) -> Vec<String> {
        let store = LogStore::open_read_only(self.path()).unwrap();
        let offsets = store.group_offsets(group).unwrap();
        offsets.iter().map(|(tp, committed)| format!("{tp}={}", committed.offset)).collect()
    }

    fn run(&self, args: &[&str]) -> Ended {
        let mut command = Command::new(env!("CARGO_BIN_EXE_headwater"));
        command.arg("-D").arg(self.path()).args(args);
        let output = command.env_remove("HEADWATER_DIR").stdin(Stdio::null()).output().unwrap();
        Ended {
            code: output.status.code().expect("no signal ends it"),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// Runs a command that has to go well, with all of these in its notes.
    #[track_caller]
    fn done(&self, args: &[&str], notes: &[&str]) -> String {
        let ended = self.run(args);
        assert_eq!(ended.code, 0, "{args:?}: {}", ended.stderr);
        for part in notes {
            assert!(ended.stderr.contains(part), "{args:?}: {part:?} is not in {}", ended.stderr);
        }
        ended.stdout
    }

    /// Runs a command that has to fail, with all of these in its message.
    #[track_caller]
    fn fails(&self, args: &[&str], code: i32, message: &[&str]) {
        let ended = self.run(args);
        assert_eq!((ended.code, ended.stdout.as_str()), (code, ""), "{args:?}: {}", ended.stderr);
        for part in message {
            assert!(ended.stderr.contains(part), "{args:?}: {part:?} is not in {}", ended.stderr);
        }
    }

    /// Where a reset of group `g` in all its topics would lead, as `t-0 3>1`, with its notes.
    #[track_caller]
    fn plan(&self, to: &[&str], expected: &[&str], notes: &[&str]) {
        let args = [&["group", "reset", "g", "--topic", "t", "-o", "json"][..], to].concat();
        let rows: Vec<Value> = serde_json::from_str(&self.done(&args, notes)).unwrap();
        let show = |row: &Value| {
            let (topic, partition) = (row["topic"].as_str().unwrap(), &row["partition"]);
            format!("{topic}-{partition} {}>{}", row["current_offset"], row["new_offset"])
        };
        let shown: Vec<_> = rows.iter().map(show).collect();
        assert_eq!(shown, expected, "{to:?}");
        for row in rows.iter().filter(|row| !row["note"].is_null()) {
            let note = row["note"].as_str().unwrap();
            assert!(notes.iter().any(|part| part.ends_with(note)), "{to:?}: {note}");
        }
    }
}

#[test]
fn groups_are_listed_and_described() {
    let folder = Folder::new();
    folder.commit("views", &[("t", 0, 3), ("u", 0, 2)]);
    folder.commit("audit", &[("t", 1, 0)]);
    assert_eq!(folder.done(&["group", "list"], &[]), "GROUP\naudit\nviews\n");
    assert_eq!(
        folder.done(&["group", "list", "-o", "json"], &[]),
        "[{\"group\":\"audit\"},{\"group\":\"views\"}]\n"
    );
    let members = "the members of group views, if any, are known only in the process";
    assert_eq!(
        folder.done(&["group", "describe", "views"], &[members]),
        "GROUP  TOPIC  PARTITION  CURRENT-OFFSET  LOG-END-OFFSET  LAG  CONSUMER-ID  HOST  CLIENT-ID\n\
         views  t              0               3               5    2  -            -     -\n\
         views  u              0               2               2    0  -            -     -\n"
    );
    let described = folder.done(&["group", "describe", "audit", "-o", "json"], &[]);
    assert_eq!(
        serde_json::from_str::<Value>(&described).unwrap(),
        json!({
            "group": "audit", "state": "Unknown", "generation": null, "members": null,
            "partitions": [{
                "topic": "t", "partition": 1, "current_offset": 0, "log_end_offset": 5, "lag": 5,
                "consumer_id": null
            }]
        })
    );
    folder.fails(&["group", "describe", "nobody"], 1, &["group \"nobody\" does not exist"]);
}

#[test]
fn a_reset_is_a_plan_until_it_is_executed() {
    let folder = Folder::new();
    folder.commit("g", &[("t", 0, 3), ("u", 0, 2)]);
    let reset = ["group", "reset", "g", "--topic", "t", "--to-earliest"];
    let table = "GROUP  TOPIC  PARTITION  CURRENT-OFFSET  NEW-OFFSET\n\
                 g      t              0               3           0\n\
                 g      t              1               -           0\n";
    assert_eq!(folder.done(&reset, &["nothing was changed: with --execute it is"]), table);
    assert_eq!(folder.done(&[&reset[..], &["--dry-run"]].concat(), &["nothing"]), table);
    assert_eq!(folder.committed("g"), ["t-0=3", "u-0=2"]);
    assert_eq!(folder.done(&[&reset[..], &["--execute"]].concat(), &[]), table);
    assert_eq!(folder.committed("g"), ["t-0=0", "t-1=0", "u-0=2"]);

    let args = ["group", "reset", "g", "--all-topics", "--to-latest", "--execute", "-o", "ndjson"];
    let rows = folder.done(&args, &[]);
    let rows: Vec<Value> = rows.lines().map(|row| serde_json::from_str(row).unwrap()).collect();
    assert_eq!(
        rows[2],
        json!({
            "group": "g", "topic": "u", "partition": 0, "current_offset": 2, "new_offset": 2,
            "note": null
        })
    );
    assert_eq!(folder.committed("g"), ["t-0=5", "t-1=5", "u-0=2"]);
}

#[test]
fn a_reset_goes_where_it_is_told_and_says_where_the_log_ends_first() {
    let folder = Folder::new();
    folder.commit("g", &[("t", 0, 3)]);
    let nothing_committed = "t-1: no offset is committed, so the end is taken";
    folder.plan(&["--to-earliest"], &["t-0 3>0", "t-1 null>0"], &[]);
    folder.plan(&["--to-latest"], &["t-0 3>5", "t-1 null>5"], &[]);
    folder.plan(&["--to-current"], &["t-0 3>3", "t-1 null>5"], &[nothing_committed]);
    folder.plan(&["--to-offset", "2"], &["t-0 3>2", "t-1 null>2"], &[]);
    let past = "t-1: offset 9 is past the end, which is taken instead";
    folder.plan(&["--to-offset", "9"], &["t-0 3>5", "t-1 null>5"], &[past]);
    let no_shift = "t-1: no offset is committed, so there is nothing to shift";
    folder.plan(&["--shift-by", "-2"], &["t-0 3>1", "t-1 null>null"], &[no_shift]);
    let before = "t-0: offset -1 is before the first one, which is taken instead";
    folder.plan(&["--shift-by", "-4"], &["t-0 3>0", "t-1 null>null"], &[no_shift, before]);
    for time in ["2015-05-17T10:05:05", "2015-05-17T12:05:04.001+02:00", "1431857105000"] {
        folder.plan(&["--to-datetime", time], &["t-0 3>2", "t-1 null>2"], &[]);
    }
    let none = "t-0: no record has timestamp 1431857108000 or later, so the end is taken";
    let to = ["--to-datetime", "2015-05-17T10:05:08.000Z"];
    folder.plan(&to, &["t-0 3>5", "t-1 null>5"], &[none]);
    folder.plan(&["--by-duration", "P36500D"], &["t-0 3>0", "t-1 null>0"], &[]);
    let args = ["group", "reset", "g", "--topic", "t", "--by-duration", "PT1H30M"];
    folder.done(&args, &["no record has timestamp"]);

    let some = ["group", "reset", "g", "--topic", "u", "--topic", "t:1", "--to-earliest"];
    assert_eq!(
        folder.done(&some, &[]),
        "GROUP  TOPIC  PARTITION  CURRENT-OFFSET  NEW-OFFSET\n\
         g      t              1               -           0\n\
         g      u              0               -           0\n"
    );
    assert_eq!(folder.committed("g"), ["t-0=3"]);
}

#[test]
fn a_reset_that_is_not_well_said_is_refused_by_name() {
    let folder = Folder::new();
    let reset = |rest: &[&'static str]| [&["group", "reset", "g"][..], rest].concat();
    folder.fails(&reset(&["--to-earliest"]), 2, &["--topic", "--all-topics"]);
    folder.fails(&reset(&["--topic", "t"]), 2, &["--to-earliest", "--shift-by"]);
    folder.fails(&reset(&["--topic", "t", "--to-earliest", "--to-latest"]), 2, &["--to-latest"]);
    folder.fails(&reset(&["--all-topics", "--topic", "t", "--to-latest"]), 2, &["--all-topics"]);
    let both = ["--topic", "t", "--to-latest", "--execute", "--dry-run"];
    folder.fails(&reset(&both), 2, &["--dry-run", "--execute"]);
    folder.fails(&reset(&["--topic", "t:x", "--to-latest"]), 2, &["\"t:x\"", "TOPIC:0,1,2"]);
    folder.fails(&reset(&["--topic", "t", "--to-datetime", "noon"]), 2, &["\"noon\""]);
    folder.fails(&reset(&["--topic", "t", "--by-duration", "long"]), 2, &["\"long\"", "P7D"]);
    folder.fails(&reset(&["--topic", "no-such", "--to-latest"]), 1, &["topic no-such"]);
    folder.fails(&reset(&["--topic", "t:2", "--to-latest"]), 1, &["partition t-2"]);
    folder.fails(&reset(&["--all-topics", "--to-latest"]), 1, &["group \"g\" does not exist"]);
}

#[test]
fn a_live_group_is_shown_but_neither_reset_nor_deleted() {
    let folder = Folder::new();
    folder.commit("g", &[("t", 0, 3)]);
    let app = LogStore::open(folder.path()).unwrap();
    let config = ConsumerConfig { group: Some("g".to_owned()), ..ConsumerConfig::default() };
    let mut member = app.consumer(&config).unwrap();
    member.subscribe(&["t"], Box::new(())).unwrap();
    member.poll(Duration::ZERO).unwrap();
    member.commit(&[(partition("t", 1), Offset::new(4).into())]).unwrap();

    let described = folder.done(&["group", "describe", "g"], &["known only in the process"]);
    assert!(described.contains("g      t              1               4               5    1  -"));
    let reset = ["group", "reset", "g", "--topic", "t", "--to-earliest"];
    folder.done(&reset, &["nothing was changed"]);
    folder.fails(&[&reset[..], &["--execute"]].concat(), 4, &["locked"]);
    folder.fails(&["group", "delete", "g"], 4, &["locked"]);
    assert_eq!(folder.committed("g"), ["t-0=3", "t-1=4"]);
    drop(member);
    app.close().unwrap();
    assert_eq!(folder.done(&["group", "delete", "g"], &["deleted group g"]), "");
    assert_eq!(folder.done(&["group", "list"], &[]), "GROUP\n");
    folder.fails(&["group", "delete", "g"], 1, &["group \"g\" does not exist"]);
}

#[test]
fn consuming_as_a_group_goes_on_where_it_stopped() {
    let folder = Folder::new();
    let consume = ["consume", "t", "-p", "0", "-g", "g"];
    assert_eq!(folder.done(&[&consume[..], &["-n", "2"]].concat(), &[]), "t0.0\nt0.1\n");
    assert_eq!(folder.committed("g"), ["t-0=2"]);
    // Where the group has begun, that counts; elsewhere, what is asked for.
    let args = ["consume", "t", "-g", "g", "--from", "end"];
    assert_eq!(folder.done(&args, &[]), "t0.2\nt0.3\nt0.4\n");
    assert_eq!(folder.done(&consume, &[]), "");
    assert_eq!(folder.committed("g"), ["t-0=5"]);
    folder.fails(&[&consume[..], &["--follow"]].concat(), 2, &["--group", "--follow"]);
    let writer = LogStore::open(folder.path()).unwrap();
    folder.fails(&consume, 4, &["locked"]);
    writer.close().unwrap();
}
