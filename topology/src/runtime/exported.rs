//! The numbers of a worker for the facade `metrics`, in Kafka Streams' words.

use std::cell::RefCell;
use std::fmt;
use std::time::Duration;

use ::metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};

use crate::metrics::{DropReason, Latency, MetricsSnapshot};

/// The numbers of one worker. They are told when it publishes: with each commit and pause.
pub(crate) struct Exported {
    /// What was told last: counters are told by how much they have grown.
    told: RefCell<MetricsSnapshot>,
    process: Counter,
    send: Counter,
    dead_letter: Counter,
    commit: Counter,
    abort: Counter,
    restore: Counter,
    dropped: Vec<(DropReason, Counter)>,
    process_latency: Histogram,
    commit_latency: Histogram,
    records_lag: Gauge,
    time_lag: Gauge,
}

impl Exported {
    pub(crate) fn new(application_id: &str, thread: &str) -> Self {
        let labels =
            || [("application_id", application_id.to_owned()), ("thread_id", thread.to_owned())];
        let dropped = |reason: DropReason| {
            let [application, thread] = labels();
            let labels = [application, thread, ("reason", reason.to_string())];
            (reason, counter!("headwater_dropped_records_total", &labels))
        };
        Self {
            told: RefCell::default(),
            process: counter!("headwater_process_total", &labels()),
            send: counter!("headwater_send_total", &labels()),
            dead_letter: counter!("headwater_dead_letter_total", &labels()),
            commit: counter!("headwater_commit_total", &labels()),
            abort: counter!("headwater_abort_total", &labels()),
            restore: counter!("headwater_restore_records_total", &labels()),
            dropped: DropReason::ALL.into_iter().map(dropped).collect(),
            process_latency: histogram!("headwater_process_latency_seconds", &labels()),
            commit_latency: histogram!("headwater_commit_latency_seconds", &labels()),
            records_lag: gauge!("headwater_records_lag", &labels()),
            time_lag: gauge!("headwater_time_lag_seconds", &labels()),
        }
    }

    /// Tells where the worker stands now.
    pub(crate) fn tell(&self, now: &MetricsSnapshot) {
        let mut told = self.told.borrow_mut();
        self.process.increment(now.records_in - told.records_in);
        self.send.increment(now.records_out - told.records_out);
        self.dead_letter.increment(now.dead_letters - told.dead_letters);
        self.commit.increment(now.commits - told.commits);
        self.abort.increment(now.aborts - told.aborts);
        self.restore.increment(now.records_restored - told.records_restored);
        for (reason, counter) in &self.dropped {
            counter.increment(now.dropped(*reason) - told.dropped(*reason));
        }
        tell_latency(&self.process_latency, &told.process_latency, &now.process_latency);
        tell_latency(&self.commit_latency, &told.commit_latency, &now.commit_latency);
        #[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
        self.records_lag.set(now.records_lag as f64);
        self.time_lag.set(now.time_lag.as_secs_f64());
        told.clone_from(now);
    }
}

/// Tells what is new, each by the end of its class.
fn tell_latency(histogram: &Histogram, told: &Latency, now: &Latency) {
    for ((end, now), (_, told)) in now.by_class().zip(told.by_class()) {
        if let Some(times) = usize::try_from(now - told).ok().filter(|times| *times > 0) {
            histogram.record_many(end.as_secs_f64(), times);
        }
    }
}

impl Drop for Exported {
    fn drop(&mut self) {
        // Who has ended lags behind nothing.
        self.records_lag.set(0.0);
        self.time_lag.set(Duration::ZERO.as_secs_f64());
    }
}

impl fmt::Debug for Exported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exported").field("told", &self.told).finish_non_exhaustive()
    }
}
