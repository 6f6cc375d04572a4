//! Joins: the program of docs/guide/joins.md.
#![allow(clippy::print_stdout, reason = "a program that shows something")]

use std::error::Error;
use std::io::{Write, stdout};
use std::time::Duration;

use headwater::prelude::*;
use headwater::topology::{BuildError, TopologyTestDriver};

#[path = "guide/steps.rs"]
mod steps;

/// Clicks get the names of those who have clicked.
fn stream_with_table(builder: &StreamsBuilder) {
    let users = builder.table::<String, String>("users");
    let clicks = builder.stream::<String, String>("clicks");
    let named = clicks.left_join_table(&users, |page, name| {
        format!("{page} by {}", name.unwrap_or_else(|| "somebody".to_owned()))
    });
    named.to("named-clicks");
}

/// Orders wait 10 ms for their payment.
fn stream_with_stream(builder: &StreamsBuilder) {
    let orders = builder.stream::<String, String>("orders");
    let payments = builder.stream::<String, String>("payments");
    let soon = JoinWindows::of_time_difference_with_no_grace(Duration::from_millis(10));
    let settled = orders.left_join(
        &payments,
        |order, payment| match payment {
            Some(payment) => format!("{order} paid by {payment}"),
            None => format!("{order} unpaid"),
        },
        soon,
        "settled",
    );
    settled.to("settled-orders");
}

/// Each product has the phone of its supplier, also when that changes.
fn table_with_table(builder: &StreamsBuilder) {
    let suppliers = builder.table::<String, String>("products"); // product = supplier
    let phones = builder.table::<String, String>("phones"); // supplier = phone
    let supplier_of = |_: &String, supplier: &String| Some(supplier.clone());
    let phone_of_product = suppliers.join_on(
        &phones,
        supplier_of,
        |supplier, phone| format!("{supplier}: {phone}"),
        "phone-of-product",
    );
    phone_of_product.to_stream().to("product-phones");
}

fn topology() -> Result<Topology, BuildError> {
    let builder = StreamsBuilder::new();
    stream_with_table(&builder);
    stream_with_stream(&builder);
    table_with_table(&builder);
    builder.build()
}

pub(crate) fn run(out: &mut dyn Write) -> Result<(), Box<dyn Error>> {
    let driver = TopologyTestDriver::new(&topology()?)?;
    let topics = ["named-clicks", "settled-orders", "product-phones"];
    let mut steps = steps::Steps::new(&driver, &topics, out)?;

    steps.send("clicks", "7", "/home", 1)?;
    steps.send("users", "7", "Ada", 2)?;
    steps.send("clicks", "7", "/cart", 1)?;

    steps.send("orders", "o1", "tea", 100)?;
    steps.send("payments", "o1", "card", 105)?;
    steps.send("orders", "o2", "nuts", 106)?;
    steps.send("orders", "o3", "milk", 117)?;

    steps.send("products", "tea", "Leaf & Co", 200)?;
    steps.send("products", "nuts", "Leaf & Co", 201)?;
    steps.send("phones", "Leaf & Co", "555-1", 202)?;
    steps.send("products", "nuts", None, 203)?;
    steps.send("phones", "Leaf & Co", "555-2", 204)?;
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    run(&mut stdout())
}
