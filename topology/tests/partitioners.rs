//! Partitioners of the application's own: one partition, several, none, and those of internal
//! topics. Through the test driver.
#![allow(clippy::unwrap_used, clippy::panic, clippy::ptr_arg, reason = "helpers of a test")]

use headwater_log_store::{
    ConsumerConfig, NewTopic, Offset, PartitionId, TopicName, TopicPartition, partition_for_key,
};
use headwater_topology::{
    DropReason, Error, ErrorResponse, Produced, Repartitioned, StreamsBuilder, StreamsConfig,
    TableJoined, TestRecord, TopologyTestDriver,
};

/// The values in each partition of a topic.
fn by_partition(driver: &TopologyTestDriver, topic: &str, partitions: u32) -> Vec<Vec<String>> {
    let log = driver.log();
    let name = TopicName::new(topic).unwrap();
    let values = |partition| {
        let partition = TopicPartition::new(name.clone(), PartitionId::new(partition));
        let mut consumer = log.consumer(&ConsumerConfig::default()).unwrap();
        consumer.assign(std::slice::from_ref(&partition)).unwrap();
        consumer.seek(&partition, Offset::new(0)).unwrap();
        let batches = consumer.poll(std::time::Duration::ZERO).unwrap();
        let values = batches.iter().flat_map(|batch| batch.iter());
        values.map(|view| String::from_utf8(view.value.unwrap().to_vec()).unwrap()).collect()
    };
    (0..partitions).map(values).collect()
}

/// A record goes to the partitions that its value names, or where its key belongs.
fn named(topic: &str, key: &String, value: &String, partitions: u32) -> Option<Vec<u32>> {
    assert!(topic.ends_with("out") && key == "k" && partitions == 4, "{topic} {key} {partitions}");
    match value.as_str() {
        "by key" => None,
        "all" => Some((0..partitions).collect()),
        list => Some(list.split_terminator(',').map(|number| number.parse().unwrap()).collect()),
    }
}

fn driver(
    builder: &StreamsBuilder,
    topics: &[NewTopic],
    config: StreamsConfig,
) -> TopologyTestDriver {
    TopologyTestDriver::with_topics(&builder.build().unwrap(), config, topics).unwrap()
}

#[test]
fn a_partitioner_chooses_one_partition_or_several_or_none_or_leaves_it_to_the_key() {
    let out = [NewTopic::new("out").partitions(4), NewTopic::new("dynamic-out").partitions(4)];
    let builder = StreamsBuilder::new();
    let stream = builder.stream::<String, String>("in");
    stream.to_with("out", Produced::new().with_stream_partitioner(named));
    let produced = Produced::new().with_stream_partitioner(named);
    stream.to_by_with(|_, _| "dynamic-out".to_owned(), produced);
    let config = StreamsConfig::new("app").production_exception_handler(ErrorResponse::Skip);
    let driver = driver(&builder, &out, config);
    let input = driver.input_topic::<String, String>("in");
    for value in ["2", "all", "", "by key", "3,1,3", "4"] {
        input.pipe_input("k", value).unwrap();
    }
    let mut expected =
        vec![vec!["all"], vec!["all", "3,1,3"], vec!["2", "all"], vec!["all", "3,1,3"]];
    let own = usize::try_from(partition_for_key(b"k", 4).value()).unwrap();
    let place = usize::from(expected[own].first() == Some(&"2")) + 1;
    expected[own].insert(place, "by key");
    for topic in ["out", "dynamic-out"] {
        assert_eq!(by_partition(&driver, topic, 4), expected, "{topic}");
    }
    let metrics = driver.metrics().unwrap();
    assert_eq!(metrics.dropped(DropReason::NoPartition), 2, "the empty list, at both sinks");
    assert_eq!(metrics.dropped(DropReason::Failed), 2, "the partition that there is not");
}

#[test]
fn a_partition_that_there_is_not_stops_the_application_unless_the_handler_says_otherwise() {
    let builder = StreamsBuilder::new();
    let produced =
        Produced::new().with_stream_partitioner(|_: &str, _: &String, _: &String, _| Some(vec![7]));
    builder.stream::<String, String>("in").to_with("out", produced);
    let driver = driver(&builder, &[], StreamsConfig::new("app"));
    let error = driver.input_topic::<String, String>("in").pipe_input("k", "v").unwrap_err();
    let Error::Processing { reason, .. } = &error else { panic!("{error}") };
    assert_eq!(reason, "out has 1 partitions, so no partition 7");
}

#[test]
fn a_repartition_topic_is_partitioned_as_it_is_asked_for() {
    let builder = StreamsBuilder::new();
    let last_digit = |_: &str, key: &i64, _: &String, partitions: u32| {
        let digit = u32::try_from(key % 10).unwrap();
        Some(vec![digit % partitions])
    };
    let repartitioned = Repartitioned::named("digits")
        .with_number_of_partitions(3)
        .with_stream_partitioner(last_digit);
    builder.stream::<i64, String>("in").repartition(repartitioned).group_by_key().count("counts");
    let driver = driver(&builder, &[], StreamsConfig::new("app"));
    let input = driver.input_topic::<i64, String>("in");
    for (key, value) in [(11, "a"), (20, "b"), (32, "c"), (21, "d"), (11, "e"), (45, "f")] {
        input.pipe_input(key, value).unwrap();
    }
    let expected = [vec!["b"], vec!["a", "d", "e"], vec!["c", "f"]];
    assert_eq!(by_partition(&driver, "app-digits-repartition", 3), expected);
    assert_eq!(driver.store_value::<i64, i64>("counts", &11).unwrap(), Some(2));
}

/// Both tables lie in partitions that Kafka's partitioner would not choose: without the
/// partitioners the registrations would look for foreign rows where there are none.
#[test]
fn a_foreign_key_join_finds_rows_where_their_partitioners_say() {
    let builder = StreamsBuilder::new();
    let orders = builder.table::<String, String>("orders");
    let products = builder.table::<String, String>("products");
    let by_length = |_: &str, key: &String, _: &(), partitions: u32| {
        Some(vec![u32::try_from(key.len()).unwrap() % partitions])
    };
    let joined =
        TableJoined::named("join").with_partitioner(by_length).with_other_partitioner(by_length);
    orders
        .join_on(
            &products,
            |_, order| Some(order.clone()),
            |order, product| format!("{order}={product}"),
            joined,
        )
        .to_stream()
        .to("out");
    let topics = [NewTopic::new("orders").partitions(2), NewTopic::new("products").partitions(3)];
    let driver = driver(&builder, &topics, StreamsConfig::new("app"));
    let (orders, products) = (
        driver.input_topic::<String, String>("orders"),
        driver.input_topic::<String, String>("products"),
    );
    for key in ["t", "te", "tea"] {
        let partition = u32::try_from(key.len()).unwrap();
        let product = TestRecord::new(key, key.to_uppercase(), 1);
        products.pipe_record_to(partition % 3, &product).unwrap();
        let order = TestRecord::new("o".repeat(key.len()), key, 2);
        orders.pipe_record_to(partition % 2, &order).unwrap();
    }
    products.pipe_record_to(0, &TestRecord::new("tea", "Tea", 3)).unwrap();
    let out =
        driver.output_topic::<String, Option<String>>("out").unwrap().read_key_values().unwrap();
    let row = |key: &str, value: &str| (key.to_owned(), Some(value.to_owned()));
    let expected =
        [row("o", "t=T"), row("oo", "te=TE"), row("ooo", "tea=TEA"), row("ooo", "tea=Tea")];
    assert_eq!(out, expected);
}
