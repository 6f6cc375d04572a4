//! Groups of the cluster: who is in one, how far it has come, and changes from outside.

use std::collections::BTreeMap;

use futures_executor::block_on;
use headwater_log_store::{
    Error, GroupDescription, GroupOffsets, GroupPartition, GroupState, MemberDescription, Offset,
    OffsetAndMetadata, Result, TopicPartition,
};
use rdkafka::consumer::{CommitMode, Consumer};
use rdkafka::error::RDKafkaErrorCode as Code;
use rdkafka::topic_partition_list::Offset as NativeOffset;

use crate::kafka::cluster::Cluster;
use crate::kafka::convert::{commit_list, list, offset, topic_partition};
use crate::kafka::failure;

/// What a broker says of a group.
struct Found {
    name: String,
    state: String,
    members: Vec<MemberDescription>,
}

fn find(cluster: &Cluster, group: Option<&str>) -> Result<Vec<Found>> {
    let list =
        cluster.retry("groups", |timeout| cluster.query().fetch_group_list(group, timeout))?;
    let found = list.groups().iter().map(|group| {
        let members = group.members().iter().map(|member| {
            Ok(MemberDescription {
                member_id: member.id().to_owned(),
                client_id: member.client_id().to_owned(),
                host: member.client_host().to_owned(),
                assignment: member.assignment().map_or(Ok(Vec::new()), assignment)?,
            })
        });
        let mut members = members.collect::<Result<Vec<_>>>()?;
        members.sort_by(|a, b| a.member_id.cmp(&b.member_id));
        Ok(Found { name: group.name().to_owned(), state: group.state().to_owned(), members })
    });
    found.collect()
}

/// The names of all groups, in order.
pub(super) fn names(cluster: &Cluster) -> Result<Vec<String>> {
    let mut names: Vec<String> = find(cluster, None)?.into_iter().map(|group| group.name).collect();
    names.sort();
    Ok(names)
}

/// See [`Log::describe_group`](headwater_log_store::Log::describe_group).
pub(super) fn describe(cluster: &Cluster, group: &str) -> Result<GroupDescription> {
    let unknown = || Error::UnknownGroup { group: group.to_owned() };
    let found = find(cluster, Some(group))?.into_iter().next().ok_or_else(unknown)?;
    let committed = offsets(cluster, group)?;
    if found.members.is_empty() && committed.is_empty() {
        return Err(unknown());
    }
    let owner_of = |topic_partition: &TopicPartition| {
        let mut members = found.members.iter();
        let owner = members.find(|member| member.assignment.contains(topic_partition));
        owner.map(|member| member.member_id.clone())
    };
    let assigned = found.members.iter().flat_map(|member| member.assignment.iter().cloned());
    let mut all: BTreeMap<TopicPartition, Option<OffsetAndMetadata>> =
        assigned.map(|topic_partition| (topic_partition, None)).collect();
    all.extend(committed.into_iter().map(|(partition, noted)| (partition, Some(noted))));
    let partitions = all.into_iter().map(|(topic_partition, committed)| GroupPartition {
        end: cluster.watermarks(&topic_partition).ok().map(|watermarks| watermarks.end),
        member_id: owner_of(&topic_partition),
        topic_partition,
        committed,
    });
    Ok(GroupDescription {
        group: group.to_owned(),
        state: match found.state.as_str() {
            "Stable" => GroupState::Stable,
            "Empty" | "Dead" => GroupState::Empty,
            _ => GroupState::Reconciling,
        },
        generation: None,
        partitions: partitions.collect(),
        members: found.members,
    })
}

/// The error for who may not change a group's offsets, if it has members.
pub(super) fn check_is_empty(cluster: &Cluster, group: &str) -> Result<()> {
    let found = find(cluster, Some(group))?;
    let members: Vec<String> =
        found.into_iter().flat_map(|group| group.members).map(|member| member.member_id).collect();
    match members.is_empty() {
        true => Ok(()),
        false => Err(Error::GroupNotEmpty { group: group.to_owned(), members }),
    }
}

/// See [`Log::delete_group`](headwater_log_store::Log::delete_group).
pub(super) fn delete(cluster: &Cluster, group: &str) -> Result<()> {
    let answers = cluster.retry("delete_group", |_| {
        block_on(cluster.admin.delete_groups(&[group], &cluster.options()))
    })?;
    for answer in answers {
        match answer {
            Ok(_) => {}
            Err((_, Code::GroupIdNotFound)) => {
                return Err(Error::UnknownGroup { group: group.to_owned() });
            }
            Err((_, Code::NonEmptyGroup)) => {
                check_is_empty(cluster, group)?;
                return Err(failure::of_code("delete_group", Code::NonEmptyGroup));
            }
            Err((_, code)) => return Err(failure::of_code("delete_group", code)),
        }
    }
    Ok(())
}

