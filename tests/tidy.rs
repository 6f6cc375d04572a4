//! The house rules as a test: reads the sources as text and checks layering, shape and forbidden
//! pairs. Each rule is proved by a violation planted in a synthetic tree, which it has to name.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    unreachable_pub,
    missing_docs,
    reason = "a test and its modules, not an API"
)]

#[path = "tidy/source.rs"]
mod source;
#[path = "tidy/forbidden.rs"]
mod forbidden;
#[path = "tidy/layering.rs"]
mod layering;
#[path = "tidy/shape.rs"]
mod shape;

use std::path::Path;

use source::Tree;

type Check = fn(&Tree) -> Vec<String>;

fn assert_house_is_tidy(check: Check) {
    let tree = Tree::read(Path::new(env!("CARGO_MANIFEST_DIR")));
    assert!(tree.files.iter().any(|file| file.path == "log-store/src/lib.rs"), "found no sources");
    let found = check(&tree);
    assert!(found.is_empty(), "{} violations:\n{}", found.len(), found.join("\n"));
}

/// Asserts that exactly these violations are found, each given by a part of its message.
fn check(rule: Check, files: &[(&str, &str)], expected: &[&str]) {
    let found = rule(&Tree::synthetic(files));
    assert_eq!(found.len(), expected.len(), "found {found:#?}, expected {expected:#?}");
    for (found, expected) in found.iter().zip(expected) {
        assert!(found.contains(expected), "found {found:?}, expected {expected:?}");
    }
}

#[test]
fn modules_import_only_from_modules_above_their_mod_line() {
    assert_house_is_tidy(layering::violations);
}

#[test]
fn every_file_opens_by_saying_what_it_does() {
    assert_house_is_tidy(shape::first_line_violations);
}

#[test]
fn no_file_is_too_long() {
    assert_house_is_tidy(shape::length_violations);
}

#[test]
fn lib_and_mod_files_hold_only_docs_mods_and_reexports() {
    assert_house_is_tidy(shape::map_violations);
}

#[test]
fn forbidden_pairs_never_meet() {
    assert_house_is_tidy(forbidden::violations);
}

const LIB: (&str, &str) = ("x/src/lib.rs", "//! X.\nmod types;\npub mod batch;\nmod log;\n");
const BATCH: (&str, &str) = ("x/src/batch/mod.rs", "//! Batches.\nmod format;\nmod decode;\n");

#[test]
fn an_import_from_a_module_below_is_found() {
    let types = "//! T.\nuse crate::log::Log;\n";
    let expected = ["x/src/types.rs:2: `types` imports `log`, whose `mod` line stands below"];
    check(layering::violations, &[LIB, ("x/src/types.rs", types)], &expected);
    let format = "//! F.\nfn f() -> crate::batch::decode::View {}\n";
    let expected = ["format.rs:2: `format` imports `decode`"];
    check(layering::violations, &[LIB, BATCH, ("x/src/batch/format.rs", format)], &expected);
}

#[test]
fn imports_from_modules_above_are_fine() {
    let decode = "//! D.\nuse crate::batch::format::{A, B};\nuse crate::types::Offset;\n";
    let log = "//! L.\nuse crate::batch::View;\n// crate::nothing::X\nuse crate::log::Own;\n";
    let files = [LIB, BATCH, ("x/src/batch/decode.rs", decode), ("x/src/log.rs", log)];
    check(layering::violations, &files, &[]);
}

#[test]
fn imports_without_a_full_path_are_found() {
    let log = "//! L.\nuse crate::{types, batch};\nuse super::types::Offset;\nuse crate::Offset;\n";
    let expected = ["log.rs:2: `crate::{…}`", "log.rs:3: `super::`", "log.rs:4: `crate::Offset`"];
    check(layering::violations, &[LIB, ("x/src/log.rs", log)], &expected);
    let decode = "//! D.\nuse crate::batch::View;\nuse crate::batch;\n";
    let expected = ["decode.rs:2: `crate::batch::View` is an item", "decode.rs:3: `crate::batch`"];
    check(layering::violations, &[LIB, BATCH, ("x/src/batch/decode.rs", decode)], &expected);
}

#[test]
fn a_file_that_no_mod_line_declares_is_found() {
    let stray = "//! S.\nuse crate::types::Offset;\n";
    check(layering::violations, &[LIB, ("x/src/stray.rs", stray)], &["no `mod stray;` line"]);
}

