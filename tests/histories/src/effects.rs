//! What stream processing made of its input: effects, views, and whether it came to an end.

use std::collections::{BTreeMap, HashMap};

use crate::anomaly::Anomaly;
use crate::history::{History, Line, ViewSource};
use crate::index::Index;

/// After the last fault, all has to be as it should after so many milliseconds.
const SETTLED_MS_MAX: u64 = 30_000;

/// Each value below the committed offset has one effect, and no other has any.
pub(crate) fn effects(history: &History, index: &Index<'_>, found: &mut Vec<Anomaly>) {
    let mut effects: HashMap<u64, usize> = HashMap::new();
    for (&value, sent) in &index.sent {
        if let Some(of) = sent.of.filter(|_| index.is_read(value)) {
            *effects.entry(of).or_default() += 1;
        }
    }
    for line in &history.lines {
        let Line::Committed { partition, offset: committed } = line else { continue };
        let Some(known) = index.partitions.get(partition.as_str()) else { continue };
        for (&offset, values) in &known.values {
            for &value in values.iter().filter(|value| index.is_read(**value)) {
                let effects = effects.get(&value).copied().unwrap_or_default();
                if effects != usize::from(offset < *committed) {
                    let partition = partition.clone();
                    found.push(Anomaly::OffsetEffectMismatch { partition, offset, value, effects });
                }
            }
        }
    }
}

/// All accounts of a view agree.
pub(crate) fn views(history: &History, found: &mut Vec<Anomaly>) {
    type Account<'a> = (ViewSource, &'a BTreeMap<String, String>);
    let mut first: HashMap<&str, Account<'_>> = HashMap::new();
    for line in &history.lines {
        let Line::View { name, source, rows } = line else { continue };
        let &mut (other, expected) = first.entry(name).or_insert((*source, rows));
        let differing = expected.keys().chain(rows.keys());
        if let Some(key) = differing.into_iter().find(|key| expected.get(*key) != rows.get(*key)) {
            let (name, sources, key) = (name.clone(), [other, *source], key.clone());
            found.push(Anomaly::ViewMismatch { name, sources, key });
        }
    }
}

/// It came to rest in time.
pub(crate) fn settled(history: &History, found: &mut Vec<Anomaly>) {
    for line in &history.lines {
        let Line::Settled { after_ms } = *line else { continue };
        if after_ms.is_none_or(|after_ms| after_ms > SETTLED_MS_MAX) {
            found.push(Anomaly::NotSettled { after_ms });
        }
    }
}
