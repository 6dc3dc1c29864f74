//! Holds the code to the order of modules that a comment in lib.rs states.

use std::fs;
use std::path::{Path, PathBuf};

/// The modules, each of which may use those before it.
fn stated_order() -> Vec<String> {
    let items = include_str!("lib.rs").lines().filter_map(|line| line.strip_prefix("// * `"));
    items.filter_map(|item| item.split('`').next()).map(str::to_owned).collect()
}

fn rust_files(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// Tests may use all modules: they check one by means of others.
fn is_test(path: &Path) -> bool {
    let names = [
        "tests",
        "tests.rs",
        "testing.rs",
        "tool_tests.rs",
        "test_disk.rs",
        "memory.rs",
        "module_order.rs",
        "against.rs",
        "fuzzing.rs",
    ];
    path.iter().any(|part| names.iter().any(|name| part == *name))
}

/// The modules that follow `crate::` in code, in braces too.
fn used_modules(text: &str) -> Vec<String> {
    let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    let lines = code.lines().map(|line| line.split("//").next().unwrap_or_default());
    let code = lines.collect::<Vec<_>>().join(" ");
    let mut used = Vec::new();
    for after in code.split("crate::").skip(1) {
        let names = after.strip_prefix('{').and_then(|list| list.split(';').next()).unwrap_or(after);
        let list = if after.starts_with('{') { names.split(", ").collect() } else { vec![names] };
        let word = |name: &str| name.split(|c: char| !c.is_alphanumeric() && c != '_').next().map(str::to_owned);
        used.extend(list.into_iter().filter_map(|name| word(name.trim())));
    }
    used
}

#[test]
fn modules_use_only_those_before_them() {
    let order = stated_order();
    let rank = |name: &str| order.iter().position(|module| module == name);
    let source = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src"));
    let (mut files, mut wrong, mut seen) = (Vec::new(), Vec::new(), vec![false; order.len()]);
    rust_files(source, &mut files);
    for path in files.iter().filter(|path| !is_test(path)) {
        let within = path.strip_prefix(source).unwrap();
        let module = within.iter().next().unwrap().to_string_lossy();
        let module = module.trim_end_matches(".rs");
        let Some(own) = rank(module) else {
            assert!(["lib", "main"].contains(&module), "{module} is missing from the list in lib.rs");
            continue;
        };
        seen[own] = true;
        for used in used_modules(&fs::read_to_string(path).unwrap()) {
            if rank(&used).is_some_and(|used| used > own) {
                wrong.push(format!("{} uses {used}", within.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "against the order in lib.rs: {wrong:#?}");
    assert!(seen.iter().all(|seen| *seen), "lib.rs lists modules that are not there: {order:?}");
}

#[test]
fn sees_modules_in_all_forms_of_use() {
    let text =
        "use crate::disk::Disk;\nuse crate::{lock, image::{self, Image}};\nf(crate::volume::g()); // crate::cli\n";
    let used = used_modules(text);
    for module in ["disk", "lock", "image", "volume"] {
        assert!(used.iter().any(|used| used == module), "{module} is missed in {used:?}");
    }
    assert!(!used.iter().any(|used| used == "cli"), "comments use nothing");
}
