//! The modules of the crate depend on modules below them only: the order is the module map in `lib.rs`. The exceptions
//! are listed here with a reason; the list may only shrink.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Uses of a module by a module below it, each with its reason.
const EXCEPTIONS: &[(&str, &str, &str)] = &[
    ("config", "gateway", "builds the gateway's Settings"),
    (
        "metrics",
        "gateway",
        "collects the counters of gateways, and uses their HTTP server",
    ),
    (
        "metrics",
        "kafka",
        "collects the counters of consumers and producers",
    ),
    ("metrics", "worker", "collects the counters of workers"),
    ("process", "kafka", "owns the producer pool"),
    ("process", "metrics", "owns the metrics registry"),
];

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// The modules declared in `lib.rs`, without test modules.
fn declared(lib: &str) -> BTreeSet<String> {
    let names = lib.lines().filter_map(|line| line.strip_prefix("pub mod "));
    names
        .map(|name| name.trim_end_matches(';').to_owned())
        .collect()
}

/// The modules in the order of the module map: each line is one layer, or several modules of one layer.
fn layers(lib: &str, declared: &BTreeSet<String>) -> Vec<Vec<String>> {
    let map = lib.split("//! ```").nth(1).expect("a module map in lib.rs");
    let lines = map.lines().filter_map(|line| line.strip_prefix("//! "));
    lines
        .map(|line| {
            // A name begins a line, or follows two spaces or a comma.
            let columns = line.split("  ").flat_map(|column| column.split(','));
            let names = columns
                .map(str::trim)
                .filter(|name| declared.contains(*name));
            names.map(str::to_owned).collect()
        })
        .collect()
}

fn rust_files(path: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(path).expect("a directory of sources") {
        let path = entry.expect("an entry").path();
        let name = path
            .file_stem()
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        // Tests may use any module.
        if name == "tests" || name == "testing" {
            continue;
        }
        if path.is_dir() {
            rust_files(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

/// The top-level modules that a module uses by `crate::…`, without its tests.
fn uses(module: &str, declared: &BTreeSet<String>) -> BTreeSet<String> {
    let mut files = Vec::new();
    let (file, folder) = (source().join(format!("{module}.rs")), source().join(module));
    if file.exists() {
        files.push(file);
    }
    if folder.is_dir() {
        rust_files(&folder, &mut files);
    }
    let mut used = BTreeSet::new();
    for file in files {
        let text = fs::read_to_string(&file).expect("a source file");
        let code = text
            .split("#[cfg(test)]\nmod tests {")
            .next()
            .unwrap_or_default();
        let lines = code
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"));
        let code = lines.collect::<Vec<_>>().join("\n");
        for (at, _) in code.match_indices("crate::") {
            let rest = &code[at + "crate::".len()..];
            let list = rest.strip_prefix('{').and_then(|rest| rest.split_once('}'));
            let paths = list.map_or_else(|| vec![rest], |(list, _)| list.split(',').collect());
            for path in paths {
                let path = path.trim_start();
                let end = path.find(|c: char| !(c.is_alphanumeric() || c == '_'));
                used.insert(path[..end.unwrap_or(path.len())].to_owned());
            }
        }
    }
    used.retain(|name| name != module && declared.contains(name));
    used
}

#[test]
fn modules_depend_on_lower_modules_only() {
    let lib = fs::read_to_string(source().join("lib.rs")).expect("lib.rs");
    let declared = declared(&lib);
    let layers = layers(&lib, &declared);
    let mapped: Vec<&String> = layers.iter().flatten().collect();
    assert_eq!(
        mapped.iter().copied().cloned().collect::<BTreeSet<_>>(),
        declared,
        "the module map of lib.rs lists every module"
    );
    assert_eq!(
        mapped.len(),
        declared.len(),
        "the module map of lib.rs lists no module twice"
    );
    let layer = |name: &str| {
        layers
            .iter()
            .position(|names| names.iter().any(|known| known == name))
    };
    let mut upward = BTreeSet::new();
    for module in &declared {
        for used in uses(module, &declared) {
            if layer(&used) < layer(module) {
                upward.insert((module.clone(), used));
            }
        }
    }
    let allowed: BTreeSet<(String, String)> = EXCEPTIONS
        .iter()
        .map(|(module, used, _)| ((*module).to_owned(), (*used).to_owned()))
        .collect();
    let new: Vec<_> = upward.difference(&allowed).collect();
    assert!(
        new.is_empty(),
        "modules use modules above them (see the module map in lib.rs): {new:?}"
    );
    let gone: Vec<_> = allowed.difference(&upward).collect();
    assert!(
        gone.is_empty(),
        "remove these exceptions, they are not needed any more: {gone:?}"
    );
}
