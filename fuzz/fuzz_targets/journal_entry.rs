//! Feeds the fuzzer's inputs to the entry `journal_entry`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| headwater_log_store::fuzzing::run("journal_entry", data));
