//! Transactions are there whole or not at all.

use std::collections::{BTreeMap, HashMap};

use crate::anomaly::Anomaly;
use crate::history::{Action, Isolation, Outcome};
use crate::index::Index;

/// At the end all values of a transaction can be read, or none, in all partitions together.
pub(crate) fn torn(index: &Index<'_>, found: &mut Vec<Anomaly>) {
    for (number, operation) in index.operations.iter().enumerate() {
        if !operation.transaction || operation.outcome == Outcome::Fail {
            continue;
        }
        let (mut present, mut missing) = (None, None);
        for action in &operation.actions {
            let Action::Send { partition, value, .. } = action else { continue };
            if index.is_read(*value) {
                present = Some(*value);
            } else if index.partitions.get(partition.as_str()).is_some_and(|p| p.is_whole) {
                missing = Some(*value);
            }
        }
        if let (Some(present), Some(missing)) = (present, missing) {
            found.push(Anomaly::TornTransaction { operation: number, present, missing });
        }
    }
}

/// What a consumer could read never ended between two records of a transaction.
pub(crate) fn intermediate_reads(index: &Index<'_>, found: &mut Vec<Anomaly>) {
    let spans = spans(index);
    for (number, operation) in index.operations.iter().enumerate() {
        if operation.isolation == Isolation::ReadUncommitted {
            continue;
        }
        for action in &operation.actions {
            let Action::Poll { partition, end: Some(end), .. } = action else { continue };
            let Some(spans) = spans.get(partition.as_str()) else { continue };
            // Transactions that began before the end; the last of them reach the furthest.
            for &(first, last, writer) in spans.range(..(*end, 0, 0)).rev().take(SPANS_LOOKED_AT) {
                if first < *end && last >= *end {
                    let (partition, end) = (partition.clone(), *end);
                    let reader = number;
                    found.push(Anomaly::IntermediateRead { partition, end, writer, reader });
                }
            }
        }
    }
}

/// As many transactions before an end are looked at: more than can be under way at once.
const SPANS_LOOKED_AT: usize = 64;

/// By partition: the first and the last offset of each transaction that has more than one there,
/// and which operation it is.
type Spans<'a> = HashMap<&'a str, std::collections::BTreeSet<(u64, u64, usize)>>;

fn spans<'a>(index: &Index<'a>) -> Spans<'a> {
    let mut spans: Spans<'a> = HashMap::new();
    for (number, operation) in index.operations.iter().enumerate() {
        if !operation.transaction || operation.outcome == Outcome::Fail {
            continue;
        }
        let mut ends: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
        for action in &operation.actions {
            let Action::Send { partition, value, .. } = action else { continue };
            let Some(offset) = index.offset(*value) else { continue };
            let (first, last) = ends.entry(partition).or_insert((offset, offset));
            (*first, *last) = ((*first).min(offset), (*last).max(offset));
        }
        for (partition, (first, last)) in ends.into_iter().filter(|(_, (a, b))| a < b) {
            spans.entry(partition).or_default().insert((first, last, number));
        }
    }
    spans
}
