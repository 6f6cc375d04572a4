//! Random records: nulls, tombstones, headers, and times out of order.

use fastrand::Rng;

use crate::case::{Input, Key, Op};

/// What goes into a topology.
pub(crate) fn random_inputs(rng: &mut Rng, ops: &[Op]) -> Vec<Input> {
    let topics: Vec<&String> = ops
        .iter()
        .filter(|op| matches!(op.op.as_str(), "stream" | "table" | "globalTable"))
        .filter_map(|op| op.topic.as_ref())
        .collect();
    let mut time = rng.i64(0..30);
    let count = rng.usize(8..=40);
    (0..count).map(|i| input(rng, i, &topics, &mut time)).collect()
}

fn input(rng: &mut Rng, i: usize, topics: &[&String], time: &mut i64) -> Input {
    if rng.u8(0..15) == 0 {
        let advance_wall_clock_ms = Some(rng.u64(1..25));
        return Input { i, advance_wall_clock_ms, ..Input::default() };
    }
    *time += match rng.u8(0..20) {
        0 => rng.i64(20..80),
        1..=5 => 0,
        _ => rng.i64(0..8),
    };
    let back = if rng.u8(0..5) == 0 { rng.i64(0..40) } else { 0 };
    let key = rng.choice(["a", "b", "c"]).filter(|_| rng.u8(0..12) > 0);
    let letter = rng.choice(["a", "b", "c", "x"]).unwrap_or_default();
    let value = match rng.u8(0..12) {
        0..=1 => None,
        2 => Some("DEL".to_owned()),
        3..=5 => Some(letter.to_owned()),
        _ => Some(format!("{letter}{i}")),
    };
    let headers = match rng.u8(0..5) {
        0 => vec![("h".to_owned(), Some(i.to_string()))],
        _ => Vec::new(),
    };
    Input {
        i,
        topic: rng.choice(topics).map(|topic| (*topic).clone()),
        key: key.map(|key| Key::Text(key.to_owned())),
        value: value.map(Key::Text),
        ts: (*time - back).max(0),
        headers,
        ..Input::default()
    }
}
