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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Coordinator, Turn};
    use crate::error::Error;
    use crate::group::membership::{JoinRequest, Step};
    use crate::log::GroupMetadata;
    use crate::types::{PartitionId, TopicName, TopicPartition};

    const INTERVAL: Duration = Duration::from_secs(10);

    /// A group `g` that shares the two partitions of a topic `t`.
    #[derive(Default)]
    struct Group {
        coordinator: Coordinator,
        now: Duration,
    }

    impl Group {
        fn join(&self) -> String {
            let topics = [TopicName::new("t").unwrap()].into();
            let client_id = "c".to_owned();
            let request = JoinRequest { client_id, topics, max_poll_interval: INTERVAL };
            self.coordinator.join("g", request, self.now)
        }

        fn poll(&self, member_id: &str) -> Turn {
            self.coordinator.poll("g", member_id, self.now, |_| 2)
        }

        /// Polls until there is nothing to do, and returns what was given and the generation.
        fn settle(&self, member_id: &str) -> (Vec<String>, i32) {
            let mut given = Vec::new();
            let generation = loop {
                match self.poll(member_id).step {
                    Step::Settled { generation } => break generation,
                    Step::Assign { partitions, .. } => {
                        given.extend(partitions.iter().map(ToString::to_string));
                    }
                    Step::Revoke(partitions) => {
                        self.coordinator.give_back("g", member_id, &partitions);
                    }
                    Step::Lost => panic!("{member_id} is no member any more"),
                }
            };
            self.coordinator.end_poll("g", member_id, self.now);
            (given, generation)
        }

        fn metadata(member_id: &str, generation: i32) -> GroupMetadata {
            GroupMetadata { group: "g".to_owned(), generation, member_id: member_id.to_owned() }
        }
    }

    #[test]
    fn who_commits_is_not_put_out_nor_parted_with_anything_before_it_is_done() {
        let mut group = Group::default();
        let a = group.join();
        let (given, generation) = group.settle(&a);
        assert_eq!(given, ["t-0", "t-1"]);
        let metadata = Group::metadata(&a, generation);
        let commit = group.coordinator.begin_commit(&metadata, [], group.now).unwrap();
        group.now += INTERVAL * 2;
        let b = group.join();
        assert_eq!(group.settle(&b).0, [""; 0]);
        // Its own poll, on another thread, does not part with anything either.
        assert_eq!(group.settle(&a), (vec![], generation));
        drop(commit);
        let turn = group.poll(&a);
        let t1 = TopicPartition::new(TopicName::new("t").unwrap(), PartitionId::new(1));
        assert_eq!(turn.step, Step::Revoke(vec![t1]));
    }

    #[test]
    fn who_leaves_while_it_commits_goes_when_that_is_done() {
        let group = Group::default();
        let (a, b) = (group.join(), group.join());
        let generation = group.settle(&a).1;
        let metadata = Group::metadata(&a, generation);
        let commit = group.coordinator.begin_commit(&metadata, [], group.now).unwrap();
        group.coordinator.leave("g", &a);
        assert_eq!(group.settle(&b).0, ["t-1"]);
        let refused = group.coordinator.begin_commit(&metadata, [], group.now).unwrap_err();
        assert!(matches!(refused, Error::UnknownMember { .. }), "{refused}");
        drop(commit);
        assert!(group.poll(&b).wake_others);
        assert_eq!(group.coordinator.view("g", group.now).unwrap().members.len(), 1);
        group.coordinator.leave("g", &b);
        assert_eq!(group.coordinator.view("g", group.now), None);
        assert!(group.coordinator.groups().is_empty());
    }

    #[test]
    fn nobody_gets_a_partition_while_its_offset_is_being_set_from_outside() {
        let group = Group::default();
        let outside = GroupMetadata::outside("g");
        let commit = group.coordinator.begin_commit(&outside, [], group.now).unwrap();
        let a = group.join();
        assert_eq!(group.settle(&a).0, [""; 0]);
        drop(commit);
        assert_eq!(group.settle(&a).0, ["t-0", "t-1"]);
        let refused = group.coordinator.begin_commit(&outside, [], group.now).unwrap_err();
        assert!(matches!(refused, Error::GroupNotEmpty { .. }), "{refused}");
    }

    #[test]
    fn a_member_hears_when_the_first_of_the_others_will_have_been_silent_for_too_long() {
        let mut group = Group::default();
        let a = group.join();
        assert_eq!(group.poll(&a).next_expiry, None);
        group.coordinator.end_poll("g", &a, group.now);
        group.now += Duration::from_secs(3);
        let b = group.join();
        assert_eq!(group.poll(&b).next_expiry, Some(INTERVAL));
        // Who is in a poll is not silent.
        assert_eq!(group.poll(&a).next_expiry, None);
        group.now += INTERVAL * 2;
        assert_ne!(group.poll(&b).step, Step::Lost);
        assert_ne!(group.poll(&a).step, Step::Lost);
    }
}
