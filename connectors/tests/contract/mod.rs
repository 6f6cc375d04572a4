//! The contract of the seam: what every log promises, as tests that are given one.
//!
//! `contract_embedded.rs` gives them the embedded log, `contract_kafka.rs` a cluster. Each test has
//! names of its own, so that all of them may run at once on one log.
pub mod groups;
pub mod reading;
pub mod topics;
pub mod transactions;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use headwater_log_store::{
    AutoOffsetReset, Consumer, ConsumerConfig, Log, NewTopic, Offset, PartitionId, Producer,
    ProducerConfig, ProducerRecord, TopicName, TopicPartition,
};

/// How long anything may take to happen.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A log, and a prefix that nobody else uses on it.
pub struct Given {
    pub log: Arc<dyn Log>,
    pub prefix: String,
}

impl Given {
    /// A name of this test.
    pub fn name(&self, name: &str) -> String {
        format!("{}-{name}", self.prefix)
    }

    /// Creates a topic of this test.
    pub fn topic(&self, name: &str, partitions: u32) -> String {
        let topic = self.name(name);
        self.log.create_topic(&NewTopic::new(&topic).partitions(partitions)).unwrap();
        topic
    }

    pub fn producer(&self) -> Box<dyn Producer> {
        self.log.producer(&ProducerConfig::default()).unwrap()
    }

    pub fn transactional(&self, id: &str) -> Box<dyn Producer> {
        let transactional_id = Some(self.name(id));
        self.log.producer(&ProducerConfig { transactional_id, ..Default::default() }).unwrap()
    }

    /// A producer that sends without receipts, in transactions if it has an id.
    pub fn without_receipts(&self, id: Option<&str>) -> Box<dyn Producer> {
        let transactional_id = id.map(|id| self.name(id));
        let config = ProducerConfig {
            transactional_id,
            without_receipts: true,
            ..ProducerConfig::default()
        };
        self.log.producer(&config).unwrap()
    }

    pub fn member(&self, group: &str) -> Box<dyn Consumer> {
        self.log
            .consumer(&ConsumerConfig {
                group: Some(self.name(group)),
                auto_offset_reset: AutoOffsetReset::Earliest,
                ..ConsumerConfig::default()
            })
            .unwrap()
    }

    /// Sends one record after the other, and waits for each.
    pub fn send_all(&self, topic: &str, partition: u32, values: &[&str]) {
        let mut producer = self.producer();
        for value in values {
            send(producer.as_mut(), topic, partition, value).wait().unwrap();
        }
    }

    /// The values in a partition, as a reader finds them that knows where it ends.
    pub fn values(&self, topic: &str, partition: u32) -> Vec<String> {
        self.values_from(topic, partition, self.start(topic, partition))
    }

    pub fn values_from(&self, topic: &str, partition: u32, from: Offset) -> Vec<String> {
        let partition = tp(topic, partition);
        let end = self.log.watermarks(&partition).unwrap().end;
        let mut consumer = self.log.consumer(&ConsumerConfig::default()).unwrap();
        consumer.assign(std::slice::from_ref(&partition)).unwrap();
        consumer.seek(&partition, from).unwrap();
        let mut values = Vec::new();
        let deadline = Instant::now() + PATIENCE;
        while consumer.position(&partition).unwrap() < end {
            assert!(Instant::now() < deadline, "{partition} was not read up to {end}");
            for batch in consumer.poll(Duration::from_millis(200)).unwrap() {
                values.extend(batch.iter().map(|record| text(record.value)));
            }
        }
        values
    }

    fn start(&self, topic: &str, partition: u32) -> Offset {
        self.log.watermarks(&tp(topic, partition)).unwrap().start
    }
}

/// Sends a record with a value only.
pub fn send(
    producer: &mut dyn Producer,
    topic: &str,
    partition: u32,
    value: &str,
) -> headwater_log_store::Receipt {
    producer
        .send(&ProducerRecord {
            partition: Some(PartitionId::new(partition)),
            value: Some(value.as_bytes()),
            ..ProducerRecord::to(topic)
        })
        .unwrap()
}

