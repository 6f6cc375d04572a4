//! Which member of a group takes which partitions: balanced, and with as few moves as that allows.
//!
//! A pure function of who is there, what each wants and what each has; Kafka calls the strategy
//! cooperative-sticky. The members only part with what the function gives to somebody else.

use std::collections::{BTreeMap, BTreeSet};

use crate::types::{PartitionId, TopicName, TopicPartition};

/// What a member wants, and what it has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Claim {
    pub(crate) topics: BTreeSet<TopicName>,
    pub(crate) owned: BTreeSet<TopicPartition>,
}

/// The partitions of each member.
pub(crate) type Assignment = BTreeMap<String, BTreeSet<TopicPartition>>;

/// Gives each partition of a topic that somebody wants to exactly one member that wants it.
///
/// No move of a partition, nor a chain of moves, could make the loads more even; so members with
/// the same topics differ by one partition at most. Members keep what they own unless balance asks
/// for it. The same arguments give the same answer.
pub(crate) fn assign(
    claims: &BTreeMap<String, Claim>,
    partitions: &BTreeMap<TopicName, u32>,
) -> Assignment {
    let mut plan =
        Plan { claims: claims.values().collect(), taken: vec![BTreeSet::new(); claims.len()] };
    let free = plan.keep_owned(partitions);
    for topic_partition in free {
        plan.give_to_the_least_loaded(topic_partition);
    }
    while let Some(path) = plan.path_to_balance() {
        plan.shift_along(&path);
    }
    claims.keys().cloned().zip(plan.taken).collect()
}

/// An assignment in the making. Members are known by their place in the order of names.
struct Plan<'a> {
    claims: Vec<&'a Claim>,
    taken: Vec<BTreeSet<TopicPartition>>,
}

