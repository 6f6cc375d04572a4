//! A closure runs in the tasks of several threads.
use headwater_topology::StreamsBuilder;
use std::cell::Cell;
use std::rc::Rc;

fn main() {
    let builder = StreamsBuilder::new();
    let seen = Rc::new(Cell::new(0));
    let counted = move |_: &String, _: &String| seen.set(seen.get() + 1);
    builder.stream::<String, String>("words").for_each(counted);
}
