//! What a kind of windows asks of its store, and when they close.

use crate::dsl::handles::TimeWindowKind;
use crate::dsl::scope::Scope;
use crate::error::BuildError;
use crate::graph::plan::Closing;
use crate::operators::window_aggregate::AlignedWindows;
use crate::store::window_options::{Emission, WindowStoreOptions};
use crate::window::emit_strategy::EmitStrategy;
use crate::window::session_windows::SessionWindows;

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct WindowShape {
    /// The least retention, and the default.
    pub(crate) retention_ms: i64,
    /// What a retention is shorter than, in words.
    pub(crate) least: &'static str,
    pub(crate) closing: Closing,
    emission: Emission,
    never_closes: bool,
    problem: Option<String>,
}

impl WindowShape {
    pub(crate) fn of(windows: &TimeWindowKind) -> Self {
        let (size_ms, grace_ms) = match windows {
            TimeWindowKind::Aligned(windows) => (windows.size_ms(), windows.grace_ms()),
            TimeWindowKind::Sliding(windows) => (windows.time_difference_ms(), windows.grace_ms()),
        };
        let (kept_ms, span_ms, least, problem) = match windows {
            TimeWindowKind::Aligned(AlignedWindows::Time(windows)) => {
                (size_ms, size_ms, "size and grace", windows.problem())
            }
            TimeWindowKind::Aligned(AlignedWindows::Unlimited(windows)) => {
                (size_ms, size_ms, "size and grace", windows.problem())
            }
            TimeWindowKind::Sliding(_) => {
                // A window ends before close time, and so starts before it by more than that.
                let span_ms = size_ms.saturating_add(1);
                (size_ms.saturating_mul(2), span_ms, "twice the time difference and grace", None)
            }
        };
        Self {
            retention_ms: kept_ms.saturating_add(grace_ms),
            least,
            closing: Closing {
                grace_ms,
                end_is_inclusive: matches!(windows, TimeWindowKind::Sliding(_)),
            },
            // The stores that Kafka Streams emits from keep their windows a millisecond longer.
            emission: Emission { span_ms, extra_ms: 1, keeps_windows: false },
            never_closes: matches!(windows, TimeWindowKind::Aligned(AlignedWindows::Unlimited(_))),
            problem,
        }
    }

    pub(crate) fn of_sessions(windows: &SessionWindows) -> Self {
        let open_ms = windows.open_ms();
        Self {
            retention_ms: open_ms,
            least: "gap and grace",
            closing: Closing { grace_ms: open_ms, end_is_inclusive: true },
            // Kafka Streams emits sessions also when they are hidden already.
            emission: Emission { span_ms: 1, extra_ms: 0, keeps_windows: true },
            never_closes: false,
            problem: None,
        }
    }

    /// What the store is like that `operators` share. What cannot be is refused.
    pub(crate) fn store_options(
        &self,
        scope: &Scope,
        store: &str,
        retention_ms: Option<i64>,
        emit: EmitStrategy,
        operators: usize,
    ) -> WindowStoreOptions {
        let retention_ms = retention_ms.unwrap_or(self.retention_ms);
        let closes = emit == EmitStrategy::OnWindowClose;
        let problem = match &self.problem {
            Some(problem) => Some(problem.clone()),
            None if closes && self.never_closes => Some("unlimited windows never close".to_owned()),
            None if retention_ms < self.retention_ms => {
                Some(format!("a retention of {retention_ms} ms is shorter than {}", self.least))
            }
            None => None,
        };
        if let Some(reason) = problem {
            let what = format!("windows of store {store}");
            scope.refuse(BuildError::InvalidOption { what, reason });
        }
        let keeps_windows = self.emission.keeps_windows || !scope.kafka_compat();
        let emission = closes.then_some(Emission { keeps_windows, ..self.emission });
        WindowStoreOptions { retention_ms, operators, emission }
    }
}
