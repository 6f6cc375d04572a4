//! A group with its members: generations, and partitions that go from one member to the next.
//!
//! A rebalance is cooperative. Each change of members or of what they share makes a new generation
//! with a new target for everyone; a member that polls first gives back what is not in its target,
//! and gets what is in it and nobody else has any more. Nothing here locks, waits or reads a clock.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::error::{Error, Result};
use crate::group::assignment::{Claim, assign};
use crate::log::{GroupMetadata, GroupState, MemberDescription};
use crate::types::{TopicName, TopicPartition};

/// A group that has members, or is being written to.
#[derive(Debug, Default)]
pub(super) struct Group {
    generation: i32,
    pub(super) members: BTreeMap<String, Member>,
    /// The partition counts that the targets were made for.
    partitions: BTreeMap<TopicName, u32>,
    /// Whether members or their topics have changed since the targets were made.
    is_stale: bool,
    /// Whether there is something new for members that wait in a poll.
    pub(super) has_news: bool,
    /// Commits under way by those who are no members.
    pub(super) outside_commits: u32,
}

/// A member of a group.
#[derive(Debug)]
pub(super) struct Member {
    client_id: String,
    pub(super) topics: BTreeSet<TopicName>,
    max_poll_interval: Duration,
    /// The generation of the last target that it began to take up.
    generation: i32,
    target: BTreeSet<TopicPartition>,
    pub(super) owned: BTreeSet<TopicPartition>,
    pub(super) last_poll: Duration,
    pub(super) is_polling: bool,
    /// Commits under way.
    pub(super) commits: u32,
    /// Whether it goes when its last commit is done.
    pub(super) is_leaving: bool,
}

/// What a consumer joins with.
#[derive(Clone, Debug)]
pub(crate) struct JoinRequest {
    pub(crate) client_id: String,
    pub(crate) topics: BTreeSet<TopicName>,
    pub(crate) max_poll_interval: Duration,
}

/// The next step of a rebalance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Nothing to do in this generation, for now.
    Settled { generation: i32 },
    /// To finish with these and to call `Coordinator::give_back`.
    Revoke(Vec<TopicPartition>),
    /// These are the member's from now on.
    Assign { generation: i32, partitions: Vec<TopicPartition> },
    /// It is no member any more, and must not touch what it had.
    Lost,
}

/// A group as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct GroupView {
    pub(crate) generation: i32,
    pub(crate) state: GroupState,
    pub(crate) members: Vec<MemberDescription>,
}

impl Group {
    /// Takes a member in.
    pub(super) fn admit(&mut self, member_id: String, request: JoinRequest, now: Duration) {
        let member = Member {
            client_id: request.client_id,
            topics: request.topics,
            max_poll_interval: request.max_poll_interval,
            generation: self.generation,
            target: BTreeSet::new(),
            owned: BTreeSet::new(),
            last_poll: now,
            is_polling: false,
            commits: 0,
            is_leaving: false,
        };
        self.members.insert(member_id, member);
        self.change();
    }

    /// Notes that targets are to be made anew.
    pub(super) fn change(&mut self) {
        self.is_stale = true;
        self.has_news = true;
    }

    /// Lets go of members that have left.
    pub(super) fn let_go(&mut self) {
        let before = self.members.len();
        self.members.retain(|_, member| !member.is_leaving || member.commits > 0);
        if self.members.len() < before {
            self.change();
        }
    }

    /// Whether nobody is in it and nobody writes to it.
    pub(super) fn is_over(&self) -> bool {
        self.members.is_empty() && self.outside_commits == 0
    }

    /// The group as it is; `None` if it has no members.
    pub(super) fn view(&self) -> Option<GroupView> {
        let member = |(member_id, member): (&String, &Member)| MemberDescription {
            member_id: member_id.clone(),
            client_id: member.client_id.clone(),
            host: String::new(),
            assignment: member.owned.iter().cloned().collect(),
        };
        let state = if self.is_settled() { GroupState::Stable } else { GroupState::Reconciling };
        let members: Vec<_> = self.members.iter().map(member).collect();
        let view = GroupView { generation: self.generation, state, members };
        (!view.members.is_empty()).then_some(view)
    }

    /// Puts members out that have been silent for too long.
    pub(super) fn expire(&mut self, name: &str, now: Duration) {
        let before = self.members.len();
        self.members.retain(|member_id, member| {
            let stays = member.is_busy() || now <= member.expiry();
            if !stays {
                tracing::warn!(
                    group = name,
                    member_id,
                    "a member did not poll for max.poll.interval.ms, and is put out of its group"
                );
            }
            stays
        });
        if self.members.len() < before {
            self.change();
        }
    }

