//! The topology: from lines of an access log to two tables of views.

use std::sync::Arc;
use std::time::Duration;

use headwater::prelude::*;
use headwater::topology::BuildError;

use crate::access_log::{Hit, HitSerde};
use crate::args::Logic;

/// Lines as the server wrote them, without keys.
pub(crate) const LINES: &str = "web-access";
/// Views of each path: the key is the path, the value a decimal number.
pub(crate) const VIEWS_BY_PATH: &str = "views-by-path";
/// Views of each path in each hour: the key is `<hour> <path>`, the value a decimal number.
pub(crate) const VIEWS_BY_PATH_AND_HOUR: &str = "views-by-path-and-hour";
/// Lines that are no hits, as they were, with the reason in the headers.
pub(crate) const DEAD_LETTERS: &str = "web-access-dead-letters";

pub(crate) const PATH_STORE: &str = "path-counts";
pub(crate) const HOUR_STORE: &str = "path-hour-counts";

/// How late a view may come. Appending the file again sets the event time back by the four days
/// that it covers; a month takes that, and logs of several servers that were appended in turn.
const GRACE: Duration = Duration::from_secs(30 * 24 * 3_600);

/// Hours of event time: the time in the line, not that of its arrival.
pub(crate) fn hours() -> TimeWindows {
    TimeWindows::of_size_and_grace(Duration::from_secs(3_600), GRACE)
}

pub(crate) fn topology(logic: Logic) -> Result<Topology, BuildError> {
    let builder = StreamsBuilder::new();
    let lines = Consumed::with(<Option<Vec<u8>>>::default_serde(), Arc::new(HitSerde))
        .with_timestamp_extractor(TimestampExtractor::from_fn(|_, hit: &Hit| Some(hit.time)));

    let hits = builder.stream_with(LINES, lines).map_values(Hit::masked);
    let hits = match logic {
        Logic::V1 => hits,
        Logic::V2 => hits.filter_not(|_, hit| hit.is_by_bot() || hit.is_image()),
    };
    let by_path = hits.map(|_, hit| (hit.path, hit.client)).group_by_key_with("by-path");

    by_path
        .count(PATH_STORE)
        .to_stream()
        .map_values(|views| views.map(|views| views.to_string()))
        .to(VIEWS_BY_PATH);
    by_path
        .windowed_by(hours())
        .count(HOUR_STORE)
        .to_stream()
        .map(|Windowed { key: path, window }, views| {
            (format!("{} {path}", hour(window.start_ms)), views.map(|views| views.to_string()))
        })
        .to(VIEWS_BY_PATH_AND_HOUR);
    builder.build()
}

/// How the application runs: exactly once, which is the default; lines that are no hits become
/// dead letters.
pub(crate) fn config() -> StreamsConfig {
    StreamsConfig::new("page-views")
        .deserialization_exception_handler(ErrorResponse::DeadLetter)
        .dead_letter_topic(DEAD_LETTERS)
}

/// The beginning of an hour: `2015-05-17T10:00Z`.
pub(crate) fn hour(start_ms: i64) -> String {
    match jiff::Timestamp::from_millisecond(start_ms) {
        Ok(start) => start.strftime("%Y-%m-%dT%H:%MZ").to_string(),
        // Event times beyond the year 9999.
        Err(_) => start_ms.to_string(),
    }
}
