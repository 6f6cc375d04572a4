//! The record cache: which updates it holds back until a commit, and what of them is sent then.
//!
//! The scripts are what Kafka Streams 4.3.1 gives with its default cache, a commit after each
//! record. To see several records in one commit, they are put into the log while the application
//! is closed.
#![allow(clippy::unwrap_used, reason = "the helpers of a test fail it by panicking")]

#[allow(dead_code, reason = "not every test needs all of it")]
#[path = "script/runner.rs"]
mod runner;

use std::collections::BTreeMap;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use headwater_log_store::{
    Log, LogStore, NewTopic, PartitionId, ProducerConfig, ProducerRecord, TopicName, TopicPartition,
};
use headwater_topology::{
    EmitStrategy, Error, ErrorResponse, Headers, KTable, Materialized, Reset, SessionWindows,
    SlidingWindows, Streams, StreamsBuilder, StreamsConfig, TestRecord, TimeWindows, Topology,
    TopologyConfig, TopologyTestDriver, Windowed,
};
use runner::check_with;

type Text = Option<String>;

const TEN: Duration = Duration::from_millis(10);

fn cached(store: &str) -> Materialized<String, String> {
    Materialized::named(store).with_caching_enabled()
}

fn concat(a: String, b: String) -> String {
    a + &b
}

fn send<W>(table: &KTable<Windowed<String, W>, String>)
where
    Windowed<String, W>: Clone + Send + ToString + Hash + Eq,
    W: 'static,
{
    table.to_stream().map(|windowed, value| (windowed.to_string(), value)).to("out");
}

/// As in Kafka Streams: all stores have a cache, and commits follow each record.
fn check_like_kafka(build: impl Fn(&StreamsBuilder), script: &str) {
    let compat = TopologyConfig::new().kafka_compat(true).caching_enabled(true);
    check_with(compat, &StreamsConfig::new("test"), build, script);
}

fn topology(build: impl Fn(&StreamsBuilder)) -> Topology {
    let builder = StreamsBuilder::new();
    build(&builder);
    builder.build().unwrap()
}

/// Processes records, `topic key value time` each, in one commit.
fn commit(driver: &TopologyTestDriver, records: &str) -> Vec<String> {
    let out = driver.output_topic::<Text, Text>("out").unwrap();
    out.read_timed().unwrap();
    driver.close();
    for record in records.split('|') {
        let words: Vec<&str> = record.split_whitespace().collect();
        let [topic, key, value, time] = words[..] else { panic!("no record: {record}") };
        let word = |word: &str| (word != "~").then(|| word.to_owned());
        let input = driver.input_topic::<Text, Text>(topic);
        let piped = input.pipe_input_at(word(key), word(value), time.parse().unwrap());
        assert!(piped.is_err(), "it lies in the log, and the application is closed");
    }
    driver.restart().unwrap();
    let text = |text: Text| text.unwrap_or_else(|| "~".to_owned());
    let found = out.read_timed().unwrap().into_iter();
    found.map(|(key, value, time)| format!("{} {} {time}", text(key), text(value))).collect()
}

fn check_commit(build: impl Fn(&StreamsBuilder), records: &str, expected: &[&str]) {
    let driver = TopologyTestDriver::new(&topology(build)).unwrap();
    assert_eq!(commit(&driver, records), expected);
}

fn reduced(builder: &StreamsBuilder) {
    let table = builder.stream::<String, String>("S").group_by_key().reduce(concat, cached("s"));
    table.to_stream().to("out");
}

#[test]
fn a_joined_tables_tombstones_are_sent_once() {
    let build = |builder: &StreamsBuilder| {
        let (a, b) = (builder.table::<String, String>("A"), builder.table::<String, String>("B"));
        let joined = a.join(&b, |a, b| a + "+" + &b);
        joined.materialized("st").to_stream().to("out");
    };
    check_like_kafka(
        build,
        "
        B k b0 1
        A k ~ 10
        A k ~ 11
        A k a 12 => k a+b0 12
        A k ~ 13 => k ~ 13",
    );
}