#[test]
fn tests_may_import_from_anywhere() {
    let types =
        "//! T.\n#[cfg(test)]\nmod tests {\n    use super::Offset;\n    use crate::log::L;\n}\n";
    check(layering::violations, &[LIB, ("x/src/types.rs", types)], &[]);
    let lib = ("x/src/lib.rs", "//! X.\nmod types;\nmod log;\n#[cfg(test)]\nmod fixtures;\n");
    let fixtures = "//! F.\nuse super::log::Log;\n";
    check(layering::violations, &[lib, ("x/src/fixtures.rs", fixtures)], &[]);
}

#[test]
fn code_after_a_test_module_is_still_checked() {
    let types = "//! T.\n#[cfg(test)]\nmod tests {\n    fn f() {}\n}\nuse crate::log::Log;\n";
    check(layering::violations, &[LIB, ("x/src/types.rs", types)], &["types.rs:6: `types`"]);
}

#[test]
fn a_file_that_opens_with_code_is_found() {
    let files = [("tests/a.rs", "use std::fmt;\n"), ("src/lib.rs", "//!\n"), LIB];
    let expected = ["tests/a.rs:1: the first line", "src/lib.rs:1: the first line"];
    check(shape::first_line_violations, &files, &expected);
}

#[test]
fn a_file_that_is_too_long_is_found() {
    let longest = "//! L.\n".to_owned() + &"fn f() {}\n".repeat(shape::LINES_MAX - 1);
    let tests = "#[cfg(test)]\nmod tests {\n".to_owned() + &"    fn f() {}\n".repeat(900) + "}\n";
    let fine = longest.clone() + &tests;
    let long = longest.clone() + "fn g() {}\n";
    let files =
        [LIB, ("x/src/log.rs", fine.as_str()), ("examples/e.rs", &long), ("x/src/types.rs", &long)];
    let expected = ["x/src/types.rs: 501 lines without tests", "examples/e.rs: 501 lines"];
    check(shape::length_violations, &files, &expected);
}

#[test]
fn code_in_a_lib_or_mod_file_is_found() {
    let lib = "//! X.\n#![warn(\n    missing_docs\n)]\nmod types;\npub use types::{\n    A,\n};\n\
               pub struct S {\n    a: u8,\n}\n";
    let expected = ["x/src/lib.rs:9: only docs, `mod` lines and `pub use` belong here"];
    check(shape::map_violations, &[("x/src/lib.rs", lib)], &expected);
    let private = "//! X.\nuse std::fmt;\nmod a;\n";
    check(shape::map_violations, &[("x/src/a/mod.rs", private)], &["mod.rs:2: only docs"]);
    check(shape::map_violations, &[("x/src/types.rs", lib)], &[]);
}

#[test]
fn a_forbidden_pair_is_found() {
    let cases = [
        ("topology/src/runtime/task.rs", "use crate::dsl::stream::KStream;", "`crate::dsl`"),
        ("topology/src/runtime/task.rs", "use crate::operators::map::Map;", "`crate::operators`"),
        ("topology/src/graph/node.rs", "use crate::runtime::task::Task;", "`crate::runtime`"),
        ("log-store/src/segment/reader.rs", "use std::fs::File;", "`std::fs`"),
        ("log-store/src/journal.rs", "let now = Instant::now();", "`Instant::now`"),
        ("connectors/src/runner.rs", "std::time::SystemTime::now()", "`SystemTime::now`"),
        ("log-store/src/storage/file.rs", "unsafe { mmap() }", "`unsafe`"),
        ("src/prelude.rs", "unsafe fn f() {}", "`unsafe`"),
        ("topology/src/store/query.rs", "std::thread::spawn(|| {});", "`thread::spawn`"),
        ("log-store/src/journal/mod.rs", "thread::Builder::new()", "`thread::Builder`"),
    ];
    for (path, line, expected) in cases {
        let text = format!("//! F.\n{line}\n");
        check(forbidden::violations, &[(path, text.as_str())], &[&format!("{path}:2: {expected}")]);
    }
}

#[test]
fn what_is_forbidden_elsewhere_is_allowed_in_its_own_place() {
    let fine = [
        ("topology/src/dsl/stream.rs", "use crate::operators::map::Map;"),
        ("log-store/src/storage/directory.rs", "use std::fs::File;"),
        ("log-store/src/clock.rs", "Instant::now(); SystemTime::now();"),
        ("log-store/src/storage/map.rs", "unsafe { mmap() }"),
        ("topology/src/runtime/worker.rs", "std::thread::Builder::new()"),
        ("log-store/src/lib.rs", "#![deny(unsafe_code)] // unsafe is elsewhere"),
        ("log-store/tests/kill.rs", "std::fs::remove_file(path); Instant::now();"),
    ];
    for (path, line) in fine {
        check(forbidden::violations, &[(path, &format!("//! F.\n{line}\n"))], &[]);
    }
}
