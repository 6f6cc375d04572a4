//! The texts of topologies of all kinds, beside those that Kafka Streams 4.3.1 gives for the same
//! operators and names: `<name>.txt` of each was written by `scripts/oracle --record`.
#![allow(clippy::unwrap_used, reason = "the helpers of a test fail it by panicking")]

use std::fs;
use std::path::Path;

use headwater_oracle::{CaseFile, build};

#[test]
fn topologies_of_all_kinds_are_described_as_kafka_streams_does() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/describe");
    let text = fs::read_to_string(folder.join("topologies.json")).unwrap();
    let file: CaseFile = serde_json::from_str(&text).unwrap();
    assert!(file.cases.len() >= 20, "only {} topologies are left", file.cases.len());
    let mut wrong = Vec::new();
    for case in &file.cases {
        let expected = fs::read_to_string(folder.join(format!("{}.txt", case.name))).unwrap();
        let found = build(case, true).unwrap().describe();
        if found != expected {
            wrong.push(format!("{}: expected\n{expected}\nfound\n{found}", case.name));
        }
    }
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
}
