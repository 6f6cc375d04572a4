//! A record may join two sessions, whose aggregates then have to be merged.
use headwater_topology::{SessionWindows, StreamsBuilder};
use std::time::Duration;

fn main() {
    let builder = StreamsBuilder::new();
    let gap = SessionWindows::of_inactivity_gap_with_no_grace(Duration::from_secs(60));
    let clicks = builder.stream::<String, String>("clicks").group_by_key().windowed_by(gap);
    clicks.aggregate(|| 0_i64, |_, _, clicks| clicks + 1, "sessions");
}
