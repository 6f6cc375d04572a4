//! Counts the page views of a web log: lines in, live views out, recomputed by replay.
//!
//! `cargo run --release --example page_views -- --help` says what it can do. The topology, which
//! is what this is about, is in `views.rs`.
mod error;
mod args;
mod access_log;
mod views;
mod settings;
mod report;

use std::fs::File;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use clap::Parser;
use headwater::connectors::{FileSource, SourceRunner};
use headwater::prelude::*;
use headwater::topology::Progress;

use crate::args::Args;
use crate::error::{Error, Result};
use crate::report::{ProgressLine, grouped, throughput};
use crate::settings::Settings;

/// The file that comes with the example.
const OWN_FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/data/web-access.log.gz");
/// How long to wait between two looks at progress and Ctrl-C: longer than the application's
/// `poll.ms`, after which it answers when it has nothing to do.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);
/// The most lines in a transaction of the import.
const BATCH_LINES_MAX: usize = 20_000;
const BATCH_BYTES_MAX: usize = 4 << 20;

fn main() -> ExitCode {
    let mut progress = ProgressLine::new();
    match run(&Args::parse(), &mut progress) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let code = error.exit_code();
            if code != 0 {
                progress.finish(&format!("page_views: {}", error.chain()));
            }
            ExitCode::from(code)
        }
    }
}

fn run(args: &Args, progress: &mut ProgressLine) -> Result<()> {
    let dir = args.dir.clone().unwrap_or_else(|| std::env::temp_dir().join("headwater-page-views"));
    if let Some(file) = &args.file {
        check_readable(file)?; // Before a store is made for it.
    }
    let (store, shared): (Option<LogStore>, Arc<dyn Log>) = match &args.kafka {
        None => {
            let store = LogStore::create(&dir)?;
            (Some(store.clone()), Arc::new(store))
        }
        Some(brokers) => (None, cluster(brokers)?),
    };
    // Up to here Ctrl-C ends it as it ends any program, also while no broker answers.
    let interrupted = catch_interrupt()?;
    progress.finish(&match &args.kafka {
        None => format!("store: {}", dir.display()),
        Some(brokers) => format!("cluster: {brokers}"),
    });
    let log = shared.as_ref();

    let mut settings = Settings::resolve(log, args)?;
    create_topics(log)?;
    append_lines(&shared, &settings, &interrupted, progress)?;

    let topology = views::topology(settings.logic)?;
    if settings.reset {
        let reset = Reset::new(&topology, &views::config())
            .empty_topic(views::VIEWS_BY_PATH)
            .empty_topic(views::VIEWS_BY_PATH_AND_HOUR)
            .empty_topic(views::DEAD_LETTERS);
        reset.plan(&shared)?.execute(&shared)?;
        settings.reset_done(log)?;
        progress.finish("replay: everything is computed anew from the log");
    }

    let started = Instant::now();
    let lines = lines_ahead(log)?;
    let streams = Streams::new(&topology, views::config(), Arc::clone(&shared));
    streams.start()?;
    wait_until_caught_up(&streams, &interrupted, progress)?;
    match lines {
        0 => progress.finish("nothing new to process"),
        _ => progress.finish(&format!("processed {}", throughput(lines, started.elapsed()))),
    }
    let dead_letters = streams.metrics().dead_letters;
    if dead_letters > 0 {
        progress.finish(&format!(
            "lines that are no hits: {}; topic {} has them, with the reason",
            grouped(dead_letters),
            views::DEAD_LETTERS
        ));
    }

    report::print_tables(&streams)?;
    streams.close()?;
    match store {
        Some(store) => Ok(store.close()?),
        None => Ok(()),
    }
}

/// The cluster as the log.
#[cfg(feature = "kafka")]
fn cluster(brokers: &str) -> Result<Arc<dyn Log>> {
    Ok(Arc::new(headwater::connectors::KafkaLog::builder(brokers).connect()?))
}

