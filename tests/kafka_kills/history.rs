//! What the processes of an application have told, those that were killed too, and what others have
//! sent and read: the history that the checker of `tests/histories` looks at.

use std::collections::BTreeMap;
use std::time::Duration;

use headwater::log_store::{ConsumerConfig, Log, Offset, TopicPartition};
use headwater_histories::{Action, History, Isolation, Line, Operation, Outcome, Report};

use crate::telling::number;

/// Who sends the input, reads while others die, and reads all of it at the end.
pub const SENDER: u32 = 0;
pub const READER: u32 = 1;
pub const LAST_READER: u32 = 2;

/// A line of a process, and when it was heard.
pub type Told = (Duration, String);

/// An operation of one that did not fail.
pub fn operation(process: u32, times: [Duration; 2], actions: Vec<Action>) -> Operation {
    let [start, end] = times.map(nanos);
    Operation {
        process,
        start,
        end,
        outcome: Outcome::Ok,
        transaction: false,
        isolation: Isolation::ReadCommitted,
        actions,
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap()
}

/// Records of a partition as a reader has them.
pub fn poll(partition: &TopicPartition, records: Vec<(u64, u64)>) -> Action {
    Action::Poll { partition: partition.to_string(), records, end: None, whole: false }
}

/// What one process of the application did, by what it told.
pub fn of_process(told: &[Told]) -> Vec<Operation> {
    let mut operations: Vec<Operation> = Vec::new();
    // What clients have begun and not ended.
    let mut open: BTreeMap<u32, usize> = BTreeMap::new();
    for (time, line) in told {
        let words: Vec<&str> = line.split(' ').collect();
        let process = words[1].parse().unwrap();
        match words[..] {
            ["poll", _, partition, ref records @ ..] => {
                let record = |text: &&str| -> (u64, u64) {
                    let (offset, number) = text.split_once(':').unwrap();
                    (offset.parse().unwrap(), number.parse().unwrap())
                };
                let (partition, records) = (partition.to_owned(), records.iter().map(record));
                let records = records.collect();
                let polled = Action::Poll { partition, records, end: None, whole: false };
                operations.push(operation(process, [*time, *time], vec![polled]));
            }
            ["seek", _, partition] => {
                let seek = Action::Seek { partition: partition.to_owned() };
                operations.push(operation(process, [*time, *time], vec![seek]));
            }
            ["begin", _, kind] => {
                let mut begun = operation(process, [*time, *time], Vec::new());
                begun.transaction = kind == "transaction";
                // Nobody knows, unless it tells how it ended.
                begun.outcome = Outcome::Info;
                open.insert(process, operations.len());
                operations.push(begun);
            }
            ["send", _, partition, value, of] => {
                let (partition, value) = (partition.to_owned(), value.parse().unwrap());
                let sent = Action::Send { partition, value, offset: None, of: of.parse().ok() };
                operations[open[&process]].actions.push(sent);
            }
            ["end", _, outcome] => {
                let ended = &mut operations[open.remove(&process).unwrap()];
                ended.end = nanos(*time);
                ended.outcome = match outcome {
                    "ok" => Outcome::Ok,
                    "fail" => Outcome::Fail,
                    _ => Outcome::Info,
                };
            }
            _ => panic!("a process has told {line:?}"),
        }
    }
    operations
}

/// Reads all of a partition, up to the end that it has now.
pub fn read_whole(log: &dyn Log, partition: &TopicPartition, patience: Duration) -> Action {
    let end = log.watermarks(partition).unwrap().end;
    let mut reader = log.consumer(&ConsumerConfig::default()).unwrap();
    reader.assign(std::slice::from_ref(partition)).unwrap();
    reader.seek(partition, Offset::ZERO).unwrap();
    let mut records = Vec::new();
    let begun = std::time::Instant::now();
    while reader.position(partition).unwrap() < end {
        assert!(begun.elapsed() < patience, "{partition} was not read up to {end}");
        for batch in reader.poll(Duration::from_millis(100)).unwrap() {
            let numbers = batch.iter().map(|record| {
                (record.offset.value(), number(record.headers).expect("all have a number"))
            });
            records.extend(numbers);
        }
    }
    let (partition, end) = (partition.to_string(), Some(end.value()));
    Action::Poll { partition, records, end, whole: true }
}

/// The history as far as one step of the application goes: the effects in topics that `is_output`
/// says, of the partitions that `is_input` says.
pub fn step(
    history: &History,
    is_input: impl Fn(&str) -> bool,
    is_output: impl Fn(&str) -> bool,
) -> History {
    let mut step = history.clone();
    step.lines
        .retain(|line| !matches!(line, Line::Committed { partition, .. } if !is_input(partition)));
    for line in &mut step.lines {
        let Line::Operation(operation) = line else { continue };
        for action in &mut operation.actions {
            if let Action::Send { partition, of, .. } = action
                && !is_output(partition)
            {
                *of = None;
            }
        }
    }
    step
}

/// Checks a history in which nothing forbidden may be; and that there was something to look at.
pub fn check(history: &History, what: &str) -> Result<Report, String> {
    let report = history.check().map_err(|error| format!("{what}: {error}"))?;
    if let Some(anomaly) = report.forbidden() {
        return Err(format!("{what}: {anomaly:?} in {report}"));
    }
    for (figure, count) in [("read", report.read), ("effects", report.effects)] {
        if count == 0 {
            return Err(format!("{what}: too gentle: {figure} 0 in {report}"));
        }
    }
    Ok(report)
}

/// What each of four mistakes makes of a history: a committed transaction that is told to be aborted,
/// a record less than was acknowledged, a record at another place too, and an offset that was
/// committed before its effect.
pub fn mistakes(history: &History) -> [(&'static str, History); 4] {
    let mut aborted = history.clone();
    operations(&mut aborted)
        .filter(|operation| operation.transaction && operation.outcome == Outcome::Ok)
        .for_each(|operation| operation.outcome = Outcome::Fail);
    let mut last = None;
    for operation in operations(&mut history.clone()) {
        for action in &operation.actions {
            if let Action::Poll { partition, records, whole: true, .. } = action {
                last = records.last().map(|&(offset, value)| (partition.clone(), offset, value));
            }
        }
    }
    let (place, offset, lost) = last.expect("the last reader has read something");
    let (mut missing, mut doubled) = (history.clone(), history.clone());
    for operation in operations(&mut missing) {
        for action in &mut operation.actions {
            if let Action::Poll { records, .. } = action {
                records.retain(|&(_, value)| value != lost);
            }
        }
    }
    for operation in operations(&mut doubled) {
        for action in &mut operation.actions {
            if let Action::Poll { partition, records, whole: true, .. } = action
                && *partition == place
            {
                records.push((offset + 1, lost));
            }
        }
    }
    let mut early = history.clone();
    for line in &mut early.lines {
        if let Line::Committed { offset, .. } = line {
            *offset = 0;
        }
    }
    [("aborted", aborted), ("missing", missing), ("doubled", doubled), ("early", early)]
}

fn operations(history: &mut History) -> impl Iterator<Item = &mut Operation> {
    history.lines.iter_mut().filter_map(|line| match line {
        Line::Operation(operation) => Some(operation),
        _ => None,
    })
}
