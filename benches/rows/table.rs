//! The rows of a run as one table of plain text.

use comfy_table::{CellAlignment, Table, presets};

use crate::row::{Better, Other, Result};

const HEADER: [&str; 9] =
    ["row", "ours", "floor", "× floor", "goal", "best peer", "× peer", "goal", "others"];

/// The table, in a form that Markdown takes as one.
pub fn table(results: &[Result]) -> String {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    table.set_header(HEADER);
    for result in results {
        table.add_row(cells(result));
    }
    for number in [3, 4, 6, 7] {
        let column = table.column_mut(number).expect("the header has it");
        column.set_cell_alignment(CellAlignment::Right);
    }
    table.to_string()
}

fn cells(result: &Result) -> [String; 9] {
    let sign = match result.better {
        Better::Higher => "≥",
        Better::Lower => "≤",
    };
    let goal = |goal: Option<f64>| goal.map(|goal| format!("{sign} {goal}"));
    let named = |other: &Other| format!("{} {}", other.name, result.value(other.value));
    let ratio = |other: &Other| format!("{:.2}", other.ratio);
    let (floor, peer) = (result.floor(), result.best_peer());
    let rest = result.others.iter().filter(|other| {
        let is = |shown: Option<&Other>| shown.is_some_and(|shown| std::ptr::eq(shown, *other));
        !is(floor) && !is(peer)
    });
    let rest: Vec<_> = rest.map(|other| format!("{} × {}", named(other), ratio(other))).collect();
    let absolute = goal(result.goals.absolute).map(|goal| format!(" ({goal} {})", result.unit));
    [
        result.row.clone(),
        result.value(result.ours) + &absolute.unwrap_or_default(),
        floor.map(named).unwrap_or_default(),
        floor.map(ratio).unwrap_or_default(),
        goal(result.goals.floor.filter(|_| floor.is_some())).unwrap_or_default(),
        peer.map(named).unwrap_or_default(),
        peer.map(ratio).unwrap_or_default(),
        goal(result.goals.peer.filter(|_| peer.is_some())).unwrap_or_default(),
        rest.join(", "),
    ]
}