impl Plan<'_> {
    /// Leaves every member what it owns and still wants, and returns what nobody has.
    fn keep_owned(&mut self, partitions: &BTreeMap<TopicName, u32>) -> BTreeSet<TopicPartition> {
        let wanted =
            |topic: &TopicName| self.claims.iter().any(|claim| claim.topics.contains(topic));
        let mut free = BTreeSet::new();
        for (topic, &count) in partitions.iter().filter(|(topic, _)| wanted(topic)) {
            let numbers = (0..count).map(PartitionId::new);
            free.extend(numbers.map(|number| TopicPartition::new(topic.clone(), number)));
        }
        for (claim, taken) in self.claims.iter().zip(&mut self.taken) {
            let wanted = claim.owned.iter().filter(|owned| claim.topics.contains(&owned.topic));
            // What is not free any more is gone with its topic, or was claimed twice.
            taken.extend(wanted.filter(|owned| free.remove(*owned)).cloned());
        }
        free
    }

    fn give_to_the_least_loaded(&mut self, topic_partition: TopicPartition) {
        let wants = |claim: &Claim| claim.topics.contains(&topic_partition.topic);
        let members = self.claims.iter().zip(&mut self.taken).filter(|(claim, _)| wants(claim));
        let (_, taken) = members
            .min_by_key(|(_, taken)| taken.len())
            .expect("only partitions that somebody wants are free");
        taken.insert(topic_partition);
    }

    /// Members over whom a partition each has to move on, from the first to the last, to make the
    /// first and the last more even; the shortest way from the most loaded that has one.
    fn path_to_balance(&self) -> Option<Vec<usize>> {
        let mut sources: Vec<usize> = (0..self.taken.len()).collect();
        sources.sort_by_key(|&member| std::cmp::Reverse(self.load(member)));
        sources.into_iter().find_map(|source| self.path_from(source))
    }

    fn path_from(&self, source: usize) -> Option<Vec<usize>> {
        let mut from: BTreeMap<usize, usize> = BTreeMap::from([(source, source)]);
        let mut front = vec![source];
        while !front.is_empty() {
            let mut next = Vec::new();
            for &member in &front {
                for other in 0..self.taken.len() {
                    if !from.contains_key(&other) && self.choose(member, other).is_some() {
                        from.insert(other, member);
                        next.push(other);
                    }
                }
            }
            let lighter = next.iter().filter(|&&end| self.load(end) + 2 <= self.load(source));
            if let Some(&end) = lighter.min_by_key(|&&end| self.load(end)) {
                let step = |member: &usize| from.get(member).copied().filter(|_| *member != source);
                let mut path: Vec<usize> = std::iter::successors(Some(end), step).collect();
                path.reverse();
                return Some(path);
            }
            front = next;
        }
        None
    }

    fn shift_along(&mut self, path: &[usize]) {
        for pair in path.windows(2) {
            let &[giver, taker] = pair else { continue };
            let moved = self.choose(giver, taker).expect("the path leads over such partitions");
            let gives = self.taken.get_mut(giver).expect("members are numbered");
            gives.remove(&moved);
            self.taken.get_mut(taker).expect("members are numbered").insert(moved);
        }
    }

    /// The partition that moves from one member to another: rather one that its holder does not
    /// own yet.
    fn choose(&self, giver: usize, taker: usize) -> Option<TopicPartition> {
        let (has, gives, takes) =
            (self.taken.get(giver)?, self.claims.get(giver)?, self.claims.get(taker)?);
        let movable = has.iter().filter(|partition| takes.topics.contains(&partition.topic));
        movable.max_by_key(|partition| !gives.owned.contains(*partition)).cloned()
    }

    fn load(&self, member: usize) -> usize {
        self.taken.get(member).map_or(0, BTreeSet::len)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use fastrand::Rng;

    use super::{Assignment, Claim, assign};
    use crate::types::{PartitionId, TopicName, TopicPartition};

    type Partitions = BTreeMap<TopicName, u32>;

    fn topic(name: &str) -> TopicName {
        TopicName::new(name).unwrap()
    }

    fn partitions(counts: &[(&str, u32)]) -> Partitions {
        counts.iter().map(|(name, count)| (topic(name), *count)).collect()
    }

    fn claim(topics: &[&str], owned: &[&str]) -> Claim {
        let parse = |owned: &&str| {
            let (name, number) = owned.split_once('-').unwrap();
            TopicPartition::new(topic(name), PartitionId::new(number.parse().unwrap()))
        };
        Claim {
            topics: topics.iter().map(|name| topic(name)).collect(),
            owned: owned.iter().map(parse).collect(),
        }
    }

    #[track_caller]
    fn check(claims: &[(&str, Claim)], counts: &[(&str, u32)], expected: &[(&str, &str)]) {
        let claims = claims.iter().map(|(name, claim)| ((*name).to_owned(), claim.clone()));
        let assignment = assign(&claims.collect(), &partitions(counts));
        let shown: Vec<_> = assignment
            .iter()
            .map(|(name, taken)| {
                let taken: Vec<_> = taken.iter().map(ToString::to_string).collect();
                (name.as_str(), taken.join(" "))
            })
            .collect();
        let shown: Vec<_> = shown.iter().map(|(name, taken)| (*name, taken.as_str())).collect();
        assert_eq!(shown, expected);
    }

    #[test]
    fn a_lone_member_takes_everything_and_a_topic_without_partitions_nothing() {
        let all = [("a", claim(&["t", "u"], &[]))];
        check(&all, &[("t", 2), ("u", 0), ("v", 3)], &[("a", "t-0 t-1")]);
        check(&[], &[("t", 2)], &[]);
    }

    #[test]
    fn a_newcomer_gets_its_share_and_nothing_else_moves() {
        let a = claim(&["t"], &["t-0", "t-1", "t-2"]);
        let b = claim(&["t"], &["t-3", "t-4", "t-5"]);
        let claims = [("a", a), ("b", b), ("c", claim(&["t"], &[]))];
        check(&claims, &[("t", 6)], &[("a", "t-0 t-1"), ("b", "t-3 t-4"), ("c", "t-2 t-5")]);
    }

    #[test]
    fn what_a_leaver_had_is_spread_and_nothing_else_moves() {
        let claims = [("a", claim(&["t"], &["t-5"])), ("c", claim(&["t"], &["t-2", "t-3"]))];
        check(&claims, &[("t", 6)], &[("a", "t-0 t-1 t-5"), ("c", "t-2 t-3 t-4")]);
    }

    #[test]
    fn what_a_member_no_longer_wants_goes_to_who_does() {
        let claims = [("a", claim(&["u"], &["t-0", "u-0"])), ("b", claim(&["t"], &[]))];
        check(&claims, &[("t", 1), ("u", 1)], &[("a", "u-0"), ("b", "t-0")]);
    }

    #[test]
    fn what_was_only_just_given_moves_on_rather_than_what_is_owned() {
        let claims = [("a", claim(&["t", "u"], &["t-0"])), ("b", claim(&["t"], &[]))];
        let expected = [("a", "t-0 u-0 u-1"), ("b", "t-1 t-2 t-3")];
        check(&claims, &[("t", 4), ("u", 2)], &expected);
    }

    #[test]
    fn a_chain_of_moves_evens_out_what_no_single_move_can() {
        let a = claim(&["t"], &["t-0", "t-1", "t-2", "t-3"]);
        let b = claim(&["t", "u"], &["u-0", "u-1", "u-2"]);
        let claims = [("a", a), ("b", b), ("c", claim(&["u"], &["u-3", "u-4"]))];
        let expected = [("a", "t-0 t-1 t-2"), ("b", "t-3 u-0 u-1"), ("c", "u-2 u-3 u-4")];
        check(&claims, &[("t", 4), ("u", 5)], &expected);
    }

    /// Members with random topics, who own random partitions, each of which has one owner at most.
    fn random_group(rng: &mut Rng) -> (BTreeMap<String, Claim>, Partitions) {
        let names = ["t", "u", "v", "w"];
        let counts: Vec<_> = names.iter().map(|name| (*name, rng.u32(0..10))).collect();
        let partitions = partitions(&counts);
        let same_topics = rng.bool();
        let mut claims: BTreeMap<String, Claim> = (0..rng.usize(1..7))
            .map(|number| {
                let wanted = names.iter().filter(|_| same_topics || rng.bool());
                let topics = wanted.map(|name| topic(name)).collect();
                (format!("m{number}"), Claim { topics, owned: BTreeSet::new() })
            })
            .collect();
        let owned_share = rng.f64();
        for (topic, &count) in &partitions {
            for number in 0..count + 2 {
                if rng.f64() < owned_share {
                    let owner = rng.usize(0..claims.len());
                    let owned = TopicPartition::new(topic.clone(), PartitionId::new(number));
                    claims.values_mut().nth(owner).unwrap().owned.insert(owned);
                }
            }
        }
        (claims, partitions)
    }

    fn moves(claims: &BTreeMap<String, Claim>, assignment: &Assignment) -> usize {
        claims.iter().map(|(name, claim)| claim.owned.difference(&assignment[name]).count()).sum()
    }

    /// The least moves that even loads take, where all want the same: those who own most may keep
    /// one more.
    fn least_moves(claims: &BTreeMap<String, Claim>, partitions: &Partitions) -> usize {
        let total: usize = partitions.values().map(|&count| count as usize).sum();
        let exists = |owned: &&TopicPartition| owned.partition.value() < partitions[&owned.topic];
        let mut kept: Vec<_> =
            claims.values().map(|claim| claim.owned.iter().filter(exists).count()).collect();
        kept.sort_unstable_by(|a, b| b.cmp(a));
        let quota = |nth: usize| total / kept.len() + usize::from(nth < total % kept.len());
        let kept: usize = kept.iter().enumerate().map(|(nth, &has)| has.min(quota(nth))).sum();
        claims.values().map(|claim| claim.owned.len()).sum::<usize>() - kept
    }

    #[test]
    fn random_groups_are_balanced_and_move_no_more_than_they_must() {
        let seed = Rng::new().u64(..);
        println!("seed {seed}");
        let mut rng = Rng::with_seed(seed);
        let (mut uniform, mut moved) = (0, 0);
        for case in 0..2_000 {
            let (claims, partitions) = random_group(&mut rng);
            let assignment = assign(&claims, &partitions);
            let context = format!("seed {seed}, case {case}: {claims:?} {partitions:?}");
            assert_eq!(assign(&claims, &partitions), assignment, "{context}");

            let mut given: Vec<_> = assignment.values().flatten().cloned().collect();
            given.sort();
            let wanted = |topic: &TopicName| claims.values().any(|c| c.topics.contains(topic));
            let mut expected = Vec::new();
            for (topic, &count) in partitions.iter().filter(|(topic, _)| wanted(topic)) {
                let numbers = (0..count).map(PartitionId::new);
                expected.extend(numbers.map(|n| TopicPartition::new(topic.clone(), n)));
            }
            assert_eq!(given, expected, "{context}");

            for (name, taken) in &assignment {
                assert!(taken.iter().all(|p| claims[name].topics.contains(&p.topic)), "{context}");
                for (other, other_taken) in &assignment {
                    let topics = &claims[other].topics;
                    let movable = taken.iter().any(|p| topics.contains(&p.topic));
                    let even = taken.len() <= other_taken.len() + 1;
                    assert!(even || !movable, "{name} {other} {context}");
                    assert!(even || claims[name].topics != *topics, "{context}");
                }
            }

            // Once it is reached, nothing moves any more.
            let mut settled = claims.clone();
            for (name, claim) in &mut settled {
                claim.owned = assignment[name].clone();
            }
            assert_eq!(assign(&settled, &partitions), assignment, "{context}");

            let first = claims.values().next().unwrap();
            if claims.values().all(|c| c.topics == first.topics && !c.topics.is_empty()) {
                let all = partitions.keys().all(|topic| first.topics.contains(topic));
                if all {
                    uniform += 1;
                    moved += moves(&claims, &assignment);
                    let least = least_moves(&claims, &partitions);
                    assert_eq!(moves(&claims, &assignment), least, "{context}");
                }
            }
        }
        assert!(uniform > 100 && moved > 100, "seed {seed}: {uniform} cases, {moved} moves");
    }
}
