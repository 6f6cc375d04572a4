//! Bridges between an embedded log and the cluster that `scripts/kafka up` has started, both ways.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    missing_docs,
    unreachable_pub,
    reason = "tests"
)]

mod dying_log;
mod kafka_cluster;
mod mirror;

use std::sync::Arc;

use headwater_log_store::{Log, LogStore};

use crate::mirror::Sides;

fn embedded() -> Arc<dyn Log> {
    Arc::new(LogStore::in_memory().unwrap())
}

fn cluster() -> Arc<dyn Log> {
    Arc::new(kafka_cluster::log())
}

/// Out of the cluster, into the embedded log.
mod inwards {
    use super::{Sides, cluster, embedded, kafka_cluster, mirror};

    fn given(test: &str) -> Sides {
        Sides { from: cluster(), to: embedded(), prefix: kafka_cluster::unique(test) }
    }

    crate::mirrors!(given);

    #[test]
    fn killed_at_any_call_it_loses_nothing_and_doubles_nothing() {
        let given = || given("killed");
        let calls = (0..20).step_by(2);
        mirror::killed_at_any_call_it_loses_nothing_and_doubles_nothing(given, calls);
    }
}

/// Out of the embedded log, into the cluster.
mod outwards {
    use super::{Sides, cluster, embedded, kafka_cluster, mirror};

    fn given(test: &str) -> Sides {
        Sides { from: embedded(), to: cluster(), prefix: kafka_cluster::unique(test) }
    }

    crate::mirrors!(given);

    #[test]
    fn killed_at_any_call_it_loses_nothing_and_doubles_nothing() {
        let given = || given("killed");
        let calls = (2..22).step_by(2);
        mirror::killed_at_any_call_it_loses_nothing_and_doubles_nothing(given, calls);
    }
}
