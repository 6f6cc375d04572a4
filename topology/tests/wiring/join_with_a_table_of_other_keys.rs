//! A stream looks rows up by its own key.
use headwater_topology::StreamsBuilder;

fn main() {
    let builder = StreamsBuilder::new();
    let users = builder.table::<i64, String>("users");
    let clicks = builder.stream::<String, String>("clicks");
    let _ = clicks.join_table(&users, |click, user: String| format!("{click} {user}"));
}
