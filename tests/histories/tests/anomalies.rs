//! Histories that are wrong in one way each, and histories that look wrong and are not.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;

use headwater_histories::{
    Action, Anomaly, Error, History, Isolation, Line, Operation, Outcome, Report, ViewSource,
};

fn send(partition: &str, value: u64, offset: u64) -> Action {
    Action::Send { partition: partition.to_owned(), value, offset: Some(offset), of: None }
}

/// Without an acknowledgement.
fn sent(partition: &str, value: u64) -> Action {
    Action::Send { partition: partition.to_owned(), value, offset: None, of: None }
}

fn effect(partition: &str, value: u64, of: u64) -> Action {
    Action::Send { partition: partition.to_owned(), value, offset: None, of: Some(of) }
}

fn poll(partition: &str, records: &[(u64, u64)]) -> Action {
    let records = records.to_vec();
    Action::Poll { partition: partition.to_owned(), records, end: None, whole: false }
}

fn poll_to(partition: &str, records: &[(u64, u64)], end: u64) -> Action {
    let records = records.to_vec();
    Action::Poll { partition: partition.to_owned(), records, end: Some(end), whole: false }
}

fn whole(partition: &str, records: &[(u64, u64)]) -> Action {
    let records = records.to_vec();
    Action::Poll { partition: partition.to_owned(), records, end: None, whole: true }
}

fn seek(partition: &str) -> Action {
    Action::Seek { partition: partition.to_owned() }
}

/// A history that is written down step by step.
#[derive(Default)]
struct Told(History);

impl Told {
    fn tell(mut self, process: u32, outcome: Outcome, transaction: bool, did: &[Action]) -> Self {
        let start = 10 * self.0.lines.len() as u64;
        let (isolation, actions) = (Isolation::ReadCommitted, did.to_vec());
        let end = start + 5;
        self.0.push(Operation { process, start, end, outcome, transaction, isolation, actions });
        self
    }

    fn ok(self, process: u32, did: &[Action]) -> Self {
        self.tell(process, Outcome::Ok, false, did)
    }

    fn commit(self, process: u32, did: &[Action]) -> Self {
        self.tell(process, Outcome::Ok, true, did)
    }

    fn abort(self, process: u32, did: &[Action]) -> Self {
        self.tell(process, Outcome::Fail, true, did)
    }

    fn unknown(self, process: u32, did: &[Action]) -> Self {
        self.tell(process, Outcome::Info, true, did)
    }

    fn line(mut self, line: Line) -> Self {
        self.0.lines.push(line);
        self
    }

    fn committed(self, partition: &str, offset: u64) -> Self {
        self.line(Line::Committed { partition: partition.to_owned(), offset })
    }

    fn view(self, source: ViewSource, rows: &[(&str, &str)]) -> Self {
        let rows: BTreeMap<_, _> =
            rows.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        self.line(Line::View { name: "counts".to_owned(), source, rows })
    }

    /// What is found, also when it goes through its text.
    fn check(&self) -> Report {
        let again: History = self.0.to_string().parse().unwrap();
        assert_eq!(again, self.0);
        self.0.check().unwrap()
    }

    fn anomalies(&self) -> Vec<Anomaly> {
        self.check().anomalies
    }
}

fn a() -> String {
    "a".to_owned()
}

/// The consumer of the end, process 9, has nobody beside it.
fn told() -> Told {
    Told::default()
}

#[test]
fn bad_01_an_acknowledged_value_in_the_middle_is_gone() {
    let told = told().ok(1, &[send("a", 1, 0)]).ok(1, &[send("a", 2, 1)]).ok(1, &[send("a", 3, 2)]);
    let told = told.ok(9, &[whole("a", &[(0, 1), (2, 3)])]);
    let lost = Anomaly::LostWrite { partition: a(), value: 2, offset: 1 };
    let skipped = Anomaly::PollSkip { partition: a(), after: 0, skipped: 2, reader: 3 };
    assert_eq!(told.anomalies(), [lost, skipped]);
}

#[test]
fn bad_02_an_acknowledged_value_at_the_end_is_gone() {
    let told = told().ok(1, &[send("a", 1, 0)]).ok(1, &[send("a", 2, 1)]);
    let told = told.ok(9, &[whole("a", &[(0, 1)])]);
    assert_eq!(told.anomalies(), [Anomaly::UnseenTail { partition: a(), value: 2 }]);
}

#[test]
fn bad_03_all_of_a_partition_is_gone() {
    let told = told().ok(1, &[send("a", 1, 0)]).ok(9, &[whole("a", &[])]);
    assert_eq!(told.anomalies(), [Anomaly::UnseenTail { partition: a(), value: 1 }]);
}

