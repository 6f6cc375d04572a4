//! Feeds the fuzzer's inputs to the entry `checkpoint`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| headwater_log_store::fuzzing::run("checkpoint", data));
