//! Cogrouped streams share their keys.
use headwater_topology::StreamsBuilder;

fn main() {
    let builder = StreamsBuilder::new();
    let words = builder.stream::<String, String>("words").group_by_key();
    let numbers = builder.stream::<i64, String>("numbers").group_by_key();
    let add = |_: &String, value: String, so_far: String| so_far + &value;
    let also = |_: &i64, value: String, so_far: String| so_far + &value;
    let _ = words.cogroup(add).cogroup(&numbers, also);
}
