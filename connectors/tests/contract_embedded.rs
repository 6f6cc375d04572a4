//! The contract of the seam, on the embedded log in memory.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    missing_docs,
    unreachable_pub,
    reason = "tests"
)]

mod contract;

use std::sync::Arc;

use headwater_log_store::LogStore;

use crate::contract::Given;

fn given(test: &str) -> Given {
    Given { log: Arc::new(LogStore::in_memory().unwrap()), prefix: test.to_owned() }
}

whole_contract!(given);
