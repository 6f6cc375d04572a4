//! Kafka's own `DumpLogSegments` reads the segments that the embedded log writes: every batch with
//! a valid checksum, every record with its offset, key, value, time and headers.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use std::path::{Path, PathBuf};
use std::process::Command;

use headwater_log_store::{
    Compression, Header, Log, LogStore, NewTopic, ProducerConfig, ProducerRecord, Timestamp,
};
use tempfile::TempDir;

/// What the tool prints of a segment.
fn dump(segment: &Path) -> String {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts/kafka");
    let output = Command::new(script)
        .args(["tool", "org.apache.kafka.tools.DumpLogSegments", "--print-data-log", "--files"])
        .arg(segment)
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "scripts/kafka tool: {errors}");
    String::from_utf8(output.stdout).unwrap()
}

fn segments(folder: &Path, topic: &str) -> Vec<PathBuf> {
    let files = std::fs::read_dir(folder.join(format!("{topic}-0"))).unwrap();
    let mut segments: Vec<PathBuf> = files
        .map(|file| file.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "log"))
        .collect();
    segments.sort();
    segments
}

/// The value after `name: ` in a line of the tool.
fn field<'a>(line: &'a str, name: &str) -> &'a str {
    let Some((_, rest)) = line.split_once(&format!("{name}: ")) else {
        panic!("no {name} in {line}")
    };
    rest.split(' ').next().unwrap()
}

#[test]
fn kafkas_tool_reads_every_batch_and_every_record() {
    let folder = TempDir::new().unwrap();
    let dir = folder.path().join("store");
    let store = LogStore::create(&dir).unwrap();
    // Small segments, so that there are several.
    store.create_topic(&NewTopic::new("t").config("segment.bytes", "16384")).unwrap();
    let mut transactional = store
        .producer(&ProducerConfig {
            transactional_id: Some("p".to_owned()),
            compression: Compression::Lz4,
            ..ProducerConfig::default()
        })
        .unwrap();
    let mut plain = store.producer(&ProducerConfig::default()).unwrap();
    let count = 600;
    for number in 0..count {
        let (key, value) = (format!("key-{number}"), format!("value-{number}-{}", "x".repeat(64)));
        let headers = [Header { key: "origin", value: Some(b"test") }];
        let record = ProducerRecord {
            key: (number % 5 != 0).then_some(key.as_bytes()),
            value: (number % 7 != 0).then_some(value.as_bytes()),
            timestamp: Some(Timestamp::from_millis(1_700_000_000_000 + number)),
            headers: if number % 3 == 0 { &headers } else { &[] },
            ..ProducerRecord::to("t")
        };
        // Batches of one record, and compressed ones of fifty.
        if number < 300 {
            plain.send(&record).unwrap().wait().unwrap();
            continue;
        }
        if number % 50 == 0 {
            transactional.begin_transaction().unwrap();
        }
        drop(transactional.send(&record).unwrap());
        if number % 50 == 49 {
            transactional.commit_transaction().unwrap();
        }
    }
    drop((plain, transactional));
    store.close().unwrap();

    let segments = segments(&dir, "t");
    assert!(segments.len() > 1, "{segments:?}");
    let mut next = 0;
    let mut compressed = 0;
    for segment in &segments {
        let dumped = dump(segment);
        assert!(!dumped.contains("isvalid: false"), "{dumped}");
        for line in dumped.lines().filter(|line| line.starts_with("baseOffset: ")) {
            assert_eq!(field(line, "isvalid"), "true", "{line}");
            compressed += usize::from(field(line, "compresscodec") == "lz4");
        }
        for line in dumped.lines().filter(|line| line.starts_with("| offset: ")) {
            let number: i64 = field(line, "offset").parse().unwrap();
            assert_eq!(number, next, "{line}");
            let time = (1_700_000_000_000 + number).to_string();
            assert_eq!(field(line, "CreateTime"), time, "{line}");
            let has_key = number % 5 != 0;
            assert_eq!(line.contains(&format!("key: key-{number}")), has_key, "{line}");
            let has_value = number % 7 != 0;
            assert_eq!(line.contains(&format!("payload: value-{number}-x")), has_value, "{line}");
            let headers = if number % 3 == 0 { "[origin]" } else { "[]" };
            assert_eq!(field(line, "headerKeys"), headers, "{line}");
            next += 1;
        }
    }
    assert_eq!(next, count);
    assert_eq!(compressed, 6, "a transaction of fifty records is one compressed batch");
}
