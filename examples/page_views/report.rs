//! What the user sees: progress on standard error, tables on standard output.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use headwater::prelude::*;

use crate::error::{Error, Result};
use crate::views::{HOUR_STORE, PATH_STORE, hour, hours};

/// How many rows a table has at most.
const ROWS_MAX: usize = 10;
/// How often progress is shown where it cannot overwrite itself.
const LINE_INTERVAL: Duration = Duration::from_secs(1);

/// Shows how far the work has come: one line that changes on a terminal, else a line now and then.
pub(crate) struct ProgressLine {
    is_terminal: bool,
    shown: Option<Instant>,
}

impl ProgressLine {
    pub(crate) fn new() -> Self {
        Self { is_terminal: io::stderr().is_terminal(), shown: None }
    }

    /// Shows progress, if it is time.
    pub(crate) fn show(&mut self, text: &str) {
        if self.is_terminal {
            say(&format!("\r\x1b[K{text}"));
        } else if self.shown.is_none_or(|shown| shown.elapsed() >= LINE_INTERVAL) {
            say(&format!("{text}\n"));
        } else {
            return;
        }
        self.shown = Some(Instant::now());
    }

    /// Shows a line that stays.
    pub(crate) fn finish(&mut self, text: &str) {
        let clear = if self.is_terminal { "\r\x1b[K" } else { "" };
        say(&format!("{clear}{text}\n"));
        self.shown = None;
    }
}

/// A closed standard error is the user's wish to hear nothing.
fn say(text: &str) {
    let _ = io::stderr().write_all(text.as_bytes());
}

/// Work done in some time: `1,000,000 lines in 2.5 s (400,000 a second)`.
pub(crate) fn throughput(lines: u64, elapsed: Duration) -> String {
    let seconds = elapsed.as_secs_f64().max(0.001);
    #[allow(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a rate for people"
    )]
    let rate = (lines as f64 / seconds) as u64;
    format!("{} lines in {seconds:.1} s ({} a second)", grouped(lines), grouped(rate))
}

/// A number with its thousands set apart.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Prints the most viewed paths and the busiest hours, from the application's own stores.
pub(crate) fn print_tables(streams: &Streams) -> Result<()> {
    let paths = streams.store::<String, i64>(PATH_STORE).all()?;
    let windows =
        streams.window_store::<String, i64>(HOUR_STORE, hours()).fetch_all(0, i64::MAX)?;

    let mut by_hour: BTreeMap<i64, Hour> = BTreeMap::new();
    for (Windowed { key: path, window }, views) in windows {
        by_hour.entry(window.start_ms).or_default().add(path, views);
    }
    let mut hours: Vec<(i64, Hour)> = by_hour.into_iter().collect();
    hours.sort_by_key(|(_, hour)| Reverse(hour.views));
    let mut paths = paths;
    paths.sort_by(|(one, views), (other, others)| others.cmp(views).then_with(|| one.cmp(other)));
    write_tables(&mut io::stdout().lock(), &paths, &hours)
        .map_err(|source| Error::Output { source })
}

fn write_tables(
    out: &mut dyn Write,
    paths: &[(String, i64)],
    hours: &[(i64, Hour)],
) -> io::Result<()> {
    writeln!(out, "{:>9}  PATH", "VIEWS")?;
    for (path, views) in paths.iter().take(ROWS_MAX) {
        writeln!(out, "{views:>9}  {path}")?;
    }
    writeln!(out)?;
    writeln!(out, "{:>9}  {:<17}  MOST VIEWED", "VIEWS", "HOUR")?;
    for (start_ms, Hour { views, top: (path, top_views) }) in hours.iter().take(ROWS_MAX) {
        writeln!(out, "{views:>9}  {:<17}  {path} ({top_views})", hour(*start_ms))?;
    }
    out.flush()
}

/// The views of an hour, and the path that has most of them.
#[derive(Default)]
struct Hour {
    views: i64,
    top: (String, i64),
}

impl Hour {
    fn add(&mut self, path: String, views: i64) {
        self.views += views;
        let (top, top_views) = &self.top;
        if views > *top_views || (views == *top_views && path < *top) {
            self.top = (path, views);
        }
    }
}
