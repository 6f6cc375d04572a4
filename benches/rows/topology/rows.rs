//! Which rows there are, in the order of the table.

use headwater_nexmark::Query;

use crate::Scale;
use crate::row::Row;
use crate::topology::case::{Case, measure};
use crate::topology::{aggregates, joins, nexmark, on_disk, stateless, windows};

/// Measures each row whose name has `only` in it, and hands it to `report`.
pub fn rows(scale: Scale, only: &str, mut report: impl FnMut(Row<'_>)) {
    let mut row = |case: Case| {
        if case.name.contains(only) {
            measure(&case, scale, &mut report);
        }
    };
    row(stateless::chain());
    row(aggregates::word_count());
    row(aggregates::sums());
    row(on_disk::zipfian());
    row(on_disk::uniform());
    row(windows::tumbling());
    row(joins::stream_table());
    row(joins::stream_stream());
    row(windows::sessions());
    row(windows::sliding());
    Query::ALL.into_iter().for_each(|query| row(nexmark::case(query)));
    if "the DSL alone, 5 operators".contains(only) {
        stateless::dsl_alone(scale, &mut report);
    }
}
