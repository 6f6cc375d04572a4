//! Nexmark's queries against plain computations: each runs as an application on an embedded log in
//! memory, with one partition and with three, and the answers are compared with what a loop over
//! the same events gives. The queries that answer with records have to give the same ones, as often;
//! those that answer with a table, the same last row of each key.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs, reason = "a test")]

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use headwater_log_store::{
    ConsumerConfig, Log, LogStore, NewTopic, Offset, PartitionId, Producer, ProducerConfig,
    ProducerRecord, Timestamp, TopicName, TopicPartition,
};
use headwater_nexmark::wire::Wire;
use headwater_nexmark::{AUCTIONS, BIDS, Event, Generator, OUTPUT, PERSONS, Query, batch};
use headwater_topology::{Streams, StreamsConfig};

/// Three windows of ten seconds, and a part of the next.
const EVENTS: usize = 32_345;
const SEED: u64 = 7;

fn events() -> Vec<Event> {
    Generator::new(SEED).take(EVENTS).collect()
}

/// The records of the answer, with keys and values as they were written, in the order of each key.
fn run(query: Query, events: &[Event], partitions: u32) -> Vec<(Vec<u8>, Vec<u8>)> {
    let log: Arc<dyn Log> = Arc::new(LogStore::in_memory().unwrap());
    for topic in [PERSONS, AUCTIONS, BIDS, OUTPUT] {
        log.create_topic(&NewTopic::new(topic).partitions(partitions)).unwrap();
    }
    let mut producer = log.producer(&ProducerConfig::default()).unwrap();
    events.iter().for_each(|event| send(producer.as_mut(), event));
    producer.flush().unwrap();

    let threads = usize::try_from(partitions.min(2)).unwrap();
    let config = StreamsConfig::new("nexmark").num_stream_threads(threads);
    let streams = Streams::new(&query.topology().unwrap(), config, Arc::clone(&log));
    streams.start().unwrap();
    streams.wait_until_caught_up().unwrap();
    streams.close().unwrap();
    (0..partitions).flat_map(|partition| read(log.as_ref(), partition)).collect()
}

fn send(producer: &mut dyn Producer, event: &Event) {
    let (key, value) = (event.key().to_be_bytes(), event.value());
    let record = ProducerRecord {
        key: Some(&key),
        value: Some(&value),
        timestamp: Some(Timestamp::from_millis(event.time_ms())),
        ..ProducerRecord::to(event.topic())
    };
    let _receipt = producer.send(&record).unwrap();
}

fn read(log: &dyn Log, partition: u32) -> Vec<(Vec<u8>, Vec<u8>)> {
    let topic = TopicName::new(OUTPUT).unwrap();
    let partition = TopicPartition::new(topic, PartitionId::new(partition));
    let end = log.watermarks(&partition).unwrap().end;
    let mut consumer = log.consumer(&ConsumerConfig::default()).unwrap();
    consumer.assign(std::slice::from_ref(&partition)).unwrap();
    consumer.seek(&partition, Offset::ZERO).unwrap();
    let mut records = Vec::new();
    while consumer.position(&partition).unwrap() < end {
        for batch in consumer.poll(Duration::from_secs(1)).unwrap() {
            let bytes = |bytes: Option<&[u8]>| bytes.unwrap().to_vec();
            records.extend(batch.iter().map(|record| (bytes(record.key), bytes(record.value))));
        }
    }
    records
}

fn decode<K: Wire, V: Wire>((key, value): &(Vec<u8>, Vec<u8>)) -> (K, V) {
    (K::from_bytes(key).unwrap(), V::from_bytes(value).unwrap())
}

/// Compares a query that answers with records.
fn check_records<V>(query: Query, expected: impl Fn(&[Event]) -> Vec<(u64, V)>)
where
    V: Wire + Debug + PartialEq,
{
    let events = events();
    let mut expected = expected(&events);
    expected.sort_by_key(|(key, value)| (*key, value.to_bytes()));
    assert!(expected.len() > 20, "{query:?} has only {} answers", expected.len());
    for partitions in [1, 3] {
        let mut found: Vec<(u64, V)> = run(query, &events, partitions).iter().map(decode).collect();
        found.sort_by_key(|(key, value)| (*key, value.to_bytes()));
        let differs = found.iter().zip(&expected).find(|(found, expected)| found != expected);
        assert_eq!(differs, None, "{query:?} on {partitions} partitions, seed {SEED}");
        assert_eq!(found.len(), expected.len(), "{query:?} on {partitions} partitions");
    }
}

