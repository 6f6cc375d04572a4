//! The shape of a file: its first line, its length, and what a `lib.rs` or `mod.rs` may hold.

use crate::source::{SourceFile, Tree};

/// The most lines of a file without its tests. It only goes down.
pub const LINES_MAX: usize = 500;

/// Files that do not open by saying what they do.
pub fn first_line_violations(tree: &Tree) -> Vec<String> {
    let opens_badly = |file: &&SourceFile| !file.text.starts_with("//! ");
    tree.files
        .iter()
        .filter(opens_badly)
        .map(|file| format!("{}:1: the first line is not `//! <what this file does>`", file.path))
        .collect()
}

/// Files of the libraries, examples and benches that are too long.
pub fn length_violations(tree: &Tree) -> Vec<String> {
    let others = |file: &&SourceFile| {
        file.module().is_none()
            && !file.path.starts_with("tests/")
            && !file.path.contains("/tests/")
    };
    tree.library_files()
        .chain(tree.files.iter().filter(others))
        .filter_map(|file| {
            let lines = file.lines_without_tests().len();
            (lines > LINES_MAX).then(|| {
                format!("{}: {lines} lines without tests, more than {LINES_MAX}", file.path)
            })
        })
        .collect()
}

/// What a `lib.rs` or `mod.rs` holds besides documentation, `mod` lines and `pub use`.
pub fn map_violations(tree: &Tree) -> Vec<String> {
    let mut found = Vec::new();
    for file in tree.library_files().filter(|file| file.is_map()) {
        for (number, statement) in statements(file) {
            let allowed = ["mod ", "pub mod ", "pub(crate) mod ", "pub use ", "pub(crate) use "]
                .iter()
                .any(|start| statement.starts_with(start) && statement.ends_with(';'));
            if !allowed {
                found.push(format!(
                    "{}:{number}: only docs, `mod` lines and `pub use` belong here, not `{}`",
                    file.path,
                    statement.lines().next().unwrap_or_default()
                ));
            }
        }
    }
    found
}

/// The code without attributes, cut after each `;`, each piece with its first line's number.
fn statements(file: &SourceFile) -> Vec<(usize, String)> {
    let mut statements: Vec<(usize, String)> = Vec::new();
    let mut attribute_depth = 0;
    let mut open = false;
    for (number, line) in file.code() {
        let line = line.trim();
        let opens_attribute = !open && (line.starts_with("#[") || line.starts_with("#!["));
        if attribute_depth > 0 || opens_attribute {
            attribute_depth += line.matches('[').count();
            attribute_depth = attribute_depth.saturating_sub(line.matches(']').count());
            continue;
        }
        match statements.last_mut() {
            Some((_, statement)) if open => {
                statement.push('\n');
                statement.push_str(line);
            }
            _ => statements.push((number, line.to_owned())),
        }
        open = !line.ends_with(';');
    }
    statements
}
