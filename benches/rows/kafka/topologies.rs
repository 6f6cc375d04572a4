//! The topologies, as `benches/kafka-streams` has them in `OnBrokerTopologies`, and what they are to
//! reach.

use std::sync::Arc;
use std::time::Duration;

use headwater_topology::{
    DefaultSerde, JoinWindows, KStream, Produced, StreamsBuilder, TimeWindowedSerde, TimeWindows,
    Topology,
};

const WINDOW: Duration = Duration::from_secs(60);
const WITHIN: Duration = Duration::from_secs(1);

/// A topology of the rows.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// As the rows call it.
    pub name: &'static str,
    /// As the programs call it.
    pub id: &'static str,
    /// Its input topics, to be put behind a prefix.
    pub topics: &'static [&'static str],
    /// Whether it has stores to restore.
    pub has_stores: bool,
}

/// All of them, in the order of the rows.
pub const CASES: [Case; 5] = [
    Case { name: "filter-map", id: "filter-map", topics: &["in"], has_stores: false },
    Case { name: "word count, a word", id: "words", topics: &["in"], has_stores: true },
    Case { name: "tumbling window count", id: "tumbling", topics: &["in"], has_stores: true },
    Case {
        name: "stream-table join",
        id: "stream-table",
        topics: &["table", "in"],
        has_stores: true,
    },
    Case {
        name: "stream-stream join",
        id: "stream-stream",
        topics: &["left", "right"],
        has_stores: true,
    },
];

/// The topology of that id, between topics with a prefix and that output.
pub fn topology(id: &str, prefix: &str, output: &str) -> Topology {
    let builder = StreamsBuilder::new();
    let topic = |name: &str| format!("{prefix}{name}");
    let numbers = |name: &str| -> KStream<String, i64> { builder.stream(topic(name)) };
    match id {
        "filter-map" => {
            let chain = numbers("in").filter(|_, value| value % 10 != 0);
            drop(chain.map(|key, value| (key, value * 3 + 1)).to(output));
        }
        "words" => {
            let lines = builder.stream::<String, String>(topic("in"));
            let words = lines
                .flat_map_values(|line| line.split(' ').map(str::to_owned).collect::<Vec<_>>());
            let counts = words.group_by_with(|_, word| word.clone(), "words").count("counts");
            drop(counts.to_stream().to(output));
        }
        "tumbling" => {
            let windows = TimeWindows::of_size_with_no_grace(WINDOW);
            let counts = numbers("in").group_by_key().windowed_by(windows).count("counts");
            let keys = TimeWindowedSerde::new(String::default_serde(), WINDOW);
            let produced = Produced::with(Arc::new(keys), <Option<i64>>::default_serde());
            drop(counts.to_stream().to_with(output, produced));
        }
        "stream-table" => {
            let table = builder.table::<String, String>(&topic("table"));
            let joined = numbers("in").join_table(&table, |value, row| format!("{row}: {value}"));
            drop(joined.to(output));
        }
        "stream-stream" => {
            let windows = JoinWindows::of_time_difference_with_no_grace(WITHIN);
            let (left, right) = (numbers("left"), numbers("right"));
            let pairs = left.join(&right, |left, right| left * 1_000 + right, windows, "pairs");
            drop(pairs.to(output));
        }
        other => panic!("no topology {other:?}"),
    }
    builder.build().unwrap()
}
