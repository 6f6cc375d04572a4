//! What fuzzers have found is parsed again on every run, without a fuzzer: see `scripts/fuzz`.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "helpers of tests")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use headwater_log_store::fuzzing::{TARGETS, run};

fn fuzz() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz")
}

fn names(dir: &Path) -> BTreeSet<String> {
    let entries = std::fs::read_dir(dir).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn every_input_of_the_corpora_keeps_every_promise() {
    for target in TARGETS {
        let dir = fuzz().join("corpus").join(target);
        let inputs = names(&dir);
        assert!(inputs.len() >= 3, "{target} has only {} inputs", inputs.len());
        for name in inputs {
            let input = std::fs::read(dir.join(&name)).unwrap();
            let begin = std::time::Instant::now();
            println!("{target}/{name}");
            run(target, &input);
            assert!(begin.elapsed().as_secs() < 5, "{target}/{name} takes {:?}", begin.elapsed());
        }
    }
}

#[test]
fn every_target_has_its_program_and_its_corpus() {
    let targets: BTreeSet<String> = TARGETS.into_iter().map(str::to_owned).collect();
    assert_eq!(names(&fuzz().join("corpus")), targets);
    let programs = names(&fuzz().join("fuzz_targets")).into_iter();
    let programs: BTreeSet<_> = programs.map(|name| name.replace(".rs", "")).collect();
    assert_eq!(programs, targets);
}
