//! Standard output: tables, JSON, and records, safe for the terminal that may be behind it.

use std::fmt::Write as _;
use std::io::{self, BufWriter, IsTerminal, StdoutLock, Write};

use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, Table};
use headwater_log_store::{RecordView, Timestamp, TopicPartition};
use serde::Serialize;

use crate::args::Format;
use crate::error::{Error, Result};

/// Where data goes.
#[derive(Debug)]
pub(crate) struct Output {
    writer: BufWriter<StdoutLock<'static>>,
    is_terminal: bool,
    format: Option<Format>,
}

/// A column's heading, and whether its cells are numbers.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Column {
    Text(&'static str),
    Number(&'static str),
}

/// A record as JSON; the fields are those that other tools show.
#[derive(Debug, Serialize)]
struct JsonRecord<'a> {
    topic: &'a str,
    partition: u32,
    offset: u64,
    timestamp: i64,
    key: Option<JsonBytes<'a>>,
    value: Option<JsonBytes<'a>>,
    headers: Vec<JsonHeader<'a>>,
}

#[derive(Debug, Serialize)]
struct JsonHeader<'a> {
    key: &'a str,
    value: Option<JsonBytes<'a>>,
}

/// Bytes as text where they are text, so that nothing is lost where they are not.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum JsonBytes<'a> {
    Text(&'a str),
    Hex { hex: String },
}

impl Output {
    /// Standard output, in the format that was asked for.
    pub(crate) fn stdout(format: Option<Format>) -> Self {
        let stdout = io::stdout().lock();
        let is_terminal = stdout.is_terminal();
        Self { writer: BufWriter::new(stdout), is_terminal, format }
    }

    /// The format that was asked for; for what is a list by nature, a table if none was.
    pub(crate) fn list_format(&self) -> Format {
        self.format.unwrap_or(Format::Table)
    }

    /// Whether people are to read it, rather than programs.
    pub(crate) fn is_in_words(&self) -> bool {
        self.list_format() == Format::Table
    }

    /// Writes a line that may hold what somebody else has written.
    pub(crate) fn text(&mut self, text: &str) -> Result<()> {
        self.line(&escape(text.as_bytes()))
    }

    /// Whether records are shown in columns.
    pub(crate) fn is_table(&self) -> bool {
        self.format == Some(Format::Table)
    }

    /// Writes a table.
    pub(crate) fn table(&mut self, columns: &[Column], rows: &[Vec<String>]) -> Result<()> {
        let mut table = Table::new();
        table.load_style(NOTHING);
        table.set_header(columns.iter().map(|column| column.name()));
        for row in rows {
            table.add_row(row.iter().map(|cell| escape(cell.as_bytes())));
        }
        for (column, shown) in columns.iter().zip(table.column_iter_mut()) {
            shown.set_padding((0, 2));
            if let Column::Number(_) = column {
                shown.set_cell_alignment(CellAlignment::Right);
            }
        }
        for line in table.lines() {
            self.line(line.trim_end())?;
        }
        Ok(())
    }

    /// Writes a line.
    pub(crate) fn line(&mut self, line: &str) -> Result<()> {
        writeln!(self.writer, "{line}").map_err(|source| Error::Output { source })
    }

    /// Writes values as one JSON array.
    pub(crate) fn json_array<T: Serialize>(&mut self, values: &[T]) -> Result<()> {
        self.json(&values)
    }

    /// Writes a value as one line of JSON.
    pub(crate) fn json<T: Serialize>(&mut self, value: &T) -> Result<()> {
        serde_json::to_writer(&mut self.writer, value)
            .map_err(|error| Error::Output { source: error.into() })?;
        self.line("")
    }

    /// Writes the heading of records that are shown in columns.
    pub(crate) fn record_heading(&mut self) -> Result<()> {
        self.record_columns(["PARTITION", "OFFSET", "TIMESTAMP", "KEY", "VALUE"])
    }

    /// Writes a record: its value as a line, or what was asked for.
    pub(crate) fn record(
        &mut self,
        topic_partition: &TopicPartition,
        record: &RecordView<'_>,
    ) -> Result<()> {
        match self.format {
            Some(Format::Json | Format::Ndjson) => self.json(&json_record(topic_partition, record)),
            Some(Format::Table) => self.record_columns([
                &topic_partition.partition.to_string(),
                &record.offset.to_string(),
                &show_timestamp(record.timestamp),
                &escape(record.key.unwrap_or(b"null")),
                &escape(record.value.unwrap_or(b"null")),
            ]),
            None => {
                let value = record.value.unwrap_or(b"null");
                let written = if self.is_terminal {
                    writeln!(self.writer, "{}", escape(value))
                } else {
                    self.writer.write_all(value).and_then(|()| self.writer.write_all(b"\n"))
                };
                written.map_err(|source| Error::Output { source })
            }
        }
    }