#[test]
fn a_tombstone_has_the_time_of_its_record() {
    let build = |builder: &StreamsBuilder| {
        let stream = builder.stream::<String, String>("S").group_by_key();
        let add =
            |_: &String, value: String, so_far: String| (value != "DEL").then(|| so_far + &value);
        stream.aggregate(String::new, add, "s").to_stream().to("out");
    };
    check_like_kafka(
        build,
        "
        S k a 10 => k a 10
        S k b 5 => k ab 10
        S k DEL 7 => k ~ 7
        S k DEL 8
        S k c 6 => k c 6",
    );
}

#[test]
fn a_session_that_is_put_where_one_was_removed_is_one_update() {
    let build = |builder: &StreamsBuilder| {
        let gap = SessionWindows::of_inactivity_gap_and_grace(TEN, Duration::from_millis(100));
        let stream = builder.stream::<String, String>("S").group_by_key();
        send(&stream.windowed_by(gap).reduce(concat, "s"));
    };
    check_like_kafka(
        build,
        "
        S k a 0 => k@0/0 a 0
        S k b 20 => k@20/20 b 20
        S k c 10 => k@0/0 ~ 0 | k@20/20 ~ 20 | k@0/20 abc 20
        S k d 10 => k@0/20 abcd 20",
    );
}

#[test]
fn what_is_in_the_cache_is_not_hidden_by_the_clock_of_its_store() {
    let build = |builder: &StreamsBuilder| {
        let gap = SessionWindows::of_inactivity_gap_with_no_grace(TEN);
        let stream = builder.stream::<String, String>("S").group_by_key();
        send(&stream.windowed_by(gap).reduce(concat, "s"));
    };
    check_like_kafka(
        build,
        "
        S k b 25 => k@25/25 b 25
        S k d 15 => k@25/25 ~ 25 | k@15/25 bd 25
        S k e 35 => k@15/25 ~ 25 | k@15/35 bde 35
        S k f 50 => k@50/50 f 50
        S k h 40 => k@50/50 ~ 50 | k@15/50 bdefh 50   # the old 15/35 was hidden when it was flushed",
    );
}

#[test]
fn windows_are_not_lost_while_the_cache_has_them() {
    let build = |builder: &StreamsBuilder| {
        let windows = TimeWindows::of_size_with_no_grace(TEN).advance_by(TEN / 2);
        let stream = builder.stream::<String, String>("S").group_by_key().windowed_by(windows);
        send(&stream.emit_strategy(EmitStrategy::on_window_close()).reduce(concat, "s"));
    };
    check_like_kafka(
        build,
        "
        S k a 7
        S k b 12 => k@0/10 a 7
        S k c 16 => k@5/15 ab 12
        S k d 30 => k@10/20 bc 16 | k@15/25 c 16",
    );
}

#[test]
fn grouped_tables_and_foreign_key_joins_with_caches() {
    let grouped = |builder: &StreamsBuilder| {
        let table = builder.table::<String, String>("S");
        let groups = table.group_by(|_, value| (value[..1].to_owned(), value.clone()));
        let add = |so_far: String, value: String| so_far + "+" + &value;
        let subtract = |so_far: String, value: String| so_far + "-" + &value;
        groups.reduce(add, subtract, "s").to_stream().to("out");
    };
    check_like_kafka(
        grouped,
        "
        S k a1 25 => a a1 25
        S k b1 15 => a a1-a1 25 | b b1 15
        S k a2 35 => b b1-b1 35 | a a1-a1+a2 35
        S k ~ 20 => a a1-a1+a2-a2 35
        S k ~ 21",
    );
    let foreign = |builder: &StreamsBuilder| {
        let (a, b) = (builder.table::<String, String>("A"), builder.table::<String, String>("B"));
        let key = |_: &String, value: &String| Some(value[..1].to_owned());
        let text = |text: Text| text.unwrap_or_else(|| "null".to_owned());
        let joined = a.left_join_on(&b, key, move |a, b| a + "+" + &text(b), "fk");
        joined.materialized("st").to_stream().to("out");
    };
    check_like_kafka(
        foreign,
        "
        A k f1 10 => k f1+null 10
        B f x 5 => k f1+x 5
        A k g1 12 => k g1+null 12
        A k ~ 11 => k ~ 11
        A k ~ 13
        A k f2 14 => k f2+x 14",
    );
}

