//! Streams and tables: the program of docs/guide/streams-and-tables.md.
#![allow(clippy::print_stdout, reason = "a program that shows something")]

use std::error::Error;
use std::io::{Write, stdout};

use headwater::prelude::*;
use headwater::topology::{BuildError, TopologyTestDriver};

#[path = "guide/steps.rs"]
mod steps;

fn topology() -> Result<Topology, BuildError> {
    let builder = StreamsBuilder::new();

    // A stream: each order stands for itself.
    let orders = builder.stream::<String, String>("orders");
    let accepted = orders.filter(|_, product| product != "test");
    accepted.map_values(|product| product.to_uppercase()).to("accepted");

    // A table made of a stream: the number of orders of each customer.
    let counts = accepted.group_by_key().count("orders-by-customer");
    counts.to_stream().map_values(|n| n.map(|n| n.to_string())).to("counts");

    // A table read from a topic: each record is the new city of a customer, or takes it away.
    let cities = builder.table_with::<String, String>("cities", "cities");
    cities.filter(|_, city| city == "Rome").to_stream().to("romans");

    builder.build()
}

pub(crate) fn run(out: &mut dyn Write) -> Result<(), Box<dyn Error>> {
    let driver = TopologyTestDriver::new(&topology()?)?;
    let mut steps = steps::Steps::new(&driver, &["accepted", "counts", "romans"], out)?;
    steps.send("orders", "ada", "tea", 10)?;
    steps.send("orders", "bob", "test", 11)?;
    steps.send("orders", "ada", "nuts", 9)?;
    steps.send("cities", "ada", "Rome", 12)?;
    steps.send("cities", "bob", "Oslo", 13)?;
    steps.send("cities", "ada", "Oslo", 14)?;
    steps.send("cities", "bob", None, 15)?;

    let cities = driver.store_rows::<String, String>("cities")?;
    let orders = driver.store_value::<String, i64>("orders-by-customer", &"ada".to_owned())?;
    writeln!(out, "cities now: {cities:?}")?;
    writeln!(out, "orders of ada: {}", orders.unwrap_or_default())?;
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    run(&mut stdout())
}
