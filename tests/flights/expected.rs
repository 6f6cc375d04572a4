//! What the example `flights` is to print, computed from its files by other means.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;

/// The program, which Cargo builds together with the tests of the package.
pub fn program(example: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let program = test.parent().unwrap().parent().unwrap().join("examples").join(example);
    let build = format!("run `cargo build --example {example}` (with the features of the test)");
    assert!(program.exists(), "{} is missing: {build} first", program.display());
    program
}

fn rows(file: &str) -> Vec<Vec<String>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/data/flights").join(file);
    let lines = BufReader::new(MultiGzDecoder::new(File::open(path).unwrap())).lines().skip(1);
    lines.map(|line| line.unwrap().split(',').map(str::to_owned).collect()).collect()
}

/// The table that the program prints.
pub fn table() -> String {
    let planes: HashMap<String, String> =
        rows("planes.csv.gz").into_iter().map(|row| (row[0].clone(), row[3].clone())).collect();
    let mut delays: BTreeMap<String, (i64, i64)> = BTreeMap::new();
    for row in rows("flights.csv.gz") {
        let manufacturer = planes.get(&row[11]);
        if let (Some(manufacturer), Ok(minutes)) = (manufacturer, row[5].parse::<i64>()) {
            let (flights, sum) = delays.entry(manufacturer.clone()).or_default();
            *flights += 1;
            *sum += minutes;
        }
    }
    assert!(delays.len() > 10, "{delays:?}");
    let mut rows: Vec<_> = delays.into_iter().collect();
    rows.sort_by_key(|(manufacturer, (flights, _))| (-flights, manufacturer.clone()));
    let mut table = format!("{:>8}  {:>12}  MANUFACTURER\n", "FLIGHTS", "MEAN DELAY");
    for (manufacturer, (flights, sum)) in rows.iter().take(10) {
        let tenths = sum * 10 / flights;
        let sign = if tenths < 0 { "-" } else { "" };
        let mean = format!("{sign}{}.{}", tenths.abs() / 10, tenths.abs() % 10);
        table += &format!("{flights:>8}  {mean:>12}  {manufacturer}\n");
    }
    table
}
