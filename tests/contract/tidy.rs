//! The shape of the source: small files, one way of importing, nothing left over.

use std::{
    fs,
    path::{Path, PathBuf},
};

fn sources(folder: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![support::root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    assert!(!found.is_empty());
    found
}

fn lines(path: &Path) -> usize {
    fs::read_to_string(path).unwrap().lines().count()
}

#[test]
fn files_are_small() {
    let mut lengths: Vec<_> = sources("src").iter().map(|path| lines(path)).collect();
    lengths.sort_unstable();
    assert!(lengths[lengths.len() / 2] <= 150, "the median file has {} lines", lengths[lengths.len() / 2]);
    for path in ["src", "tests", "examples", "benches"].into_iter().flat_map(sources) {
        assert!(lines(&path) <= 400, "{} has {} lines", path.display(), lines(&path));
    }
}

#[test]
fn the_contract_layer_knows_neither_the_runtime_nor_the_client() {
    let pure = ["event", "envelope"].into_iter().flat_map(|folder| sources(&format!("src/{folder}")));
    let files =
        ["uri", "domain", "fingerprint", "source", "idempotency", "subject", "value", "consumer_name"];
    let files = files.map(|name| support::root().join(format!("src/{name}.rs")));
    let decide = support::root().join("src/consumer/decide.rs");
    for path in pure.chain(files).chain([decide]) {
        let text = fs::read_to_string(&path).unwrap();
        for foreign in ["tokio::", "async_nats::", "async fn", "std::fs", "std::net"] {
            assert!(!text.contains(foreign), "{} has {foreign}", path.display());
        }
    }
}

#[test]
fn nothing_is_left_to_do() {
    // Put together, so that this file does not find itself.
    let marks = [["TO", "DO"], ["FIX", "ME"], ["X", "XX:"], ["dbg", "!("]].map(|parts| parts.concat());
    for path in ["src", "tests", "examples", "benches"].into_iter().flat_map(sources) {
        let text = fs::read_to_string(&path).unwrap();
        for mark in &marks {
            assert!(!text.contains(mark.as_str()), "{} has {mark}", path.display());
        }
    }
}

#[test]
fn every_fault_has_its_tests_or_says_why_not() {
    let folder = support::root().join("tests");
    let table = fs::read_to_string(folder.join("faults.md")).unwrap();
    let rows: Vec<_> = table.lines().filter_map(|line| line.strip_prefix("| ")?.split_once(" |")).collect();
    let numbers: Vec<_> = rows.iter().filter_map(|(number, _)| number.parse::<u32>().ok()).collect();
    assert_eq!(numbers, (1..=44).collect::<Vec<_>>());
    let tests: Vec<_> =
        sources("tests").iter().map(|path| (path.clone(), fs::read_to_string(path).unwrap())).collect();
    for (number, row) in rows.iter().filter(|(number, _)| number.parse::<u32>().is_ok()) {
        let named: Vec<_> = row.split('`').filter_map(|name| name.split_once("::")).collect();
        assert!(!named.is_empty() || row.contains("| none: "), "row {number} has no test and no reason");
        for (module, test) in named {
            let file = format!("{module}.rs");
            let is_there = |(path, text): &(PathBuf, String)| {
                path.ends_with(&file) && text.contains(&format!("fn {test}("))
            };
            assert!(tests.iter().any(is_there), "row {number}: there is no {module}::{test}");
        }
    }
}
