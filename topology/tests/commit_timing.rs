//! Results do not depend on when commits and restarts happen: the same random records give the same
//! results one by one, all in one transaction, and with restarts in between.
#![allow(clippy::unwrap_used, reason = "the helpers of a test fail it by panicking")]

use std::time::Duration;

use headwater_topology::{
    BufferConfig, EmitStrategy, JoinWindows, KGroupedStream, KStream, KTable, SessionWindow,
    SessionWindows, SlidingWindows, StreamsBuilder, Suppressed, TimeWindows, Topology,
    TopologyConfig, TopologyTestDriver, Windowed,
};

type Text = Option<String>;
type Records = Vec<(String, Text, i64)>;

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn concat(_: &String, value: String, so_far: String) -> String {
    so_far + &value
}

fn hopping() -> TimeWindows {
    TimeWindows::of_size_and_grace(millis(10), millis(5)).advance_by(millis(4))
}

fn sliding() -> SlidingWindows {
    SlidingWindows::of_time_difference_and_grace(millis(8), millis(5))
}

fn sessions() -> SessionWindows {
    SessionWindows::of_inactivity_gap_and_grace(millis(4), millis(3))
}

fn send(table: &KTable<Windowed<String>, String>) {
    table.to_stream().map(|key, value| (key.to_string(), value)).to("out");
}

fn send_sessions(table: &KTable<Windowed<String, SessionWindow>, String>) {
    table.to_stream().map(|key, value| (key.to_string(), value)).to("out");
}

/// Each operator with state of its own below one topic.
fn build(operator: usize, stream: &KStream<String, String>) {
    let grouped: KGroupedStream<String, String> = stream.group_by_key();
    let (close, join) =
        (EmitStrategy::on_window_close(), |_: &String, one: String, other: String| one + &other);
    let last = || Suppressed::until_window_closes(BufferConfig::unbounded());
    match operator {
        0 => send(&grouped.windowed_by(hopping()).aggregate(String::new, concat, "s")),
        1 => {
            let windowed = grouped.windowed_by(hopping()).emit_strategy(close);
            send(&windowed.aggregate(String::new, concat, "s"));
        }
        2 => send(&grouped.windowed_by(sliding()).aggregate(String::new, concat, "s")),
        3 => {
            let windowed = grouped.windowed_by(sliding()).emit_strategy(close);
            send(&windowed.aggregate(String::new, concat, "s"));
        }
        4 => send_sessions(&grouped.windowed_by(sessions()).aggregate(
            String::new,
            concat,
            join,
            "s",
        )),
        5 => {
            let windowed = grouped.windowed_by(sessions()).emit_strategy(close);
            send_sessions(&windowed.aggregate(String::new, concat, join, "s"));
        }
        6 => {
            let table = grouped.windowed_by(hopping()).aggregate(String::new, concat, "s");
            send(&table.suppress(last(), "last"));
        }
        7 => {
            let table = grouped.windowed_by(sessions()).aggregate(String::new, concat, join, "s");
            send_sessions(&table.suppress(last(), "last"));
        }
        8 => {
            let even = stream.filter(|_, value| value.as_str() < "m");
            let odd = stream.filter_not(|_, value| value.as_str() < "m");
            let windows = JoinWindows::of_time_difference_and_grace(millis(6), millis(2));
            let joiner = |left: Text, right: Text| format!("{left:?}+{right:?}");
            even.outer_join(&odd, joiner, windows, "j").to("out");
        }
        9 => {
            let early = BufferConfig::max_records(2);
            let table = stream.to_table::<String>("rows");
            table
                .suppress(Suppressed::until_time_limit(millis(6), early), "calm")
                .to_stream()
                .to("out");
        }
        _ => {
            let counts = grouped.cogroup(concat).cogroup(
                &stream.filter(|_, value| value.as_str() < "m").group_by_key(),
                |_, value, so_far: String| format!("{so_far}[{value}]"),
            );
            send(&counts.windowed_by(hopping()).aggregate(String::new, "s"));
        }
    }
}

const OPERATORS: usize = 11;

fn topology(operator: usize, kafka_compat: bool) -> Topology {
    let builder = StreamsBuilder::with_config(TopologyConfig::new().kafka_compat(kafka_compat));
    build(operator, &builder.stream::<String, String>("S"));
    builder.build().unwrap()
}

/// Records of three keys whose times go forward, with some that are late, and now and then a jump.
fn input(random: &mut fastrand::Rng) -> Vec<(String, String, i64)> {
    let mut stream_ms = 0;
    (0..60)
        .map(|_| {
            stream_ms += if random.u8(..20) == 0 { random.i64(10..60) } else { random.i64(0..4) };
            let time_ms = (stream_ms - random.i64(0..4) * random.i64(0..8)).max(0);
            let key = random.choice(["a", "b", "c"]).unwrap();
            (key.to_owned(), random.lowercase().to_string(), time_ms)
        })
        .collect()
}

/// Pipes the records; the application is closed before the first one, and started again after as
/// many as `restart_every` says.
fn run(topology: &Topology, input: &[(String, String, i64)], restart_every: usize) -> Records {
    let driver = TopologyTestDriver::new(topology).unwrap();
    let topic = driver.input_topic::<String, String>("S");
    for records in input.chunks(restart_every) {
        driver.close();
        for (key, value, time_ms) in records {
            let piped = topic.pipe_input_at(key.clone(), value.clone(), *time_ms);
            assert!(piped.is_err(), "the record lies in the log, and the application is closed");
        }
        driver.restart().unwrap();
    }
    driver.output_topic::<String, Text>("out").unwrap().read_timed().unwrap()
}

fn one_by_one(topology: &Topology, input: &[(String, String, i64)]) -> Records {
    let driver = TopologyTestDriver::new(topology).unwrap();
    let topic = driver.input_topic::<String, String>("S");
    for (key, value, time_ms) in input {
        topic.pipe_input_at(key.clone(), value.clone(), *time_ms).unwrap();
    }
    driver.output_topic::<String, Text>("out").unwrap().read_timed().unwrap()
}

#[test]
fn results_do_not_depend_on_commits_and_restarts() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    for round in 0..6 {
        let input = input(&mut random);
        for operator in 0..OPERATORS {
            for kafka_compat in [false, true] {
                let topology = topology(operator, kafka_compat);
                let expected = one_by_one(&topology, &input);
                assert!(
                    kafka_compat || round > 0 || !expected.is_empty(),
                    "operator {operator} has no results"
                );
                // Kafka Streams' operators forget their times with a restart, and so differ then.
                let restarts = if kafka_compat { vec![input.len()] } else { vec![input.len(), 7] };
                for restart_every in restarts {
                    let found = run(&topology, &input, restart_every);
                    assert_eq!(
                        found, expected,
                        "operator {operator}, compat {kafka_compat}, seed {seed}, round {round}, \
                         a restart every {restart_every} records of {input:?}"
                    );
                }
            }
        }
    }
}
