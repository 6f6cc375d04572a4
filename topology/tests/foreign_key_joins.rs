//! Joins of tables by a foreign key: what Kafka Streams 4.3.1 gives for the same records, its record
//! cache off. The scripts with longer keys were recorded from it.
#![allow(clippy::unwrap_used, reason = "the helpers of a test fail it by panicking")]

#[allow(dead_code, reason = "not every test needs all of it")]
#[path = "script/runner.rs"]
mod runner;

use headwater_log_store::{
    AutoOffsetReset, ConsumerConfig, NewTopic, PartitionId, TopicName, TopicPartition,
};
use headwater_topology::{DropReason, KTable, StreamsBuilder, StreamsConfig, TopologyTestDriver};
use runner::{build_error, check};

type Text = Option<String>;
type Table = KTable<String, String>;

/// `(left,right)` of rows whose foreign key stands behind a slash.
fn pairs(left: bool) -> impl Fn(&StreamsBuilder) {
    move |builder| {
        let (lefts, rights): (Table, Table) = (builder.table("A"), builder.table("B"));
        let key = |_: &String, value: &String| Some(value.split_once('/')?.1.to_owned());
        let joined = match left {
            false => lefts.join_on(&rights, key, |l, r| format!("({l},{r})"), "fk"),
            true => {
                let null = |right: Text| right.unwrap_or_else(|| "null".to_owned());
                lefts.left_join_on(&rights, key, move |l, r| format!("({l},{})", null(r)), "fk")
            }
        };
        joined.to_stream().to("out");
    }
}

/// `left+right` of rows whose foreign key stands before a dash; `n` is none.
fn sums(left: bool) -> impl Fn(&StreamsBuilder) {
    move |builder| {
        let (lefts, rights): (Table, Table) = (builder.table("A"), builder.table("B"));
        let key = |_: &String, value: &String| {
            value.split('-').next().filter(|key| *key != "n").map(str::to_owned)
        };
        let joined = match left {
            false => lefts.join_on(&rights, key, |l, r| l + "+" + &r, "fk"),
            true => {
                let null = |right: Text| right.unwrap_or_else(|| "null".to_owned());
                lefts.left_join_on(&rights, key, move |l, r| l + "+" + &null(r), "fk")
            }
        };
        joined.to_stream().to("out");
    }
}

#[test]
fn rows_of_the_left_side_come_and_go_in_an_inner_join() {
    check(
        pairs(false),
        "
        B rhs1 rhsValue1 0
        B rhs2 rhsValue2 1
        B rhs3 rhsValue3 2
        A lhs1 lhsValue1/rhs1 3 => lhs1 (lhsValue1/rhs1,rhsValue1) 3
        A lhs2 lhsValue2/rhs2 4 => lhs2 (lhsValue2/rhs2,rhsValue2) 4
        A lhs3 lhsValue3/rhs1 5 => lhs3 (lhsValue3/rhs1,rhsValue1) 5
        A lhs1 ~ 6 => lhs1 ~ 6
        ",
    );
}

#[test]
fn rows_of_the_left_side_come_and_go_in_a_left_join() {
    check(
        pairs(true),
        "
        B rhs1 rhsValue1 0
        B rhs2 rhsValue2 1
        B rhs3 rhsValue3 2
        A lhs1 lhsValue1/rhs1 3 => lhs1 (lhsValue1/rhs1,rhsValue1) 3
        A lhs2 lhsValue2/rhs2 4 => lhs2 (lhsValue2/rhs2,rhsValue2) 4
        A lhs3 lhsValue3/rhs1 5 => lhs3 (lhsValue3/rhs1,rhsValue1) 5
        A lhs1 ~ 6 => lhs1 ~ 6
        ",
    );
}

