//! Pairs that must not meet: what only one place may use, by name and with the reason.

use crate::source::Tree;

/// A thing that is forbidden in some files.
struct Rule {
    /// Where it is forbidden: paths that start so.
    within: &'static [&'static str],
    /// The exceptions: paths that start so.
    except: &'static [&'static str],
    /// The words that give it away, each as a word of its own.
    words: &'static [&'static str],
    reason: &'static str,
}

const EVERYWHERE: &[&str] =
    &["src/", "log-store/src/", "topology/src/", "connectors/src/", "cli/src/"];

const RULES: &[Rule] = &[
    Rule {
        within: &["topology/src/runtime/"],
        except: &[],
        words: &["crate::dsl", "crate::operators"],
        reason: "the runtime reads the graph; it knows neither the DSL nor an operator",
    },
    Rule {
        within: &["topology/src/graph/"],
        except: &[],
        words: &["crate::dsl", "crate::operators", "crate::runtime"],
        reason: "the graph is plain data between the DSL and the runtime",
    },
    Rule {
        within: &["log-store/src/"],
        except: &["log-store/src/storage/"],
        words: &["std::fs", "rustix::fs"],
        reason: "only storage/ touches files, so that the fault tests see every read and write",
    },
    Rule {
        within: EVERYWHERE,
        except: &["log-store/src/clock.rs"],
        words: &["SystemTime::now", "Instant::now"],
        reason: "only clock.rs reads the time; elsewhere it is an argument",
    },
    Rule {
        within: EVERYWHERE,
        except: &[
            "log-store/src/housekeeping.rs",
            "topology/src/runtime/worker.rs",
            "topology/src/runtime/streams.rs",
            "connectors/src/runner.rs",
        ],
        words: &["thread::spawn", "thread::scope", "thread::Builder"],
        reason: "only workers, housekeeping and connector runners start threads",
    },
    Rule {
        within: EVERYWHERE,
        except: &["log-store/src/storage/map.rs"],
        words: &["unsafe"],
        reason: "unsafe code lives in one module, storage/map.rs",
    },
];

/// Every use of something where it is forbidden.
pub fn violations(tree: &Tree) -> Vec<String> {
    let mut found = Vec::new();
    for file in tree.library_files() {
        let starts = |prefixes: &[&str]| prefixes.iter().any(|start| file.path.starts_with(start));
        for rule in RULES.iter().filter(|rule| starts(rule.within) && !starts(rule.except)) {
            for (number, line) in file.code() {
                for word in rule.words.iter().filter(|word| has_word(line, word)) {
                    found.push(format!("{}:{number}: `{word}`: {}", file.path, rule.reason));
                }
            }
        }
    }
    found
}

fn has_word(line: &str, word: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(at, _)| {
        !line[..at].chars().next_back().is_some_and(is_part)
            && !line[at + word.len()..].chars().next().is_some_and(is_part)
    })
}