pub fn tp(topic: &str, partition: u32) -> TopicPartition {
    TopicPartition::new(TopicName::new(topic).unwrap(), PartitionId::new(partition))
}

pub fn text(bytes: Option<&[u8]>) -> String {
    bytes.map_or_else(|| "null".to_owned(), |bytes| String::from_utf8_lossy(bytes).into_owned())
}

/// Polls until that many records have come; their values by partition.
pub fn poll_values(consumer: &mut dyn Consumer, records: usize) -> BTreeMap<u32, Vec<String>> {
    let mut values: BTreeMap<u32, Vec<String>> = BTreeMap::new();
    let mut found = 0;
    let deadline = Instant::now() + PATIENCE;
    while found < records {
        assert!(Instant::now() < deadline, "{found} of {records} records have come: {values:?}");
        for batch in consumer.poll(Duration::from_millis(200)).unwrap() {
            found += batch.len();
            let partition = batch.topic_partition().partition.value();
            let values = values.entry(partition).or_default();
            values.extend(batch.iter().map(|record| text(record.value)));
        }
    }
    values
}

/// Makes a test of each function that is named.
#[macro_export]
macro_rules! contract {
    ($given:path: $($module:ident { $($test:ident,)* })*) => {
        $($(
            #[test]
            fn $test() {
                $crate::contract::$module::$test(&$given(stringify!($test)));
            }
        )*)*
    };
}

/// Makes a test of each test of the contract.
#[macro_export]
macro_rules! whole_contract {
    ($given:path) => {
        $crate::contract! { $given:
            topics {
                a_topic_is_created_described_listed_and_deleted,
                topics_are_created_together_and_each_has_its_answer,
                a_topic_gets_more_partitions_and_never_fewer,
                watermarks_of_many_partitions_come_in_their_order,
                configs_of_a_topic_are_set_changed_and_taken_back,
                records_keep_keys_nulls_headers_and_timestamps,
                keys_choose_the_partition_as_in_kafka_and_records_without_one_are_spread,
                what_cannot_be_sent_is_refused,
                records_are_deleted_from_the_front,
                offsets_are_found_by_timestamp,
            }
            reading {
                a_consumer_starts_where_it_is_told_to,
                a_consumer_without_a_place_to_begin_at_is_an_error,
                seek_pause_and_resume_say_what_the_next_poll_returns,
                a_poll_returns_no_more_than_it_may_and_all_comes_in_order,
                a_record_of_most_of_a_mebibyte_is_read_with_those_around_it,
                a_blocked_poll_ends_when_somebody_wakes_it,
                who_polls_for_the_end_of_a_partition_waits_for_no_record_behind_it,
                lag_and_position_reach_the_end,
                what_is_not_assigned_has_no_position,
                what_is_out_of_range_is_reset_or_an_error_and_the_others_can_be_read,
            }
            groups {
                a_group_remembers_what_was_committed,
                offsets_of_a_group_without_members_can_be_altered,
                without_a_group_nothing_is_committed,
                two_members_share_the_partitions_and_one_gets_all_when_the_other_leaves,
                the_one_that_polls_hears_of_rebalances_by_its_callback,
                who_is_no_member_cannot_commit_while_there_are_some,
                a_member_that_left_cannot_commit,
            }
            transactions {
                nothing_is_visible_before_the_commit_and_all_after_it,
                nothing_of_an_aborted_transaction_is_ever_read,
                offsets_are_committed_with_the_records_or_not_at_all,
                a_second_producer_of_the_same_id_fences_the_first,
                a_member_that_was_overtaken_commits_nothing,
                calls_that_do_not_fit_the_state_are_refused,
                the_end_of_a_partition_is_reached_after_many_transactions,
                the_commit_and_the_flush_answer_for_records_without_receipts,
                a_record_without_a_receipt_that_the_log_refuses_fails_the_commit_or_the_flush,
            }
        }
    };
}
