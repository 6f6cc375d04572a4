//! `suppress`: what Kafka Streams 4.3.1 gives for the same records, its record cache off, and where
//! Headwater gives one final result instead of two.
#![allow(clippy::unwrap_used, reason = "the helpers of a test fail it by panicking")]

#[path = "script/runner.rs"]
mod runner;

use std::time::Duration;

use headwater_topology::{
    BufferConfig, BuildError, Error, Headers, KGroupedStream, KTable, Materialized, SessionWindow,
    SessionWindows, SlidingWindows, StreamsBuilder, Suppressed, TestRecord, TimeWindows,
    TopologyTestDriver, Windowed,
};
use runner::{build_error, check, check_compat};

type Text = Option<String>;

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn grouped(builder: &StreamsBuilder) -> KGroupedStream<String, String> {
    builder.stream::<String, String>("S").group_by_key()
}

fn concat(_: &String, value: String, so_far: String) -> String {
    so_far + &value
}

fn send<W: std::fmt::Display + std::hash::Hash + Eq + Clone + Send + 'static>(
    table: &KTable<Windowed<String, W>, String>,
) {
    table.to_stream().map(|windowed, value| (windowed.to_string(), value)).to("out");
}

/// Final texts of tumbling windows.
fn tumbling(size_ms: u64, grace_ms: u64) -> impl Fn(&StreamsBuilder) {
    move |builder| {
        let windows = TimeWindows::of_size_and_grace(millis(size_ms), millis(grace_ms));
        let last = Suppressed::until_window_closes(BufferConfig::unbounded());
        let texts = grouped(builder).windowed_by(windows).aggregate(String::new, concat, "texts");
        send(&texts.suppress(last, "last"));
    }
}

fn sessions(gap_ms: u64, retention_ms: u64) -> impl Fn(&StreamsBuilder) {
    move |builder| {
        let windows = SessionWindows::of_inactivity_gap_with_no_grace(millis(gap_ms));
        let last = Suppressed::until_window_closes(BufferConfig::unbounded());
        let kept = Materialized::named("texts").with_retention(millis(retention_ms));
        let texts: KTable<Windowed<String, SessionWindow>, String> = grouped(builder)
            .windowed_by(windows)
            .aggregate(String::new, concat, |_, one, other| one + &other, kept);
        send(&texts.suppress(last, "last"));
    }
}

#[test]
fn a_window_has_one_result_once_it_is_closed() {
    let script = "
        S k a 1
        S k b 9
        S q c 3
        S k d 2
        S k x 14
        S k e 15 => k@0/10 abd 9 | q@0/10 c 3";
    check(tumbling(10, 5), script);
    check_compat(tumbling(10, 5), script);
    let exclusive = "
        S k a 5
        S q x 9
        S q x 10 => k@0/10 a 5 | q@0/10 x 9
        S k b 5";
    check(tumbling(10, 0), exclusive);
    check_compat(tumbling(10, 0), exclusive);
}

#[test]
fn counts_of_windows_agree_with_kafka_streams() {
    let time = |builder: &StreamsBuilder| {
        let windows = TimeWindows::of_size_and_grace(millis(2), millis(1));
        let last = Suppressed::until_window_closes(BufferConfig::unbounded());
        let counts = grouped(builder).windowed_by(windows).count("counts").suppress(last, "last");
        send(&counts.map_values(|count| count.to_string()));
    };
    check(
        time,
        "
        S k1 v1 0
        S k1 v1 1
        S k1 v1 2
        S k1 v1 1
        S k1 v1 0
        S k1 v1 5 => k1@0/2 4 1 | k1@2/4 1 2
        S k1 v1 0",
    );
    let session = |builder: &StreamsBuilder| {
        let windows = SessionWindows::of_inactivity_gap_with_no_grace(millis(5));
        let last = Suppressed::until_window_closes(BufferConfig::unbounded());
        let counts = grouped(builder).windowed_by(windows).count("counts").suppress(last, "last");
        send(&counts.map_values(|count| count.to_string()));
    };
    check(
        session,
        "
        S k1 v1 0
        S k1 v1 5
        S k1 v1 1
        S k2 v1 11 => k1@0/5 3 5
        S k1 v1 5
        S k1 v1 30 => k2@11/11 1 11",
    );
    let sliding = |builder: &StreamsBuilder| {
        let windows = SlidingWindows::of_time_difference_and_grace(millis(5), millis(15));
        let last = Suppressed::until_window_closes(BufferConfig::unbounded());
        let counts = grouped(builder).windowed_by(windows).count("counts").suppress(last, "last");
        send(&counts.map_values(|count| count.to_string()));
    };
    check(
        sliding,
        "
        S k1 v1 10
        S k1 v1 11
        S k1 v1 10
        S k1 v1 13
        S k1 v1 10
        S k1 v1 24
        S k1 v1 5
        S k1 v1 7
        S k1 v1 90 => k1@5/10 5 10 | k1@6/11 5 11 | k1@8/13 5 13 | k1@11/16 2 13 | k1@12/17 1 13 | k1@19/24 1 24",
    );
}

