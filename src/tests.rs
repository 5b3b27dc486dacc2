//! For the tests of all modules: a temporary directory. And tests of the sources themselves.
//!
//! The modules of the crate depend on modules below them only: the order is the module map in `lib.rs`. The exceptions
//! are listed here with a reason; the list may only shrink.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// Uses of a module by a module below it, each with its reason.
const EXCEPTIONS: &[(&str, &str, &str)] = &[];

/// A temporary directory, removed when dropped.
pub(crate) struct TempDir(pub(crate) PathBuf);

impl TempDir {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("realtime-test-{}-{count}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

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
    all_files(path, files);
    files.retain(|file| {
        // Tests may use any module.
        let place = file.strip_prefix(source()).unwrap_or(file);
        let mut names = place
            .components()
            .map(|name| name.as_os_str().to_string_lossy());
        !names.any(|name| matches!(&*name, "tests" | "testing" | "tests.rs" | "testing.rs"))
    });
}

fn all_files(path: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(path).expect("a directory of sources") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            all_files(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

/// The code of a file without its tests and comments.
fn code_of(file: &Path) -> String {
    let text = fs::read_to_string(file).expect("a source file");
    let code = text.split("#[cfg(test)]\nmod tests {").next();
    let lines = code.unwrap_or_default().lines();
    let code = lines.filter(|line| !line.trim_start().starts_with("//"));
    code.collect::<Vec<_>>().join("\n")
}

/// The paths in the code that begin with `crate` or `super`; a list is one path for each of its members.
fn paths(code: &str) -> Vec<Vec<&str>> {
    let is_path = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
    let mut all = Vec::new();
    let begins = code.match_indices("crate::");
    for (at, _) in begins.chain(code.match_indices("super::")) {
        if code[..at].ends_with(is_path) {
            continue;
        }
        let (path, rest) = code[at..].split_at(code[at..].find(|c| !is_path(c)).unwrap_or(0));
        let list = rest.strip_prefix('{').and_then(|rest| rest.split_once('}'));
        let members = list.map_or("", |(list, _)| list).split(',');
        all.extend(members.map(|member| {
            let member = member.trim_start();
            let end = member.find(|c| !is_path(c)).unwrap_or(member.len());
            let parts = path.split("::").chain(member[..end].split("::"));
            parts.filter(|part| !part.is_empty()).collect()
        }));
    }
    all
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
        for path in paths(&code_of(&file)) {
            if let ["crate", name, ..] = path[..] {
                used.insert(name.to_owned());
            }
        }
    }
    used.retain(|name| name != module && declared.contains(name));
    used
}

/// Pairs of files that use each other, apart from a module and those below it.
fn circles() -> Vec<(String, String)> {
    let mut files = Vec::new();
    rust_files(&source(), &mut files);
    let module_of = |file: &PathBuf| {
        let path = file.strip_prefix(source()).expect("below src");
        let path = path.with_extension("").to_string_lossy().into_owned();
        let parts = path.split('/').map(str::to_owned);
        parts
            .filter(|part| part != "mod" && part != "lib")
            .collect()
    };
    let modules: BTreeMap<Vec<String>, PathBuf> = files
        .into_iter()
        .map(|file| (module_of(&file), file))
        .collect();
    let mut used = BTreeSet::new();
    for (module, file) in &modules {
        for path in paths(&code_of(file)) {
            let mut target = module.clone();
            for part in path {
                match part {
                    "crate" => target.clear(),
                    "super" => drop(target.pop()),
                    name => target.push(name.to_owned()),
                }
                if !modules.contains_key(&target) {
                    target.pop();
                    break;
                }
            }
            used.insert((module.clone(), target));
        }
    }
    let circles = used.iter().filter(|(one, other)| {
        let is_circle = one < other && used.contains(&(other.clone(), one.clone()));
        is_circle && !other.starts_with(one)
    });
    circles
        .map(|(one, other)| (one.join("::"), other.join("::")))
        .collect()
}

#[test]
fn few_files_use_each_other() {
    let circles = circles();
    assert!(
        circles.is_empty(),
        "{circles:?}: move what both need to a file that uses neither"
    );
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

/// Blocks of unsafe code outside the PHP binding. The number may only shrink.
const MAX_UNSAFE_BLOCKS: usize = 103;

/// The C API of librdkafka is called where its pointers are owned: everything else uses the safe functions of
/// `kafka::client`.
#[test]
fn only_the_kafka_client_calls_the_c_api_and_unsafe_code_does_not_grow() {
    let mut files = Vec::new();
    all_files(&source(), &mut files);
    let mut blocks = 0;
    for file in files {
        let text = fs::read_to_string(&file).expect("a source file");
        let place = file.strip_prefix(source()).expect("a file of src");
        let raw = ["rdkafka_", "sys"].concat();
        assert!(
            !text.contains(&raw) || place.starts_with("kafka/client"),
            "{} calls librdkafka itself",
            place.display()
        );
        assert!(
            !text.contains(&["rdkafka::", "bindings"].concat()),
            "{} names the C API by the crate's second name",
            place.display()
        );
        if !place.starts_with("php") {
            blocks += text.matches(&["unsafe", " {"].concat()).count();
        }
    }
    assert!(
        blocks <= MAX_UNSAFE_BLOCKS,
        "{blocks} blocks of unsafe code, at most {MAX_UNSAFE_BLOCKS} before"
    );
}
