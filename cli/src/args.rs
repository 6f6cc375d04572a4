//! The arguments: what can be typed after `headwater`.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::position::{Position, SHAPE};

/// Look into a Headwater store, and write to it.
///
/// Data goes to standard output, everything else to standard error. Exit codes: 0 done, 1 failed,
/// 2 wrong usage, 4 the store is locked by another process.
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
    /// Create, list and describe topics.
    #[command(subcommand)]
    Topic(TopicCommand),
    /// Append each line of standard input to a topic.
    Produce(ProduceArgs),
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
    /// Wait for more at the end, until Ctrl-C.
    #[arg(long)]
    pub(crate) follow: bool,
}

fn parse_pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err(format!("{text:?} is not of the form NAME=VALUE")),
    }
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
