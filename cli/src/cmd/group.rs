//! `headwater group list|describe|reset|delete`.

use std::path::Path;

use headwater_log_store::{
    Clock, Error as LogError, GroupDescription, GroupPartition, GroupState, Log, LogStore, Offset,
    OffsetReset, OffsetResetPlan, PartitionId, SystemClock, TopicPartition,
};
use serde::Serialize;

use crate::args::{Format, GroupArgs, GroupResetArgs, ResetTo, TopicPartitions};
use crate::error::Result;
use crate::output::{Column, Output, note};

#[derive(Debug, Serialize)]
struct JsonGroup {
    group: String,
}

#[derive(Debug, Serialize)]
struct JsonDescription {
    group: String,
    state: &'static str,
    generation: Option<i32>,
    /// `null` where members are not known.
    members: Option<Vec<JsonMember>>,
    partitions: Vec<JsonPartition>,
}

#[derive(Debug, Serialize)]
struct JsonMember {
    consumer_id: String,
    host: String,
    client_id: String,
}

#[derive(Debug, Serialize)]
struct JsonPartition {
    topic: String,
    partition: u32,
    current_offset: Option<u64>,
    log_end_offset: Option<u64>,
    lag: Option<u64>,
    consumer_id: Option<String>,
}

#[derive(Debug, Serialize)]
struct JsonReset {
    group: String,
    topic: String,
    partition: u32,
    current_offset: Option<u64>,
    new_offset: Option<u64>,
    note: Option<String>,
}

/// Lists the groups by name.
pub(crate) fn list(dir: &Path, output: &mut Output) -> Result<()> {
    let groups = LogStore::open_read_only(dir)?.groups()?;
    let mut groups = groups.into_iter().map(|group| JsonGroup { group });
    match output.list_format() {
        Format::Table => {
            let rows: Vec<_> = groups.map(|group| vec![group.group]).collect();
            output.table(&[Column::Text("GROUP")], &rows)
        }
        Format::Json => output.json_array(&groups.collect::<Vec<_>>()),
        Format::Ndjson => groups.try_for_each(|group| output.json(&group)),
    }
}

/// Shows how far a group has come.
pub(crate) fn describe(dir: &Path, args: &GroupArgs, output: &mut Output) -> Result<()> {
    let group = LogStore::open_read_only(dir)?.describe_group(&args.group)?;
    if group.state == GroupState::Unknown {
        note(&format!(
            "the members of group {}, if any, are known only in the process that writes the store",
            group.group
        ));
    }
    match output.list_format() {
        Format::Table => {
            let rows: Vec<_> = group.partitions.iter().map(|row| shown(&group, row)).collect();
            let columns = [
                Column::Text("GROUP"),
                Column::Text("TOPIC"),
                Column::Number("PARTITION"),
                Column::Number("CURRENT-OFFSET"),
                Column::Number("LOG-END-OFFSET"),
                Column::Number("LAG"),
                Column::Text("CONSUMER-ID"),
                Column::Text("HOST"),
                Column::Text("CLIENT-ID"),
            ];
            output.table(&columns, &rows)
        }
        Format::Json | Format::Ndjson => output.json(&json_description(group)),
    }
}

/// Shows where a group would go on, and sends it there if it is told to.
pub(crate) fn reset(dir: &Path, args: &GroupResetArgs, output: &mut Output) -> Result<()> {
    let store = if args.execute { LogStore::open(dir)? } else { LogStore::open_read_only(dir)? };
    let partitions = partitions(&store, args)?;
    let now = SystemClock::new().now();
    let plan = OffsetResetPlan::new(&store, &args.group, &partitions, target(&args.to), now)?;
    if args.execute {
        plan.execute(&store)?;
    }
    for reset in &plan.partitions {
        if let Some(why) = &reset.note {
            note(&format!("{}: {why}", reset.topic_partition));
        }
    }
    show_plan(&plan, output)?;
    if !args.execute {
        output.flush()?;
        note("nothing was changed: with --execute it is");
    }
    Ok(())
}

/// Deletes the committed offsets of a group.
pub(crate) fn delete(dir: &Path, args: &GroupArgs) -> Result<()> {
    LogStore::open(dir)?.delete_group(&args.group)?;
    note(&format!("deleted group {}", args.group));
    Ok(())
}

