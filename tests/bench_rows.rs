//! The rows of the benchmarks: medians, ratios, and the two forms they are printed in.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_precision_loss,
    unreachable_pub,
    missing_docs,
    missing_debug_implementations,
    dead_code,
    reason = "a module of a benchmark, not an API"
)]

#[path = "../benches/rows/row.rs"]
mod row;

use std::cell::Cell;
use std::time::Duration;

use row::{Measure, ROUNDS, Row, Side, median};

fn measure(units: u64) -> Measure {
    Measure { units, elapsed: Duration::from_millis(500) }
}

#[test]
fn a_median_is_the_middle_value() {
    assert_eq!(median(vec![]), None);
    assert_eq!(median(vec![3.0]), Some(3.0));
    assert_eq!(median(vec![9.0, 1.0, 2.0]), Some(2.0));
    assert_eq!(median(vec![9.0, 1.0, 2.0, 4.0]), Some(3.0));
}

#[test]
fn sides_run_in_turns_and_are_compared_round_by_round() {
    // The machine halves its speed after two rounds; the ratio does not notice.
    let calls = Cell::new(0);
    let speed = |units| {
        let round = calls.get() / 2;
        calls.set(calls.get() + 1);
        measure(if round < 2 { units } else { units / 2 })
    };
    let row = Row {
        name: "r",
        unit: "rec/s",
        ours: Side::new("headwater", || speed(3000)),
        floor: Some(Side::new("write", || speed(1000))),
        peer: None,
        goal_floor: Some(2.5),
        goal_peer: None,
    };
    let result = row.measure();
    assert_eq!(calls.get(), 2 * ROUNDS);
    assert_eq!((result.ours, result.floor, result.ratio_floor), (3000.0, Some(1000.0), Some(3.0)));
}

#[test]
fn a_row_is_one_line_of_text_or_json() {
    let row = Row {
        name: "append",
        unit: "rec/s",
        ours: Side::new("headwater", || measure(2_000_000)),
        floor: None,
        peer: Some(Side::new("other 1.0", || measure(500_000))),
        goal_floor: None,
        goal_peer: Some(3.0),
    };
    let result = row.measure();
    let text = result.text();
    assert!(!text.contains('\n'), "{text}");
    for part in ["append", "4.00 M rec/s", "other 1.0", "1.00 M", "ratio 4.00 (goal 3.00)"] {
        assert!(text.contains(part), "{part:?} is not in {text:?}");
    }
    assert_eq!(
        result.json(),
        r#"{"row":"append","ours":4000000.0,"floor":null,"peer":1000000.0,"peer_name":"other 1.0","ratio_floor":null,"ratio_peer":4.0,"goal_floor":null,"goal_peer":3.0,"unit":"rec/s"}"#
    );
}
