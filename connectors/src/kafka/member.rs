//! The members of groups that live in this process, by the ids that they go by here.
//!
//! librdkafka knows the ids and generations that the brokers have given, and does not tell them. So
//! a member goes by an id of its own, which leads to its client; a commit asks that client who it
//! is for the brokers.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use headwater_log_store::{Error, GroupMetadata, Result};
use parking_lot::Mutex;
use rdkafka::consumer::{Consumer, ConsumerGroupMetadata};

use crate::kafka::context::NativeConsumer;

/// See the module.
#[derive(Default)]
pub(super) struct Members {
    known: Mutex<HashMap<String, Member>>,
    last: AtomicU64,
}

struct Member {
    client: Weak<NativeConsumer>,
    generation: i32,
}

impl Members {
    /// A new member's id.
    pub(super) fn join(&self, client_id: &str, client: &Arc<NativeConsumer>) -> String {
        let number = self.last.fetch_add(1, Ordering::Relaxed) + 1;
        let member_id = format!("{client_id}-{}-{number}", std::process::id());
        let member = Member { client: Arc::downgrade(client), generation: 0 };
        self.known.lock().insert(member_id.clone(), member);
        member_id
    }

    /// A rebalance has changed what the member has.
    pub(super) fn set_generation(&self, member_id: &str, generation: i32) {
        if let Some(member) = self.known.lock().get_mut(member_id) {
            member.generation = generation;
        }
    }

    /// The member has left.
    pub(super) fn leave(&self, member_id: &str) {
        self.known.lock().remove(member_id);
    }

    /// Who the member is for the brokers.
    pub(super) fn native(&self, metadata: &GroupMetadata) -> Result<ConsumerGroupMetadata> {
        let GroupMetadata { group, generation, member_id } = metadata;
        let unknown =
            || Error::UnknownMember { group: group.clone(), member_id: member_id.clone() };
        let known = self.known.lock();
        let member = known.get(member_id).ok_or_else(unknown)?;
        if member.generation != *generation {
            return Err(Error::IllegalGeneration {
                group: group.clone(),
                member_id: member_id.clone(),
                generation: *generation,
                current: member.generation,
            });
        }
        let client = member.client.upgrade().ok_or_else(unknown)?;
        drop(known);
        let native = client.group_metadata().ok_or_else(unknown)?;
        // After it, not before: a member that was put out in between has lost its partitions.
        match client.assignment_lost() {
            true => Err(unknown()),
            false => Ok(native),
        }
    }
}

impl std::fmt::Debug for Members {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Members").field("known", &self.known.lock().len()).finish_non_exhaustive()
    }
}
