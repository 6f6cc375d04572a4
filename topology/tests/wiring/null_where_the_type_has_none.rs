//! A null value needs an `Option`.
use headwater_topology::{StreamsBuilder, TopologyTestDriver};

fn main() {
    let builder = StreamsBuilder::new();
    builder.stream::<String, String>("in").to("out");
    let driver = TopologyTestDriver::new(&builder.build().unwrap()).unwrap();
    driver.input_topic::<String, String>("in").pipe_input("k", None).unwrap();
}
