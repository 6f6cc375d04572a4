//! `TopologyConfig::kafka_compat`: where Headwater's results differ from Kafka Streams' on purpose, and
//! how they are the same with the switch. What else it brings back is shown where the operators are
//! tested: lost windows in `windows.rs`, `sliding.rs` and `sessions.rs`, two final results in
//! `suppress.rs`, null keys that fail in `joins_with_grace.rs`.
#![allow(clippy::unwrap_used, reason = "the helpers of a test fail it by panicking")]

#[allow(dead_code, reason = "not every test needs all of it")]
#[path = "script/runner.rs"]
mod runner;

use std::time::Duration;

use headwater_topology::{
    BufferConfig, JoinWindows, KTable, Materialized, SessionWindows, SlidingWindows,
    StreamsBuilder, Suppressed, TimeWindows, Windowed,
};
use runner::{check, check_compat};

const TEN: Duration = Duration::from_millis(10);

/// Sends a windowed table to topic `out` with keys as text.
fn send<W>(table: &KTable<Windowed<String, W>, String>)
where
    Windowed<String, W>: Clone + Send + ToString + std::hash::Hash + Eq,
    W: 'static,
{
    table.to_stream().map(|windowed, value| (windowed.to_string(), value)).to("out");
}

/// Kept so long that the stores hide nothing here.
fn kept() -> Materialized<String, String> {
    Materialized::named("rows").with_retention(Duration::from_secs(1))
}

/// Runs both: the records before a restart, the one after it that was late, and its result in Kafka
/// Streams, where Headwater has another one.
fn check_restart(
    build: impl Fn(&StreamsBuilder),
    before: &str,
    late: &str,
    ours: &str,
    theirs: &str,
) {
    check(&build, &format!("{before}\n restart\n {late} {ours}"));
    check_compat(&build, &format!("{before}\n restart\n {late} {theirs}"));
}

#[test]
fn windows_stay_closed_through_a_restart() {
    let tumbling = |builder: &StreamsBuilder| {
        let windows = TimeWindows::of_size_with_no_grace(TEN);
        let stream = builder.stream::<String, String>("S").group_by_key();
        send(&stream.windowed_by(windows).reduce(|a, b| a + &b, kept()));
    };
    let before = "S k a 1 => k@0/10 a 1\n S k b 10 => k@10/20 b 10\n S k c 2";
    check_restart(tumbling, before, "S k d 3", "", "=> k@0/10 ad 3");
}

#[test]
fn sliding_windows_stay_closed_through_a_restart() {
    let sliding = |builder: &StreamsBuilder| {
        let windows = SlidingWindows::of_time_difference_with_no_grace(TEN);
        let stream = builder.stream::<String, String>("S").group_by_key();
        send(&stream.windowed_by(windows).reduce(|a, b| a + &b, kept()));
    };
    check_restart(sliding, "S k a 50 => k@40/50 a 50", "S k b 20", "", "=> k@10/20 b 20");
}

#[test]
fn sessions_stay_closed_through_a_restart() {
    let sessions = |builder: &StreamsBuilder| {
        let windows = SessionWindows::of_inactivity_gap_with_no_grace(TEN);
        let stream = builder.stream::<String, String>("S").group_by_key();
        send(&stream.windowed_by(windows).reduce(|a, b| a + &b, kept()));
    };
    check_restart(sessions, "S k a 30 => k@30/30 a 30", "S k b 5", "", "=> k@5/5 b 5");
}

#[test]
fn a_suppression_knows_its_time_after_a_restart() {
    let held = |builder: &StreamsBuilder| {
        let limit = Suppressed::until_time_limit(TEN, BufferConfig::unbounded());
        let table = builder.table::<String, String>("T").suppress(limit, "held");
        table.to_stream().to("out");
    };
    check_restart(held, "T a 1 20", "T b 1 10", "=> b 1 10", "");
}

#[test]
fn an_outer_join_knows_its_time_after_a_restart() {
    let outer = |builder: &StreamsBuilder| {
        let left = builder.stream::<String, String>("L");
        let right = builder.stream::<String, String>("R");
        let windows = JoinWindows::of_time_difference_with_no_grace(TEN);
        let text = |text: Option<String>| text.unwrap_or_else(|| "null".to_owned());
        left.outer_join(&right, move |l, r| text(l) + "+" + &text(r), windows, "j").to("out");
    };
    check_restart(outer, "L k A 40", "L k B 20", "=> k B+null 20", "");
}