#[test]
fn rows_of_the_right_side_come_and_go_in_an_inner_join() {
    check(
        pairs(false),
        "
        A lhs1 lhsValue1/rhs1 0
        A lhs2 lhsValue2/rhs2 1
        A lhs3 lhsValue3/rhs1 2
        B rhs1 rhsValue1 3 => lhs1 (lhsValue1/rhs1,rhsValue1) 3 | lhs3 (lhsValue3/rhs1,rhsValue1) 3
        B rhs2 rhsValue2 4 => lhs2 (lhsValue2/rhs2,rhsValue2) 4
        B rhs3 rhsValue3 5
        B rhs1 ~ 6 => lhs1 ~ 6 | lhs3 ~ 6
        ",
    );
}

#[test]
fn rows_of_the_right_side_come_and_go_in_a_left_join() {
    check(
        pairs(true),
        "
        A lhs1 lhsValue1/rhs1 0 => lhs1 (lhsValue1/rhs1,null) 0
        A lhs2 lhsValue2/rhs2 1 => lhs2 (lhsValue2/rhs2,null) 1
        A lhs3 lhsValue3/rhs1 2 => lhs3 (lhsValue3/rhs1,null) 2
        B rhs1 rhsValue1 3 => lhs1 (lhsValue1/rhs1,rhsValue1) 3 | lhs3 (lhsValue3/rhs1,rhsValue1) 3
        B rhs2 rhsValue2 4 => lhs2 (lhsValue2/rhs2,rhsValue2) 4
        B rhs3 rhsValue3 5
        B rhs1 ~ 6 => lhs1 (lhsValue1/rhs1,null) 6 | lhs3 (lhsValue3/rhs1,null) 6
        ",
    );
}

#[test]
fn a_foreign_key_is_changed_and_changed_back_in_an_inner_join() {
    check(
        pairs(false),
        "
        B rhs1 rhsValue1 0
        B rhs2 rhsValue2 1
        A lhs1 lhsValue1/rhs1 3 => lhs1 (lhsValue1/rhs1,rhsValue1) 3
        A lhs1 lhsValue1/rhs2 5 => lhs1 (lhsValue1/rhs2,rhsValue2) 5
        A lhs1 lhsValue1/rhs1 6 => lhs1 (lhsValue1/rhs1,rhsValue1) 6
        ",
    );
}

#[test]
fn a_foreign_key_is_changed_and_changed_back_in_a_left_join() {
    check(
        pairs(true),
        "
        B rhs1 rhsValue1 0
        B rhs2 rhsValue2 1
        A lhs1 lhsValue1/rhs1 3 => lhs1 (lhsValue1/rhs1,rhsValue1) 3
        A lhs1 lhsValue1/rhs2 5 => lhs1 (lhsValue1/rhs2,rhsValue2) 5
        A lhs1 lhsValue1/rhs1 6 => lhs1 (lhsValue1/rhs1,rhsValue1) 6
        ",
    );
}

#[test]
fn a_foreign_key_without_a_row_takes_the_result_away_in_an_inner_join() {
    check(
        pairs(false),
        "
        A lhs1 lhsValue1/rhs1 0
        A lhs1 lhsValue1/rhs2 1 => lhs1 ~ 1
        A lhs1 lhsValue1/rhs3 2 => lhs1 ~ 2
        B rhs1 rhsValue1 3
        A lhs1 lhsValue1/rhs1 4 => lhs1 (lhsValue1/rhs1,rhsValue1) 4
        A lhs1 lhsValue1/rhs2 5 => lhs1 ~ 5
        ",
    );
}

#[test]
fn a_foreign_key_without_a_row_takes_the_result_away_in_a_left_join() {
    check(
        pairs(true),
        "
        A lhs1 lhsValue1/rhs1 0 => lhs1 (lhsValue1/rhs1,null) 0
        A lhs1 lhsValue1/rhs2 1 => lhs1 (lhsValue1/rhs2,null) 1
        A lhs1 lhsValue1/rhs3 2 => lhs1 (lhsValue1/rhs3,null) 2
        B rhs1 rhsValue1 3
        A lhs1 lhsValue1/rhs1 4 => lhs1 (lhsValue1/rhs1,rhsValue1) 4
        A lhs1 lhsValue1/rhs2 5 => lhs1 (lhsValue1/rhs2,null) 5
        ",
    );
}

