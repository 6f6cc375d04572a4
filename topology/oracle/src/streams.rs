//! The operators that keep nothing: what a stream becomes record by record.

use headwater_topology::{
    Branched, Consumed, KStream, Produced, Repartitioned, StreamsBuilder, Topics,
};

use crate::built::{Built, KeyText, Results, TextSerde};
use crate::case::Op;
use crate::error::OracleError;
use crate::functions::{self, Text};

/// The stream of a topic, or of several behind commas.
pub(crate) fn source(builder: &StreamsBuilder, op: &Op) -> Result<Built, OracleError> {
    let topics: Topics = op.topic()?.split(',').collect::<Vec<_>>().into();
    let consumed = Consumed::<Text, Text>::new();
    let consumed = match &op.name {
        Some(name) => consumed.with_name(name),
        None => consumed,
    };
    Ok(Built::Stream(builder.stream_with(topics, consumed)))
}

fn named<K, V>(stream: KStream<K, V>, op: &Op) -> KStream<K, V>
where
    K: Clone + Send + 'static,
    V: Clone + Send + 'static,
{
    match &op.name {
        Some(name) => stream.named(name),
        None => stream,
    }
}

/// An operator that any stream has; `None` for others.
pub(crate) fn of_any_key<K: KeyText>(
    stream: &KStream<K, Text>,
    op: &Op,
) -> Result<Option<KStream<K, Text>>, OracleError> {
    let made = match op.op.as_str() {
        "filter" | "filterNot" => {
            let (function, expected) = (op.function()?, op.op == "filter");
            let test = move |key: &K, value: &Text| functions::test(&function, &key.text(), value);
            if expected { stream.filter(test) } else { stream.filter_not(test) }
        }
        "mapValues" => {
            let function = op.function()?;
            stream.map_values_with_key(move |key, value| {
                functions::map(&function, &key.text(), &value)
            })
        }
        "peek" => stream.peek(|_, _| {}),
        _ => return Ok(None),
    };
    Ok(Some(named(made, op)))
}

/// An operator that makes new keys; `None` for others.
pub(crate) fn with_new_key<K: KeyText>(
    stream: &KStream<K, Text>,
    op: &Op,
) -> Result<Option<KStream<Text, Text>>, OracleError> {
    let made = match op.op.as_str() {
        "selectKey" => {
            let function = op.key()?;
            stream.select_key(move |key, value| functions::map(&function, &key.text(), value))
        }
        "map" => {
            let (of_key, of_value) = (op.key()?, op.function()?);
            stream.map(move |key, value| {
                let key = key.text();
                let mapped = functions::map(&of_key, &key, &value);
                (mapped, functions::map(&of_value, &key, &value))
            })
        }
        "flatMap" => {
            let function = op.function()?;
            stream.flat_map(move |key, value| functions::flat_map(&function, &key.text(), &value))
        }
        _ => return Ok(None),
    };
    Ok(Some(named(made, op)))
}

/// An operator on a stream whose keys are in no window.
pub(crate) fn of_stream(
    stream: &KStream<Text, Text>,
    op: &Op,
    results: &mut Results,
) -> Result<Option<Built>, OracleError> {
    let made = match op.op.as_str() {
        "flatMapValues" => {
            let function = op.function()?;
            stream.flat_map_values(move |value| {
                let records = functions::flat_map(&function, &None, &value);
                records.into_iter().map(|(_, value)| value).collect::<Vec<_>>()
            })
        }
        "merge" => match op.other(results)? {
            Built::Stream(other) => stream.merge(other),
            _ => return Err(op.fails("only streams merge")),
        },
        "repartition" => {
            let repartitioned = Repartitioned::named(op.name()?);
            let repartitioned = match op.partitions {
                Some(partitions) => repartitioned.with_number_of_partitions(partitions),
                None => repartitioned,
            };
            return Ok(Some(Built::Stream(stream.repartition(repartitioned))));
        }
        "toTable" => {
            let table = stream.to_table::<String>(op.store()?);
            return Ok(Some(Built::Table(match &op.name {
                Some(name) => table.named(name),
                None => table,
            })));
        }
        "split" => {
            split(stream, op, results);
            return Ok(None);
        }
        "toBy" => {
            let function = op.function()?;
            let prefix = op.topic()?.to_owned();
            let _ = stream.to_by(move |key, value| {
                let suffix = functions::map(&function, key, value);
                format!("{prefix}{}", suffix.unwrap_or_default())
            });
            return Ok(None);
        }
        _ => return Err(op.fails(format!("streams have no {}", op.op))),
    };
    Ok(Some(Built::Stream(named(made, op))))
}

/// Branches are called by the id of the split, a dot, and their number; the default one is 0.
fn split(stream: &KStream<Text, Text>, op: &Op, results: &mut Results) {
    let split = match &op.name {
        Some(name) => stream.split_named(name),
        None => stream.split(),
    };
    let branch = |number: usize| Branched::named(format!("-{number}"));
    let mut split = split;
    for (index, function) in op.branches.iter().enumerate() {
        let function = function.clone();
        let test = move |key: &Text, value: &Text| functions::test(&function, key, value);
        split = split.branch_with(test, branch(index + 1));
    }
    let branches = match op.default {
        true => split.default_branch_with(branch(0)),
        false => split.no_default_branch(),
    };
    for (name, stream) in branches {
        if let Some((_, number)) = name.rsplit_once('-') {
            results.insert(format!("{}.{number}", op.id), Built::Stream(stream));
        }
    }
}

/// Writes a stream to a topic, keys and values as texts.
pub(crate) fn sink<K: KeyText>(stream: &KStream<K, Text>, op: &Op) -> Result<(), OracleError> {
    let produced = Produced::with(TextSerde::shared::<K>(), TextSerde::shared::<Text>());
    let produced = match &op.name {
        Some(name) => produced.with_name(name),
        None => produced,
    };
    let _ = stream.to_with(op.topic()?, produced);
    Ok(())
}
