//! What became of what producers sent.

use std::collections::HashMap;

use crate::anomaly::Anomaly;
use crate::history::{Action, Outcome};
use crate::index::Index;

/// What was acknowledged is there, as far as partitions were read.
pub(crate) fn lost(index: &Index<'_>, found: &mut Vec<Anomaly>) {
    for (&value, sent) in &index.sent {
        if sent.outcome != Outcome::Ok || index.is_read(value) {
            continue;
        }
        let Some(known) = index.partitions.get(sent.partition) else { continue };
        let partition = sent.partition.to_owned();
        match sent.offset {
            Some(offset) if known.highest_read.is_some_and(|highest| offset <= highest) => {
                found.push(Anomaly::LostWrite { partition, value, offset });
            }
            _ if known.is_whole => found.push(Anomaly::UnseenTail { partition, value }),
            _ => {}
        }
    }
}

/// The records of a producer have the order of its sends.
pub(crate) fn order_of_sends(index: &Index<'_>, found: &mut Vec<Anomaly>) {
    let mut last: HashMap<(u32, &str), (u64, u64)> = HashMap::new();
    for operation in &index.operations {
        for action in &operation.actions {
            let Action::Send { partition, value, .. } = action else { continue };
            if operation.outcome == Outcome::Fail {
                continue;
            }
            let Some(offset) = index.offset(*value) else { continue };
            let place = (operation.process, partition.as_str());
            let before = last.insert(place, (offset, *value));
            if let Some((_, earlier)) = before.filter(|&(before, _)| before >= offset) {
                let (partition, values) = (partition.clone(), [earlier, *value]);
                found.push(Anomaly::NonMonotonicSend { partition, values });
            }
        }
    }
}
