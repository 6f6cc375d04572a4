//! The order of `mod` lines is the layering: a module imports only from modules above its own
//! line, and writes the full path.

use crate::source::{SourceFile, Tree};

/// Every import that goes the wrong way.
pub fn violations(tree: &Tree) -> Vec<String> {
    tree.library_files().flat_map(|file| file_violations(tree, file)).collect()
}

fn file_violations(tree: &Tree, file: &SourceFile) -> Vec<String> {
    let (source_root, module) = file.module().expect("a library file has a module path");
    let mut found = Vec::new();
    for (number, line) in file.code() {
        let mut report = |what: &str| found.push(format!("{}:{number}: {what}", file.path));
        if !file.is_map() && names(line, "super::").next().is_some() {
            report("`super::` instead of the full path from `crate::`");
        }
        for at in names(line, "crate::") {
            let path = &line[at + "crate::".len()..];
            if let Err(what) = check(tree, source_root, &module, path) {
                report(&what);
            }
        }
    }
    found
}

/// Where `name` stands in `line` as a word of its own.
fn names<'a>(line: &'a str, name: &'a str) -> impl Iterator<Item = usize> + 'a {
    let continues = |before: char| before.is_alphanumeric() || before == '_' || before == '$';
    line.match_indices(name)
        .map(|(at, _)| at)
        .filter(move |&at| !line[..at].chars().next_back().is_some_and(continues))
}

fn check(tree: &Tree, source_root: &str, module: &[String], path: &str) -> Result<(), String> {
    let target: Vec<&str> = path
        .split("::")
        .map_while(|part| {
            let end = part.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(part.len());
            (end > 0).then(|| &part[..end])
        })
        .collect();
    if target.is_empty() {
        return Err("`crate::{…}` or `crate::*` instead of one full path each".to_owned());
    }
    let parting = module.iter().zip(&target).take_while(|(own, other)| own == *other).count();
    if parting == module.len() {
        return Ok(()); // The module itself, or something below it.
    }
    let Some(other) = target.get(parting) else {
        return Err(format!("`crate::{}` is a folder above: name the file", target.join("::")));
    };
    let parent = tree.module_file(source_root, &module[..parting]);
    let mods = parent.map(SourceFile::mods).unwrap_or_default();
    let line_of = |name: &str| mods.iter().position(|module| module == name);
    let own = &module[parting];
    let Some(own_line) = line_of(own) else {
        return Err(format!("no `mod {own};` line declares this file"));
    };
    match line_of(other) {
        None => Err(format!(
            "`crate::{}` is an item of a `lib.rs` or `mod.rs`: import it from its own file",
            target.join("::")
        )),
        Some(line) if line < own_line => Ok(()),
        Some(_) => Err(format!("`{own}` imports `{other}`, whose `mod` line stands below its own")),
    }
}
