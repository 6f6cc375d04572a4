//! The arguments: what can be typed after `headwater`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgGroup, Args, Parser, Subcommand, ValueEnum};
use headwater_log_store::Timestamp;

use crate::bridge_args::BridgeCommand;
use crate::position::{Position, SHAPE, parse_ago, parse_time};

/// Look into a Headwater store, and write to it.
///
/// Data goes to standard output, everything else to standard error. Exit codes: 0 done, 1 failed,
/// 2 wrong usage, 3 damage was found, 4 the store is locked by another process.
#[derive(Debug, Parser)]
#[command(name = "headwater", version)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What every command takes.
#[derive(Debug, Args)]
pub(crate) struct Global {
    /// The folder of the store.
    #[arg(
        short = 'D',
        long,
        global = true,
        env = "HEADWATER_DIR",
        default_value = "./headwater-data",
        value_name = "PATH"
    )]
    pub(crate) dir: PathBuf,
    /// How data is shown; `json` and `ndjson` are the same for records: an object a line.
    #[arg(short, long, global = true, value_name = "FORMAT")]
    pub(crate) output: Option<Format>,
}

/// How data is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Columns with a heading.
    Table,
    /// One JSON value.
    Json,
    /// One JSON object a line.
    Ndjson,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Create, list, describe, alter and delete topics.
    #[command(subcommand)]
    Topic(TopicCommand),
    /// List and describe consumer groups, reset their offsets, delete them.
    #[command(subcommand)]
    Group(GroupCommand),
    /// Append each line of standard input to a topic.
    Produce(ProduceArgs),
    /// Mirror topics between a Kafka cluster and this store, exactly once.
    ///
    /// Records arrive with their partitions, keys, headers and timestamps. Stopped at any moment,
    /// the next run goes on after the last record that has arrived. Needs a program that was built
    /// with the feature `kafka`.
    #[command(subcommand)]
    Bridge(BridgeCommand),
    /// Look at a store's files: verify, dump and repair them.
    #[command(subcommand)]
    Log(LogCommand),
    /// Show the records of a topic, also while another process writes it.
    ///
    /// Without -o, the value of each record is a line (`null` for a tombstone); control
    /// characters are escaped on a terminal, and go through unchanged elsewhere. In JSON, bytes
    /// that are not UTF-8 are shown as {"hex": "…"}.
    Consume(ConsumeArgs),
}

#[derive(Debug, Subcommand)]
pub(crate) enum TopicCommand {
    /// Create a topic, and the store if there is none.
    Create(TopicCreateArgs),
    /// List the topics.
    List(TopicListArgs),
    /// Show a topic's configs and the offsets of its partitions.
    Describe(TopicDescribeArgs),
    /// Change configs of a topic, or give it more partitions.
    ///
    /// Records stay in the partitions that they are in; with more partitions, keys may go to others
    /// from then on.
    Alter(TopicAlterArgs),
    /// Delete a topic with its records and the offsets that groups have committed for it.
    Delete(TopicDeleteArgs),
}

#[derive(Debug, Subcommand)]
pub(crate) enum GroupCommand {
    /// List the groups that have committed offsets.
    List,
    /// Show how far a group has come in each partition.
    ///
    /// The members of a group are known only in the process that writes the store, so the columns
    /// that name them show `-`.
    Describe(GroupArgs),
    /// Show where a group would go on if its offsets were reset, and with --execute reset them.
    ///
    /// Offsets outside of the log become its nearest end. Without --execute nothing is changed,
    /// and another process may have the store open; with it, no other process may, so a group with
    /// live members is never reset under their feet.
    Reset(GroupResetArgs),
    /// Delete all committed offsets of a group.
    Delete(GroupArgs),
}

#[derive(Debug, Args)]
pub(crate) struct GroupArgs {
    /// The group.
    pub(crate) group: String,
}

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("scope").required(true))]
pub(crate) struct GroupResetArgs {
    /// The group. It need not exist yet.
    pub(crate) group: String,
    /// A topic, or some of its partitions; may be repeated.
    #[arg(long = "topic", group = "scope", value_name = "TOPIC[:P,...]", value_parser = parse_topic)]
    pub(crate) topics: Vec<TopicPartitions>,
    /// All partitions that the group has committed offsets for.
    #[arg(long, group = "scope", conflicts_with = "topics")]
    pub(crate) all_topics: bool,
    #[command(flatten)]
    pub(crate) to: ResetTo,
    /// Do it.
    #[arg(long)]
    pub(crate) execute: bool,
    /// Only show what would be done. This is the default.
    #[arg(long, conflicts_with = "execute")]
    pub(crate) dry_run: bool,
}

