//! The coordinator of the groups of a process: who may join, poll, leave and commit, one at a time.
//!
//! It has no thread and reads no clock: it is told the time by those who call, and does what is
//! due. Offsets are only written under a [`CommitGuard`]: while it lives, nothing that may be
//! written under it goes to another member, so whoever gets a partition finds its last offset.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use parking_lot::Mutex;

use crate::error::{Error, Result};
use crate::group::membership::{Group, GroupView, JoinRequest, Step, unknown_member};
use crate::log::GroupMetadata;
use crate::types::{TopicName, TopicPartition};

/// The groups that have members, or are being written to.
#[derive(Debug, Default)]
pub(crate) struct Coordinator {
    groups: Mutex<Groups>,
}

#[derive(Debug, Default)]
struct Groups {
    by_name: BTreeMap<String, Group>,
    /// Member ids are never used again.
    members_so_far: u64,
}

/// What a member that polls is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Turn {
    pub(crate) step: Step,
    /// Whether others may have something to do, too, and are to be woken.
    pub(crate) wake_others: bool,
    /// When the first of the other members will have been silent for too long.
    pub(crate) next_expiry: Option<Duration>,
}

impl Coordinator {
    /// Makes a member, and returns its id.
    pub(crate) fn join(&self, name: &str, request: JoinRequest, now: Duration) -> String {
        let mut groups = self.groups.lock();
        groups.members_so_far += 1;
        let member_id = format!("{}-{}", request.client_id, groups.members_so_far);
        let group = groups.by_name.entry(name.to_owned()).or_default();
        group.admit(member_id.clone(), request, now);
        member_id
    }

    /// Changes the topics of a member; one that is gone learns that when it polls.
    pub(crate) fn change_topics(&self, name: &str, member_id: &str, topics: BTreeSet<TopicName>) {
        let mut groups = self.groups.lock();
        let Some(group) = groups.by_name.get_mut(name) else { return };
        if let Some(member) = group.members.get_mut(member_id) {
            member.topics = topics;
            group.change();
        }
    }

    /// Takes a member out, once its commits are done; what it has goes to others.
    pub(crate) fn leave(&self, name: &str, member_id: &str) {
        let mut groups = self.groups.lock();
        let Some(group) = groups.by_name.get_mut(name) else { return };
        if let Some(member) = group.members.get_mut(member_id) {
            member.topics.clear();
            member.is_leaving = true;
            group.change();
        }
        groups.tidy(name);
    }

    /// What a member that polls is to do next; to be asked again after each step. `count` tells how
    /// many partitions a topic has.
    pub(crate) fn poll(
        &self,
        name: &str,
        member_id: &str,
        now: Duration,
        count: impl Fn(&TopicName) -> u32,
    ) -> Turn {
        let mut groups = self.groups.lock();
        let Some(group) = groups.by_name.get_mut(name) else { return Turn::lost() };
        group.expire(name, now);
        let Some(member) = group.members.get_mut(member_id).filter(|m| !m.is_leaving) else {
            let wake_others = std::mem::take(&mut group.has_news);
            return Turn { wake_others, ..Turn::lost() };
        };
        member.last_poll = now;
        member.is_polling = true;
        group.make_targets(count);
        let step = group.step(member_id);
        Turn {
            step,
            wake_others: std::mem::take(&mut group.has_news),
            next_expiry: group.next_expiry(member_id),
        }
    }

    /// Whether a member is still one.
    pub(crate) fn is_member(&self, name: &str, member_id: &str, now: Duration) -> bool {
        let mut groups = self.groups.lock();
        let Some(group) = groups.by_name.get_mut(name) else { return false };
        group.expire(name, now);
        group.members.get(member_id).is_some_and(|member| !member.is_leaving)
    }

    /// Notes that a member is done polling.
    pub(crate) fn end_poll(&self, name: &str, member_id: &str, now: Duration) {
        let mut groups = self.groups.lock();
        let group = groups.by_name.get_mut(name);
        if let Some(member) = group.and_then(|group| group.members.get_mut(member_id)) {
            member.last_poll = now;
            member.is_polling = false;
        }
    }

    /// Notes that a member has finished with partitions that it was to part with.
    pub(crate) fn give_back(&self, name: &str, member_id: &str, partitions: &[TopicPartition]) {
        let mut groups = self.groups.lock();
        let Some(group) = groups.by_name.get_mut(name) else { return };
        if let Some(member) = group.members.get_mut(member_id) {
            member.owned.retain(|owned| !partitions.contains(owned));
            group.has_news = true;
        }
    }

    /// Lets somebody write offsets of a group: a member in its generation, or anybody while there
    /// are no members.
    pub(crate) fn begin_commit<'a>(
        &self,
        metadata: &GroupMetadata,
        partitions: impl IntoIterator<Item = &'a TopicPartition>,
        now: Duration,
    ) -> Result<CommitGuard<'_>> {
        let mut groups = self.groups.lock();
        let name = metadata.group.as_str();
        if let Some(group) = groups.by_name.get_mut(name) {
            group.expire(name, now);
            groups.tidy(name);
        }
        if metadata.member_id.is_empty() {
            let group = groups.by_name.entry(name.to_owned()).or_default();
            if !group.members.is_empty() {
                let members = group.members.keys().cloned().collect();
                return Err(Error::GroupNotEmpty { group: name.to_owned(), members });
            }
            group.outside_commits += 1;
        } else {
            let group = groups.by_name.get_mut(name);
            let member = group.map_or_else(
                || Err(unknown_member(metadata)),
                |group| group.check_commit(metadata, partitions),
            )?;
            member.commits += 1;
        }
        let (group, member_id) = (metadata.group.clone(), metadata.member_id.clone());
        Ok(CommitGuard { coordinator: self, group, member_id })
    }

    /// A group that has members.
    pub(crate) fn view(&self, name: &str, now: Duration) -> Option<GroupView> {
        let mut groups = self.groups.lock();
        groups.by_name.get_mut(name)?.expire(name, now);
        groups.tidy(name);
        groups.by_name.get(name)?.view()
    }

    /// The names of the groups that have members.
    pub(crate) fn groups(&self) -> Vec<String> {
        let groups = self.groups.lock();
        let live = groups.by_name.iter().filter(|(_, group)| !group.members.is_empty());
        live.map(|(name, _)| name.clone()).collect()
    }
}

/// While it lives, nothing that it may write offsets for changes hands.
#[derive(Debug)]
#[must_use]
pub(crate) struct CommitGuard<'a> {
    coordinator: &'a Coordinator,
    group: String,
    member_id: String,
}

impl Drop for CommitGuard<'_> {
    fn drop(&mut self) {
        let mut groups = self.coordinator.groups.lock();
        let Some(group) = groups.by_name.get_mut(&self.group) else { return };
        if self.member_id.is_empty() {
            group.outside_commits -= 1;
        } else if let Some(member) = group.members.get_mut(&self.member_id) {
            member.commits -= 1;
        }
        group.has_news = true;
        groups.tidy(&self.group);
    }
}

impl Turn {
    fn lost() -> Self {
        Self { step: Step::Lost, wake_others: false, next_expiry: None }
    }
}

impl Groups {
    /// Lets go of members that have left, and of a group that nobody is in.
    fn tidy(&mut self, name: &str) {
        let Some(group) = self.by_name.get_mut(name) else { return };
        group.let_go();
        if group.is_over() {
            self.by_name.remove(name);
        }
    }
}
