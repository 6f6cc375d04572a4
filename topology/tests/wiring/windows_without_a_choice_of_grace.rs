//! How late a record may be is said for each kind of window.
use headwater_topology::TimeWindows;
use std::time::Duration;

fn main() {
    let _ = TimeWindows::of_size(Duration::from_secs(60));
}