#[test]
fn of_several_updates_in_a_commit_only_the_last_is_sent_in_their_order() {
    let expected = ["b y 2", "a xz 3", "c w 4"];
    check_commit(reduced, "S a x 1 | S b y 2 | S a z 3 | S c w 4", &expected);
    let without = |builder: &StreamsBuilder| {
        let stream = builder.stream::<String, String>("S").group_by_key();
        stream.reduce(concat, "s").to_stream().to("out");
    };
    let expected = ["a x 1", "b y 2", "a xz 3", "c w 4"];
    check_commit(without, "S a x 1 | S b y 2 | S a z 3 | S c w 4", &expected);
}

#[test]
fn the_old_value_is_the_one_that_was_sent_before() {
    let build = |builder: &StreamsBuilder| {
        let table = builder.stream::<String, String>("S").group_by_key();
        let latest = table.reduce(|_, new| new, cached("s"));
        let all = latest.group_by(|_, value| ("all".to_owned(), value.clone()));
        let add = |_: &String, value: String, so_far: String| so_far + "+" + &value;
        let subtract = |_: &String, value: String, so_far: String| so_far + "-" + &value;
        all.aggregate(String::new, add, subtract, "log").to_stream().to("out");
    };
    let driver = TopologyTestDriver::new(&topology(build)).unwrap();
    assert_eq!(commit(&driver, "S k a 1 | S k b 2"), ["all +b 2"]);
    assert_eq!(commit(&driver, "S k c 3 | S k d 4 | S k e 5"), ["all +b-b+e 5"]);
}

#[test]
fn a_row_that_has_come_and_gone_between_two_commits_is_never_sent() {
    let build = |builder: &StreamsBuilder| {
        let table = builder.table_with::<String, String>("T", cached("t"));
        table.to_stream().to("out");
    };
    let driver = TopologyTestDriver::new(&topology(build)).unwrap();
    assert_eq!(commit(&driver, "T k v 1 | T k ~ 2"), Vec::<String>::new());
    assert_eq!(commit(&driver, "T k v 3 | T q w 4"), ["k v 3", "q w 4"]);
    assert_eq!(commit(&driver, "T k x 7 | T k ~ 6"), ["k ~ 6"]);
    assert_eq!(driver.store_rows::<String, String>("t").unwrap().len(), 1);
}

#[test]
fn a_session_between_two_commits_is_never_sent_either() {
    let build = |builder: &StreamsBuilder| {
        let gap = SessionWindows::of_inactivity_gap_with_no_grace(TEN);
        let stream = builder.stream::<String, String>("S").group_by_key();
        send(&stream.windowed_by(gap).reduce(concat, cached("s")));
    };
    let driver = TopologyTestDriver::new(&topology(build)).unwrap();
    assert_eq!(commit(&driver, "S k a 0 | S k b 5 | S k c 9"), ["k@0/9 abc 9"]);
    // Flushed in the order of the last changes, the removal of what was sent first.
    assert_eq!(commit(&driver, "S k d 12 | S k e 13"), ["k@0/9 ~ 9", "k@0/13 abcde 13"]);
}

#[test]
fn windows_are_sent_with_their_largest_times() {
    let tumbling = |builder: &StreamsBuilder| {
        let windows = TimeWindows::of_size_and_grace(TEN, TEN);
        let stream = builder.stream::<String, String>("S").group_by_key();
        send(&stream.windowed_by(windows).reduce(concat, cached("s")));
    };
    let expected = ["k@0/10 ac 8", "k@10/20 bd 14"];
    check_commit(tumbling, "S k a 8 | S k b 14 | S k c 3 | S k d 11", &expected);
    let sliding = |builder: &StreamsBuilder| {
        let windows = SlidingWindows::of_time_difference_and_grace(TEN, TEN);
        let stream = builder.stream::<String, String>("S").group_by_key();
        send(&stream.windowed_by(windows).reduce(concat, cached("s")));
    };
    let expected = ["k@10/20 a 20", "k@21/31 b 25", "k@15/25 ab 25"];
    check_commit(sliding, "S k a 20 | S k b 25", &expected);
}

