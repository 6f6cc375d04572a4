//! The records that have made a closure panic, kept for the redo.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use headwater_log_store::{Offset, TopicPartition};

use crate::error::RecordPosition;
use crate::error_handler::ErrorResponse;
use crate::failing::FailureReport;
use crate::punctuation::PunctuationKey;

/// The records that made a closure panic, with the answers about them: the redo finds the answer
/// before it would run the closure again, so one bad record fails once. Punctuators too, which can
/// only be skipped.
#[derive(Debug, Default)]
pub(crate) struct Poison {
    records: BTreeMap<RecordPosition, (ErrorResponse, FailureReport)>,
    punctuations: RefCell<BTreeSet<PunctuationKey>>,
}

impl Poison {
    #[inline]
    pub(crate) fn answer(
        &self,
        topic_partition: &TopicPartition,
        offset: Offset,
    ) -> Option<&(ErrorResponse, FailureReport)> {
        if self.records.is_empty() {
            return None;
        }
        self.records.get(&RecordPosition { topic_partition: topic_partition.clone(), offset })
    }

    pub(crate) fn remember(
        &mut self,
        position: RecordPosition,
        response: ErrorResponse,
        report: FailureReport,
    ) {
        self.records.insert(position, (response, report));
    }

    /// Lets a call of a punctuator be skipped when it comes again.
    pub(crate) fn remember_punctuation(&mut self, key: PunctuationKey) {
        self.punctuations.get_mut().insert(key);
    }

    /// Whether a call of a punctuator is to be skipped.
    pub(crate) fn skips(&self, key: &PunctuationKey) -> bool {
        let mut punctuations = self.punctuations.borrow_mut();
        punctuations.contains(key) && (key.comes_again() || punctuations.remove(key))
    }

    /// Forgets the records that were committed, and the punctuators that cannot come again.
    pub(crate) fn retain(&mut self, is_ahead: impl Fn(&RecordPosition) -> bool) {
        self.records.retain(|position, _| is_ahead(position));
        self.punctuations.get_mut().retain(|key| !key.comes_again());
    }
}
