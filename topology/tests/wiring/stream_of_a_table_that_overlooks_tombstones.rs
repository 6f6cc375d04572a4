//! The stream of a table has removals in it.
use headwater_topology::StreamsBuilder;

fn main() {
    let builder = StreamsBuilder::new();
    let users = builder.table::<String, String>("users");
    let _ = users.to_stream().map_values(|user: String| user.len() as u64);
}
