//! A buffer that gives results away when it is full cannot wait for windows to close.
use headwater_topology::{BufferConfig, Suppressed};

fn main() {
    let buffer = BufferConfig::max_records(10).emit_early_when_full();
    let _ = Suppressed::until_window_closes(buffer);
}
