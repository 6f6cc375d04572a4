//! Groups: committed offsets, members, and how they share partitions.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use headwater_log_store::{
    Consumer, Error, GroupState, Offset, OffsetAndMetadata, Rebalance, RebalanceListener, Result,
    TopicPartition,
};

use super::{Given, PATIENCE, poll_values, tp};

const POLL: Duration = Duration::from_millis(20);

pub fn a_group_remembers_what_was_committed(given: &Given) {
    let topic = given.topic("t", 2);
    given.send_all(&topic, 0, &["a", "b", "c"]);
    let (log, group, partition) = (&given.log, given.name("g"), tp(&topic, 0));
    assert!(log.group_offsets(&group).unwrap().is_empty());
    let unknown = log.describe_group(&group);
    assert!(matches!(unknown, Err(Error::UnknownGroup { .. })), "{unknown:?}");
    let mut consumer = given.member("g");
    assert_eq!(consumer.committed(&partition).unwrap(), None);
    let noted = OffsetAndMetadata { offset: Offset::new(1), metadata: "note time=5".to_owned() };
    consumer.commit(&[(partition.clone(), noted.clone())]).unwrap();
    assert_eq!(consumer.committed(&partition).unwrap(), Some(noted.clone()));
    drop(consumer);
    assert_eq!(log.group_offsets(&group).unwrap(), [(partition.clone(), noted.clone())].into());
    assert!(log.groups().unwrap().contains(&group));
    let described = log.describe_group(&group).unwrap();
    assert_eq!((described.state, described.members.len()), (GroupState::Empty, 0));
    let [found] = &described.partitions[..] else { panic!("{described:?}") };
    assert_eq!((&found.topic_partition, &found.committed), (&partition, &Some(noted)));
    assert_eq!((found.end, found.lag()), (Some(Offset::new(3)), Some(2)));
    let mut next = given.member("g");
    next.assign(&[partition]).unwrap();
    assert_eq!(poll_values(next.as_mut(), 2)[&0], ["b", "c"]);
}

pub fn offsets_of_a_group_without_members_can_be_altered(given: &Given) {
    let topic = given.topic("t", 2);
    given.send_all(&topic, 0, &["a", "b", "c"]);
    let (log, group, partition) = (&given.log, given.name("g"), tp(&topic, 0));
    log.alter_group_offsets(&group, &[(partition.clone(), Some(Offset::new(2)))]).unwrap();
    assert_eq!(log.group_offsets(&group).unwrap()[&partition].offset, Offset::new(2));
    let past = log.alter_group_offsets(&group, &[(partition.clone(), Some(Offset::new(9)))]);
    assert!(matches!(past, Err(Error::OffsetOutOfRange { .. })), "{past:?}");
    log.alter_group_offsets(&group, &[(partition, None)]).unwrap();
    assert!(log.group_offsets(&group).unwrap().is_empty());
    log.alter_group_offsets(&group, &[(tp(&topic, 1), Some(Offset::ZERO))]).unwrap();
    log.delete_group(&group).unwrap();
    assert!(log.group_offsets(&group).unwrap().is_empty());
    let unknown = log.delete_group(&group);
    assert!(matches!(unknown, Err(Error::UnknownGroup { .. })), "{unknown:?}");
}

pub fn without_a_group_nothing_is_committed(given: &Given) {
    let topic = given.topic("t", 1);
    let mut consumer = given.log.consumer(&Default::default()).unwrap();
    let offsets = [(tp(&topic, 0), Offset::ZERO.into())];
    for (call, result) in [
        ("commit", consumer.commit(&offsets)),
        ("committed", consumer.committed(&tp(&topic, 0)).map(drop)),
        ("group_metadata", consumer.group_metadata().map(drop)),
        ("subscribe", consumer.subscribe(&[&topic], Box::new(()))),
    ] {
        assert!(matches!(result, Err(Error::InvalidState { .. })), "{call}: {result:?}");
    }
}

/// Notes what it is told, and commits before partitions go.
#[derive(Clone, Default)]
struct Notes(Arc<Mutex<Vec<Note>>>);

