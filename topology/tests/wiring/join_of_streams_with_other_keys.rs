//! Streams are joined by their keys, which have one type.
use headwater_topology::{JoinWindows, StreamsBuilder};
use std::time::Duration;

fn main() {
    let builder = StreamsBuilder::new();
    let by_name = builder.stream::<String, i64>("by-name");
    let by_number = builder.stream::<i64, i64>("by-number");
    let windows = JoinWindows::of_time_difference_with_no_grace(Duration::from_secs(1));
    let _ = by_name.join(&by_number, |a, b| a + b, windows, "sums");
}
