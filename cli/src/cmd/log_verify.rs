//! `headwater log verify`: what is damaged in a store.

use std::path::Path;

use headwater_log_store::inspect::{Finding, Severity, VerifyReport, verify};
use headwater_log_store::{FileStorage, Reads};
use serde::Serialize;

use crate::args::{Format, LogVerifyArgs};
use crate::error::{Error, Result};
use crate::output::{Column, Output};

#[derive(Debug, Serialize)]
struct JsonReport<'a> {
    writer: Option<&'a str>,
    clean: Option<bool>,
    topics: usize,
    partitions: usize,
    segments: usize,
    batches: u64,
    bytes: u64,
    journal_entries: usize,
    damaged: bool,
    findings: Vec<JsonFinding<'a>>,
}

/// A finding as JSON.
#[derive(Debug, Serialize)]
pub(crate) struct JsonFinding<'a> {
    severity: &'static str,
    file: String,
    position: u64,
    bytes: u64,
    topic: Option<&'a str>,
    partition: Option<u32>,
    first_offset: Option<u64>,
    next_offset: Option<u64>,
    reason: &'a str,
}

/// Shows the findings, and what was looked at.
///
/// # Errors
/// `Damaged` after the findings were shown.
pub(crate) fn run(dir: &Path, args: &LogVerifyArgs, output: &mut Output) -> Result<()> {
    let mut report = verify(&FileStorage::new(Reads::Positioned), dir)?;
    if args.quiet {
        report.findings.retain(|finding| finding.severity > Severity::Harmless);
    }
    match output.list_format() {
        Format::Table => in_words(&report, output)?,
        Format::Json => output.json(&json_report(&report))?,
        Format::Ndjson => {
            report.findings.iter().map(json_finding).try_for_each(|f| output.json(&f))?;
        }
    }
    output.flush()?;
    if report.is_damaged() { Err(Error::Damaged) } else { Ok(()) }
}

fn in_words(report: &VerifyReport, output: &mut Output) -> Result<()> {
    if !report.findings.is_empty() {
        findings_table(&report.findings, output)?;
        output.line("")?;
    }
    let state = match (&report.writer, report.clean) {
        (Some(writer), _) => format!("in use ({writer}), and was looked at up to its checkpoint"),
        (None, Some(true)) => "closed".to_owned(),
        (None, Some(false)) => {
            format!("not closed; {} journal entries to read", report.journal_entries)
        }
        (None, None) => "without a checkpoint".to_owned(),
    };
    output.text(&format!("The store is {state}."))?;
    output.line(&format!(
        "Verified {} topics, {} partitions, {} segments, {} batches, {} bytes.",
        report.topics, report.partitions, report.segments, report.batches, report.bytes
    ))?;
    let count = |severity| report.findings.iter().filter(|f| f.severity == severity).count();
    output.line(&match report.severity() {
        None => "No damage.".to_owned(),
        Some(_) => format!(
            "Findings: {} data, {} copy, {} cache, {} harmless.",
            count(Severity::Data),
            count(Severity::Copy),
            count(Severity::Cache),
            count(Severity::Harmless)
        ),
    })
}

/// Shows findings in columns.
pub(crate) fn findings_table(findings: &[Finding], output: &mut Output) -> Result<()> {
    let columns = [
        Column::Text("SEVERITY"),
        Column::Text("FILE"),
        Column::Number("POSITION"),
        Column::Number("BYTES"),
        Column::Text("PARTITION"),
        Column::Text("OFFSETS"),
        Column::Text("REASON"),
    ];
    let row = |finding: &Finding| {
        let partition = finding.topic_partition.as_ref();
        let offsets = finding.offsets.as_ref();
        vec![
            finding.severity.to_string(),
            finding.path.display().to_string(),
            finding.position.to_string(),
            finding.bytes.to_string(),
            partition.map_or("-".to_owned(), ToString::to_string),
            offsets.map_or("-".to_owned(), |o| format!("{}..{}", o.start, o.end)),
            finding.reason.clone(),
        ]
    };
    let rows: Vec<_> = findings.iter().map(row).collect();
    output.table(&columns, &rows)
}

fn json_report(report: &VerifyReport) -> JsonReport<'_> {
    JsonReport {
        writer: report.writer.as_deref(),
        clean: report.clean,
        topics: report.topics,
        partitions: report.partitions,
        segments: report.segments,
        batches: report.batches,
        bytes: report.bytes,
        journal_entries: report.journal_entries,
        damaged: report.is_damaged(),
        findings: report.findings.iter().map(json_finding).collect(),
    }
}

/// A finding as JSON.
pub(crate) fn json_finding(finding: &Finding) -> JsonFinding<'_> {
    let topic_partition = finding.topic_partition.as_ref();
    JsonFinding {
        severity: finding.severity.name(),
        file: finding.path.display().to_string(),
        position: finding.position,
        bytes: finding.bytes,
        topic: topic_partition.map(|tp| tp.topic.as_str()),
        partition: topic_partition.map(|tp| tp.partition.value()),
        first_offset: finding.offsets.as_ref().map(|offsets| offsets.start.value()),
        next_offset: finding.offsets.as_ref().map(|offsets| offsets.end.value()),
        reason: &finding.reason,
    }
}
