//! `headwater bridge`: mirrors topics between this store and a Kafka cluster.

use std::path::Path;

use crate::bridge_args::BridgeCommand;
use crate::error::{Error, Result};

/// Mirrors until Ctrl-C, or until nothing lies ahead.
#[cfg(feature = "kafka")]
pub(crate) fn run(dir: &Path, command: &BridgeCommand) -> Result<()> {
    use std::ops::ControlFlow;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Duration;

    use headwater_connectors::{Bridge, KafkaLog};
    use headwater_log_store::{Clock, Log, LogStore, SystemClock};

    use crate::output::note;

    /// How often progress is shown.
    const SHOWN_EVERY: Duration = Duration::from_secs(1);

    let (args, inwards) = match command {
        BridgeCommand::FromKafka(args) => (args, true),
        BridgeCommand::ToKafka(args) => (args, false),
    };
    let mut cluster = KafkaLog::builder(&args.kafka);
    for (key, value) in &args.configs {
        cluster = cluster.set(key, value);
    }
    let cluster: Arc<dyn Log> = Arc::new(cluster.connect()?);
    let store = if inwards { LogStore::create(dir)? } else { LogStore::open(dir)? };
    let local: Arc<dyn Log> = Arc::new(store.clone());
    let (from, to) = if inwards { (cluster, local) } else { (local, cluster) };
    let default = if inwards { "from-kafka" } else { "to-kafka" };
    let mut bridge = Bridge::new(args.name.as_deref().unwrap_or(default), from, to);
    for topic in &args.topics {
        bridge = bridge.include(topic);
    }
    for topic in &args.exclude {
        bridge = bridge.exclude(topic);
    }

    let interrupted = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&interrupted);
    ctrlc::set_handler(move || seen.store(true, Ordering::Relaxed))
        .map_err(|source| Error::Signal { source })?;
    let clock = SystemClock::new();
    let mut shown: Option<(Duration, u64, u64)> = None;
    let progress = bridge.run(|progress| {
        let now = clock.monotonic();
        let is_news = shown.is_none_or(|(at, records, lag)| {
            now.saturating_sub(at) >= SHOWN_EVERY
                && (records, lag) != (progress.records, progress.lag)
        });
        if is_news {
            note(&format!("mirrored {} records, {} ahead", progress.records, progress.lag));
            shown = Some((now, progress.records, progress.lag));
        }
        match interrupted.load(Ordering::Relaxed) || (args.once && progress.lag == 0) {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    })?;
    for partition in &progress.partitions {
        note(&format!(
            "{}: at offset {}, {} ahead",
            partition.topic_partition, partition.offset, partition.lag
        ));
    }
    if progress.partitions.is_empty() {
        note(&format!("no topic matches {}", args.topics.join(" ")));
    }
    note(&format!("mirrored {} records, {} bytes", progress.records, progress.bytes));
    drop(bridge);
    store.close()?;
    if interrupted.load(Ordering::Relaxed) { Err(Error::Interrupted) } else { Ok(()) }
}

/// Says what is missing.
#[cfg(not(feature = "kafka"))]
pub(crate) fn run(_dir: &Path, _command: &BridgeCommand) -> Result<()> {
    Err(Error::NoKafka)
}
