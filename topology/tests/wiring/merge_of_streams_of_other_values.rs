//! Merged streams are one stream of one type.
use headwater_topology::StreamsBuilder;

fn main() {
    let builder = StreamsBuilder::new();
    let words = builder.stream::<String, String>("words");
    let _ = words.merge(&builder.stream::<String, i64>("numbers"));
}