#[test]
fn a_small_budget_sends_all_that_a_cache_holds_back_when_the_eldest_has_to_go() {
    // One entry is 56 bytes: 1 of the key, 1 of the value and 8 of its time, 1 of the topic's name,
    // and 45 besides.
    let build = |builder: &StreamsBuilder| {
        let stream = builder.stream::<String, String>("S").group_by_key();
        stream.reduce(|_, new| new, cached("s")).to_stream().to("out");
    };
    let run = |bytes_max: usize| {
        let config = StreamsConfig::new("test").statestore_cache_max_bytes(bytes_max);
        let driver = TopologyTestDriver::with_config(&topology(build), config).unwrap();
        commit(&driver, "S a x 1 | S b x 2 | S c x 3 | S a y 4 | S a z 5")
    };
    assert_eq!(run(1_000), ["b x 2", "c x 3", "a z 5"]);
    assert_eq!(run(2 * 56), ["a x 1", "b x 2", "c x 3", "a z 5"]);
    // Not even one fits: each update is sent as it comes.
    assert_eq!(run(1), ["a x 1", "b x 2", "c x 3", "a y 4", "a z 5"]);
    assert_eq!(run(0), ["a x 1", "b x 2", "c x 3", "a y 4", "a z 5"]);
}

#[test]
fn a_store_and_the_topology_and_the_application_decide_about_the_cache() {
    let runs = |caching: bool, kept: fn() -> Materialized<String, String>, bytes_max: &str| {
        let builder = StreamsBuilder::with_config(TopologyConfig::new().caching_enabled(caching));
        let stream = builder.stream::<String, String>("S").group_by_key();
        stream.reduce(concat, kept()).to_stream().to("out");
        let config = StreamsConfig::new("test").set("statestore.cache.max.bytes", bytes_max);
        let driver =
            TopologyTestDriver::with_config(&builder.build().unwrap(), config.unwrap()).unwrap();
        commit(&driver, "S a x 1 | S a y 2").len()
    };
    assert_eq!(runs(false, || Materialized::named("s"), "1000"), 2);
    assert_eq!(runs(true, || Materialized::named("s"), "1000"), 1);
    assert_eq!(runs(true, || Materialized::named("s"), "0"), 2);
    assert_eq!(runs(true, || cached("s").with_caching_disabled(), "1000"), 2);
    assert_eq!(runs(false, || cached("s"), "1000"), 1);
    let error = StreamsConfig::new("test").set("statestore.cache.max.bytes", "much").unwrap_err();
    assert!(matches!(error, Error::InvalidConfig { .. }), "{error}");
}

#[test]
fn caches_below_each_other_are_flushed_by_one_commit() {
    let build = |builder: &StreamsBuilder| {
        let table = builder.table_with::<String, String>("T", cached("t"));
        let long = table.filter(|_, value| value.len() > 1).materialized(cached("long"));
        long.map_values(|value| value + "!").materialized(cached("loud")).to_stream().to("out");
    };
    let driver = TopologyTestDriver::new(&topology(build)).unwrap();
    assert_eq!(commit(&driver, "T a xx 1 | T b y 2 | T a zz 3"), ["a zz! 3"]);
    assert_eq!(commit(&driver, "T a z 4 | T c ww 5"), ["a ~ 4", "c ww! 5"]);
    let rows = driver.store_rows::<String, String>("loud").unwrap();
    assert_eq!(rows, [("c".to_owned(), "ww!".to_owned(), 5)]);
}

#[test]
fn a_join_sees_a_row_before_its_update_is_sent() {
    let build = |builder: &StreamsBuilder| {
        let table = builder.table_with::<String, String>("T", cached("t"));
        table.to_stream().to("out");
        let stream = builder.stream::<String, String>("S");
        stream.join_table(&table, |value, row| value + "+" + &row).to("out");
    };
    check_commit(
        build,
        "T k t1 1 | S k a 2 | T k t2 3 | S k b 4",
        &["k a+t1 2", "k b+t2 4", "k t2 3"],
    );
}

