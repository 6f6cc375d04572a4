//! Builds the topology of a case with the DSL.

use headwater_topology::{StreamsBuilder, Topology, TopologyConfig};

use crate::built::{Built, KeyText, Results};
use crate::case::{Case, Op};
use crate::error::OracleError;
use crate::{grouped, joins, processors, streams, tables};

/// The topology of a case.
///
/// # Errors
/// `Operator` for what is not well formed, `Build` for what cannot be.
pub fn build(case: &Case, kafka_compat: bool) -> Result<Topology, OracleError> {
    build_with(case, TopologyConfig::new().kafka_compat(kafka_compat))
}

/// The topology of a case, with other choices than the default.
///
/// # Errors
/// As [`build`].
pub fn build_with(case: &Case, config: TopologyConfig) -> Result<Topology, OracleError> {
    let builder = StreamsBuilder::with_config(config.caching_enabled(case.settings.cache));
    let mut results = Results::new();
    for op in &case.operators {
        if let Some(built) = add(&builder, op, &mut results)? {
            results.insert(op.id.clone(), built);
        }
    }
    Ok(builder.build()?)
}

fn add(
    builder: &StreamsBuilder,
    op: &Op,
    results: &mut Results,
) -> Result<Option<Built>, OracleError> {
    match op.op.as_str() {
        "stream" => return streams::source(builder, op).map(Some),
        "table" | "globalTable" => return tables::source(builder, op).map(Some),
        "join" => return join(op, results).map(Some),
        "foreignKeyJoin" => return foreign_key_join(op, results).map(Some),
        _ => {}
    }
    let input = op.input(results)?.clone();
    match input {
        Built::Stream(stream) if op.op.starts_with("process") => {
            processors::process(builder, &stream, op).map(Built::Stream).map(Some)
        }
        Built::Stream(stream) => of_stream(&stream, op, results),
        Built::TimeStream(stream) => of_windowed(&stream, op, Built::TimeStream),
        Built::SessionStream(stream) => of_windowed(&stream, op, Built::SessionStream),
        Built::Table(table) => match op.op.as_str() {
            "toStream" => Ok(Some(Built::Stream(to_stream(&table, op)))),
            "aggregate" => tables::aggregate(&table, op).map(Built::Table).map(Some),
            _ => of_table(&table, op, Built::Table),
        },
        Built::TimeTable(table) => match (op.op.as_str(), op.limit) {
            ("toStream", _) => Ok(Some(Built::TimeStream(to_stream(&table, op)))),
            ("suppress", None) => tables::until_close(&table, op).map(Built::TimeTable).map(Some),
            _ => of_table(&table, op, Built::TimeTable),
        },
        Built::SessionTable(table) => match (op.op.as_str(), op.limit) {
            ("toStream", _) => Ok(Some(Built::SessionStream(to_stream(&table, op)))),
            ("suppress", None) => {
                tables::until_close(&table, op).map(Built::SessionTable).map(Some)
            }
            _ => of_table(&table, op, Built::SessionTable),
        },
        Built::Global(_) => Err(op.fails("a global table is only joined")),
    }
}

fn to_stream<K: KeyText>(
    table: &headwater_topology::KTable<K, String>,
    op: &Op,
) -> headwater_topology::KStream<K, Option<String>> {
    let stream = table.to_stream();
    match &op.name {
        Some(name) => stream.named(name),
        None => stream,
    }
}

fn of_stream(
    stream: &headwater_topology::KStream<Option<String>, Option<String>>,
    op: &Op,
    results: &mut Results,
) -> Result<Option<Built>, OracleError> {
    if op.op == "to" {
        streams::sink(stream, op)?;
        return Ok(None);
    }
    if op.op == "aggregate" {
        return grouped::aggregate(stream, op).map(Some);
    }
    if op.op == "cogroup" {
        return grouped::cogroup(stream, op, results).map(Some);
    }
    if let Some(made) = streams::of_any_key(stream, op)? {
        return Ok(Some(Built::Stream(made)));
    }
    if let Some(made) = streams::with_new_key(stream, op)? {
        return Ok(Some(Built::Stream(made)));
    }
    streams::of_stream(stream, op, results)
}

fn of_windowed<K: KeyText>(
    stream: &headwater_topology::KStream<K, Option<String>>,
    op: &Op,
    built: impl FnOnce(headwater_topology::KStream<K, Option<String>>) -> Built,
) -> Result<Option<Built>, OracleError> {
    if op.op == "to" {
        streams::sink(stream, op)?;
        return Ok(None);
    }
    if let Some(made) = streams::of_any_key(stream, op)? {
        return Ok(Some(built(made)));
    }
    match streams::with_new_key(stream, op)? {
        Some(made) => Ok(Some(Built::Stream(made))),
        None => Err(op.fails(format!("streams of windows have no {}", op.op))),
    }
}

fn of_table<K: KeyText>(
    table: &headwater_topology::KTable<K, String>,
    op: &Op,
    built: impl FnOnce(headwater_topology::KTable<K, String>) -> Built,
) -> Result<Option<Built>, OracleError> {
    match tables::of_any_key(table, op)? {
        Some(made) => Ok(Some(built(made))),
        None => Err(op.fails(format!("tables have no {}", op.op))),
    }
}

fn join(op: &Op, results: &Results) -> Result<Built, OracleError> {
    Ok(match (op.input(results)?, op.other(results)?) {
        (Built::Stream(left), Built::Stream(right)) => {
            Built::Stream(joins::streams(left, right, op)?)
        }
        (Built::Stream(left), Built::Table(right)) => {
            Built::Stream(joins::stream_table(left, right, op)?)
        }
        (Built::Stream(left), Built::Global(right)) => {
            Built::Stream(joins::stream_global(left, right, op)?)
        }
        (Built::Table(left), Built::Table(right)) => Built::Table(joins::tables(left, right, op)?),
        (Built::TimeTable(left), Built::TimeTable(right)) => {
            Built::TimeTable(joins::tables(left, right, op)?)
        }
        (Built::SessionTable(left), Built::SessionTable(right)) => {
            Built::SessionTable(joins::tables(left, right, op)?)
        }
        _ => return Err(op.fails("these two cannot be joined")),
    })
}

fn foreign_key_join(op: &Op, results: &Results) -> Result<Built, OracleError> {
    match (op.input(results)?, op.other(results)?) {
        (Built::Table(left), Built::Table(right)) => {
            Ok(Built::Table(joins::foreign_key(left, right, op)?))
        }
        _ => Err(op.fails("only tables are joined by a foreign key")),
    }
}