#[cfg(not(feature = "kafka"))]
fn cluster(_brokers: &str) -> Result<Arc<dyn Log>> {
    Err(Error::NoKafka)
}

/// Ctrl-C sets the flag; whoever works looks at it between two steps.
fn catch_interrupt() -> Result<Arc<AtomicBool>> {
    let interrupted = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&interrupted);
    ctrlc::set_handler(move || flag.store(true, Ordering::Relaxed))
        .map_err(|source| Error::Signal { source })?;
    Ok(interrupted)
}

fn check_readable(path: &Path) -> Result<()> {
    let opened = File::open(path).and_then(|file| file.metadata());
    let checked = opened.and_then(|found| match found.is_dir() {
        true => Err(std::io::ErrorKind::IsADirectory.into()),
        false => Ok(()),
    });
    checked.map_err(|source| Error::File { path: path.to_owned(), source })
}

fn create_topics(log: &dyn Log) -> Result<()> {
    // The views can be computed again as long as the lines are there: for ever.
    for topic in [
        NewTopic::new(views::LINES).partitions(4).config("retention.ms", "-1"),
        NewTopic::new(views::VIEWS_BY_PATH).partitions(4),
        NewTopic::new(views::VIEWS_BY_PATH_AND_HOUR).partitions(4),
        NewTopic::new(views::DEAD_LETTERS),
    ] {
        log.create_topic_if_not_exists(&topic)?;
    }
    Ok(())
}

/// Appends the file as often as it is to be there. Each repetition is a source of its own, whose
/// position is committed with its lines: what is there already is not appended again.
fn append_lines(
    log: &Arc<dyn Log>,
    settings: &Settings,
    interrupted: &AtomicBool,
    progress: &mut ProgressLine,
) -> Result<()> {
    let started = Instant::now();
    let file = settings.file.clone().unwrap_or_else(|| PathBuf::from(OWN_FILE));
    let runner = SourceRunner::new(Arc::clone(log), "page-views", views::LINES)
        .batch_records_max(BATCH_LINES_MAX)
        .batch_bytes_max(BATCH_BYTES_MAX);
    let mut lines = 0;
    for repetition in 1..=settings.repeat {
        // The name, not the path, tells one source from another: the file may be moved.
        let mut source = FileSource::new(&file).name(format!("access-log-{repetition}"));
        let moved = runner.run(&mut source, |moved| {
            progress.show(&format!("appended {} lines", grouped(lines + moved.records)));
            match interrupted.load(Ordering::Relaxed) {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        })?;
        lines += moved.records;
        if interrupted.load(Ordering::Relaxed) {
            return Err(Error::Interrupted);
        }
    }
    if lines > 0 {
        progress.finish(&format!("appended {}", throughput(lines, started.elapsed())));
    }
    Ok(())
}

/// Lines that the application has not processed and committed.
fn lines_ahead(log: &dyn Log) -> Result<u64> {
    let committed = log.group_offsets(views::config().application_id())?;
    let topic = log.describe_topic(views::LINES)?;
    let mut lines = 0;
    for partition in 0..topic.partitions {
        let partition = TopicPartition::new(topic.name.clone(), PartitionId::new(partition));
        let watermarks = log.watermarks(&partition)?;
        let next = committed.get(&partition).map_or(watermarks.start, |noted| noted.offset);
        lines += watermarks.end - next;
    }
    Ok(lines)
}

fn wait_until_caught_up(
    streams: &Streams,
    interrupted: &AtomicBool,
    progress: &mut ProgressLine,
) -> Result<()> {
    while !streams.wait_until_caught_up_for(LOOK_INTERVAL)? {
        if interrupted.load(Ordering::Relaxed) {
            streams.close()?;
            return Err(Error::Interrupted);
        }
        let now = streams.progress();
        if now == Progress::default() {
            continue; // Nothing is committed yet.
        }
        let (done, ahead) = (grouped(now.records_processed), grouped(now.lag));
        progress.show(&format!("processed {done} records, {ahead} ahead"));
    }
    Ok(())
}
