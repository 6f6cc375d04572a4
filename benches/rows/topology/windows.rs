//! Aggregations per key and window, their stores in memory with changelogs.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use headwater_topology::{
    DefaultSerde, Produced, SessionWindowedSerde, SessionWindows, SlidingWindows, StreamsBuilder,
    TimeWindowedSerde, TimeWindows, Topology,
};

use crate::topology::case::Case;
use crate::topology::floor::{Floor, FloorTable};
use crate::topology::input;
use crate::topology::ours;

const TUMBLING: Duration = Duration::from_secs(60);
const TUMBLING_MS: i64 = 60_000;
const GAP: Duration = Duration::from_secs(5);
const GAP_MS: i64 = 5_000;
const DIFFERENCE: Duration = Duration::from_secs(1);
const DIFFERENCE_MS: i64 = 1_000;

/// Counts in windows of a minute.
pub fn tumbling() -> Case {
    Case {
        name: "tumbling window count, 1 M keys".to_owned(),
        goals: (Some(0.4), 12.0),
        topics: &["in"],
        generate: |scale, into| {
            let records = scale.size(20_000, 1_000_000);
            input::numbers(into, "in", records, 1_000_000, 10);
            records
        },
        topology: Box::new(tumbling_topology),
        floor: tumbling_floor,
        kafka_streams: Some("tumbling"),
    }
}

fn windowed(size: Duration) -> Produced<headwater_topology::Windowed<String>, Option<i64>> {
    let keys = TimeWindowedSerde::new(String::default_serde(), size);
    Produced::with(Arc::new(keys), <Option<i64>>::default_serde())
}

fn tumbling_topology() -> Topology {
    let builder = StreamsBuilder::new();
    let windows = TimeWindows::of_size_with_no_grace(TUMBLING);
    let grouped = builder.stream::<String, i64>("in").group_by_key();
    let counts = grouped.windowed_by(windows).count("counts");
    drop(counts.to_stream().to_with(ours::OUTPUT, windowed(TUMBLING)));
    builder.build().unwrap()
}

fn tumbling_floor(floor: &mut Floor) {
    let mut counts = FloorTable::<(String, i64), i64>::default();
    let mut bytes = Vec::new();
    while let Some(frame) = floor.inputs[0].next() {
        let key = String::from_utf8(frame.key.unwrap().to_vec()).unwrap();
        let time_ms = frame.time_ms;
        let key = (key, time_ms - time_ms % TUMBLING_MS);
        let count = counts.change(
            &key,
            || 0,
            |count| {
                *count += 1;
                *count
            },
        );
        let key = window_key(&mut bytes, &key);
        floor.out.push(time_ms, Some(key), Some(&count.to_be_bytes()));
        if floor.is_commit_due() {
            commit(&mut counts, floor);
        }
    }
    commit(&mut counts, floor);
}

/// The bytes of a key and its window, as Kafka has them.
fn window_key<'a>(bytes: &'a mut Vec<u8>, (key, start_ms): &(String, i64)) -> &'a [u8] {
    bytes.clear();
    bytes.extend_from_slice(key.as_bytes());
    bytes.extend_from_slice(&start_ms.to_be_bytes());
    bytes
}

fn commit(rows: &mut FloorTable<(String, i64), i64>, floor: &mut Floor) {
    let mut bytes = Vec::new();
    rows.commit(|key, row| {
        let row = row.map(|row| row.to_be_bytes());
        let key = window_key(&mut bytes, key);
        floor.changelog.push(0, Some(key), row.as_ref().map(|row| &row[..]));
    });
}

/// Counts in sessions with a gap of five seconds.
pub fn sessions() -> Case {
    Case {
        name: "session windows, 5 k keys".to_owned(),
        goals: (Some(0.3), 5.0),
        topics: &["in"],
        generate: |scale, into| {
            let records = scale.size(20_000, 300_000);
            input::numbers(into, "in", records, 5_000, 1);
            records
        },
        topology: Box::new(sessions_topology),
        floor: sessions_floor,
        kafka_streams: Some("sessions"),
    }
}

fn sessions_topology() -> Topology {
    let builder = StreamsBuilder::new();
    let windows = SessionWindows::of_inactivity_gap_with_no_grace(GAP);
    let grouped = builder.stream::<String, i64>("in").group_by_key();
    let counts = grouped.windowed_by(windows).count("counts");
    let keys = SessionWindowedSerde::new(String::default_serde());
    let produced = Produced::with(Arc::new(keys), <Option<i64>>::default_serde());
    drop(counts.to_stream().to_with(ours::OUTPUT, produced));
    builder.build().unwrap()
}

/// A session: its end and its start.
type Session = (i64, i64);

