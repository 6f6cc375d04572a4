//! Which rows there are, in the order of the table.

use crate::Scale;
use crate::row::Row;
use crate::runtime::plan::Plan;
use crate::runtime::{latency, memory, repartition, restore, throughput};

/// Measures each row whose name has `only` in it, and hands it to `report`.
pub fn rows(scale: Scale, only: &str, mut report: impl FnMut(Row<'_>)) {
    let mut plan = Plan { scale, only, report: &mut report };
    throughput::rows(&mut plan);
    latency::rows(&mut plan);
    repartition::row(&mut plan);
    restore::row(&mut plan);
    memory::row(&mut plan);
    restore::replay(&mut plan);
}