/// What a group has committed, of all partitions there are. An offset that a transaction is about
/// to change is waited for.
pub(super) fn offsets(cluster: &Cluster, group: &str) -> Result<GroupOffsets> {
    let mut all = Vec::new();
    for (topic, partitions) in cluster.topics()? {
        all.extend(cluster.all_partitions(&topic, partitions)?);
    }
    committed(cluster, group, &all)
}

/// What a group has committed of these partitions.
pub(super) fn committed(
    cluster: &Cluster,
    group: &str,
    partitions: &[TopicPartition],
) -> Result<GroupOffsets> {
    let asked = list(partitions.iter().map(|partition| (partition, NativeOffset::Invalid)))?;
    let client = cluster.group_client(group)?;
    let answer =
        cluster.retry("committed", |timeout| client.committed_offsets(asked.clone(), timeout))?;
    let mut found = GroupOffsets::new();
    for element in answer.elements() {
        element.error().map_err(|error| failure::external("committed", &error))?;
        if let Some(offset) = offset(element.offset()) {
            let metadata = element.metadata().to_owned();
            let partition = topic_partition(element.topic(), element.partition())?;
            found.insert(partition, OffsetAndMetadata { offset, metadata });
        }
    }
    Ok(found)
}

/// Commits for a group that has no members.
pub(super) fn commit_from_outside(
    cluster: &Cluster,
    group: &str,
    offsets: &[(TopicPartition, OffsetAndMetadata)],
) -> Result<()> {
    if offsets.is_empty() {
        return Ok(());
    }
    let offsets = commit_list(offsets)?;
    let client = cluster.group_client(group)?;
    cluster
        .retry("commit", |_| client.commit(&offsets, CommitMode::Sync))
        .or_else(|error| check_is_empty(cluster, group).and(Err(error)))
}

/// See [`Log::alter_group_offsets`](headwater_log_store::Log::alter_group_offsets).
pub(super) fn alter_offsets(
    cluster: &Cluster,
    group: &str,
    altered: &[(TopicPartition, Option<Offset>)],
) -> Result<()> {
    check_is_empty(cluster, group)?;
    let (mut set, mut removed) = (Vec::new(), Vec::new());
    for (topic_partition, offset) in altered {
        let Some(offset) = *offset else {
            removed.push(topic_partition);
            continue;
        };
        let watermarks = cluster.watermarks(topic_partition)?;
        if offset > watermarks.end {
            return Err(Error::OffsetOutOfRange {
                topic_partition: topic_partition.clone(),
                offset,
                start: watermarks.start,
                end: watermarks.end,
            });
        }
        set.push((topic_partition.clone(), OffsetAndMetadata::from(offset)));
    }
    if !removed.is_empty() {
        let before = offsets(cluster, group)?;
        let present = before.keys().filter(|partition| removed.contains(partition)).count();
        if present > 0 && (present < before.len() || !set.is_empty()) {
            return Err(Error::Unsupported {
                operation: "alter_group_offsets",
                reason: "librdkafka has no call that takes single offsets of a group away: set \
                         them instead, or take all of them away"
                    .to_owned(),
            });
        }
        if present > 0 {
            return delete(cluster, group);
        }
    }
    commit_from_outside(cluster, group, &set)
}

/// The partitions in an assignment as the consumer protocol writes it: a version, then topics with
/// their partitions, all numbers big-endian.
fn assignment(bytes: &[u8]) -> Result<Vec<TopicPartition>> {
    let mut rest = bytes;
    let mut partitions = Vec::new();
    if take::<2>(&mut rest).is_none() {
        return Ok(partitions);
    }
    let topics = take::<4>(&mut rest).map_or(0, i32::from_be_bytes);
    for _ in 0..topics {
        let Some(len) = take::<2>(&mut rest).map(i16::from_be_bytes) else { break };
        let Some((name, after)) = rest.split_at_checked(usize::try_from(len).unwrap_or(0)) else {
            break;
        };
        rest = after;
        let count = take::<4>(&mut rest).map_or(0, i32::from_be_bytes);
        for _ in 0..count {
            let Some(number) = take::<4>(&mut rest).map(i32::from_be_bytes) else { break };
            partitions.push(topic_partition(&String::from_utf8_lossy(name), number)?);
        }
    }
    partitions.sort();
    Ok(partitions)
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, rest) = bytes.split_first_chunk::<N>()?;
    *bytes = rest;
    Some(*taken)
}

#[cfg(test)]
mod tests {
    use super::assignment;

    #[test]
    fn an_assignment_gives_its_partitions_and_a_cut_one_what_it_has() {
        let bytes = b"\0\x01\0\0\0\x01\0\x02in\0\0\0\x02\0\0\0\x03\0\0\0\x01\xff\xff\xff\xff";
        let names = |bytes: &[u8]| {
            let found = assignment(bytes).unwrap();
            found.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(names(bytes), ["in-1", "in-3"]);
        assert_eq!(names(&bytes[..18]), ["in-3"]);
        assert!(names(b"").is_empty());
    }
}