/// Where a group is sent; exactly one of them.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct ResetTo {
    /// To the log start offset.
    #[arg(long)]
    pub(crate) to_earliest: bool,
    /// To the log end offset.
    #[arg(long)]
    pub(crate) to_latest: bool,
    /// To that offset.
    #[arg(long, value_name = "OFFSET")]
    pub(crate) to_offset: Option<u64>,
    /// To the first record of that time or later: 2015-05-17T10:05:03.000, UTC if no time zone is
    /// given.
    #[arg(long, value_name = "TIME", value_parser = parse_datetime)]
    pub(crate) to_datetime: Option<Timestamp>,
    /// To the first record of that long ago or later: PT1H30M, P7D, 90m.
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub(crate) by_duration: Option<Duration>,
    /// By that many offsets, backwards if it is negative.
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    pub(crate) shift_by: Option<i64>,
    /// To the committed offset, or the end of the log where there is none.
    #[arg(long)]
    pub(crate) to_current: bool,
}

/// A topic, or some of its partitions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TopicPartitions {
    pub(crate) topic: String,
    /// All of them if it is none.
    pub(crate) partitions: Option<Vec<u32>>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum LogCommand {
    /// Look at every byte of a store, and say what is damaged; changes nothing.
    ///
    /// Works without a lock, also on a store that does not open; while another process writes it,
    /// only what lies below the last checkpoint's recovery points is looked at. Severities: data
    /// (what was acknowledged cannot be read, or the store does not open), copy (one of two
    /// copies), cache (made anew by itself), harmless. Exit code 3 if anything but harmless is
    /// found.
    Verify(LogVerifyArgs),
    /// Show what is in the files of a store, field by field; changes nothing.
    ///
    /// Fields have the names of Kafka's DumpLogSegments. With -o json or ndjson, an object a
    /// line. Control characters are escaped.
    Dump(LogDumpArgs),
    /// Say what it takes to repair a damaged store and what would be lost; do it with --execute.
    ///
    /// Whole batches are always kept. What is damaged is left out: its offsets are named, and stay
    /// taken. Segments that are written anew are kept beside, with .damaged at the end of their
    /// names. Exit code 3 if there is something to repair, 4 if a process writes the store.
    Repair(LogRepairArgs),
}

#[derive(Debug, Args)]
pub(crate) struct LogRepairArgs {
    /// Do it. Without this, nothing is changed.
    #[arg(long)]
    pub(crate) execute: bool,
}

#[derive(Debug, Args)]
pub(crate) struct LogVerifyArgs {
    /// Leave harmless findings out.
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

#[derive(Debug, Args)]
pub(crate) struct LogDumpArgs {
    /// Files, from the folder of the store on, such as journal/journal.0 or topics/clicks.
    /// Default = all.
    #[arg(value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    /// The records of each batch too.
    #[arg(long)]
    pub(crate) print_data_log: bool,
    /// Records of __consumer_offsets as what they mean; goes with --print-data-log.
    #[arg(long, requires = "print_data_log")]
    pub(crate) offsets_decoder: bool,
}

#[derive(Debug, Args)]
pub(crate) struct TopicCreateArgs {
    /// The topic.
    pub(crate) topic: String,
    /// How many partitions.
    #[arg(short, long, default_value_t = 1, value_name = "N")]
    pub(crate) partitions: u32,
    /// A topic config in Kafka's words, such as retention.ms=60000; may be repeated.
    #[arg(short, long = "config", value_name = "KEY=VALUE", value_parser = parse_pair)]
    pub(crate) configs: Vec<(String, String)>,
    /// Do nothing if the topic is there, whatever its partitions and configs.
    #[arg(long)]
    pub(crate) if_not_exists: bool,
}

#[derive(Debug, Args)]
pub(crate) struct TopicListArgs {
    /// Internal topics too.
    #[arg(short, long)]
    pub(crate) internal: bool,
}

#[derive(Debug, Args)]
pub(crate) struct TopicDescribeArgs {
    /// The topic.
    pub(crate) topic: String,
    /// All configs, those included that have their default.
    #[arg(short, long)]
    pub(crate) all: bool,
}

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("change").required(true).multiple(true))]
pub(crate) struct TopicAlterArgs {
    /// The topic.
    pub(crate) topic: String,
    /// How many partitions it is to have, which is more than it has.
    #[arg(short, long, group = "change", value_name = "N")]
    pub(crate) partitions: Option<u32>,
    /// Configs to set; a value with commas stands in square brackets. May be repeated.
    #[arg(long = "add-config", group = "change", value_name = "KEY=VALUE,...", value_parser = parse_pairs)]
    pub(crate) add_configs: Vec<Pairs>,
    /// Configs that are to have their defaults again; may be repeated.
    #[arg(long = "delete-config", group = "change", value_name = "KEY,...", value_delimiter = ',')]
    pub(crate) delete_configs: Vec<String>,
}

