//! Feeds the fuzzer's inputs to the entry `published`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| headwater_log_store::fuzzing::run("published", data));