#[test]
fn bad_04_a_value_is_there_twice() {
    let told = told().ok(1, &[sent("a", 1)]).ok(9, &[whole("a", &[(0, 1), (1, 1)])]);
    let places = [(a(), 0), (a(), 1)];
    assert_eq!(told.anomalies(), [Anomaly::Duplicate { value: 1, places }]);
}

#[test]
fn bad_05_a_value_is_in_two_partitions() {
    let told = told().ok(1, &[sent("a", 1)]);
    let told = told.ok(9, &[whole("a", &[(0, 1)]), whole("b", &[(0, 1)])]);
    let places = [(a(), 0), ("b".to_owned(), 0)];
    assert_eq!(told.anomalies(), [Anomaly::Duplicate { value: 1, places }]);
}

#[test]
fn bad_06_a_value_is_not_where_its_acknowledgement_says() {
    let told = told().ok(1, &[send("a", 1, 4)]).ok(9, &[poll("a", &[(5, 1)])]);
    let places = [(a(), 5), (a(), 4)];
    assert_eq!(told.anomalies(), [Anomaly::Duplicate { value: 1, places }]);
}

#[test]
fn bad_07_two_readers_see_two_values_at_one_offset() {
    let told = told().ok(1, &[sent("a", 1)]).ok(1, &[sent("a", 2)]);
    let told = told.ok(8, &[poll("a", &[(0, 1)])]).ok(9, &[poll("a", &[(0, 2)])]);
    let found = Anomaly::InconsistentOffset { partition: a(), offset: 0, values: [1, 2] };
    assert!(told.anomalies().contains(&found));
}

#[test]
fn bad_08_an_offset_that_was_acknowledged_has_another_value_after_a_restart() {
    let told = told().ok(1, &[send("a", 1, 0)]).ok(2, &[send("a", 2, 0)]);
    let told = told.ok(9, &[whole("a", &[(0, 2)])]);
    let found = told.anomalies();
    let inconsistent = Anomaly::InconsistentOffset { partition: a(), offset: 0, values: [1, 2] };
    let lost = Anomaly::LostWrite { partition: a(), value: 1, offset: 0 };
    assert_eq!(found, [lost, inconsistent]);
}

#[test]
fn bad_09_an_aborted_value_is_read() {
    let told = told().abort(1, &[sent("a", 1)]).ok(9, &[poll("a", &[(0, 1)])]);
    assert_eq!(told.anomalies(), [Anomaly::AbortedRead { partition: a(), value: 1, reader: 1 }]);
}

#[test]
fn bad_10_a_transaction_is_visible_up_to_its_middle() {
    let told = told().commit(1, &[send("a", 1, 0), send("a", 2, 1)]);
    let told = told.ok(8, &[poll_to("a", &[(0, 1)], 1)]).ok(8, &[poll_to("a", &[(1, 2)], 2)]);
    let found = Anomaly::IntermediateRead { partition: a(), end: 1, writer: 0, reader: 1 };
    assert_eq!(told.anomalies(), [found]);
}

#[test]
fn bad_11_a_transaction_reads_what_it_has_not_committed() {
    let told = told().commit(1, &[sent("a", 1), poll("a", &[(0, 1)])]);
    let found = Anomaly::PrecommittedRead { partition: a(), value: 1, operation: 0 };
    assert_eq!(told.anomalies(), [found]);
}

#[test]
fn bad_12_two_transactions_read_from_each_other() {
    let told = told().commit(1, &[sent("a", 1), poll("b", &[(0, 2)])]);
    let told = told.commit(2, &[sent("b", 2), poll("a", &[(0, 1)])]);
    assert_eq!(told.anomalies(), [Anomaly::ReadCycle { operations: vec![0, 1] }]);
}

#[test]
fn bad_13_a_transaction_reads_what_was_written_behind_it() {
    // 1 comes before 2 in b, and has read what 2 wrote to a.
    let told = told().commit(1, &[send("b", 1, 0), poll("a", &[(0, 3)])]);
    let told = told.commit(2, &[send("b", 2, 1), send("a", 3, 0)]);
    assert_eq!(told.anomalies(), [Anomaly::ReadCycle { operations: vec![0, 1] }]);
}

#[test]
fn bad_14_a_poll_leaves_a_value_out() {
    let told = told().ok(1, &[send("a", 1, 0), send("a", 2, 1), send("a", 3, 2)]);
    let told = told.ok(8, &[poll("a", &[(0, 1), (2, 3)])]);
    let told = told.ok(9, &[whole("a", &[(0, 1), (1, 2), (2, 3)])]);
    let found = Anomaly::PollSkip { partition: a(), after: 0, skipped: 2, reader: 1 };
    assert_eq!(told.anomalies(), [found]);
}