#[test]
fn a_failure_takes_back_what_was_held_and_is_that_of_the_record_behind_the_update() {
    let build = |builder: &StreamsBuilder| {
        let stream = builder.stream::<String, String>("S").group_by_key();
        let table = stream.reduce(concat, cached("s")).to_stream();
        table.peek(|_, value| assert!(value.as_deref() != Some("xy"), "no xy here")).to("out");
    };
    let config = StreamsConfig::new("test").processing_exception_handler(ErrorResponse::Skip);
    let driver = TopologyTestDriver::with_config(&topology(build), config).unwrap();
    let found = commit(&driver, "S a x 1 | S b v 2 | S a y 3 | S c w 4");
    assert_eq!(found, ["a x 1", "b v 2", "c w 4"], "without the record that made xy");
    assert_eq!(driver.metrics().unwrap().aborts, 1);
    assert_eq!(commit(&driver, "S a z 5 | S a z 6"), ["a xzz 6"]);
    let driver = TopologyTestDriver::new(&topology(build)).unwrap();
    driver.close();
    let input = driver.input_topic::<String, String>("S");
    for (value, time) in [("x", 1), ("y", 2)] {
        assert!(input.pipe_input_at("a", value, time).is_err());
    }
    let error = driver.restart().unwrap_err().to_string();
    assert!(error.starts_with("S-0@1 failed at KSTREAM-PEEK-"), "{error}");
}

#[test]
fn updates_have_the_headers_of_the_last_change_sessions_too() {
    let build = |builder: &StreamsBuilder| {
        let gap = SessionWindows::of_inactivity_gap_with_no_grace(TEN);
        let stream = builder.stream::<String, String>("S").group_by_key();
        send(&stream.windowed_by(gap).reduce(concat, cached("s")));
    };
    let driver = TopologyTestDriver::new(&topology(build)).unwrap();
    let headers = |value: &'static [u8]| Headers::from_pairs([("h", Some(value))]);
    let input = driver.input_topic::<String, String>("S");
    input.pipe_record(&TestRecord::new("k", "a", 1).with_headers(headers(b"1"))).unwrap();
    let out = driver.output_topic::<String, String>("out").unwrap().read_records().unwrap();
    assert_eq!(out, [TestRecord::new("k@1/1", "a", 1).with_headers(headers(b"1"))]);
}

#[test]
fn what_was_sent_survives_a_restart_as_the_old_value() {
    let driver = TopologyTestDriver::new(&topology(reduced)).unwrap();
    assert_eq!(commit(&driver, "S a x 1"), ["a x 1"]);
    driver.restart().unwrap();
    assert_eq!(commit(&driver, "S a y 2 | S a z 3"), ["a xyz 3"]);
    assert_eq!(
        driver.store_rows::<String, String>("s").unwrap(),
        [("a".to_owned(), "xyz".to_owned(), 3)]
    );
}

/// A topology with most kinds of cached stores, each sending to a topic of its own.
fn many(caching: bool) -> Topology {
    let config = TopologyConfig::new().caching_enabled(caching);
    let builder = StreamsBuilder::with_config(config);
    let stream = builder.stream::<String, String>("S");
    let grouped = stream.group_by_key();
    let latest = grouped.reduce(|_, new| new, "latest");
    latest.to_stream().to("out-latest");
    let by_value = latest.group_by(|key, value| (value.clone(), key.clone()));
    by_value
        .count("by-value")
        .to_stream()
        .map_values(|n| n.map(|n| n.to_string()))
        .to("out-values");
    let windows = TimeWindows::of_size_and_grace(TEN, TEN).advance_by(TEN / 2);
    let kept = || Materialized::named("hops").with_retention(Duration::from_secs(9));
    let hops = grouped.windowed_by(windows).reduce(concat, kept());
    hops.to_stream().map(|key, value| (key.to_string(), value)).to("out-hops");
    let gap = SessionWindows::of_inactivity_gap_and_grace(TEN, TEN);
    let kept = Materialized::named("sessions").with_retention(Duration::from_secs(9));
    let sessions = grouped.windowed_by(gap).reduce(concat, kept);
    sessions.to_stream().map(|key, value| (key.to_string(), value)).to("out-sessions");
    let big = latest.filter(|_, value| value.as_str() > "m").materialized("big");
    big.to_stream().to("out-big");
    builder.build().unwrap()
}

