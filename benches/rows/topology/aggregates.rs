//! Aggregations per key, their stores in memory with changelogs.

use fastrand::Rng;
use headwater_topology::{StreamsBuilder, Topology};

use crate::Scale;
use crate::topology::case::Case;
use crate::topology::floor::{Floor, FloorTable};
use crate::topology::input::{self, Input, START_MS};
use crate::topology::ours;

const WORDS_A_LINE: u32 = 8;
const VOCABULARY: u32 = 20_000;

/// The sum of the values of each of a million keys.
pub fn sums() -> Case {
    Case {
        name: "running aggregate per key, 1 M keys".to_owned(),
        goals: (Some(0.5), 12.0),
        topics: &["in"],
        generate: |scale, into| {
            let records = scale.size(20_000, 1_500_000);
            input::numbers(into, "in", records, 1_000_000, 10);
            records
        },
        topology: Box::new(sums_topology),
        floor: sums_floor,
        kafka_streams: Some("sums"),
    }
}

fn sums_topology() -> Topology {
    let builder = StreamsBuilder::new();
    let numbers = builder.stream::<String, i64>("in");
    let sums = numbers.group_by_key().aggregate(|| 0, |_, value, sum: i64| sum + value, "sums");
    drop(sums.to_stream().to(ours::OUTPUT));
    builder.build().unwrap()
}

fn sums_floor(floor: &mut Floor) {
    let mut sums = FloorTable::<String, i64>::default();
    while let Some(frame) = floor.inputs[0].next() {
        let key = String::from_utf8(frame.key.unwrap().to_vec()).unwrap();
        let value = i64::from_be_bytes(frame.value.unwrap().try_into().unwrap());
        let time_ms = frame.time_ms;
        let sum = sums.change(
            &key,
            || 0,
            |sum| {
                *sum += value;
                *sum
            },
        );
        floor.out.push(time_ms, Some(key.as_bytes()), Some(&sum.to_be_bytes()));
        if floor.is_commit_due() {
            commit(&mut sums, floor);
        }
    }
    commit(&mut sums, floor);
}

/// How often each word is there, in lines of words.
pub fn word_count() -> Case {
    Case {
        name: "word count, a word".to_owned(),
        goals: (Some(0.5), 25.0),
        topics: &["in"],
        generate: lines,
        topology: Box::new(word_count_topology),
        floor: word_count_floor,
        kafka_streams: Some("words"),
    }
}

fn lines(scale: Scale, into: &Input<'_>) -> u32 {
    let lines = scale.size(2_000, 100_000);
    let mut random = Rng::with_seed(12);
    for number in 0..lines {
        // The lower the number of a word, the more often it is there.
        let word = |random: &mut Rng| random.u32(..VOCABULARY).min(random.u32(..VOCABULARY));
        let words: Vec<String> =
            (0..WORDS_A_LINE).map(|_| format!("word{}", word(&mut random))).collect();
        let time_ms = START_MS + i64::from(number);
        into.push("in", time_ms, input::key(number).as_bytes(), words.join(" ").as_bytes());
    }
    lines * WORDS_A_LINE
}

fn word_count_topology() -> Topology {
    let builder = StreamsBuilder::new();
    let lines = builder.stream::<String, String>("in");
    let words =
        lines.flat_map_values(|line| line.split(' ').map(str::to_owned).collect::<Vec<String>>());
    let counts = words.group_by_with(|_, word| word.clone(), "words").count("counts");
    drop(counts.to_stream().to(ours::OUTPUT));
    builder.build().unwrap()
}

fn word_count_floor(floor: &mut Floor) {
    let mut counts = FloorTable::<String, i64>::default();
    while let Some(frame) = floor.inputs[0].next() {
        let line = String::from_utf8(frame.value.unwrap().to_vec()).unwrap();
        let time_ms = frame.time_ms;
        for word in line.split(' ') {
            let word = word.to_owned();
            let count = counts.change(
                &word,
                || 0,
                |count| {
                    *count += 1;
                    *count
                },
            );
            floor.out.push(time_ms, Some(word.as_bytes()), Some(&count.to_be_bytes()));
        }
        if floor.is_commit_due() {
            commit(&mut counts, floor);
        }
    }
    commit(&mut counts, floor);
}

fn commit(rows: &mut FloorTable<String, i64>, floor: &mut Floor) {
    rows.commit(|key, row| {
        let row = row.map(|row| row.to_be_bytes());
        floor.changelog.push(0, Some(key.as_bytes()), row.as_ref().map(|row| &row[..]));
    });
}
