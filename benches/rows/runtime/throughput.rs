//! Rows of what guarantees and threads do to the throughput: by the wall clock, for that is where
//! waiting shows.

use std::cell::Cell;
use std::sync::Arc;
use std::time::Instant;

use headwater_log_store::{Durability, Log, LogStore, NewTopic};
use headwater_topology::{ProcessingGuarantee, StreamsConfig};

use crate::contender::folder;
use crate::row::{Better, Goals, Row, Side};
use crate::runtime::plan::{self, Plan};
use crate::topology::ours::{OUTPUT, remove, run_once};

/// Exactly once against at least once, and two threads against one.
pub fn rows(plan: &mut Plan<'_>) {
    for (durability, goal) in [(Durability::Os, 0.9), (Durability::Sync, 0.8)] {
        let name = format!("exactly once against at least once, {durability:?}");
        let once = |guarantee| move |id| StreamsConfig::new(id).processing_guarantee(guarantee);
        let exactly = once(ProcessingGuarantee::ExactlyOnceV2);
        // Commits as often as the other: its own default is 30 s.
        let at_least = move |id| {
            let config = once(ProcessingGuarantee::AtLeastOnce)(id);
            config.commit_interval(std::time::Duration::from_millis(100))
        };
        row(
            plan,
            &name,
            goal,
            (durability, 1),
            ("headwater", &exactly),
            ("at least once", &at_least),
        );
    }
    let threads = |threads| move |id| StreamsConfig::new(id).num_stream_threads(threads);
    let sides: [(&'static str, &dyn Fn(String) -> StreamsConfig); 2] =
        [("2 threads", &threads(2)), ("1 thread", &threads(1))];
    row(
        plan,
        "2 threads on 2 partitions against 1, Os",
        1.5,
        (Durability::Os, 2),
        sides[0],
        sides[1],
    );
}

type Configured<'a> = (&'static str, &'a dyn Fn(String) -> StreamsConfig);

fn row(
    plan: &mut Plan<'_>,
    name: &str,
    goal: f64,
    (durability, partitions): (Durability, u32),
    ours: Configured<'_>,
    other: Configured<'_>,
) {
    if !plan.wants(name) {
        return;
    }
    let folder = folder();
    let store = plan::open(folder.path(), durability);
    let records = plan.scale.size(10_000, 500_000);
    plan::fill(&store, records, 100_000, partitions);
    let runs = Cell::new(0);
    let per_second = |config: &dyn Fn(String) -> StreamsConfig| {
        runs.set(runs.get() + 1);
        let config = config(format!("bench-{}", runs.get()));
        f64::from(records) / seconds(&store, config, partitions)
    };
    (plan.report)(Row {
        name: name.to_owned(),
        unit: "rec/s",
        better: Better::Higher,
        ours: Side::new(ours.0, || per_second(ours.1)),
        floors: vec![Side::new(other.0, || per_second(other.1))],
        peers: Vec::new(),
        goals: Goals { floor: Some(goal), ..Goals::default() },
    });
}

/// How long an application takes for all that is there.
fn seconds(store: &LogStore, config: StreamsConfig, partitions: u32) -> f64 {
    let log: Arc<dyn Log> = Arc::new(store.clone());
    log.create_topic(&NewTopic::new(OUTPUT).partitions(partitions)).unwrap();
    let id = config.application_id().to_owned();
    let started = Instant::now();
    run_once(&plan::counts(), config, &log);
    let seconds = started.elapsed().as_secs_f64();
    remove(log.as_ref(), &id);
    seconds
}