/// The partitions that are to be reset, in order.
fn partitions(log: &dyn Log, args: &GroupResetArgs) -> Result<Vec<TopicPartition>> {
    if args.all_topics {
        let committed = log.group_offsets(&args.group)?;
        if committed.is_empty() {
            return Err(LogError::UnknownGroup { group: args.group.clone() }.into());
        }
        return Ok(committed.into_keys().collect());
    }
    let mut partitions = Vec::new();
    for TopicPartitions { topic, partitions: numbers } in &args.topics {
        let topic = log.describe_topic(topic)?;
        let numbers = numbers.clone().unwrap_or_else(|| (0..topic.partitions).collect());
        partitions.extend(
            numbers
                .into_iter()
                .map(|n| TopicPartition::new(topic.name.clone(), PartitionId::new(n))),
        );
    }
    partitions.sort();
    partitions.dedup();
    Ok(partitions)
}

/// Exactly one is given: the arguments see to it.
fn target(to: &ResetTo) -> OffsetReset {
    if let Some(offset) = to.to_offset {
        OffsetReset::ToOffset(Offset::new(offset))
    } else if let Some(time) = to.to_datetime {
        OffsetReset::ToDatetime(time)
    } else if let Some(duration) = to.by_duration {
        OffsetReset::ByDuration(duration)
    } else if let Some(by) = to.shift_by {
        OffsetReset::ShiftBy(by)
    } else if to.to_earliest {
        OffsetReset::ToEarliest
    } else if to.to_latest {
        OffsetReset::ToLatest
    } else {
        OffsetReset::ToCurrent
    }
}

fn show_plan(plan: &OffsetResetPlan, output: &mut Output) -> Result<()> {
    let mut rows = plan.partitions.iter().map(|reset| JsonReset {
        group: plan.group.clone(),
        topic: reset.topic_partition.topic.to_string(),
        partition: reset.topic_partition.partition.value(),
        current_offset: reset.current.map(Offset::value),
        new_offset: reset.new.map(Offset::value),
        note: reset.note.map(|note| note.to_string()),
    });
    match output.list_format() {
        Format::Table => {
            let row = |row: JsonReset| {
                let (current, new) = (or_dash(row.current_offset), or_dash(row.new_offset));
                vec![row.group, row.topic, row.partition.to_string(), current, new]
            };
            let rows: Vec<_> = rows.map(row).collect();
            let columns = [
                Column::Text("GROUP"),
                Column::Text("TOPIC"),
                Column::Number("PARTITION"),
                Column::Number("CURRENT-OFFSET"),
                Column::Number("NEW-OFFSET"),
            ];
            output.table(&columns, &rows)
        }
        Format::Json => output.json_array(&rows.collect::<Vec<_>>()),
        Format::Ndjson => rows.try_for_each(|row| output.json(&row)),
    }
}

/// A partition of a group in the columns of `describe`.
fn shown(group: &GroupDescription, row: &GroupPartition) -> Vec<String> {
    let owner = row.member_id.as_ref();
    let member = group.members.iter().find(|member| Some(&member.member_id) == owner);
    let text = |text: Option<&str>| text.filter(|t| !t.is_empty()).unwrap_or("-").to_owned();
    vec![
        group.group.clone(),
        row.topic_partition.topic.to_string(),
        row.topic_partition.partition.to_string(),
        or_dash(row.committed.as_ref().map(|committed| committed.offset.value())),
        or_dash(row.end.map(Offset::value)),
        or_dash(row.lag()),
        text(owner.map(String::as_str)),
        text(member.map(|member| member.host.as_str())),
        text(member.map(|member| member.client_id.as_str())),
    ]
}

fn or_dash(number: Option<u64>) -> String {
    number.map_or_else(|| "-".to_owned(), |number| number.to_string())
}

fn json_description(group: GroupDescription) -> JsonDescription {
    let members = group.members.into_iter().map(|member| JsonMember {
        consumer_id: member.member_id,
        host: member.host,
        client_id: member.client_id,
    });
    let partitions = group.partitions.into_iter().map(|row| JsonPartition {
        lag: row.lag(),
        topic: row.topic_partition.topic.to_string(),
        partition: row.topic_partition.partition.value(),
        current_offset: row.committed.map(|committed| committed.offset.value()),
        log_end_offset: row.end.map(Offset::value),
        consumer_id: row.member_id,
    });
    JsonDescription {
        state: group.state.as_str(),
        generation: group.generation,
        members: (group.state != GroupState::Unknown).then(|| members.collect()),
        partitions: partitions.collect(),
        group: group.group,
    }
}
