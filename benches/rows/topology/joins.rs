//! Joins, their stores in memory with changelogs.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use fastrand::Rng;
use headwater_topology::{JoinWindows, StreamsBuilder, Topology};

use crate::Scale;
use crate::topology::case::Case;
use crate::topology::floor::{Floor, FloorTable};
use crate::topology::input::{self, Input, START_MS};
use crate::topology::ours;

/// Records of a stream, each with the row of its key in a table of a million.
pub fn stream_table() -> Case {
    Case {
        name: "stream-table join, 1 M keys".to_owned(),
        goals: (Some(0.5), 10.0),
        topics: &["table", "in"],
        generate: table_and_stream,
        topology: Box::new(stream_table_topology),
        floor: stream_table_floor,
        kafka_streams: Some("stream-table"),
    }
}

fn table_and_stream(scale: Scale, into: &Input<'_>) -> u32 {
    let keys = scale.size(10_000, 1_000_000);
    for number in 0..keys {
        let row = format!("row {number:08} of a table");
        let time_ms = START_MS + i64::from(number / 1_000);
        into.push("table", time_ms, input::key(number).as_bytes(), row.as_bytes());
    }
    let mut random = Rng::with_seed(13);
    let start_ms = START_MS + i64::from(keys / 1_000) + 1;
    for number in 0..keys {
        // One of eleven keys has no row.
        let key = input::key(random.u32(..keys + keys / 10));
        let value = random.i64(1..1_000).to_be_bytes();
        into.push("in", start_ms + i64::from(number / 10), key.as_bytes(), &value);
    }
    2 * keys
}

fn stream_table_topology() -> Topology {
    let builder = StreamsBuilder::new();
    let table = builder.table::<String, String>("table");
    let numbers = builder.stream::<String, i64>("in");
    let joined = numbers.join_table(&table, |value, row| format!("{row}: {value}"));
    drop(joined.to(ours::OUTPUT));
    builder.build().unwrap()
}

fn stream_table_floor(floor: &mut Floor) {
    let mut rows = FloorTable::<String, String>::default();
    while let Some(index) = floor.earliest() {
        let frame = floor.inputs[index].next().unwrap();
        let key = String::from_utf8(frame.key.unwrap().to_vec()).unwrap();
        let (time_ms, value) = (frame.time_ms, frame.value.unwrap());
        if index == 0 {
            let row = String::from_utf8(value.to_vec()).unwrap();
            rows.change(&key, String::new, |old| *old = row);
        } else {
            let value = i64::from_be_bytes(value.try_into().unwrap());
            if let Some(row) = rows.get(&key).cloned() {
                let joined = format!("{row}: {value}");
                floor.out.push(time_ms, Some(key.as_bytes()), Some(joined.as_bytes()));
            }
        }
        if floor.is_commit_due() {
            commit(&mut rows, floor);
        }
    }
    commit(&mut rows, floor);
}

fn commit(rows: &mut FloorTable<String, String>, floor: &mut Floor) {
    rows.commit(|key, row| {
        floor.changelog.push(0, Some(key.as_bytes()), row.map(String::as_bytes));
    });
}

const WITHIN: Duration = Duration::from_secs(1);
const WITHIN_MS: i64 = 1_000;

/// Two streams, within a second.
pub fn stream_stream() -> Case {
    Case {
        name: "stream-stream windowed join, 10 k keys".to_owned(),
        goals: (Some(0.4), 8.0),
        topics: &["left", "right"],
        generate: two_streams,
        topology: Box::new(stream_stream_topology),
        floor: stream_stream_floor,
        kafka_streams: Some("stream-stream"),
    }
}

fn two_streams(scale: Scale, into: &Input<'_>) -> u32 {
    let records = scale.size(20_000, 400_000);
    let mut random = Rng::with_seed(14);
    for number in 0..records {
        let topic = if random.bool() { "left" } else { "right" };
        let key = input::key(random.u32(..10_000));
        let value = random.i64(1..1_000).to_be_bytes();
        into.push(topic, START_MS + i64::from(number / 10), key.as_bytes(), &value);
    }
    records
}

fn stream_stream_topology() -> Topology {
    let builder = StreamsBuilder::new();
    let left = builder.stream::<String, i64>("left");
    let right = builder.stream::<String, i64>("right");
    let windows = JoinWindows::of_time_difference_with_no_grace(WITHIN);
    drop(left.join(&right, |left, right| left * 1_000 + right, windows, "pairs").to(ours::OUTPUT));
    builder.build().unwrap()
}

fn stream_stream_floor(floor: &mut Floor) {
    // The input is in the order of time: what is older than the window has no more matches.
    let mut sides: [HashMap<String, VecDeque<(i64, i64)>>; 2] = Default::default();
    let mut logged = Vec::new();
    while let Some(index) = floor.earliest() {
        let frame = floor.inputs[index].next().unwrap();
        let key = String::from_utf8(frame.key.unwrap().to_vec()).unwrap();
        let value = i64::from_be_bytes(frame.value.unwrap().try_into().unwrap());
        let time_ms = frame.time_ms;
        logged.clear();
        logged.extend_from_slice(key.as_bytes());
        logged.extend_from_slice(&time_ms.to_be_bytes());
        logged.extend_from_slice(&[0; 4]);
        floor.changelog.push(time_ms, Some(&logged), Some(&value.to_be_bytes()));
        let [left, right] = &mut sides;
        let (own, other) = if index == 0 { (left, right) } else { (right, left) };
        if let Some(matches) = other.get_mut(&key) {
            while matches.front().is_some_and(|(time, _)| time + WITHIN_MS < time_ms) {
                matches.pop_front();
            }
            for (_, other) in matches {
                let (left, right) = if index == 0 { (value, *other) } else { (*other, value) };
                let joined = left * 1_000 + right;
                floor.out.push(time_ms, Some(key.as_bytes()), Some(&joined.to_be_bytes()));
            }
        }
        own.entry(key).or_default().push_back((time_ms, value));
    }
}
