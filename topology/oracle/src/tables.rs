//! The operators of tables.

use std::time::Duration;

use headwater_topology::{
    BufferConfig, Consumed, Grouped, KTable, StreamsBuilder, SuppressKey, Suppressed, TimeLimit,
    WindowCloses,
};

use crate::built::{Built, KeyText};
use crate::case::Op;
use crate::error::OracleError;
use crate::functions::{self, Text};

/// The table of a topic.
pub(crate) fn source(builder: &StreamsBuilder, op: &Op) -> Result<Built, OracleError> {
    let consumed = Consumed::<Text, String>::new();
    let consumed = match &op.name {
        Some(name) => consumed.with_name(name),
        None => consumed,
    };
    let topic = op.topic()?;
    if op.op == "globalTable" {
        let table = builder.global_table_with(topic, (consumed, op.materialized()?));
        return Ok(Built::Global(table));
    }
    Ok(Built::Table(match (&op.store, op.history) {
        (None, _) => builder.table_with(topic, consumed),
        (Some(_), None) => builder.table_with(topic, (consumed, op.materialized()?)),
        (Some(_), Some(history)) => {
            let versioned = op.materialized()?.versioned(Duration::from_millis(history));
            builder.table_with(topic, (consumed, versioned))
        }
    }))
}

/// Gives a table its name and its store.
pub(crate) fn finished<K: KeyText>(table: KTable<K, String>, op: &Op) -> KTable<K, String> {
    let table = match &op.name {
        Some(name) => table.named(name),
        None => table,
    };
    match &op.store {
        Some(store) => table.materialized(store.as_str()),
        None => table,
    }
}

/// An operator that makes a table of a table, row by row; `None` for others.
pub(crate) fn of_any_key<K: KeyText>(
    table: &KTable<K, String>,
    op: &Op,
) -> Result<Option<KTable<K, String>>, OracleError> {
    let made = match op.op.as_str() {
        "filter" | "filterNot" => {
            let (function, expected) = (op.function()?, op.op == "filter");
            let test = move |key: &K, value: &String| {
                functions::test(&function, &key.text(), &Some(value.clone()))
            };
            if expected { table.filter(test) } else { table.filter_not(test) }
        }
        "mapValues" => {
            let function = op.function()?;
            table.filter_map_values(move |key, value| {
                functions::map(&function, &key.text(), &Some(value))
            })
        }
        "transformValues" => {
            let function = op.function()?;
            table.transform_values(move |key, value| functions::map(&function, &key.text(), &value))
        }
        "suppress" => return time_limit(table, op).map(Some),
        _ => return Ok(None),
    };
    Ok(Some(finished(made, op)))
}

fn time_limit<K: KeyText>(
    table: &KTable<K, String>,
    op: &Op,
) -> Result<KTable<K, String>, OracleError>
where
    TimeLimit: SuppressKey<K>,
{
    let limit = op.limit.ok_or_else(|| op.fails("only windows close"))?;
    let limit = Duration::from_millis(limit);
    let suppressed = match op.max_records {
        Some(max) => Suppressed::until_time_limit(limit, BufferConfig::max_records(max)),
        None => Suppressed::until_time_limit(limit, BufferConfig::unbounded()),
    };
    Ok(table.suppress(suppressed, op.name()?))
}

/// Holds windows back until they close.
pub(crate) fn until_close<K: KeyText>(
    table: &KTable<K, String>,
    op: &Op,
) -> Result<KTable<K, String>, OracleError>
where
    WindowCloses: SuppressKey<K>,
{
    let suppressed = Suppressed::until_window_closes(BufferConfig::unbounded());
    Ok(table.suppress(suppressed, op.name()?))
}

/// Groups a table anew and aggregates it.
pub(crate) fn aggregate(
    table: &KTable<Text, String>,
    op: &Op,
) -> Result<KTable<Text, String>, OracleError> {
    let (of_key, of_value) = (op.key()?, op.function.clone());
    let grouped = match &op.grouped {
        Some(name) => Grouped::named(name),
        None => Grouped::<Text, String>::new(),
    };
    let mapper = move |key: &Text, value: &String| {
        let value = Some(value.clone());
        let group = functions::map(&of_key, key, &value)?;
        let mapped = match &of_value {
            Some(of_value) => functions::map(of_value, key, &value),
            None => value,
        };
        Some((Some(group), mapped?))
    };
    let grouped = table.group_by_with(mapper, grouped);
    let function = |name: &Option<String>| name.clone().unwrap_or_else(|| "append:".to_owned());
    let (add, subtract) = (function(&op.add), function(&op.subtract));
    let init = String::new();
    Ok(match op.kind()? {
        "count" => grouped.count(op.materialized()?).map_values(|count| count.to_string()),
        "reduce" => grouped.reduce(
            move |sum, value| functions::reduce(&add, &Some(sum), &Some(value)).unwrap_or_default(),
            move |sum, value| {
                functions::reduce(&subtract, &Some(sum), &Some(value)).unwrap_or_default()
            },
            op.materialized()?,
        ),
        _ => grouped.aggregate(
            move || init.clone(),
            move |_: &Text, value, sum: String| functions::aggregate(&add, &sum, &Some(value)),
            move |_: &Text, value, sum: String| functions::aggregate(&subtract, &sum, &Some(value)),
            op.materialized()?,
        ),
    })
}
