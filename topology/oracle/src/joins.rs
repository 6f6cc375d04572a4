//! Joins of every kind.

use std::time::Duration;

use headwater_topology::{
    GlobalKTable, JoinWindows, Joined, KStream, KTable, StreamJoined, TableJoined,
};

use crate::built::KeyText;
use crate::case::Op;
use crate::error::OracleError;
use crate::functions::{self, Text};
use crate::tables::finished;

type Stream = KStream<Text, Text>;
type Table = KTable<Text, String>;

fn windows(op: &Op) -> JoinWindows {
    let before = op.before.unwrap_or(0);
    let difference = Duration::from_millis(before.unsigned_abs());
    let windows = match (op.legacy, op.grace) {
        (true, _) => JoinWindows::of(difference),
        (false, grace) => JoinWindows::of_time_difference_and_grace(
            difference,
            Duration::from_millis(grace.unwrap_or(0)),
        ),
    };
    match op.after {
        Some(after) => windows.with_after_ms(after),
        None => windows,
    }
}

/// A join of two streams in windows.
pub(crate) fn streams(left: &Stream, right: &Stream, op: &Op) -> Result<Stream, OracleError> {
    let joined = StreamJoined::<Text, Text, Text>::named(op.store()?);
    let joined = match &op.name {
        Some(name) => joined.with_name(name),
        None => joined,
    };
    let function = op.function()?;
    let windows = windows(op);
    Ok(match op.kind()? {
        "inner" => left.join(
            right,
            move |left, right| Some(functions::join(&function, &left, &right)),
            windows,
            joined,
        ),
        "left" => left.left_join(
            right,
            move |left, right: Option<Text>| {
                Some(functions::join(&function, &left, &right.flatten()))
            },
            windows,
            joined,
        ),
        _ => left.outer_join(
            right,
            move |left: Option<Text>, right: Option<Text>| {
                Some(functions::join(&function, &left.flatten(), &right.flatten()))
            },
            windows,
            joined,
        ),
    })
}

/// A join of a stream and a table.
pub(crate) fn stream_table(left: &Stream, right: &Table, op: &Op) -> Result<Stream, OracleError> {
    let joined = match &op.name {
        Some(name) => Joined::<Text, Text>::named(name),
        None => Joined::new(),
    };
    let joined = match op.grace {
        Some(grace) => joined.with_grace_period(Duration::from_millis(grace)),
        None => joined,
    };
    let function = op.function()?;
    Ok(match op.kind()? {
        "inner" => left.join_table_with(
            right,
            move |_, left, right| Some(functions::join(&function, &left, &Some(right))),
            joined,
        ),
        _ => left.left_join_table_with(
            right,
            move |_, left, right| Some(functions::join(&function, &left, &right)),
            joined,
        ),
    })
}

/// A join of a stream and a global table.
pub(crate) fn stream_global(
    left: &Stream,
    right: &GlobalKTable<Text, String>,
    op: &Op,
) -> Result<Stream, OracleError> {
    let joined = match &op.name {
        Some(name) => Joined::<Text, Text>::named(name),
        None => Joined::new(),
    };
    let (function, key) = (op.function()?, op.key()?);
    let key_of = move |of: &Text, value: &Text| functions::map(&key, of, value).map(Some);
    Ok(match op.kind()? {
        "inner" => left.join_global_table_with(
            right,
            key_of,
            move |_, left, right| Some(functions::join(&function, &left, &Some(right))),
            joined,
        ),
        _ => left.left_join_global_table_with(
            right,
            key_of,
            move |_, left, right| Some(functions::join(&function, &left, &right)),
            joined,
        ),
    })
}

/// A join of two tables by their keys.
pub(crate) fn tables<K: KeyText>(
    left: &KTable<K, String>,
    right: &KTable<K, String>,
    op: &Op,
) -> Result<KTable<K, String>, OracleError> {
    let function = op.function()?;
    let made = match op.kind()? {
        "inner" => left
            .join(right, move |left, right| functions::join(&function, &Some(left), &Some(right))),
        "left" => left
            .left_join(right, move |left, right| functions::join(&function, &Some(left), &right)),
        _ => left.outer_join(right, move |left, right| functions::join(&function, &left, &right)),
    };
    Ok(finished(made, op))
}

/// A join of two tables by a foreign key of the left one.
pub(crate) fn foreign_key(left: &Table, right: &Table, op: &Op) -> Result<Table, OracleError> {
    let joined = TableJoined::named(op.name()?);
    let (function, key) = (op.function()?, op.key()?);
    let foreign =
        move |of: &Text, value: &String| functions::map(&key, of, &Some(value.clone())).map(Some);
    let made = match op.kind()? {
        "inner" => left.join_on(
            right,
            foreign,
            move |left, right| functions::join(&function, &Some(left), &Some(right)),
            joined,
        ),
        _ => left.left_join_on(
            right,
            foreign,
            move |left, right| functions::join(&function, &Some(left), &right),
            joined,
        ),
    };
    Ok(match &op.store {
        Some(store) => made.materialized(store.as_str()),
        None => made,
    })
}