#[test]
fn bad_15_a_value_is_left_out_between_two_polls() {
    let told = told().ok(1, &[send("a", 1, 0), send("a", 2, 1), send("a", 3, 2)]);
    let told = told.ok(8, &[poll("a", &[(0, 1)])]).ok(8, &[poll("a", &[(2, 3)])]);
    let told = told.ok(9, &[whole("a", &[(0, 1), (1, 2), (2, 3)])]);
    let found = Anomaly::PollSkip { partition: a(), after: 0, skipped: 2, reader: 2 };
    assert_eq!(told.anomalies(), [found]);
}

#[test]
fn bad_16_a_consumer_goes_back_without_a_seek() {
    let told = told().ok(1, &[send("a", 1, 0), send("a", 2, 1)]);
    let told = told.ok(8, &[poll("a", &[(0, 1), (1, 2)])]).ok(8, &[poll("a", &[(1, 2)])]);
    let found = Anomaly::NonMonotonicPoll { partition: a(), offsets: [1, 1], reader: 2 };
    assert_eq!(told.anomalies(), [found]);
}

#[test]
fn bad_17_a_later_send_comes_first() {
    let told = told().ok(1, &[sent("a", 1)]).ok(1, &[sent("a", 2)]);
    let told = told.ok(9, &[whole("a", &[(0, 2), (1, 1)])]);
    assert_eq!(told.anomalies(), [Anomaly::NonMonotonicSend { partition: a(), values: [1, 2] }]);
}

#[test]
fn bad_18_a_transaction_of_unknown_outcome_is_in_one_partition_and_not_in_the_other() {
    let told = told().unknown(1, &[sent("a", 1), sent("b", 2)]);
    let told = told.ok(9, &[whole("a", &[(0, 1)]), whole("b", &[])]);
    let found = Anomaly::TornTransaction { operation: 0, present: 1, missing: 2 };
    assert_eq!(told.anomalies(), [found]);
}

#[test]
fn bad_19_an_input_was_processed_and_its_effect_is_missing() {
    let told = told().ok(1, &[send("in", 1, 0), send("in", 2, 1)]);
    let told = told.commit(2, &[poll("in", &[(0, 1)]), effect("out", 11, 1)]);
    let told = told.ok(9, &[whole("in", &[(0, 1), (1, 2)]), whole("out", &[(0, 11)])]);
    let told = told.committed("in", 2);
    let (partition, offset) = ("in".to_owned(), 1);
    let found = Anomaly::OffsetEffectMismatch { partition, offset, value: 2, effects: 0 };
    assert_eq!(told.anomalies(), [found]);
}

#[test]
fn bad_20_an_input_has_two_effects() {
    let told = told().ok(1, &[send("in", 1, 0)]);
    let told = told.commit(2, &[poll("in", &[(0, 1)]), effect("out", 11, 1)]);
    let told = told.commit(3, &[poll("in", &[(0, 1)]), effect("out", 12, 1)]);
    let told = told.ok(9, &[whole("in", &[(0, 1)]), whole("out", &[(0, 11), (1, 12)])]);
    let told = told.committed("in", 1);
    let (partition, offset) = ("in".to_owned(), 0);
    let found = Anomaly::OffsetEffectMismatch { partition, offset, value: 1, effects: 2 };
    assert_eq!(told.anomalies(), [found]);
}

#[test]
fn bad_21_an_effect_is_there_and_the_offset_was_not_committed() {
    let told = told().ok(1, &[send("in", 1, 0)]);
    let told = told.unknown(2, &[poll("in", &[(0, 1)]), effect("out", 11, 1)]);
    let told = told.ok(9, &[whole("in", &[(0, 1)]), whole("out", &[(0, 11)])]);
    let told = told.committed("in", 0);
    let (partition, offset) = ("in".to_owned(), 0);
    let found = Anomaly::OffsetEffectMismatch { partition, offset, value: 1, effects: 1 };
    assert_eq!(told.anomalies(), [found]);
}

#[test]
fn bad_22_a_store_has_a_row_that_its_changelog_does_not_have() {
    let told = told().view(ViewSource::Store, &[("x", "1"), ("y", "2")]);
    let told = told.view(ViewSource::Changelog, &[("x", "1")]);
    let sources = [ViewSource::Store, ViewSource::Changelog];
    let (name, key) = ("counts".to_owned(), "y".to_owned());
    assert_eq!(told.anomalies(), [Anomaly::ViewMismatch { name, sources, key }]);
}