/// What was told, and about which partitions.
type Note = (&'static str, Vec<TopicPartition>);

impl Notes {
    fn take(&self) -> Vec<Note> {
        let mut noted = std::mem::take(&mut *self.0.lock().unwrap());
        noted.iter_mut().for_each(|(_, partitions)| partitions.sort());
        noted
    }
}

impl RebalanceListener for Notes {
    fn on_partitions_assigned(
        &mut self,
        _consumer: &mut dyn Consumer,
        partitions: &[TopicPartition],
    ) -> Result<()> {
        self.0.lock().unwrap().push(("assigned", partitions.to_vec()));
        Ok(())
    }

    fn on_partitions_revoked(
        &mut self,
        consumer: &mut dyn Consumer,
        partitions: &[TopicPartition],
    ) -> Result<()> {
        let offsets: Result<Vec<_>> = partitions
            .iter()
            .map(|partition| Ok((partition.clone(), consumer.position(partition)?.into())))
            .collect();
        consumer.commit(&offsets?)?;
        self.0.lock().unwrap().push(("revoked", partitions.to_vec()));
        Ok(())
    }
}

/// Polls members in turn until each has so many partitions.
fn poll_until(members: &mut [&mut dyn Consumer], counts: &[usize]) -> Vec<String> {
    let deadline = Instant::now() + PATIENCE;
    let mut values = Vec::new();
    while members.iter().zip(counts).any(|(member, count)| member.assignment().len() != *count) {
        let found: Vec<_> = members.iter().map(|member| member.assignment()).collect();
        assert!(Instant::now() < deadline, "{found:?} instead of {counts:?}");
        for member in members.iter_mut() {
            let batches = member.poll(POLL).unwrap();
            let records = batches.iter().flat_map(|batch| batch.iter());
            values.extend(records.map(|record| super::text(record.value)));
        }
    }
    values
}

pub fn two_members_share_the_partitions_and_one_gets_all_when_the_other_leaves(given: &Given) {
    let topic = given.topic("t", 4);
    for partition in 0..4 {
        given.send_all(&topic, partition, &[&format!("before-{partition}")]);
    }
    let (mut first, mut second) = (given.member("g"), given.member("g"));
    let (notes, other) = (Notes::default(), Notes::default());
    first.subscribe(&[&topic], Box::new(notes.clone())).unwrap();
    assert_eq!(first.subscription().len(), 1);
    let assigning = first.assign(&[tp(&topic, 0)]);
    assert!(matches!(assigning, Err(Error::InvalidState { .. })), "{assigning:?}");
    let mut values = poll_until(&mut [first.as_mut()], &[4]);
    let all: Vec<_> = (0..4).map(|partition| tp(&topic, partition)).collect();
    assert_eq!(notes.take(), [("assigned", all.clone())]);
    values.extend(poll_values(first.as_mut(), 4 - values.len()).into_values().flatten());
    values.sort();
    assert_eq!(values, ["before-0", "before-1", "before-2", "before-3"]);

    second.subscribe(&[&topic], Box::new(other.clone())).unwrap();
    let again = poll_until(&mut [first.as_mut(), second.as_mut()], &[2, 2]);
    assert!(again.is_empty(), "what was committed before it went is not read again: {again:?}");
    let [(told, gone)] = &notes.take()[..] else { panic!("one revocation and nothing else") };
    assert_eq!((*told, gone.len()), ("revoked", 2), "only what moves is revoked");
    let [(told, come)] = &other.take()[..] else { panic!("one assignment and nothing else") };
    assert_eq!((*told, come), ("assigned", gone));
    let described = given.log.describe_group(&given.name("g")).unwrap();
    assert_eq!((described.state, described.members.len()), (GroupState::Stable, 2));
    let mut owned: Vec<_> =
        described.members.iter().flat_map(|member| member.assignment.clone()).collect();
    owned.sort();
    assert_eq!(owned, all);

    second.unsubscribe().unwrap();
    assert_eq!(other.take(), [("revoked", gone.clone())]);
    assert!(second.assignment().is_empty());
    poll_until(&mut [first.as_mut()], &[4]);
    assert_eq!(notes.take(), [("assigned", gone.clone())]);
    drop(first);
    let mut third = given.member("g");
    third.subscribe(&[&topic], Box::new(())).unwrap();
    poll_until(&mut [third.as_mut()], &[4]);
}

pub fn the_one_that_polls_hears_of_rebalances_by_its_callback(given: &Given) {
    let topic = given.topic("t", 2);
    let (mut first, mut second) = (given.member("g"), given.member("g"));
    first.subscribe(&[&topic], Box::new(())).unwrap();
    // It is no listener: what it notes belongs to this thread alone.
    let mut mine: Vec<TopicPartition> = Vec::new();
    let mut revoked = 0;
    let deadline = Instant::now() + PATIENCE;
    while mine.len() != 1 || second.assignment().len() != 1 {
        assert!(Instant::now() < deadline, "{mine:?}");
        let mut told = |consumer: &mut dyn Consumer, rebalance: Rebalance<'_>| {
            match rebalance {
                Rebalance::Assigned(partitions) => mine.extend_from_slice(partitions),
                Rebalance::Revoked(partitions) | Rebalance::Lost(partitions) => {
                    for partition in partitions {
                        let position = consumer.position(partition)?;
                        consumer.commit(&[(partition.clone(), position.into())])?;
                    }
                    revoked += partitions.len();
                    mine.retain(|partition| !partitions.contains(partition));
                }
            }
            Ok(())
        };
        first.poll_with(POLL, &mut told).unwrap();
        if first.assignment().len() == 2 && second.subscription().is_empty() {
            second.subscribe(&[&topic], Box::new(())).unwrap();
        }
        second.poll(POLL).unwrap();
    }
    assert_eq!(revoked, 1);
    assert_eq!(mine, first.assignment());
    assert_eq!(given.log.group_offsets(&given.name("g")).unwrap().len(), revoked);
}

