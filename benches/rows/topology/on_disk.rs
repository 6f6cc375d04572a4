//! A table on disk: the newest value of each of a million keys, which do not all fit into its memory.

use fastrand::Rng;
use headwater_topology::{Materialized, StoreType, StreamsBuilder, Topology};

use crate::Scale;
use crate::topology::case::Case;
use crate::topology::floor::{Floor, FloorTable};
use crate::topology::input::{Input, START_MS};
use crate::topology::ours;

const VALUE_BYTES: usize = 100;
const KEYS: u32 = 1_000_000;

/// Some keys are asked for far more often than others.
pub fn zipfian() -> Case {
    case("zipfian", |scale, into| {
        // Spread, so that frequent keys are no neighbours.
        values(scale, into, |random| scattered(rank(random)))
    })
}

/// The inverse of the distribution with exponent 1.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "it is between 1 and the number of keys"
)]
fn rank(random: &mut Rng) -> u32 {
    f64::from(KEYS).powf(random.f64()) as u32
}

/// All keys are asked for equally often.
pub fn uniform() -> Case {
    case("uniform", |scale, into| values(scale, into, |random| random.u32(..KEYS)))
}

fn case(keys: &str, generate: fn(Scale, &Input<'_>) -> u32) -> Case {
    Case {
        name: format!("table of 1 M keys on disk, {keys}"),
        // Of the bare engine, which `scripts/bench stores` measures: not of a loop in memory.
        goals: (None, 3.0),
        topics: &["in"],
        generate,
        topology: Box::new(topology),
        floor,
        kafka_streams: Some("on-disk"),
    }
}

fn scattered(rank: u32) -> u32 {
    let scattered = u64::from(rank).wrapping_mul(2_654_435_761) % u64::from(KEYS);
    u32::try_from(scattered).unwrap_or_default()
}

fn values(scale: Scale, into: &Input<'_>, next: impl Fn(&mut Rng) -> u32) -> u32 {
    let records = scale.size(20_000, 1_000_000);
    let mut random = Rng::with_seed(13);
    for number in 0..records {
        let key = format!("{:016}", next(&mut random));
        let value = random.digit(10).to_string() + &format!("{number:0>99}");
        debug_assert_eq!(value.len(), VALUE_BYTES);
        into.push("in", START_MS + i64::from(number / 10), key.as_bytes(), value.as_bytes());
    }
    records
}

fn topology() -> Topology {
    let builder = StreamsBuilder::new();
    let rows = Materialized::named("rows").with_store_type(StoreType::Persistent);
    let values = builder.stream::<String, String>("in").group_by_key();
    drop(values.reduce(|_, newest| newest, rows).to_stream().to(ours::OUTPUT));
    builder.build().unwrap()
}

fn floor(floor: &mut Floor) {
    let mut rows = FloorTable::<String, String>::default();
    while let Some(frame) = floor.inputs[0].next() {
        let [key, value] = [frame.key, frame.value]
            .map(|bytes| String::from_utf8(bytes.unwrap_or_default().to_vec()).unwrap());
        let time_ms = frame.time_ms;
        floor.out.push(time_ms, Some(key.as_bytes()), Some(value.as_bytes()));
        rows.change(&key, String::new, |row| *row = value);
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
