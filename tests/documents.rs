//! The documents name files and tests that exist.

use std::fs;
use std::path::Path;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

fn read(name: &str) -> String {
    fs::read_to_string(Path::new(ROOT).join(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
}

/// What stands between backticks in a line or paragraph.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

#[test]
fn every_promise_names_tests_that_exist() {
    let text = read("docs/semantics.md");
    // The first paragraph is about the document.
    let promises: Vec<&str> = text.split("\n\n").filter(|text| !text.starts_with('#')).skip(1).collect();
    assert!(promises.len() >= 15, "{} paragraphs", promises.len());
    for promise in promises {
        let (_, proof) =
            promise.split_once("\nProven by ").unwrap_or_else(|| panic!("No test is named for: {promise}"));
        let (mut source, mut tests) = (String::new(), 0);
        for name in quoted(proof) {
            if name.ends_with(".rs") {
                source = read(name);
            } else {
                let is_test = source.contains(&format!("#[test]\nfn {name}()"));
                assert!(is_test, "The test {name} does not exist where docs/semantics.md names it, for: {promise}");
                tests += 1;
            }
        }
        assert!(tests > 0, "No test is named for: {promise}");
    }
}

#[test]
fn paths_in_documents_exist() {
    let directories = ["src/", "tests/", "docs/", "fixtures/", "benches/", "fuzz/", "man/", ".ci/"];
    let mut found = 0;
    for document in
        ["README.md", "docs/architecture.md", "docs/contributing.md", "docs/security.md", "docs/semantics.md"]
    {
        let text = read(document);
        let linked = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        let linked = linked.map(|link| link.trim_start_matches("../"));
        let paths = quoted(&text).chain(linked).filter(|path| directories.iter().any(|start| path.starts_with(start)));
        for path in paths.filter(|path| !path.contains(['*', ' ', '<'])) {
            assert!(Path::new(ROOT).join(path).exists(), "{document} names {path}, which does not exist");
            found += 1;
        }
    }
    assert!(found > 100, "{found} paths");
}