    /// Hands over what was written.
    pub(crate) fn flush(&mut self) -> Result<()> {
        self.writer.flush().map_err(|source| Error::Output { source })
    }

    /// Records come one by one and without end, so their columns have fixed widths.
    fn record_columns(&mut self, [partition, offset, time, key, value]: [&str; 5]) -> Result<()> {
        self.line(&format!("{partition:>9}  {offset:>12}  {time:<24}  {key:<20}  {value}"))
    }
}

impl Column {
    fn name(self) -> &'static str {
        match self {
            Self::Text(name) | Self::Number(name) => name,
        }
    }
}

/// Tells the user something that is not data.
pub(crate) fn note(text: &str) {
    // A closed standard error is the user's wish to hear nothing; the exit code still tells.
    let _ = writeln!(io::stderr(), "{text}");
}

/// The text of bytes, with control characters and what is not UTF-8 escaped, so that stored data
/// cannot steer a terminal.
pub(crate) fn escape(bytes: &[u8]) -> String {
    let mut shown = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            if character.is_control() {
                shown.extend(character.escape_default());
            } else {
                shown.push(character);
            }
        }
        for byte in chunk.invalid() {
            write!(shown, "\\x{byte:02x}").expect("a string takes everything");
        }
    }
    shown
}

/// A timestamp in UTC, or the bare number where it is none.
fn show_timestamp(timestamp: Timestamp) -> String {
    let millis = timestamp.as_millis();
    match jiff::Timestamp::from_millisecond(millis) {
        Ok(instant) if timestamp != Timestamp::NONE => format!("{instant:.3}"),
        _ => millis.to_string(),
    }
}

fn json_record<'a>(topic_partition: &'a TopicPartition, record: &RecordView<'a>) -> JsonRecord<'a> {
    JsonRecord {
        topic: topic_partition.topic.as_str(),
        partition: topic_partition.partition.value(),
        offset: record.offset.value(),
        timestamp: record.timestamp.as_millis(),
        key: record.key.map(json_bytes),
        value: record.value.map(json_bytes),
        headers: record
            .headers
            .iter()
            .map(|header| JsonHeader { key: header.key, value: header.value.map(json_bytes) })
            .collect(),
    }
}

/// Bytes as they are shown in JSON.
pub(crate) fn json_bytes(bytes: &[u8]) -> JsonBytes<'_> {
    match std::str::from_utf8(bytes) {
        Ok(text) => JsonBytes::Text(text),
        Err(_) => {
            let hex = bytes.iter().fold(String::new(), |mut hex, byte| {
                write!(hex, "{byte:02x}").expect("a string takes everything");
                hex
            });
            JsonBytes::Hex { hex }
        }
    }
}

#[cfg(test)]
mod tests {
    use headwater_log_store::{
        Header, Offset, PartitionId, Record, RecordBatchBuilder, Timestamp, TopicName,
        TopicPartition,
    };

    use super::{escape, json_record, show_timestamp};

    #[test]
    fn control_characters_and_broken_utf8_are_escaped() {
        for (bytes, expected) in [
            (&b"plain"[..], "plain"),
            ("grün → 水".as_bytes(), "grün → 水"),
            (b"\x1b[2J", "\\u{1b}[2J"),
            (b"a\nb\tc", "a\\nb\\tc"),
            ("\u{9b}2J".as_bytes(), "\\u{9b}2J"),
            (b"a\xffb\xc3", "a\\xffb\\xc3"),
        ] {
            assert_eq!(escape(bytes), expected);
        }
    }

    #[test]
    fn timestamps_are_shown_in_utc() {
        let show = |millis| show_timestamp(Timestamp::from_millis(millis));
        assert_eq!(show(1_431_857_103_250), "2015-05-17T10:05:03.250Z");
        assert_eq!(show(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(show(-1), "-1");
        assert_eq!(show(i64::MAX), i64::MAX.to_string());
    }

    #[test]
    fn a_record_in_json_loses_nothing() {
        let topic_partition =
            TopicPartition::new(TopicName::new("t").unwrap(), PartitionId::new(1));
        let mut builder = RecordBatchBuilder::new(topic_partition.clone());
        let headers = [Header { key: "h", value: Some(b"1") }, Header { key: "h", value: None }];
        let record = Record::value(b"\x00\xff").with_key(b"k\"").with_headers(&headers);
        builder.push(Offset::new(7), Timestamp::from_millis(9), &record);
        let batch = builder.build();
        let json = serde_json::to_string(&json_record(&topic_partition, &batch.get(0).unwrap()));
        assert_eq!(
            json.unwrap(),
            r#"{"topic":"t","partition":1,"offset":7,"timestamp":9,"key":"k\"","value":{"hex":"00ff"},"headers":[{"key":"h","value":"1"},{"key":"h","value":null}]}"#
        );
    }
}
