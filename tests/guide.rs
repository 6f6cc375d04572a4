//! The pages of docs/guide: what their programs print is what they say, the lines of code that they
//! quote stand in the programs, and their links lead somewhere.
#![allow(
    clippy::unwrap_used,
    clippy::duplicate_mod,
    clippy::print_stdout,
    reason = "a test and the programs that it runs, two of which show their steps in one way"
)]

use std::fs;
use std::path::Path;

#[path = "../examples/in_and_out.rs"]
#[allow(dead_code, reason = "the test calls `run`, not `main`")]
mod in_and_out;
#[path = "../examples/joins.rs"]
#[allow(dead_code, reason = "the test calls `run`, not `main`")]
mod joins;
#[path = "../examples/revenue_per_minute.rs"]
#[allow(dead_code, reason = "the test calls `run`, not `main`")]
mod revenue_per_minute;
#[path = "../examples/state.rs"]
#[allow(dead_code, reason = "the test calls `run`, not `main`")]
mod state;
#[path = "../examples/streams_and_tables.rs"]
#[allow(dead_code, reason = "the test calls `run`, not `main`")]
mod streams_and_tables;

const PAGES: [&str; 5] = ["in-and-out", "streams-and-tables", "time-and-windows", "joins", "state"];

fn page(name: &str) -> String {
    fs::read_to_string(format!("docs/guide/{name}.md")).unwrap()
}

/// The code blocks of a page in that language.
fn blocks(page: &str, language: &str) -> Vec<String> {
    let fence = format!("```{language}\n");
    page.split(&fence)
        .skip(1)
        .map(|rest| rest.split("```").next().unwrap_or_default().to_owned())
        .collect()
}

fn check(name: &str, program: &str, printed: Vec<u8>) {
    let page = page(name);
    let printed = String::from_utf8(printed).unwrap();
    assert_eq!(blocks(&page, "text"), [printed], "what {program} prints");
    let source = fs::read_to_string(format!("examples/{program}.rs")).unwrap();
    for block in blocks(&page, "rust") {
        assert!(source.contains(&block), "examples/{program}.rs does not have\n{block}");
    }
    let run = format!("`cargo run --example {program}` ([source](../../examples/{program}.rs))");
    assert!(page.contains(&run), "the page says how to run {program}");
}

#[test]
fn data_goes_in_and_out_as_its_page_says() {
    let folder = tempfile::tempdir().unwrap();
    let mut printed = Vec::new();
    in_and_out::run(folder.path(), &mut printed).unwrap();
    check("in-and-out", "in_and_out", printed);
}

#[test]
fn streams_and_tables_do_what_their_page_says() {
    let mut printed = Vec::new();
    streams_and_tables::run(&mut printed).unwrap();
    check("streams-and-tables", "streams_and_tables", printed);
}

#[test]
fn windows_give_the_revenue_that_their_page_says() {
    let mut printed = Vec::new();
    revenue_per_minute::run(&mut printed).unwrap();
    check("time-and-windows", "revenue_per_minute", printed);
}

#[test]
fn joins_do_what_their_page_says() {
    let mut printed = Vec::new();
    joins::run(&mut printed).unwrap();
    check("joins", "joins", printed);
}

#[test]
fn state_survives_as_its_page_says() {
    let folder = tempfile::tempdir().unwrap();
    let mut printed = Vec::new();
    state::run(&folder.path().join("log"), &mut printed).unwrap();
    check("state", "state", printed);
}

#[test]
fn links_lead_to_files_and_the_readme_leads_to_every_page() {
    let readme = fs::read_to_string("README.md").unwrap();
    for name in PAGES {
        assert!(readme.contains(&format!("(docs/guide/{name}.md)")), "the README leads to {name}");
        for link in page(name).split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let target = Path::new("docs/guide").join(link);
            assert!(target.exists(), "docs/guide/{name}.md leads to {link}");
        }
    }
}