/// Pairs of keys and values.
pub(crate) type Pairs = Box<[(String, String)]>;

#[derive(Debug, Args)]
pub(crate) struct TopicDeleteArgs {
    /// The topic.
    pub(crate) topic: String,
    /// Do nothing if there is no such topic.
    #[arg(long)]
    pub(crate) if_exists: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ProduceArgs {
    /// The topic.
    pub(crate) topic: String,
    /// The key of every record.
    #[arg(short, long, value_name = "KEY", conflicts_with = "key_separator")]
    pub(crate) key: Option<String>,
    /// Each line is a key, this separator, and the value.
    #[arg(short = 'K', long, value_name = "SEPARATOR", value_parser = parse_separator)]
    pub(crate) key_separator: Option<String>,
    /// A header of every record; may be repeated, also with the same name.
    #[arg(short = 'H', long = "header", value_name = "NAME=VALUE", value_parser = parse_pair)]
    pub(crate) headers: Vec<(String, String)>,
    /// An empty value is a tombstone.
    #[arg(short = 'Z', long)]
    pub(crate) tombstone: bool,
    /// The partition. Default = by the key's hash as in Kafka; without a key, in turns.
    #[arg(long, value_name = "N")]
    pub(crate) partition: Option<u32>,
}

#[derive(Debug, Args)]
pub(crate) struct ConsumeArgs {
    /// The topic.
    pub(crate) topic: String,
    /// From the first record; the same as --from start.
    #[arg(long, conflicts_with = "from")]
    pub(crate) from_beginning: bool,
    /// Where to begin in each partition. Default = start; with --follow, end.
    #[arg(
        long,
        value_name = "POSITION",
        allow_hyphen_values = true,
        value_parser = Position::parse,
        long_help = format!("Where to begin in each partition: {SHAPE}. Default = start; with --follow, end.")
    )]
    pub(crate) from: Option<Position>,
    /// Stop after that many records.
    #[arg(short = 'n', long, value_name = "N")]
    pub(crate) records: Option<u64>,
    /// Only this partition; may be repeated.
    #[arg(short, long = "partition", value_name = "N")]
    pub(crate) partitions: Vec<u32>,
    /// Begin where this group has come to (where it has not begun, at --from), and commit what was
    /// shown. For that no other process may have the store open, so there is nothing to follow.
    #[arg(short, long, value_name = "GROUP", conflicts_with = "follow")]
    pub(crate) group: Option<String>,
    /// Wait for more at the end, until Ctrl-C.
    #[arg(long)]
    pub(crate) follow: bool,
}

/// `key=value,key=[value,value]`, as in Kafka's tools.
fn parse_pairs(text: &str) -> Result<Pairs, String> {
    let mut pairs = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let bracket =
            rest.find("=[").filter(|at| !rest.get(..*at).is_some_and(|k| k.contains(',')));
        let (pair, after) = match bracket {
            Some(_) => rest.split_once(']').ok_or_else(|| format!("{rest:?} has no closing ]"))?,
            None => rest.split_at(rest.find(',').unwrap_or(rest.len())),
        };
        pairs.push(parse_pair(&pair.replacen("=[", "=", 1))?);
        rest = match after.strip_prefix(',') {
            None if !after.is_empty() => {
                return Err(format!("a comma is missing before {after:?}"));
            }
            stripped => stripped.unwrap_or_default(),
        };
    }
    Ok(pairs.into())
}

fn parse_pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err(format!("{text:?} is not of the form NAME=VALUE")),
    }
}

fn parse_topic(text: &str) -> Result<TopicPartitions, String> {
    let Some((topic, numbers)) = text.split_once(':') else {
        return Ok(TopicPartitions { topic: text.to_owned(), partitions: None });
    };
    let numbers: Result<Vec<u32>, _> = numbers.split(',').map(str::parse).collect();
    match numbers {
        Ok(mut numbers) => {
            numbers.sort_unstable();
            numbers.dedup();
            Ok(TopicPartitions { topic: topic.to_owned(), partitions: Some(numbers) })
        }
        Err(_) => Err(format!("{text:?} is not of the form TOPIC or TOPIC:0,1,2")),
    }
}

fn parse_datetime(text: &str) -> Result<Timestamp, String> {
    parse_time(text).ok_or_else(|| format!("{text:?} is no time such as 2015-05-17T10:05:03"))
}

fn parse_duration(text: &str) -> Result<Duration, String> {
    parse_ago(text).ok_or_else(|| format!("{text:?} is no duration such as PT1H30M, P7D or 90m"))
}

fn parse_separator(text: &str) -> Result<String, String> {
    if text.is_empty() {
        return Err("the separator is empty".to_owned());
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::Cli;

    #[test]
    fn the_arguments_do_not_contradict_each_other() {
        Cli::command().debug_assert();
    }
}
