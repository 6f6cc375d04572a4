//! The records that have made a closure panic, kept for the redo.

use std::collections::BTreeMap;

use headwater_log_store::{Offset, TopicPartition};

use crate::context::FailureReport;
use crate::error::RecordPosition;
use crate::error_handler::ErrorResponse;

/// The records that made a closure panic, with the answers about them: the redo finds the answer
/// before it would run the closure again, so one bad record fails once.
#[derive(Debug, Default)]
pub(crate) struct Poison(BTreeMap<RecordPosition, (ErrorResponse, FailureReport)>);

impl Poison {
    #[inline]
    pub(crate) fn answer(
        &self,
        topic_partition: &TopicPartition,
        offset: Offset,
    ) -> Option<&(ErrorResponse, FailureReport)> {
        if self.0.is_empty() {
            return None;
        }
        self.0.get(&RecordPosition { topic_partition: topic_partition.clone(), offset })
    }

    pub(crate) fn remember(
        &mut self,
        position: RecordPosition,
        response: ErrorResponse,
        report: FailureReport,
    ) {
        self.0.insert(position, (response, report));
    }

    /// Forgets the records that were committed.
    pub(crate) fn retain(&mut self, is_ahead: impl Fn(&RecordPosition) -> bool) {
        self.0.retain(|position, _| is_ahead(position));
    }
}
