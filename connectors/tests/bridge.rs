//! Bridges between two embedded logs.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    missing_docs,
    unreachable_pub,
    reason = "tests"
)]

mod dying_log;
mod mirror;

use std::sync::Arc;

use headwater_log_store::LogStore;

use crate::mirror::Sides;

fn given(test: &str) -> Sides {
    let (from, to) = (LogStore::in_memory().unwrap(), LogStore::in_memory().unwrap());
    Sides { from: Arc::new(from), to: Arc::new(to), prefix: test.to_owned() }
}

mirrors!(given);

#[test]
fn killed_at_any_call_it_loses_nothing_and_doubles_nothing() {
    mirror::killed_at_any_call_it_loses_nothing_and_doubles_nothing(|| given("killed"), 0..30);
}
