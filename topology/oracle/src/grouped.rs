//! Aggregations of streams, in windows and without.

use std::time::Duration;

use headwater_log_store::Timestamp;
use headwater_topology::{
    CogroupedKStream, EmitStrategy, Grouped, KGroupedStream, KStream, KTable, SessionWindows,
    SlidingWindows, TimeWindowedKStream, TimeWindows, UnlimitedWindows, Windowed,
};

use crate::built::{Built, InSession, KeyText, Results};
use crate::case::{Op, WindowSpec};
use crate::error::OracleError;
use crate::functions::{self, Text};

/// Windows that are no sessions.
enum Shape {
    Time(TimeWindows),
    Unlimited(UnlimitedWindows),
    Sliding(SlidingWindows),
    Session(SessionWindows),
}

fn shape(op: &Op, window: &WindowSpec) -> Result<Shape, OracleError> {
    let size = Duration::from_millis(window.size);
    let grace = Duration::from_millis(window.grace);
    Ok(match window.kind.as_str() {
        "time" => {
            let windows = TimeWindows::of_size_and_grace(size, grace);
            Shape::Time(match window.advance {
                Some(advance) => windows.advance_by(Duration::from_millis(advance)),
                None => windows,
            })
        }
        "unlimited" => {
            let start = i64::try_from(window.size).unwrap_or(i64::MAX);
            Shape::Unlimited(UnlimitedWindows::of().start_on(Timestamp::from_millis(start)))
        }
        "sliding" => Shape::Sliding(SlidingWindows::of_time_difference_and_grace(size, grace)),
        "session" => Shape::Session(SessionWindows::of_inactivity_gap_and_grace(size, grace)),
        kind => return Err(op.fails(format!("there is no window {kind}"))),
    })
}

fn emit(op: &Op) -> EmitStrategy {
    match op.on_close {
        true => EmitStrategy::on_window_close(),
        false => EmitStrategy::on_window_update(),
    }
}

fn grouped(stream: &KStream<Text, Text>, op: &Op) -> KGroupedStream<Text, Text> {
    let grouped = match &op.grouped {
        Some(name) => Grouped::named(name),
        None => Grouped::new(),
    };
    match op.key.clone() {
        Some(function) => {
            stream.group_by_with(move |key, value| functions::map(&function, key, value), grouped)
        }
        None => stream.group_by_key_with(grouped),
    }
}

fn texts<K: KeyText>(counts: &KTable<K, i64>) -> KTable<K, String> {
    counts.map_values(|count| count.to_string())
}

fn values<K: KeyText>(reduced: &KTable<K, Text>) -> KTable<K, String> {
    reduced.filter_map_values(|_, value| value)
}

/// The functions of an aggregation.
#[derive(Clone)]
struct Functions {
    init: String,
    add: String,
}

impl Functions {
    fn of(op: &Op) -> Self {
        let add = op.function.clone().unwrap_or_else(|| "append:".to_owned());
        Self { init: op.init.clone().unwrap_or_default(), add }
    }

    fn initializer(&self) -> impl Fn() -> String + Send + Sync + use<> {
        let init = self.init.clone();
        move || init.clone()
    }

    fn aggregator(&self) -> impl Fn(&Text, Text, String) -> Text + Send + Sync + use<> {
        let add = self.add.clone();
        move |_, value, aggregate| functions::aggregate(&add, &aggregate, &value)
    }

    fn reducer(&self) -> impl Fn(Text, Text) -> Text + Send + Sync + use<> {
        let add = self.add.clone();
        move |one, other| functions::reduce(&add, &one, &other)
    }

    fn merger(&self) -> impl Fn(&Text, String, String) -> String + Send + Sync + use<> {
        let add = self.add.clone();
        move |_, one, other| match add.as_str() {
            "number" => {
                let number = |text: &str| text.parse::<i64>().unwrap_or(0);
                (number(&one) + number(&other)).to_string()
            }
            _ => one + &other,
        }
    }
}

