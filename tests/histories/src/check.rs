//! All checks of a history, and what they looked at.

use std::fmt;

use crate::anomaly::Anomaly;
use crate::cycles::cycles;
use crate::effects::{effects, settled, views};
use crate::error::Result;
use crate::history::{History, Outcome};
use crate::index::Index;
use crate::reads::{duplicates, inconsistent_offsets, order_of_polls, uncommitted_reads};
use crate::transactions::{intermediate_reads, torn};
use crate::writes::{lost, order_of_sends};

/// What a check has found, and how much there was to look at: a history in which nothing was read
/// or nothing aborted shows nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// What was found, in order of its kind.
    pub anomalies: Vec<Anomaly>,
    /// Operations in all.
    pub operations: usize,
    /// Those that were transactions.
    pub transactions: usize,
    /// Those that failed, so that nothing of them may be seen.
    pub failed: usize,
    /// Those of which nobody knows.
    pub unknown: usize,
    /// Values that were acknowledged.
    pub acknowledged: usize,
    /// Values that were read by somebody.
    pub read: usize,
    /// Values that are the effect of another, and were read.
    pub effects: usize,
    /// Partitions that were read whole at the end.
    pub partitions_whole: usize,
}

impl History {
    /// Looks for all that must not be.
    ///
    /// # Errors
    /// If the history is none: a value that was sent twice, or read and never sent.
    pub fn check(&self) -> Result<Report> {
        let index = Index::new(self)?;
        let mut anomalies = Vec::new();
        for check in [
            lost,
            order_of_sends,
            inconsistent_offsets,
            duplicates,
            uncommitted_reads,
            order_of_polls,
            torn,
            intermediate_reads,
            cycles,
        ] {
            check(&index, &mut anomalies);
        }
        effects(self, &index, &mut anomalies);
        views(self, &mut anomalies);
        settled(self, &mut anomalies);
        anomalies.sort();
        anomalies.dedup();
        let count = |outcome| index.operations.iter().filter(|op| op.outcome == outcome).count();
        let sent = || index.sent.iter();
        Ok(Report {
            anomalies,
            operations: index.operations.len(),
            transactions: index.operations.iter().filter(|op| op.transaction).count(),
            failed: count(Outcome::Fail),
            unknown: count(Outcome::Info),
            acknowledged: sent().filter(|(_, sent)| sent.outcome == Outcome::Ok).count(),
            read: index.places.len(),
            effects: sent().filter(|(value, s)| s.of.is_some() && index.is_read(**value)).count(),
            partitions_whole: index.partitions.values().filter(|p| p.is_whole).count(),
        })
    }
}

impl Report {
    /// The first anomaly that is forbidden.
    #[must_use]
    pub fn forbidden(&self) -> Option<&Anomaly> {
        self.anomalies.iter().find(|anomaly| anomaly.is_forbidden())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let forbidden = self.anomalies.iter().filter(|anomaly| anomaly.is_forbidden()).count();
        write!(
            f,
            "{} operations ({} transactions, {} failed, {} unknown), {} values acknowledged, {} read, {} effects, {} \
             partitions read whole: {} anomalies that are allowed, {forbidden} that are not",
            self.operations,
            self.transactions,
            self.failed,
            self.unknown,
            self.acknowledged,
            self.read,
            self.effects,
            self.partitions_whole,
            self.anomalies.len() - forbidden
        )
    }
}
