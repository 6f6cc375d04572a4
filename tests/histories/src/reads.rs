//! What consumers saw, by itself: places with two values, values at two places, steps back and
//! steps too far.

use std::collections::HashMap;

use crate::anomaly::Anomaly;
use crate::history::{Action, Isolation, Outcome};
use crate::index::Index;

/// Every place has one value.
pub(crate) fn inconsistent_offsets(index: &Index<'_>, found: &mut Vec<Anomaly>) {
    for (partition, known) in &index.partitions {
        for (&offset, values) in &known.values {
            let mut values = values.iter();
            if let (Some(&first), Some(&second)) = (values.next(), values.next()) {
                let (partition, values) = ((*partition).to_owned(), [first, second]);
                found.push(Anomaly::InconsistentOffset { partition, offset, values });
            }
        }
    }
}

/// Every value has one place, which is that of its acknowledgement.
pub(crate) fn duplicates(index: &Index<'_>, found: &mut Vec<Anomaly>) {
    for (&value, places) in &index.places {
        let sent = index.sent.get(&value);
        let acknowledged = sent.and_then(|sent| Some((sent.partition, sent.offset?)));
        let mut places = places.iter().copied().chain(acknowledged);
        let Some(first) = places.next() else { continue };
        if let Some(other) = places.find(|&place| place != first) {
            let places = [first, other].map(|(partition, offset)| (partition.to_owned(), offset));
            found.push(Anomaly::Duplicate { value, places });
        }
    }
}

/// No consumer sees what was refused or aborted, and no transaction what it has not committed.
pub(crate) fn uncommitted_reads(index: &Index<'_>, found: &mut Vec<Anomaly>) {
    for (number, operation) in index.operations.iter().enumerate() {
        if operation.isolation == Isolation::ReadUncommitted {
            continue;
        }
        for action in &operation.actions {
            let Action::Poll { partition, records, .. } = action else { continue };
            for &(_, value) in records {
                let Some(sent) = index.sent.get(&value) else { continue };
                let partition = partition.clone();
                if sent.operation == number && operation.transaction {
                    found.push(Anomaly::PrecommittedRead { partition, value, operation: number });
                } else if sent.outcome == Outcome::Fail {
                    found.push(Anomaly::AbortedRead { partition, value, reader: number });
                }
            }
        }
    }
}

/// A consumer goes forward, and leaves nothing out that is there.
pub(crate) fn order_of_polls(index: &Index<'_>, found: &mut Vec<Anomaly>) {
    let mut positions: HashMap<(u32, &str), u64> = HashMap::new();
    for (number, operation) in index.operations.iter().enumerate() {
        for action in &operation.actions {
            match action {
                Action::Seek { partition } => {
                    positions.remove(&(operation.process, partition.as_str()));
                }
                Action::Poll { partition, records, .. } => {
                    for &(offset, _) in records {
                        let before =
                            positions.insert((operation.process, partition.as_str()), offset);
                        let Some(before) = before else { continue };
                        step(index, number, partition, [before, offset], found);
                    }
                }
                Action::Send { .. } => {}
            }
        }
    }
}

/// Judges a step of a consumer from one offset to another.
fn step(
    index: &Index<'_>,
    reader: usize,
    partition: &str,
    offsets: [u64; 2],
    found: &mut Vec<Anomaly>,
) {
    let [before, offset] = offsets;
    if offset <= before {
        let partition = partition.to_owned();
        found.push(Anomaly::NonMonotonicPoll { partition, offsets, reader });
        return;
    }
    let Some(known) = index.partitions.get(partition) else { return };
    let between = known.values.range(before + 1..offset);
    if let Some(&skipped) = between.flat_map(|(_, values)| values).next() {
        let partition = partition.to_owned();
        found.push(Anomaly::PollSkip { partition, after: before, skipped, reader });
    }
}