#[test]
fn a_changed_row_is_no_longer_told_of_its_old_foreign_key_in_an_inner_join() {
    check(
        pairs(false),
        "
        B rhs1 rhsValue1 0
        B rhs2 rhsValue2 1
        A lhs1 lhsValue1/rhs1 2 => lhs1 (lhsValue1/rhs1,rhsValue1) 2
        A lhs1 lhsValue1/rhs2 3 => lhs1 (lhsValue1/rhs2,rhsValue2) 3
        B rhs1 rhsValue1Delta 4
        ",
    );
}

#[test]
fn a_changed_row_is_no_longer_told_of_its_old_foreign_key_in_a_left_join() {
    check(
        pairs(true),
        "
        B rhs1 rhsValue1 0
        B rhs2 rhsValue2 1
        A lhs1 lhsValue1/rhs1 2 => lhs1 (lhsValue1/rhs1,rhsValue1) 2
        A lhs1 lhsValue1/rhs2 3 => lhs1 (lhsValue1/rhs2,rhsValue2) 3
        B rhs1 rhsValue1Delta 4
        ",
    );
}

#[test]
fn a_removed_row_without_a_result_is_a_tombstone_all_the_same_in_an_inner_join() {
    check(
        pairs(false),
        "
        A lhs1 lhsValue1/rhs1 0
        A lhs1 ~ 1 => lhs1 ~ 1
        A lhs1 ~ 2
        ",
    );
}

#[test]
fn a_removed_row_without_a_result_is_a_tombstone_all_the_same_in_a_left_join() {
    check(
        pairs(true),
        "
        A lhs1 lhsValue1/rhs1 0 => lhs1 (lhsValue1/rhs1,null) 0
        A lhs1 ~ 1 => lhs1 ~ 1
        A lhs1 ~ 2
        ",
    );
}

#[test]
fn records_out_of_order_count_in_the_order_of_offsets() {
    check(
        pairs(false),
        "
        B rhs1 rhsValue1 3
        A lhs1 lhsValue1/rhs1 2 => lhs1 (lhsValue1/rhs1,rhsValue1) 3
        A lhs2 lhsValue2/rhs1 4 => lhs2 (lhsValue2/rhs1,rhsValue1) 4
        A lhs2 ~ 5 => lhs2 ~ 5
        A lhs1 lhsValue1_ooo/rhs1 1 => lhs1 (lhsValue1_ooo/rhs1,rhsValue1) 3
        A lhs2 lhsValue2_ooo/rhs1 1 => lhs2 (lhsValue2_ooo/rhs1,rhsValue1) 3
        A lhs1 ~ 1 => lhs1 ~ 3
        A lhs1 lhsValue1_new/rhs1 7 => lhs1 (lhsValue1_new/rhs1,rhsValue1) 7
        A lhs2 lhsValue2_new/rhs1 7 => lhs2 (lhsValue2_new/rhs1,rhsValue1) 7
        B rhs1 rhsValue1_ooo 0 => lhs1 (lhsValue1_new/rhs1,rhsValue1_ooo) 0 | lhs2 (lhsValue2_new/rhs1,rhsValue1_ooo) 0
        B rhs1 ~ 0 => lhs1 ~ 0 | lhs2 ~ 0
        B rhs1 rhsValue1_new 5 => lhs1 (lhsValue1_new/rhs1,rhsValue1_new) 5 | lhs2 (lhsValue2_new/rhs1,rhsValue1_new) 5
        ",
    );
}