/// Groups a stream and aggregates it.
pub(crate) fn aggregate(stream: &KStream<Text, Text>, op: &Op) -> Result<Built, OracleError> {
    let grouped = grouped(stream, op);
    let functions = Functions::of(op);
    let Some(window) = &op.window else {
        return Ok(Built::Table(match op.kind()? {
            "count" => texts(&grouped.count(op.materialized()?)),
            "reduce" => values(&grouped.reduce(functions.reducer(), op.materialized()?)),
            _ => grouped.aggregate(
                functions.initializer(),
                functions.aggregator(),
                op.materialized()?,
            ),
        }));
    };
    Ok(match shape(op, window)? {
        Shape::Time(windows) => Built::TimeTable(in_windows(grouped.windowed_by(windows), op)?),
        Shape::Unlimited(windows) => {
            Built::TimeTable(in_windows(grouped.windowed_by(windows), op)?)
        }
        Shape::Sliding(windows) => Built::TimeTable(in_windows(grouped.windowed_by(windows), op)?),
        Shape::Session(windows) => Built::SessionTable(in_sessions(&grouped, windows, op)?),
    })
}

fn in_windows(
    windowed: TimeWindowedKStream<Text, Text>,
    op: &Op,
) -> Result<KTable<Windowed<Text>, String>, OracleError> {
    let windowed = windowed.emit_strategy(emit(op));
    let functions = Functions::of(op);
    Ok(match op.kind()? {
        "count" => texts(&windowed.count(op.materialized()?)),
        "reduce" => values(&windowed.reduce(functions.reducer(), op.materialized()?)),
        _ => {
            windowed.aggregate(functions.initializer(), functions.aggregator(), op.materialized()?)
        }
    })
}

fn in_sessions(
    grouped: &KGroupedStream<Text, Text>,
    windows: SessionWindows,
    op: &Op,
) -> Result<KTable<InSession, String>, OracleError> {
    let windowed = grouped.windowed_by(windows).emit_strategy(emit(op));
    let functions = Functions::of(op);
    Ok(match op.kind()? {
        "count" => texts(&windowed.count(op.materialized()?)),
        "reduce" => values(&windowed.reduce(functions.reducer(), op.materialized()?)),
        _ => windowed.aggregate(
            functions.initializer(),
            functions.aggregator(),
            functions.merger(),
            op.materialized()?,
        ),
    })
}

/// Groups several streams and aggregates them together, each with its own function.
pub(crate) fn cogroup(
    stream: &KStream<Text, Text>,
    op: &Op,
    results: &Results,
) -> Result<Built, OracleError> {
    let mut streams = vec![stream.clone()];
    for other in op.others(results)? {
        match other {
            Built::Stream(other) => streams.push(other.clone()),
            _ => return Err(op.fails("only streams are grouped together")),
        }
    }
    let mut cogrouped: Option<CogroupedKStream<Text, String>> = None;
    for (stream, add) in streams.iter().zip(&op.fns) {
        // A grouping with a key of its own is the first one's alone.
        let grouped = match cogrouped {
            None => grouped(stream, op),
            Some(_) => stream.group_by_key(),
        };
        let aggregator = Functions { init: String::new(), add: add.clone() }.aggregator();
        cogrouped = Some(match &cogrouped {
            None => grouped.cogroup(aggregator),
            Some(cogrouped) => cogrouped.cogroup(&grouped, aggregator),
        });
    }
    let cogrouped = cogrouped.ok_or_else(|| op.fails("nothing is grouped"))?;
    let cogrouped = match &op.name {
        Some(name) => cogrouped.named(name.as_str()),
        None => cogrouped,
    };
    let functions = Functions::of(op);
    let init = functions.initializer();
    let Some(window) = &op.window else {
        return Ok(Built::Table(cogrouped.aggregate(init, op.materialized()?)));
    };
    Ok(match shape(op, window)? {
        Shape::Time(windows) => {
            Built::TimeTable(cogrouped.windowed_by(windows).aggregate(init, op.materialized()?))
        }
        Shape::Unlimited(windows) => {
            Built::TimeTable(cogrouped.windowed_by(windows).aggregate(init, op.materialized()?))
        }
        Shape::Sliding(windows) => {
            Built::TimeTable(cogrouped.windowed_by(windows).aggregate(init, op.materialized()?))
        }
        Shape::Session(windows) => {
            let windowed = cogrouped.windowed_by(windows);
            let merger = functions.merger();
            Built::SessionTable(windowed.aggregate(init, merger, op.materialized()?))
        }
    })
}