#[test]
fn bad_23_a_store_and_its_changelog_agree_on_what_was_never_true() {
    let told = told().view(ViewSource::Store, &[("x", "2")]);
    let told = told.view(ViewSource::Changelog, &[("x", "2")]);
    let told = told.view(ViewSource::Recomputation, &[("x", "1")]);
    let sources = [ViewSource::Store, ViewSource::Recomputation];
    let (name, key) = ("counts".to_owned(), "x".to_owned());
    assert_eq!(told.anomalies(), [Anomaly::ViewMismatch { name, sources, key }]);
}

#[test]
fn bad_24_it_never_comes_to_rest_or_too_late() {
    for after_ms in [None, Some(30_001)] {
        let told = told().line(Line::Settled { after_ms });
        assert_eq!(told.anomalies(), [Anomaly::NotSettled { after_ms }]);
    }
}

#[test]
fn good_what_a_log_may_do_is_no_anomaly() {
    let told = told()
        .ok(1, &[send("in", 1, 0)])
        .abort(1, &[sent("in", 2)])
        // Of an unknown outcome, and not there; another, and there whole.
        .unknown(1, &[sent("in", 3), sent("other", 4)])
        .unknown(2, &[sent("in", 5), sent("other", 6)])
        // Offsets may have gaps, and a poll may end in the middle of a transaction.
        .commit(3, &[send("in", 7, 4), send("in", 8, 5)])
        .ok(8, &[poll_to("in", &[(0, 1), (2, 5), (4, 7)], 6)])
        .ok(8, &[poll_to("in", &[(5, 8)], 6)])
        // After a seek a consumer may see everything again.
        .ok(8, &[seek("in"), poll_to("in", &[(0, 1)], 6)])
        .commit(4, &[poll("in", &[(0, 1)]), effect("out", 11, 1)])
        // A try that was aborted, and the one that was not.
        .abort(4, &[poll("in", &[(2, 5)]), effect("out", 12, 5)])
        .commit(5, &[poll("in", &[(2, 5)]), effect("out", 13, 5)])
        .ok(9, &[whole("in", &[(0, 1), (2, 5), (4, 7), (5, 8)]), whole("other", &[(0, 6)])])
        .ok(9, &[whole("out", &[(0, 11), (1, 13)])])
        .committed("in", 3)
        .view(ViewSource::Store, &[("x", "1")])
        .view(ViewSource::Recomputation, &[("x", "1")])
        .line(Line::Settled { after_ms: Some(29_000) });
    let report = told.check();
    assert_eq!(report.anomalies, []);
    assert_eq!((report.operations, report.transactions, report.failed), (13, 7, 2));
    assert_eq!((report.unknown, report.acknowledged, report.read), (2, 5, 7));
    assert_eq!((report.effects, report.partitions_whole), (2, 3));
}

#[test]
fn good_transactions_that_overwrite_each_other_in_a_circle_are_told_and_allowed() {
    let told = told().commit(1, &[send("a", 1, 0), send("b", 2, 1)]);
    let told = told.commit(2, &[send("a", 3, 1), send("b", 4, 0)]);
    let report = told.check();
    assert_eq!(report.anomalies, [Anomaly::WriteCycle { operations: vec![0, 1] }]);
    assert_eq!(report.forbidden(), None);
}

#[test]
fn good_a_reader_of_uncommitted_records_may_see_what_is_aborted() {
    let mut told = told().abort(1, &[sent("a", 1)]);
    let isolation = Isolation::ReadUncommitted;
    let actions = vec![poll("a", &[(0, 1)])];
    let (start, end, outcome) = (20, 25, Outcome::Ok);
    told.0.push(Operation {
        process: 9,
        start,
        end,
        outcome,
        transaction: false,
        isolation,
        actions,
    });
    assert_eq!(told.anomalies(), []);
}

#[test]
fn what_is_no_history_is_an_error_that_says_where() {
    let twice = told().ok(1, &[sent("a", 1)]).ok(2, &[sent("b", 1)]);
    let error = twice.0.check().unwrap_err();
    assert!(matches!(error, Error::ValueSentTwice { value: 1, first: 0, second: 1 }), "{error}");
    let unknown = told().ok(9, &[poll("a", &[(0, 5)])]);
    let error = unknown.0.check().unwrap_err();
    assert_eq!(error.to_string(), "operation 0 reads value 5 of a, which nobody sent");
    let bad = "{\"settled\": {\"after_ms\": 1}}\n{\"setled\": 2}\n".parse::<History>().unwrap_err();
    assert!(matches!(bad, Error::Line { number: 2, .. }), "{bad}");
}