#[test]
fn an_inner_join_follows_both_sides() {
    check(
        sums(false),
        "
        A k f-1 10
        B f x 5 => k f-1+x 5
        A k f-2 3 => k f-2+x 5
        B f y 20 => k f-2+y 20
        A k g-1 21 => k ~ 21
        B g z 22 => k g-1+z 22
        A k h-1 23 => k ~ 23
        A k ~ 24 => k ~ 24
        A k ~ 25
        B g ~ 26
        A k g-5 27
        A k n-5 28 => k ~ 28
        B g w 29
        restart
        A q f-9 30 => q f-9+y 30
        B f ~ 31 => q ~ 31
        ",
    );
}

#[test]
fn a_left_join_has_a_result_without_a_row_and_without_a_key() {
    check(
        sums(true),
        "
        A k f-1 10 => k f-1+null 10
        B f x 5 => k f-1+x 5
        A k g-1 11 => k g-1+null 11
        A k n-5 12 => k n-5+null 12
        B g z 13
        A k f-5 14 => k f-5+x 14
        A k ~ 15 => k ~ 15
        ",
    );
}

#[test]
fn a_materialized_join_keeps_its_rows_for_queries_and_further_joins() {
    check(
        |builder| {
            let (lefts, rights): (Table, Table) = (builder.table("A"), builder.table("B"));
            let key = |_: &String, value: &String| Some(value.clone());
            let joined = lefts.join_on(&rights, key, |_, right| right, "fk").materialized("joined");
            let again = joined.join_on(&rights, key, |l, r| l + "/" + &r, "again");
            again.to_stream().to("out");
        },
        "
        B f g 1
        A k f 2
        B g h 3 => k g/h 3
        restart
        B f i 4 => k ~ 4
        B i j 5 => k i/j 5
        A k ~ 6 => k ~ 6
        ",
    );
}

#[test]
fn a_table_is_joined_with_itself() {
    check(
        |builder| {
            let table: Table = builder.table("A");
            let boss = |_: &String, value: &String| Some(value.clone()).filter(|v| v != "-");
            table
                .join_on(&table, boss, |own, boss| own + "<" + &boss, "boss")
                .to_stream()
                .to("out");
        },
        "
        A ann - 1
        A bob ann 2 => bob ann<- 2
        A cat bob 3 => cat bob<ann 3
        A bob cat 4 => cat bob<cat 4 | bob cat<bob 4
        ",
    );
}

#[test]
fn tables_that_are_partitioned_differently_are_joined_and_answers_find_their_way_back() {
    let builder = StreamsBuilder::new();
    sums(true)(&builder);
    let topics = [NewTopic::new("A").partitions(4), NewTopic::new("B").partitions(3)];
    let config = StreamsConfig::new("test");
    let driver =
        TopologyTestDriver::with_topics(&builder.build().unwrap(), config, &topics).unwrap();
    let partitions = |topic: &str| driver.log().describe_topic(topic).unwrap().partitions;
    assert_eq!(partitions("test-fk-subscription-registration-topic"), 3);
    assert_eq!(partitions("test-fk-subscription-response-topic"), 4);
    assert_eq!(partitions("test-fk-subscription-store-changelog"), 3);
    let (a, b) = (driver.input_topic::<String, Text>("A"), driver.input_topic::<String, Text>("B"));
    let out = driver.output_topic::<String, Text>("out").unwrap();
    for n in 0..12 {
        a.pipe_input_at(format!("k{n}"), Some(format!("f{}-{n}", n % 4)), n).unwrap();
    }
    out.read_records().unwrap();
    for n in 0..4 {
        b.pipe_input_at(format!("f{n}"), Some(format!("row{n}")), 20).unwrap();
    }
    let mut found = out.read_timed().unwrap();
    found.sort_by_key(|(key, _, _)| key[1..].parse::<i64>().unwrap());
    let expected: Vec<_> = (0..12)
        .map(|n| (format!("k{n}"), Some(format!("f{}-{n}+row{}", n % 4, n % 4)), 20))
        .collect();
    assert_eq!(found, expected);
}