#[test]
fn the_tombstones_of_joined_sessions_are_no_results() {
    let script = "
        S k a 0
        S k b 5
        S k c 15
        S k d 26 => k@0/15 abc 15
        S k e 40 => k@26/26 d 26";
    check(sessions(10, 10), script);
    check_compat(sessions(10, 10), script);
}

#[test]
fn a_session_has_two_final_results_in_kafka_streams_but_one_here() {
    check_compat(
        sessions(10, 1_000),
        "
        S k a 0
        S k b 10
        S q x 19
        S q y 20 => k@0/10 ab 10
        S k c 10 => k@0/10 abc 10
        S q z 40 => q@19/20 xy 20",
    );
    check(
        sessions(10, 1_000),
        "
        S k a 0
        S k b 10
        S q x 19
        S q y 20
        S k c 10
        S q z 40 => k@0/10 abc 10 | q@19/20 xy 20",
    );
}

#[test]
fn a_sliding_window_has_two_final_results_in_kafka_streams_but_one_here() {
    let build = |builder: &StreamsBuilder| {
        let windows = SlidingWindows::of_time_difference_with_no_grace(millis(10));
        let last = Suppressed::until_window_closes(BufferConfig::unbounded());
        let texts = grouped(builder).windowed_by(windows).aggregate(String::new, concat, "texts");
        send(&texts.suppress(last, "last"));
    };
    check_compat(build, "S k a 20 => k@10/20 a 20\n S k b 20 => k@10/20 ab 20");
    check(build, "S k a 20\n S k b 20\n S k c 21 => k@10/20 ab 20");
}

fn limited<F: headwater_topology::WhenFull>(
    wait: Duration,
    buffer: impl Fn() -> BufferConfig<F>,
) -> impl Fn(&StreamsBuilder) {
    move |builder| {
        let table = builder.table_with::<String, String>("T", "rows");
        let calm = table.suppress(Suppressed::until_time_limit(wait, buffer()), "calm");
        calm.to_stream().to("out");
    }
}

#[test]
fn a_time_limit_counts_from_the_first_update_and_sends_the_last() {
    check(
        limited(millis(10), BufferConfig::unbounded),
        "
        T a 1 0
        T a 2 5
        T b 1 8
        T c 1 10 => a 2 5
        T b ~ 11
        T d 1 18 => b ~ 11
        T a 9 3 => a 9 3
        T e 1 40 => c 1 10 | d 1 18",
    );
    check(
        limited(Duration::ZERO, BufferConfig::unbounded),
        "
        T a 1 5 => a 1 5
        T b 1 3 => b 1 3
        T a ~ 4 => a ~ 4",
    );
}

#[test]
fn a_full_buffer_sends_its_oldest_updates_early() {
    check(
        limited(millis(1_000), || BufferConfig::max_records(2)),
        "
        T a 1 5
        T b 1 3
        T c 1 9 => b 1 3
        T a 2 10
        T d 1 11 => a 2 10
        T e 1 12 => c 1 9",
    );
    // The place of an update is 8 bytes of time and the key; here each takes 40 or so in all.
    check(
        limited(millis(1_000), || BufferConfig::max_bytes(60).emit_early_when_full()),
        "T a 1 5\n T b 1 3 => b 1 3\n T a 2 6\n T c 1 9 => a 2 6",
    );
}

/// What an update of a one-letter key takes in a buffer of the table `T`.
fn update_bytes() -> u64 {
    let builder = StreamsBuilder::new();
    limited(millis(1_000), || BufferConfig::max_bytes(1).shut_down_when_full())(&builder);
    let driver = TopologyTestDriver::new(&builder.build().unwrap()).unwrap();
    match driver.input_topic::<String, String>("T").pipe_input_at("a", "1", 5).unwrap_err() {
        Error::BufferFull { bytes, .. } => bytes,
        other => panic!("another error: {other}"),
    }
}

#[test]
fn a_buffer_is_full_when_it_has_more_bytes_than_it_may_have_and_not_as_many() {
    let two = 2 * update_bytes();
    let exactly = move || BufferConfig::max_bytes(two).emit_early_when_full();
    check(limited(millis(1_000), exactly), "T a 1 5\n T b 1 3");
    let one_less = move || BufferConfig::max_bytes(two - 1).emit_early_when_full();
    check(limited(millis(1_000), one_less), "T a 1 5\n T b 1 3 => b 1 3");
}

fn counts_by_value(builder: &StreamsBuilder) -> KTable<String, i64> {
    let by_value = builder.table_with::<String, String>("T", "rows");
    by_value.group_by(|key, value| (value.clone(), key.clone())).count("counts")
}

