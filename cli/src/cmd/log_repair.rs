//! `headwater log repair`: a plan, and with `--execute` what it says.

use std::path::Path;

use headwater_log_store::inspect::{RepairPlan, plan_repair, repair};
use headwater_log_store::{FileStorage, Reads, SystemClock};
use serde::Serialize;

use crate::args::{Format, LogRepairArgs};
use crate::error::{Error, Result};
use crate::output::Output;

#[derive(Debug, Serialize)]
struct JsonPlan {
    steps: Vec<String>,
    lost: Vec<JsonLost>,
    beyond_repair: Vec<String>,
    executed: bool,
}

#[derive(Debug, Serialize)]
struct JsonLost {
    topic: String,
    partition: u32,
    first_offset: u64,
    next_offset: u64,
}

/// Shows the plan, and executes it if that was asked for.
///
/// # Errors
/// `Damaged` if there is something to repair and it was not to be done; the log's errors.
pub(crate) fn run(dir: &Path, args: &LogRepairArgs, output: &mut Output) -> Result<()> {
    let (storage, clock) = (FileStorage::new(Reads::Positioned), SystemClock::new());
    let plan = plan_repair(&storage, &clock, dir)?;
    let nothing = plan.steps.is_empty() && plan.beyond_repair.is_empty();
    // The plan is shown before anything is done.
    let in_words = output.list_format() == Format::Table;
    if in_words {
        show(&plan, output)?;
        output.flush()?;
    }
    let executed = args.execute && !nothing;
    if executed {
        repair(&storage, &clock, dir, &plan)?;
    }
    if in_words {
        let last = match (nothing, executed) {
            (true, _) => "There is nothing to repair.",
            (_, true) => "Repaired.",
            (_, false) => "Nothing was changed: --execute does it.",
        };
        output.line(last)?;
    } else {
        output.json(&json_plan(&plan, executed))?;
    }
    if nothing || executed { Ok(()) } else { Err(Error::Damaged) }
}

fn show(plan: &RepairPlan, output: &mut Output) -> Result<()> {
    for (number, step) in (1..).zip(&plan.steps) {
        output.text(&format!("{number}. {step}"))?;
    }
    for sentence in &plan.beyond_repair {
        output.text(&format!("Beyond repair: {sentence}"))?;
    }
    if plan.steps.is_empty() {
        return Ok(());
    }
    let lost = plan.lost();
    let records: u64 = lost.iter().map(|(_, offsets)| offsets.end - offsets.start).sum();
    let partitions: std::collections::BTreeSet<_> = lost.iter().map(|(tp, _)| tp).collect();
    output.line(&format!("Lost: {records} offsets of {} partitions.", partitions.len()))
}

fn json_plan(plan: &RepairPlan, executed: bool) -> JsonPlan {
    JsonPlan {
        steps: plan.steps.iter().map(ToString::to_string).collect(),
        lost: plan
            .lost()
            .into_iter()
            .map(|(tp, offsets)| JsonLost {
                topic: tp.topic.to_string(),
                partition: tp.partition.value(),
                first_offset: offsets.start.value(),
                next_offset: offsets.end.value(),
            })
            .collect(),
        beyond_repair: plan.beyond_repair.clone(),
        executed,
    }
}
