//! What is counted has to be grouped first.
use headwater_topology::StreamsBuilder;

fn main() {
    let builder = StreamsBuilder::new();
    builder.stream::<String, String>("words").count("counts");
}
