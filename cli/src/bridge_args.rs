//! The arguments of `headwater bridge`.

use clap::{Args, Subcommand};

/// Which way a bridge goes.
#[derive(Debug, Subcommand)]
pub(crate) enum BridgeCommand {
    /// Mirror topics of a Kafka cluster in this store, and make the store if there is none.
    FromKafka(BridgeArgs),
    /// Mirror topics of this store in a Kafka cluster.
    ToKafka(BridgeArgs),
}

#[derive(Debug, Args)]
pub(crate) struct BridgeArgs {
    /// The topics; `*` in a name stands for anything. Topics that come later are taken up when
    /// they do; internal ones, whose names begin with `__`, never.
    #[arg(required = true, value_name = "TOPIC")]
    pub(crate) topics: Vec<String>,
    /// The brokers; several with commas between.
    #[arg(long, env = "HEADWATER_KAFKA_BOOTSTRAP", value_name = "HOST:PORT")]
    pub(crate) kafka: String,
    /// Topics to leave out, as in TOPIC; may be repeated.
    #[arg(long, value_name = "TOPIC")]
    pub(crate) exclude: Vec<String>,
    /// What the positions go by in the log that is written. Another bridge needs another name.
    /// Default = from-kafka or to-kafka.
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// A config of librdkafka, such as security.protocol=ssl; may be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = parse_config)]
    pub(crate) configs: Vec<(String, String)>,
    /// End when nothing lies ahead, instead of waiting for more until Ctrl-C.
    #[arg(long)]
    pub(crate) once: bool,
}

fn parse_config(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or_else(|| format!("{text:?} has no ="))?;
    Ok((key.to_owned(), value.to_owned()))
}