pub fn who_is_no_member_cannot_commit_while_there_are_some(given: &Given) {
    let topic = given.topic("t", 1);
    let mut member = given.member("g");
    member.subscribe(&[&topic], Box::new(())).unwrap();
    poll_until(&mut [member.as_mut()], &[1]);
    let offsets = [(tp(&topic, 0), Offset::ZERO.into())];
    let mut outsider = given.member("g");
    let altered = [(tp(&topic, 0), Some(Offset::ZERO))];
    for (call, result) in [
        ("commit", outsider.commit(&offsets)),
        ("alter", given.log.alter_group_offsets(&given.name("g"), &altered)),
        ("delete", given.log.delete_group(&given.name("g"))),
    ] {
        assert!(matches!(result, Err(Error::GroupNotEmpty { .. })), "{call}: {result:?}");
    }
    member.commit(&offsets).unwrap();
    drop(member);
    outsider.commit(&offsets).unwrap();
}

pub fn a_member_that_left_cannot_commit(given: &Given) {
    let topic = given.topic("t", 1);
    let mut member = given.member("g");
    member.subscribe(&[&topic], Box::new(())).unwrap();
    let offsets = [(tp(&topic, 0), Offset::ZERO.into())];
    let refused = member.commit(&offsets);
    assert!(matches!(refused, Err(Error::UnknownMember { .. })), "not joined: {refused:?}");
    poll_until(&mut [member.as_mut()], &[1]);
    let metadata = member.group_metadata().unwrap();
    assert!(metadata.generation >= 0 && !metadata.member_id.is_empty());
    drop(member);
    let mut producer = given.transactional("p");
    producer.begin_transaction().unwrap();
    let refused = producer
        .send_offsets_to_transaction(&offsets, &metadata)
        .and_then(|()| producer.commit_transaction());
    assert!(matches!(refused, Err(Error::UnknownMember { .. })), "{refused:?}");
    producer.abort_transaction().unwrap();
    assert!(given.log.group_offsets(&given.name("g")).unwrap().is_empty());
}
