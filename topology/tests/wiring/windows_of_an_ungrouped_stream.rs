//! Windows are windows of a key.
use headwater_topology::{StreamsBuilder, TimeWindows};
use std::time::Duration;

fn main() {
    let builder = StreamsBuilder::new();
    let minutes = TimeWindows::of_size_with_no_grace(Duration::from_secs(60));
    let _ = builder.stream::<String, String>("words").windowed_by(minutes);
}