#[test]
fn counts_of_a_table_agree_with_kafka_streams() {
    let suppressed = |suppress: fn(&KTable<String, i64>) -> KTable<String, i64>| {
        move |builder: &StreamsBuilder| {
            let table = suppress(&counts_by_value(builder));
            table.map_values(|count| count.to_string()).to_stream().to("out");
        }
    };
    let at_once = suppressed(|counts| {
        let none = Suppressed::until_time_limit(Duration::ZERO, BufferConfig::unbounded());
        counts.suppress(none, "calm")
    });
    check(
        at_once,
        "
        T k1 v1 0 => v1 1 0
        T k1 v2 1 => v1 0 1 | v2 1 1
        T k2 v1 2 => v1 1 2
        T x x 3 => x 1 3
        T x y 4 => x 0 4 | y 1 4",
    );
    let for_two = suppressed(|counts| {
        counts.suppress(Suppressed::until_time_limit(millis(2), BufferConfig::unbounded()), "calm")
    });
    check(
        for_two,
        "
        T k1 v1 0
        T k1 v2 1
        T k2 v1 2 => v1 1 2
        T tick tick 3 => v2 1 1
        T tick tock 4",
    );
    let of_one = suppressed(|counts| {
        let one = BufferConfig::max_records(1).emit_early_when_full();
        counts.suppress(Suppressed::until_time_limit(Duration::MAX, one), "calm")
    });
    check(
        of_one,
        "
        T k1 v1 0
        T k1 v2 1 => v1 0 1
        T k2 v1 2 => v2 1 1
        T x x 3 => v1 1 2",
    );
}

#[test]
fn a_strict_buffer_stops_the_application_when_it_is_full() {
    let builder = StreamsBuilder::new();
    limited(millis(1_000), || BufferConfig::max_records(1).shut_down_when_full())(&builder);
    let driver = TopologyTestDriver::new(&builder.build().unwrap()).unwrap();
    let input = driver.input_topic::<String, String>("T");
    input.pipe_input_at("a", "1", 1).unwrap();
    match input.pipe_input_at("b", "1", 2).unwrap_err() {
        Error::BufferFull { store, records, .. } => {
            assert_eq!((store.as_str(), records), ("calm-store", 2));
        }
        other => panic!("another error: {other}"),
    }
}

#[test]
fn what_is_held_back_survives_a_restart_with_its_time_and_headers() {
    check(
        tumbling(10, 0),
        "
        S k a 1
        restart
        S k b 5
        restart
        S q c 11 => k@0/10 ab 5
        restart
        S q d 12
        S q e 20 => q@10/20 cd 12",
    );
    check(
        limited(millis(10), BufferConfig::unbounded),
        "
        T a 1 0
        T b ~ 20 => a 1 0
        restart
        T c 3 5 => c 3 5
        T d 4 40 => b ~ 20",
    );
    let builder = StreamsBuilder::new();
    limited(millis(10), BufferConfig::unbounded)(&builder);
    let driver = TopologyTestDriver::new(&builder.build().unwrap()).unwrap();
    let headers = Headers::from_pairs([("h", Some(&b"1"[..])), ("none", None)]);
    let record = TestRecord::new("a", "1", 1).with_headers(headers.clone());
    driver.input_topic::<String, String>("T").pipe_record(&record).unwrap();
    driver.restart().unwrap();
    driver.input_topic::<String, String>("T").pipe_input_at("b", "2", 30).unwrap();
    let out = driver.output_topic::<String, Text>("out").unwrap().read_records().unwrap();
    let expected = TestRecord::new("a", Some("1".to_owned()), 1).with_headers(headers);
    assert_eq!(out.first(), Some(&expected));
}

#[test]
fn a_join_sees_what_was_sent_of_a_key_that_is_held_back() {
    let build = |builder: &StreamsBuilder| {
        let left = builder.table::<String, String>("L");
        let right = builder.table_with::<String, String>("T", "rows");
        let wait = Suppressed::until_time_limit(millis(10), BufferConfig::unbounded());
        let joiner = |left: Option<String>, right: Option<String>| {
            let or_null = |side: Option<String>| side.unwrap_or_else(|| "null".to_owned());
            format!("({},{})", or_null(left), or_null(right))
        };
        left.outer_join(&right.suppress(wait, "calm"), joiner).to_stream().to("out");
    };
    check(
        build,
        "
        T B 1 0
        T A 1 0
        T tick tick 10 => A (null,1) 0 | B (null,1) 0
        T A 2 11
        L A a 12 => A (a,1) 12
        L B b 12 => B (b,1) 12
        L A b 13 => A (b,1) 13
        T tick tick1 21 => tick (null,tick1) 21 | A (b,2) 13",
    );
}

#[test]
fn windows_have_to_come_from_somewhere() {
    let error = build_error(|builder| {
        let last = Suppressed::until_window_closes(BufferConfig::unbounded());
        let _ = builder.table::<Windowed<String>, String>("T").suppress(last, "last");
    });
    let BuildError::InvalidOption { what, reason } = error else {
        panic!("another error: {error}")
    };
    assert_eq!(what, "suppression last");
    assert_eq!(reason, "no windowed aggregation above says when windows close");
}
