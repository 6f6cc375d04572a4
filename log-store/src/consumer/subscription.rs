//! What a consumer has subscribed to, and who it is in its group.

use std::collections::BTreeSet;
use std::fmt;

use crate::log::RebalanceListener;
use crate::types::TopicName;

/// A subscription of a consumer.
pub(super) struct Subscription {
    pub(super) topics: BTreeSet<TopicName>,
    /// Missing while it is being called.
    pub(super) listener: Option<Box<dyn RebalanceListener>>,
    /// Missing before the first poll.
    pub(super) membership: Option<Membership>,
}

/// Who a consumer is in its group.
#[derive(Clone, Debug)]
pub(super) struct Membership {
    pub(super) member_id: String,
    pub(super) generation: i32,
    /// Whether the group has put it out, so that the next poll joins anew. Until then the old id
    /// stays, for commits to be refused by it.
    pub(super) is_lost: bool,
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription")
            .field("topics", &self.topics)
            .field("membership", &self.membership)
            .finish_non_exhaustive()
    }
}
