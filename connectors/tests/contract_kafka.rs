//! The contract of the seam, on the Kafka cluster that `scripts/kafka up` has started.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    missing_docs,
    unreachable_pub,
    reason = "tests"
)]

mod contract;
mod kafka_cluster;

use std::sync::Arc;

use crate::contract::Given;

fn given(test: &str) -> Given {
    Given { log: Arc::new(kafka_cluster::log()), prefix: kafka_cluster::unique(test) }
}

whole_contract!(given);
