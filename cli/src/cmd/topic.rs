//! `headwater topic create|list|describe|alter|delete`.

use std::collections::BTreeMap;
use std::path::Path;

use headwater_log_store::{
    AlterConfigOp, Error as LogError, Log, LogStore, NewTopic, PartitionId, TopicDescription,
    TopicPartition,
};
use serde::Serialize;

use crate::args::{
    Format, TopicAlterArgs, TopicCreateArgs, TopicDeleteArgs, TopicDescribeArgs, TopicListArgs,
};
use crate::error::Result;
use crate::output::{Column, Output, note};

#[derive(Debug, Serialize)]
struct JsonTopic {
    name: String,
    partitions: u32,
    configs: BTreeMap<String, String>,
}

#[derive(Debug, Serialize)]
struct JsonTopicDetail {
    #[serde(flatten)]
    topic: JsonTopic,
    offsets: Vec<JsonPartition>,
}

#[derive(Debug, Serialize)]
struct JsonPartition {
    partition: u32,
    leader_epoch: u32,
    log_start_offset: u64,
    log_end_offset: u64,
}

/// Creates a topic, and says so.
pub(crate) fn create(dir: &Path, args: &TopicCreateArgs) -> Result<()> {
    let store = LogStore::create(dir)?;
    let topic = NewTopic {
        name: args.topic.clone(),
        partitions: args.partitions,
        configs: args.configs.iter().cloned().collect(),
    };
    match store.create_topic(&topic) {
        Ok(()) => {
            note(&format!("created topic {} with {} partitions", args.topic, args.partitions));
            Ok(())
        }
        Err(LogError::TopicExists { topic }) if args.if_not_exists => {
            note(&format!("topic {topic} exists already"));
            Ok(())
        }
        Err(error) => Err(error.into()),
    }
}

/// Lists the topics by name.
pub(crate) fn list(dir: &Path, args: &TopicListArgs, output: &mut Output) -> Result<()> {
    let store = LogStore::open_read_only(dir)?;
    let mut topics = store.topics()?;
    topics.retain(|topic| args.internal || !topic.name.is_internal());
    match output.list_format() {
        Format::Table => {
            let row = |topic: &TopicDescription| {
                vec![topic.name.to_string(), topic.partitions.to_string()]
            };
            let rows: Vec<_> = topics.iter().map(row).collect();
            output.table(&[Column::Text("TOPIC"), Column::Number("PARTITIONS")], &rows)
        }
        Format::Json => {
            let topics: Vec<_> = topics.into_iter().map(json_topic).collect();
            output.json_array(&topics)
        }
        Format::Ndjson => {
            topics.into_iter().map(json_topic).try_for_each(|topic| output.json(&topic))
        }
    }
}

/// Changes a topic's partitions and configs, and says so.
pub(crate) fn alter(dir: &Path, args: &TopicAlterArgs) -> Result<()> {
    let store = LogStore::open(dir)?;
    let add = args.add_configs.iter().flat_map(|pairs| pairs.iter());
    let add = add.map(|(key, value)| AlterConfigOp::set(key, value));
    let delete = args.delete_configs.iter().map(AlterConfigOp::delete);
    let ops: Vec<_> = add.chain(delete).collect();
    // The configs first: they are refused before anything is changed.
    if !ops.is_empty() {
        store.incremental_alter_configs(&args.topic, &ops)?;
        note(&format!("changed {} configs of topic {}", ops.len(), args.topic));
    }
    if let Some(partitions) = args.partitions {
        store.create_partitions(&args.topic, partitions)?;
        note(&format!("topic {} has {partitions} partitions", args.topic));
    }
    Ok(())
}

/// Deletes a topic, and says so.
pub(crate) fn delete(dir: &Path, args: &TopicDeleteArgs) -> Result<()> {
    match LogStore::open(dir)?.delete_topic(&args.topic) {
        Ok(()) => {
            note(&format!("deleted topic {}", args.topic));
            Ok(())
        }
        Err(LogError::UnknownTopic { topic }) if args.if_exists => {
            note(&format!("topic {topic} does not exist"));
            Ok(())
        }
        Err(error) => Err(error.into()),
    }
}

/// Shows a topic's configs and its partitions.
pub(crate) fn describe(dir: &Path, args: &TopicDescribeArgs, output: &mut Output) -> Result<()> {
    let store = LogStore::open_read_only(dir)?;
    let mut topic = store.describe_topic(&args.topic)?;
    if args.all {
        let configs = store.describe_configs(&args.topic)?;
        topic.configs = configs.into_iter().map(|config| (config.name, config.value)).collect();
    }
    let offsets = (0..topic.partitions)
        .map(|partition| {
            let id = TopicPartition::new(topic.name.clone(), PartitionId::new(partition));
            let watermarks = store.watermarks(&id)?;
            let current = store.offset_for_leader_epoch(&id, None)?;
            Ok(JsonPartition {
                partition,
                leader_epoch: current.leader_epoch.value(),
                log_start_offset: watermarks.start.value(),
                log_end_offset: watermarks.end.value(),
            })
        })
        .collect::<Result<Vec<_>>>()?;
    match output.list_format() {
        Format::Table => describe_in_tables(&topic, &offsets, output),
        Format::Json | Format::Ndjson => {
            output.json(&JsonTopicDetail { topic: json_topic(topic), offsets })
        }
    }
}

fn describe_in_tables(
    topic: &TopicDescription,
    offsets: &[JsonPartition],
    output: &mut Output,
) -> Result<()> {
    let summary = vec![topic.name.to_string(), topic.partitions.to_string()];
    output.table(&[Column::Text("TOPIC"), Column::Number("PARTITIONS")], &[summary])?;
    if !topic.configs.is_empty() {
        output.line("")?;
        let row = |(key, value): (&String, &String)| vec![key.clone(), value.clone()];
        let rows: Vec<_> = topic.configs.iter().map(row).collect();
        output.table(&[Column::Text("CONFIG"), Column::Text("VALUE")], &rows)?;
    }
    output.line("")?;
    let row = |offsets: &JsonPartition| {
        let (number, epoch) = (u64::from(offsets.partition), u64::from(offsets.leader_epoch));
        [number, epoch, offsets.log_start_offset, offsets.log_end_offset]
            .map(|number| number.to_string())
            .to_vec()
    };
    let rows: Vec<_> = offsets.iter().map(row).collect();
    let columns = ["PARTITION", "LEADER-EPOCH", "LOG-START-OFFSET", "LOG-END-OFFSET"];
    let columns = columns.map(Column::Number);
    output.table(&columns, &rows)
}

fn json_topic(topic: TopicDescription) -> JsonTopic {
    JsonTopic { name: topic.name.to_string(), partitions: topic.partitions, configs: topic.configs }
}