/// The keys and values of partition 0 of a topic.
fn bytes(driver: &TopologyTestDriver, topic: &str) -> Vec<(Vec<u8>, Option<Vec<u8>>)> {
    let partition = TopicPartition::new(TopicName::new(topic).unwrap(), PartitionId::new(0));
    let config = ConsumerConfig {
        auto_offset_reset: AutoOffsetReset::Earliest,
        ..ConsumerConfig::default()
    };
    let mut consumer = driver.log().consumer(&config).unwrap();
    consumer.assign(&[partition]).unwrap();
    let batches = consumer.poll(std::time::Duration::ZERO).unwrap();
    let views = batches.iter().flat_map(|batch| batch.iter());
    views.map(|view| (view.key.unwrap().to_vec(), view.value.map(<[u8]>::to_vec))).collect()
}

#[test]
fn registrations_subscriptions_and_responses_are_in_kafkas_bytes() {
    let builder = StreamsBuilder::new();
    sums(false)(&builder);
    let driver = TopologyTestDriver::new(&builder.build().unwrap()).unwrap();
    driver.input_topic::<String, Text>("A").pipe_input_at("k", Some("f-1".to_owned()), 10).unwrap();
    driver.input_topic::<String, Text>("B").pipe_input_at("f", Some("x".to_owned()), 5).unwrap();
    let hash = b"\xc7\x2e\x42\xea\x32\x61\x72\x59\x2a\xf5\x72\xbe\xed\x3f\x25\xbc".as_slice();
    let registration = [b"\x01\x03", hash, b"k\0\0\0\0"].concat();
    let topic = "test-fk-subscription-registration-topic";
    assert_eq!(bytes(&driver, topic), [(b"f".to_vec(), Some(registration.clone()))]);
    let subscription = (b"\0\0\0\x01fk".to_vec(), Some(registration));
    assert_eq!(bytes(&driver, "test-fk-subscription-store-changelog"), [subscription]);
    let response = (b"k".to_vec(), Some([b"\0", hash, b"x"].concat()));
    assert_eq!(bytes(&driver, "test-fk-subscription-response-topic"), [response]);
}

#[test]
fn an_answer_about_a_row_that_has_changed_since_is_dropped_and_counted() {
    let builder = StreamsBuilder::new();
    sums(false)(&builder);
    let driver = TopologyTestDriver::new(&builder.build().unwrap()).unwrap();
    let (a, b) = (driver.input_topic::<String, Text>("A"), driver.input_topic::<String, Text>("B"));
    b.pipe_input_at("f", Some("x".to_owned()), 1).unwrap();
    b.pipe_input_at("g", Some("y".to_owned()), 1).unwrap();
    // Both records lie ahead at once, so the first answer comes when the row is the second one.
    driver.close();
    a.pipe_input_at("k", Some("f-1".to_owned()), 2).unwrap_err();
    a.pipe_input_at("k", Some("g-1".to_owned()), 3).unwrap_err();
    driver.restart().unwrap();
    let out = driver.output_topic::<String, String>("out").unwrap().read_timed().unwrap();
    assert_eq!(out, [("k".to_owned(), "g-1+y".to_owned(), 3)]);
    assert_eq!(driver.metrics().unwrap().dropped(DropReason::Stale), 1);
}

#[test]
fn rows_that_are_kept_nowhere_cannot_be_joined() {
    let error = build_error(|builder| {
        let (lefts, rights): (Table, Table) = (builder.table("A"), builder.table("B"));
        let key = |_: &String, value: &String| Some(value.clone());
        let joined = lefts.join_on(&rights, key, |l, _| l, "fk");
        let _ = joined.join(&lefts, |l, _| l);
    });
    assert_eq!(
        error.to_string(),
        "the rows of the join fk are needed below: they are kept nowhere: call `materialized` on \
         the join"
    );
}
