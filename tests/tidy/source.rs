//! The sources as text: files with their package and module path, split into code and tests.

use std::fs;
use std::path::Path;

/// A source file, by its path from the root of the repository.
#[derive(Debug)]
pub struct SourceFile {
    pub path: String,
    pub text: String,
}

/// A set of source files: the repository's, or a synthetic one.
#[derive(Debug)]
pub struct Tree {
    pub files: Vec<SourceFile>,
}

impl Tree {
    /// Reads every Rust file of the root package and of the packages in the folders below it.
    pub fn read(root: &Path) -> Self {
        let mut packages = vec![String::new()];
        for entry in fs::read_dir(root).unwrap() {
            let entry = entry.unwrap();
            if entry.path().join("Cargo.toml").is_file() {
                packages.push(format!("{}/", entry.file_name().to_str().unwrap()));
            }
        }
        packages.sort();
        let mut files = Vec::new();
        for package in packages {
            for folder in ["src", "tests", "benches", "examples"] {
                collect(root, &format!("{package}{folder}"), &mut files);
            }
        }
        Self { files }
    }

    /// A tree that only exists in a test.
    pub fn synthetic(files: &[(&str, &str)]) -> Self {
        let file = |(path, text): &(&str, &str)| SourceFile {
            path: (*path).to_owned(),
            text: (*text).to_owned(),
        };
        Self { files: files.iter().map(file).collect() }
    }

    /// The files under some `src/`, but for those that hold only tests.
    pub fn library_files(&self) -> impl Iterator<Item = &SourceFile> {
        self.files.iter().filter(|file| file.module().is_some() && !self.is_test_only(file))
    }

    /// The file of a module, given the `src/` folder it is in.
    pub fn module_file(&self, source_root: &str, module: &[String]) -> Option<&SourceFile> {
        let joined = module.join("/");
        let candidates = if module.is_empty() {
            vec![format!("{source_root}lib.rs")]
        } else {
            vec![format!("{source_root}{joined}/mod.rs"), format!("{source_root}{joined}.rs")]
        };
        self.files.iter().find(|file| candidates.contains(&file.path))
    }

    /// Whether a `#[cfg(test)] mod …;` declares the file or a folder above it.
    fn is_test_only(&self, file: &SourceFile) -> bool {
        let Some((source_root, module)) = file.module() else { return false };
        (0..module.len()).any(|depth| {
            self.module_file(source_root, &module[..depth]).is_some_and(|parent| {
                let test_mod = format!("#[cfg(test)]\nmod {};", module[depth]);
                parent.text.contains(&test_mod)
            })
        })
    }
}

impl SourceFile {
    /// The `src/` folder and the module path of a library file; `None` for tests, examples,
    /// benches and programs.
    pub fn module(&self) -> Option<(&str, Vec<String>)> {
        let at = self.path.find("src/").filter(|&at| at == 0 || self.path[..at].ends_with('/'))?;
        let (source_root, rest) = self.path.split_at(at + "src/".len());
        let rest = rest.strip_suffix(".rs")?;
        if rest == "main" || rest.starts_with("bin/") {
            return None;
        }
        let rest = rest.strip_suffix("/mod").unwrap_or(rest);
        let module =
            if rest == "lib" { Vec::new() } else { rest.split('/').map(str::to_owned).collect() };
        Some((source_root, module))
    }

    /// Whether the file is a `lib.rs` or `mod.rs`.
    pub fn is_map(&self) -> bool {
        self.path.ends_with("/mod.rs") || self.path.ends_with("src/lib.rs")
    }

    /// The lines of the file without its `#[cfg(test)]` modules, each with its number from 1.
    pub fn lines_without_tests(&self) -> Vec<(usize, &str)> {
        let mut kept = Vec::new();
        let mut lines = self.text.lines().enumerate().peekable();
        while let Some((index, line)) = lines.next() {
            let is_test_module = line == "#[cfg(test)]"
                && lines.peek().is_some_and(|(_, next)| {
                    (next.starts_with("mod ") || next.starts_with("pub mod "))
                        && next.ends_with('{')
                });
            if is_test_module {
                // rustfmt puts the brace that ends a module at the start of its line.
                for (_, line) in lines.by_ref() {
                    if line == "}" {
                        break;
                    }
                }
                continue;
            }
            kept.push((index + 1, line));
        }
        kept
    }

    /// The code: lines without tests, comments and blank lines.
    pub fn code(&self) -> Vec<(usize, &str)> {
        self.lines_without_tests()
            .into_iter()
            .map(|(number, line)| (number, without_comment(line)))
            .filter(|(_, line)| !line.trim().is_empty())
            .collect()
    }

    /// The names of the `mod` lines, in their order.
    pub fn mods(&self) -> Vec<String> {
        self.code()
            .into_iter()
            .filter_map(|(_, line)| {
                let public = line.strip_prefix("pub ").or(line.strip_prefix("pub(crate) "));
                let name = public.unwrap_or(line).strip_prefix("mod ")?.strip_suffix(';')?;
                Some(name.to_owned())
            })
            .collect()
    }
}

fn collect(root: &Path, folder: &str, files: &mut Vec<SourceFile>) {
    let Ok(entries) = fs::read_dir(root.join(folder)) else { return };
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    for name in names {
        let path = format!("{folder}/{}", name.to_str().unwrap());
        if root.join(&path).is_dir() {
            collect(root, &path, files);
        } else if path.ends_with(".rs") {
            files.push(SourceFile { text: fs::read_to_string(root.join(&path)).unwrap(), path });
        }
    }
}

/// The line up to a `//` that is not inside a string.
fn without_comment(line: &str) -> &str {
    let mut from = 0;
    while let Some(at) = line[from..].find("//").map(|at| at + from) {
        if line[..at].matches('"').count().is_multiple_of(2) {
            return line[..at].trim_end();
        }
        from = at + 2;
    }
    line
}
