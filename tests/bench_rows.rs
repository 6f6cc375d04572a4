//! The rows of the benchmarks: medians, ratios, and the forms they are printed in.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    unreachable_pub,
    missing_docs,
    missing_debug_implementations,
    dead_code,
    reason = "modules of a benchmark, not an API"
)]

#[path = "../benches/rows/row.rs"]
mod row;
#[path = "../benches/rows/table.rs"]
mod table;

use std::cell::Cell;

use row::{Better, Goals, ROUNDS, Row, Side, median};

fn appends<'a>(ours: Side<'a>, floors: Vec<Side<'a>>, peers: Vec<Side<'a>>) -> Row<'a> {
    Row {
        name: "append".to_owned(),
        unit: "rec/s",
        better: Better::Higher,
        ours,
        floors,
        peers,
        goals: Goals { floor: Some(2.5), peer: Some(3.0), absolute: None },
    }
}

#[test]
fn a_median_is_the_middle_value() {
    assert_eq!(median([3.0]), 3.0);
    assert_eq!(median([9.0, 1.0, 2.0]), 2.0);
    assert_eq!(median([9.0, 1.0, 2.0, 4.0]), 3.0);
}

#[test]
fn sides_run_in_turns_and_are_compared_round_by_round() {
    // The machine halves its speed after two rounds; the ratio does not notice.
    let calls = Cell::new(0);
    let speed = |units: f64| {
        let round = calls.get() / 2;
        calls.set(calls.get() + 1);
        if round < 2 { units } else { units / 2.0 }
    };
    let floor = Side::new("write", || speed(2000.0));
    let result = appends(Side::new("headwater", || speed(6000.0)), vec![floor], vec![]).measure();
    assert_eq!(calls.get(), 2 * ROUNDS);
    let floor = result.floor().unwrap();
    assert_eq!((result.ours, floor.value, floor.ratio), (3000.0, 1000.0, 3.0));
    assert_eq!(result.best_peer(), None);
}

#[test]
fn the_best_peer_of_a_rate_is_the_fastest_and_of_a_time_the_shortest() {
    for (better, best) in [(Better::Higher, "fast 1.0"), (Better::Lower, "slow 1.0")] {
        let peers = vec![Side::new("slow 1.0", || 5.0), Side::new("fast 1.0", || 50.0)];
        let row = Row { better, ..appends(Side::new("headwater", || 1.0), vec![], peers) };
        assert_eq!(row.measure().best_peer().unwrap().name, best);
    }
}

#[test]
fn a_row_is_a_line_of_text_or_json_and_a_line_of_the_table() {
    let ours = Side::new("headwater", || 4_000_000.0);
    let floors = vec![Side::new("write", || 1_600_000.0), Side::new("mmap", || 8_000_000.0)];
    let peers = vec![Side::new("other", || 1_000_000.0), Side::new("third", || 100.0)];
    let result = appends(ours, floors, peers).measure();
    assert_eq!(
        result.text(),
        "append: 4.00 M rec/s, write 1.60 M rec/s (× 2.50), mmap 8.00 M rec/s (× 0.50), \
         other 1.00 M rec/s (× 4.00), third 100 rec/s (× 40000.00)"
    );
    assert_eq!(
        result.json(),
        r#"{"row":"append","unit":"rec/s","better":"higher","ours":4000000.0,"others":[{"name":"write","role":"floor","value":1600000.0,"ratio":2.5},{"name":"mmap","role":"floor","value":8000000.0,"ratio":0.5},{"name":"other","role":"peer","value":1000000.0,"ratio":4.0},{"name":"third","role":"peer","value":100.0,"ratio":40000.0}],"goals":{"floor":2.5,"peer":3.0,"absolute":null}}"#
    );
    let table = table::table(&[result]);
    let row = table.lines().last().unwrap();
    let cells: Vec<_> = row.trim_matches('|').split('|').map(str::trim).collect();
    assert_eq!(
        cells,
        [
            "append",
            "4.00 M rec/s",
            "write 1.60 M rec/s",
            "2.50",
            "≥ 2.5",
            "other 1.00 M rec/s",
            "4.00",
            "≥ 3",
            "mmap 8.00 M rec/s × 0.50, third 100 rec/s × 40000.00"
        ]
    );
}

#[test]
fn a_goal_of_a_row_by_itself_stands_beside_its_value() {
    let open = Row {
        unit: "ms",
        better: Better::Lower,
        goals: Goals { absolute: Some(5.0), ..Goals::default() },
        ..appends(Side::new("headwater", || 1.254), vec![], vec![])
    };
    let table = table::table(&[open.measure()]);
    assert!(table.contains("1.25 ms (≤ 5 ms)"), "{table}");
}
