//! What the example has to find: a count of the file by other means than Headwater's.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{BufRead, BufReader};

use flate2::read::GzDecoder;

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/data/web-access.log.gz");
const ROWS_MAX: usize = 10;

/// The views of a file that was appended some times.
pub struct Expected {
    pub lines: Vec<String>,
    pub repeat: u64,
    pub by_path: BTreeMap<String, u64>,
    /// By `<hour> <path>`.
    pub by_hour_and_path: BTreeMap<String, u64>,
    pub bad_lines: Vec<String>,
}

impl Expected {
    /// Counts as the logic says.
    pub fn count(logic: &str, repeat: u64) -> Self {
        let lines = BufReader::new(GzDecoder::new(File::open(FILE).unwrap())).lines();
        let mut expected = Self {
            lines: lines.map(Result::unwrap).collect(),
            repeat,
            by_path: BTreeMap::new(),
            by_hour_and_path: BTreeMap::new(),
            bad_lines: Vec::new(),
        };
        for line in &expected.lines {
            assert!(!line.contains(r#"\""#), "no quote is escaped in this file: {line}");
            // addr - - [time] "request" status size "referrer" "agent"
            let parts: Vec<&str> = line.split('"').collect();
            if parts.len() != 7 {
                expected.bad_lines.push(line.clone());
                continue;
            }
            let (request, agent) = (parts[1], parts[5]);
            let target = request.split_whitespace().nth(1).unwrap();
            let path = target.find('?').map_or(target, |end| &target[..end]);
            if logic == "v2" && (is_image(path) || is_bot(agent)) {
                continue;
            }
            *expected.by_path.entry(path.to_owned()).or_default() += repeat;
            let key = format!("{} {path}", hour(parts[0]));
            *expected.by_hour_and_path.entry(key).or_default() += repeat;
        }
        expected
    }

    /// The tables as they are to be printed.
    pub fn tables(&self) -> String {
        let mut tables = format!("{:>9}  PATH\n", "VIEWS");
        for (path, views) in most(self.by_path.iter().map(|(path, views)| (path.clone(), *views))) {
            writeln!(tables, "{views:>9}  {path}").unwrap();
        }
        writeln!(tables, "\n{:>9}  {:<17}  MOST VIEWED", "VIEWS", "HOUR").unwrap();
        let mut hours: BTreeMap<String, Vec<(String, u64)>> = BTreeMap::new();
        for (key, views) in &self.by_hour_and_path {
            let (hour, path) = key.split_once(' ').unwrap();
            hours.entry(hour.to_owned()).or_default().push((path.to_owned(), *views));
        }
        let totals = hours
            .iter()
            .map(|(hour, paths)| (hour.clone(), paths.iter().map(|(_, views)| views).sum::<u64>()));
        for (hour, views) in most(totals) {
            let (top, top_views) = most(hours[&hour].iter().cloned()).remove(0);
            writeln!(tables, "{views:>9}  {hour:<17}  {top} ({top_views})").unwrap();
        }
        tables
    }
}

/// The names with the highest numbers; the earlier name first where the numbers are equal.
fn most(rows: impl Iterator<Item = (String, u64)>) -> Vec<(String, u64)> {
    let mut rows: Vec<(String, u64)> = rows.collect();
    rows.sort_by_key(|(name, number)| (u64::MAX - number, name.clone()));
    rows.truncate(ROWS_MAX);
    rows
}

/// From `198.18.0.1 - - [17/May/2015:10:05:03 +0000] ` to `2015-05-17T10:00Z`.
fn hour(head: &str) -> String {
    let (_, time) = head.trim_end().split_once('[').unwrap();
    let (time, zone) = time.strip_suffix(']').unwrap().split_once(' ').unwrap();
    assert_eq!(zone, "+0000");
    let (date, clock) = time.split_once(':').unwrap();
    let date: Vec<&str> = date.split('/').collect();
    assert_eq!(date[1], "May");
    format!("{}-05-{}T{}:00Z", date[2], date[0], &clock[..2])
}

fn is_bot(agent: &str) -> bool {
    let agent = agent.to_lowercase();
    ["bot", "crawl", "feed", "slurp", "spider"].into_iter().any(|word| agent.contains(word))
}

fn is_image(path: &str) -> bool {
    let path = path.to_lowercase();
    [".gif", ".ico", ".jpeg", ".jpg", ".png", ".svg", ".webp"]
        .into_iter()
        .any(|e| path.ends_with(e))
}