fn sessions_floor(floor: &mut Floor) {
    // The input is in the order of time: only the last session of a key can go on.
    let mut last: HashMap<String, Session> = HashMap::new();
    let mut counts = FloorTable::<(String, Session), i64>::default();
    let mut bytes = Vec::new();
    while let Some(frame) = floor.inputs[0].next() {
        let key = String::from_utf8(frame.key.unwrap().to_vec()).unwrap();
        let time_ms = frame.time_ms;
        let mut session = (time_ms, time_ms);
        let mut count = 1;
        let before = last.get(&key).copied().filter(|(end_ms, _)| end_ms + GAP_MS >= time_ms);
        if let Some((end_ms, start_ms)) = before {
            session.1 = start_ms;
            let old = (key.clone(), (end_ms, start_ms));
            count += counts.get(&old).copied().unwrap();
            counts.remove(&old);
            floor.out.push(end_ms, Some(session_key(&mut bytes, &old)), None);
        }
        last.insert(key.clone(), session);
        let key = (key, session);
        counts.change(&key, || count, |_| ());
        let key = session_key(&mut bytes, &key);
        floor.out.push(time_ms, Some(key), Some(&count.to_be_bytes()));
        if floor.is_commit_due() {
            commit_sessions(&mut counts, floor);
        }
    }
    commit_sessions(&mut counts, floor);
}

/// The bytes of a key and its session, as Kafka has them.
fn session_key<'a>(bytes: &'a mut Vec<u8>, (key, session): &(String, Session)) -> &'a [u8] {
    bytes.clear();
    bytes.extend_from_slice(key.as_bytes());
    bytes.extend_from_slice(&session.0.to_be_bytes());
    bytes.extend_from_slice(&session.1.to_be_bytes());
    bytes
}

fn commit_sessions(rows: &mut FloorTable<(String, Session), i64>, floor: &mut Floor) {
    let mut bytes = Vec::new();
    rows.commit(|key, row| {
        let row = row.map(|row| row.to_be_bytes());
        let key = session_key(&mut bytes, key);
        floor.changelog.push(0, Some(key), row.as_ref().map(|row| &row[..]));
    });
}

/// Counts in windows of a second around the records.
pub fn sliding() -> Case {
    Case {
        name: "sliding windows, 2 k keys".to_owned(),
        goals: (Some(0.3), 5.0),
        topics: &["in"],
        generate: |scale, into| {
            let records = scale.size(20_000, 300_000);
            input::numbers(into, "in", records, 2_000, 1);
            records
        },
        topology: Box::new(sliding_topology),
        floor: sliding_floor,
        kafka_streams: Some("sliding"),
    }
}

fn sliding_topology() -> Topology {
    let builder = StreamsBuilder::new();
    let windows = SlidingWindows::of_time_difference_with_no_grace(DIFFERENCE);
    let grouped = builder.stream::<String, i64>("in").group_by_key();
    let counts = grouped.windowed_by(windows).count("counts");
    drop(counts.to_stream().to_with(ours::OUTPUT, windowed(DIFFERENCE)));
    builder.build().unwrap()
}

fn sliding_floor(floor: &mut Floor) {
    // The input is in the order of time, and no two records have the same one: a record is in the
    // window that ends with it, and in those that begin right after a record of the last second.
    let mut recent: HashMap<String, VecDeque<i64>> = HashMap::new();
    let mut counts = FloorTable::<(String, i64), i64>::default();
    let mut bytes = Vec::new();
    while let Some(frame) = floor.inputs[0].next() {
        let key = String::from_utf8(frame.key.unwrap().to_vec()).unwrap();
        let time_ms = frame.time_ms;
        let times = recent.entry(key.clone()).or_default();
        // As in Kafka Streams, the window that begins right after the record before and ends with
        // this one is sent twice, if that record was not alone in its own window.
        let before = times.back().filter(|_| times.len() > 1);
        let is_twice = before.is_some_and(|time| time + DIFFERENCE_MS + 1 == time_ms);
        while times.front().is_some_and(|time| time + DIFFERENCE_MS < time_ms) {
            times.pop_front();
        }
        times.push_back(time_ms);
        let starts = times.iter().map(|time| time + 1).take(times.len() - 1);
        let mut key = (key, 0);
        for (later, start_ms) in std::iter::once(time_ms - DIFFERENCE_MS).chain(starts).enumerate()
        {
            key.1 = start_ms;
            let count = i64::try_from(times.len() - later).unwrap();
            counts.change(&key, || 0, |row| *row = count);
            let key = window_key(&mut bytes, &key);
            for _ in 0..=usize::from(is_twice) {
                floor.out.push(time_ms, Some(key), Some(&count.to_be_bytes()));
            }
        }
        if floor.is_commit_due() {
            commit(&mut counts, floor);
        }
    }
    commit(&mut counts, floor);
}
