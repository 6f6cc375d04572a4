//! A store finds rows by their keys.
use headwater_topology::StreamsBuilder;

fn main() {
    let builder = StreamsBuilder::new();
    builder.stream::<f64, String>("by-float").group_by_key().count("counts");
}
