//! A type of the application's that nothing says how to write.
use headwater_topology::StreamsBuilder;

#[derive(Clone)]
struct Order;

fn main() {
    let builder = StreamsBuilder::new();
    let orders = builder.stream::<String, Order>("orders");
    orders.to("out");
}