const OUTPUTS: [&str; 5] = ["out-latest", "out-values", "out-hops", "out-sessions", "out-big"];

#[test]
fn the_last_update_of_each_key_is_the_same_with_any_cache_and_any_commits() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let input: Vec<(String, String, i64)> = (0..200_i64)
        .map(|n| {
            let key = random.choice(["a", "b", "c", "d"]).unwrap().to_owned();
            (key, random.lowercase().to_string(), (n * 2 - random.i64(0..20)).max(0))
        })
        .collect();
    let run = |caching: bool, bytes_max: usize, together: usize| {
        let config = StreamsConfig::new("test").statestore_cache_max_bytes(bytes_max);
        let driver = TopologyTestDriver::with_config(&many(caching), config).unwrap();
        let topic = driver.input_topic::<String, String>("S");
        for records in input.chunks(together) {
            driver.close();
            for (key, value, time) in records {
                assert!(topic.pipe_input_at(key.clone(), value.clone(), *time).is_err());
            }
            driver.restart().unwrap();
        }
        let mut sent = 0;
        let last = OUTPUTS.map(|topic| {
            let out = driver.output_topic::<Text, Text>(topic).unwrap().read_timed().unwrap();
            sent += out.len();
            let mut last: BTreeMap<Text, Text> = BTreeMap::new();
            for (key, value, _) in out {
                // A count of 0 is sent only if a commit has fallen on one of the group before.
                match value.as_deref() {
                    Some("0") | None => drop(last.remove(&key)),
                    Some(_) => drop(last.insert(key, value)),
                }
            }
            last
        });
        (last, sent)
    };
    let (expected, all) = run(false, 0, 1);
    for (bytes_max, together) in [(10_000_000, 200), (10_000_000, 7), (600, 200), (100, 50)] {
        let (found, sent) = run(true, bytes_max, together);
        for ((topic, found), expected) in OUTPUTS.iter().zip(found).zip(&expected) {
            let what = format!("seed {seed}, {bytes_max} bytes, {together} records a commit");
            assert_eq!(found, *expected, "{topic}, {what}");
        }
        assert!(sent < all, "{sent} of {all} updates, {bytes_max} bytes");
    }
}

#[test]
fn a_replay_holds_nothing_back_whenever_it_commits() {
    let log: Arc<dyn Log> = Arc::new(LogStore::in_memory().unwrap());
    for topic in ["S", "out"] {
        log.create_topic(&NewTopic::new(topic)).unwrap();
    }
    let mut producer = log.producer(&ProducerConfig::default()).unwrap();
    for value in ["x", "y", "z"] {
        let (key, value) = (Some("k".as_bytes()), Some(value.as_bytes()));
        let _receipt =
            producer.send(&ProducerRecord { key, value, ..ProducerRecord::to("S") }).unwrap();
    }
    producer.flush().unwrap();
    let topology = topology(reduced);
    let out = TopicPartition::new(TopicName::new("out").unwrap(), PartitionId::new(0));
    let run = || {
        let before = log.watermarks(&out).unwrap().end;
        let streams = Streams::new(&topology, StreamsConfig::new("app"), Arc::clone(&log));
        streams.start().unwrap();
        streams.wait_until_caught_up().unwrap();
        streams.close().unwrap();
        log.watermarks(&out).unwrap().end - before
    };
    assert_eq!(run(), 1, "one update in the only commit");
    Reset::new(&topology, &StreamsConfig::new("app")).plan(&log).unwrap().execute(&log).unwrap();
    assert_eq!(run(), 3);
}
