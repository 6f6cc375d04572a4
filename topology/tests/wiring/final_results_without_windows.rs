//! Only a window closes.
use headwater_topology::{BufferConfig, StreamsBuilder, Suppressed};

fn main() {
    let builder = StreamsBuilder::new();
    let users = builder.table::<String, String>("users");
    let last = Suppressed::until_window_closes(BufferConfig::unbounded());
    let _ = users.suppress(last, "last");
}
