//! Two streams are joined within a window of time.
use headwater_topology::StreamsBuilder;

fn main() {
    let builder = StreamsBuilder::new();
    let (a, b) = (builder.stream::<String, i64>("a"), builder.stream::<String, i64>("b"));
    let _ = a.join(&b, |a, b| a + b, "sums");
}
