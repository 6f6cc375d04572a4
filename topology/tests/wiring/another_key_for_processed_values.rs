//! `process_values` keeps keys, so that no repartition topic is needed below it.
use headwater_topology::FixedKeyRecord;

fn main() {
    let _ = |record: FixedKeyRecord<String, i64>| record.with_key("another".to_owned());
}