    /// When the first member but this one will have been silent for too long.
    pub(super) fn next_expiry(&self, but: &str) -> Option<Duration> {
        let others = self.members.iter().filter(|(id, member)| *id != but && !member.is_busy());
        others.map(|(_, member)| member.expiry()).min()
    }

    /// Begins a generation if anything has changed since the last.
    pub(super) fn make_targets(&mut self, count: impl Fn(&TopicName) -> u32) {
        if !self.is_stale && self.partitions.iter().all(|(topic, &known)| count(topic) == known) {
            return;
        }
        let topics: BTreeSet<_> = self.members.values().flat_map(|member| &member.topics).collect();
        self.partitions = topics.into_iter().map(|topic| (topic.clone(), count(topic))).collect();
        let claim = |(member_id, member): (&String, &Member)| {
            let (topics, owned) = (member.topics.clone(), member.owned.clone());
            (member_id.clone(), Claim { topics, owned })
        };
        let claims = self.members.iter().map(claim).collect();
        let targets = assign(&claims, &self.partitions);
        for (member, target) in self.members.values_mut().zip(targets.into_values()) {
            member.target = target;
        }
        // No group rebalances two billion times; if one did, its members would only be refused.
        self.generation = self.generation.saturating_add(1);
        self.is_stale = false;
        self.has_news = true;
    }

    /// What a member is to do next, in its poll.
    pub(super) fn step(&mut self, member_id: &str) -> Step {
        let generation = self.generation;
        let member = self.members.get(member_id).expect("looked up by the caller");
        if member.generation == generation && member.owned == member.target {
            return Step::Settled { generation };
        }
        let others = self.members.iter().filter(|(id, _)| *id != member_id);
        let elsewhere: BTreeSet<_> = others.flat_map(|(_, other)| other.owned.clone()).collect();
        let is_written = self.outside_commits > 0;
        let member = self.members.get_mut(member_id).expect("looked up by the caller");
        if member.commits > 0 || is_written {
            // What is being written must be there before anything changes hands.
            return Step::Settled { generation: member.generation };
        }
        let revoked: Vec<_> = member.owned.difference(&member.target).cloned().collect();
        if !revoked.is_empty() {
            return Step::Revoke(revoked);
        }
        let missing = member.target.difference(&member.owned);
        let partitions: Vec<_> = missing.filter(|tp| !elsewhere.contains(tp)).cloned().collect();
        member.generation = generation;
        if partitions.is_empty() {
            return Step::Settled { generation };
        }
        member.owned.extend(partitions.iter().cloned());
        Step::Assign { generation, partitions }
    }

    /// The member who commits, if it may, in its generation, and these partitions.
    pub(super) fn check_commit<'a>(
        &mut self,
        metadata: &GroupMetadata,
        partitions: impl IntoIterator<Item = &'a TopicPartition>,
    ) -> Result<&mut Member> {
        let member = self.members.get(&metadata.member_id).filter(|member| !member.is_leaving);
        let current = member.ok_or_else(|| unknown_member(metadata))?.generation;
        if current != metadata.generation {
            return Err(Error::IllegalGeneration {
                group: metadata.group.clone(),
                member_id: metadata.member_id.clone(),
                generation: metadata.generation,
                current,
            });
        }
        for topic_partition in partitions {
            let owner = self.members.iter().find(|(_, m)| m.owned.contains(topic_partition));
            if let Some((owner, _)) = owner.filter(|(owner, _)| **owner != metadata.member_id) {
                let reason = format!("{topic_partition} belongs to member {owner:?} now");
                return Err(Error::InvalidState { operation: "commit", reason });
            }
        }
        self.members.get_mut(&metadata.member_id).ok_or_else(|| unknown_member(metadata))
    }

    fn is_settled(&self) -> bool {
        !self.is_stale
            && self.members.values().all(|m| m.owned == m.target && m.generation == self.generation)
    }
}

impl Member {
    /// Whether it is doing something that shows that it is alive.
    fn is_busy(&self) -> bool {
        self.is_polling || self.commits > 0
    }

    fn expiry(&self) -> Duration {
        self.last_poll.saturating_add(self.max_poll_interval)
    }
}

/// The error for who is no member any more.
pub(super) fn unknown_member(metadata: &GroupMetadata) -> Error {
    let (group, member_id) = (metadata.group.clone(), metadata.member_id.clone());
    Error::UnknownMember { group, member_id }
}
