//! `headwater log dump`: what is in the files of a store.

use std::fmt::Write as _;
use std::ops::ControlFlow;
use std::path::Path;

use headwater_log_store::inspect::{DumpOptions, DumpRow, DumpValue, dump, dumpable_files};
use headwater_log_store::{FileStorage, Reads};
use serde_json::{Map, Value, json};

use crate::args::LogDumpArgs;
use crate::error::Result;
use crate::output::{Output, escape, json_bytes};

/// Shows the files that were named, or all.
pub(crate) fn run(dir: &Path, args: &LogDumpArgs, output: &mut Output) -> Result<()> {
    let storage = FileStorage::new(Reads::Positioned);
    let files = match &*args.files {
        [] => dumpable_files(&storage, dir)?,
        files => files.to_vec(),
    };
    let options = DumpOptions { records: args.print_data_log, offsets: args.offsets_decoder };
    for file in files {
        let name = file.display().to_string();
        let in_words = output.is_in_words();
        if in_words {
            output.text(&format!("Dumping {name}"))?;
        }
        let mut failed = None;
        dump(&storage, dir, &file, options, &mut |row| {
            let written = match in_words {
                true => output.line(&words(&row)),
                false => output.json(&object(&name, &row)),
            };
            match written {
                Ok(()) => ControlFlow::Continue(()),
                Err(error) => {
                    failed = Some(error);
                    ControlFlow::Break(())
                }
            }
        })?;
        failed.map_or(Ok(()), Err)?;
    }
    Ok(())
}

/// A row as a line: names and values, as Kafka's tool shows them.
fn words(row: &DumpRow) -> String {
    let indent = match row.kind {
        "record" | "offsetCommit" | "journaledBatch" | "partition" => "| ",
        "segment" => "|| ",
        _ => "",
    };
    let mut line = format!("{indent}{}", row.kind);
    for (name, value) in &row.fields {
        write!(line, " {name}: {}", shown(value)).expect("a string takes everything");
    }
    line
}

fn shown(value: &DumpValue) -> String {
    match value {
        DumpValue::Number(number) => number.to_string(),
        DumpValue::Unsigned(number) => number.to_string(),
        DumpValue::Flag(flag) => flag.to_string(),
        DumpValue::Text(text) => escape(text.as_bytes()),
        DumpValue::Bytes(bytes) => bytes.as_deref().map_or("null".to_owned(), escape),
        DumpValue::Pairs(pairs) => {
            let pair = |(name, value): &(String, Option<Vec<u8>>)| {
                let value = value.as_deref().map_or("null".to_owned(), escape);
                format!("{}={value}", escape(name.as_bytes()))
            };
            format!("[{}]", pairs.iter().map(pair).collect::<Vec<_>>().join(","))
        }
    }
}

/// A row as an object.
fn object(file: &str, row: &DumpRow) -> Value {
    let mut object = Map::new();
    object.insert("file".to_owned(), json!(file));
    object.insert("kind".to_owned(), json!(row.kind));
    for (name, value) in &row.fields {
        let value = match value {
            DumpValue::Number(number) => json!(number),
            DumpValue::Unsigned(number) => json!(number),
            DumpValue::Flag(flag) => json!(flag),
            DumpValue::Text(text) => json!(text),
            DumpValue::Bytes(bytes) => json!(bytes.as_deref().map(json_bytes)),
            DumpValue::Pairs(pairs) => {
                let pair = |(name, value): &(String, Option<Vec<u8>>)| json!({ "key": name, "value": value.as_deref().map(json_bytes) });
                pairs.iter().map(pair).collect()
            }
        };
        object.insert((*name).to_owned(), value);
    }
    Value::Object(object)
}
