//! The command line of the example.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};
use serde::{Deserialize, Serialize};

/// Count the page views of a web server's access log, live and exactly once.
///
/// Appends the log to a topic of an embedded store, counts its views per path, and per path and
/// hour, and prints both. It may be stopped at any moment, by Ctrl-C or by kill -9: the next run
/// with the same folder goes on where it stopped, and ends with the same tables.
#[derive(Debug, Parser)]
#[command(name = "page_views")]
pub(crate) struct Args {
    /// The folder of the store. Default = headwater-page-views in the system's temporary folder.
    #[arg(long, value_name = "PATH")]
    pub(crate) dir: Option<PathBuf>,
    /// Run on a Kafka cluster instead of a folder: the brokers, several with commas between. The
    /// example has to be built with the feature `kafka`; nothing else changes.
    #[arg(long, value_name = "HOST:PORT", conflicts_with = "dir")]
    pub(crate) kafka: Option<String>,
    /// An access log in the combined format, plain or gzip. Default = what the folder was begun
    /// with, or else examples/data/web-access.log.gz, 10,000 hits of a real web site.
    #[arg(long, value_name = "PATH")]
    pub(crate) file: Option<PathBuf>,
    /// Append the file so many times, for a longer job. What is in the store counts: running
    /// again with the same number appends nothing. Default = as before, or else 1.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) repeat: Option<u32>,
    /// Which hits count; another logic than before replays. Default = as before, or else v1.
    #[arg(long, value_name = "VERSION")]
    pub(crate) logic: Option<Logic>,
    /// Forget what was computed, and compute it again from the log.
    #[arg(long)]
    pub(crate) replay: bool,
}

/// Which hits count as views.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Logic {
    /// Every hit.
    #[default]
    V1,
    /// No hits by bots, and none on images.
    V2,
}