/// Compares a query that answers with a table.
fn check_table<K, V>(query: Query, rows_min: usize, expected: impl Fn(&[Event]) -> BTreeMap<K, V>)
where
    K: Wire + Debug + Ord,
    V: Wire + Debug + PartialEq,
{
    let events = events();
    let expected = expected(&events);
    assert!(expected.len() >= rows_min, "{query:?} has only {} rows", expected.len());
    for partitions in [1, 3] {
        let found: BTreeMap<K, V> = run(query, &events, partitions).iter().map(decode).collect();
        assert_eq!(found, expected, "{query:?} on {partitions} partitions, seed {SEED}");
    }
}

#[test]
fn the_same_seed_gives_the_same_events_and_another_one_others() {
    let other: Vec<Event> = Generator::new(SEED + 1).take(EVENTS).collect();
    assert_eq!(events(), events());
    assert_ne!(events(), other);
}

#[test]
fn of_fifty_events_one_is_a_person_three_are_auctions_and_the_rest_bids() {
    let count = |topic| events()[..5_000].iter().filter(|event| event.topic() == topic).count();
    assert_eq!([count(PERSONS), count(AUCTIONS), count(BIDS)], [100, 300, 4_600]);
}

#[test]
fn events_only_speak_of_persons_and_auctions_that_came_before() {
    let (mut persons, mut auctions) = (Vec::new(), Vec::new());
    for event in events() {
        match event {
            Event::Person(person) => persons.push(person.id),
            Event::Auction(auction) => {
                assert!(persons.contains(&auction.seller), "{auction:?}");
                auctions.push(auction.id);
            }
            Event::Bid(bid) => {
                assert!(
                    persons.contains(&bid.bidder) && auctions.contains(&bid.auction),
                    "{bid:?}"
                );
            }
        }
    }
}

#[test]
fn events_and_answers_are_read_as_they_were_written() {
    for event in events().into_iter().take(200) {
        let bytes = event.value();
        let (again, cut) = (bytes.clone(), bytes.get(..bytes.len() - 1).unwrap());
        match event {
            Event::Person(person) => assert_eq!(Wire::from_bytes(&again), Some(person)),
            Event::Auction(auction) => assert_eq!(Wire::from_bytes(&again), Some(auction)),
            Event::Bid(bid) => {
                assert_eq!(Wire::from_bytes(&again), Some(bid));
                assert_eq!(headwater_nexmark::Bid::from_bytes(cut), None);
            }
        }
    }
}

#[test]
fn query_0_passes_bids_through() {
    check_records(Query::PassThrough, batch::pass_through);
}

#[test]
fn query_1_converts_prices() {
    check_records(Query::Currency, batch::currency);
}

#[test]
fn query_2_selects_bids_for_some_auctions() {
    check_records(Query::Selection, batch::selection);
}

#[test]
fn query_3_finds_items_of_sellers_in_some_states() {
    check_records(Query::LocalItems, batch::local_items);
}

#[test]
fn query_4_averages_the_closing_prices_of_categories() {
    check_table(Query::AveragePrices, 5, batch::average_prices);
}

#[test]
fn query_5_finds_the_auctions_with_the_most_bids() {
    check_table(Query::HotItems, 15, batch::hot_items);
}

#[test]
fn query_7_finds_the_highest_bid_of_each_window() {
    check_table(Query::HighestBid, 4, batch::highest_bid);
}

#[test]
fn query_8_finds_persons_who_sell_within_the_window_of_their_registration() {
    check_records(Query::NewSellers, batch::new_sellers);
}

#[test]
fn query_9_finds_the_winning_bid_of_each_auction() {
    check_table(Query::WinningBids, 1_000, batch::winning_bids);
}
