//! Names in the texts exist: headers, metrics, options, functions and types in the code, features in its manifest.

use std::{collections::BTreeSet, fs, path::Path};

/// Foreign names that the texts have to use: those of nats-server, of databases and of other systems.
const FOREIGN: &[&str] = &[
    "CryptoProvider",                      // rustls
    "Nats-Rollup",                         // nats-server
    "TcpSettings",                         // redis-rs
    "ack_sync",                            // nats-py
    "allow_batched",                       // nats-server
    "idle_in_transaction_session_timeout", // PostgreSQL
    "max_msg_size",                        // nats-server
    "synchronous_commit",                  // PostgreSQL
    "user_timeout",                        // redis-rs
];

/// Every word of the code, doc comments left out: what stands only in a comment does not exist.
fn code() -> BTreeSet<String> {
    let mut words = BTreeSet::new();
    for folder in ["src", "examples", "tests", "benches"] {
        collect(&support::root().join(folder), &mut words);
    }
    words
}

fn collect(folder: &Path, words: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let extension = path.extension().and_then(|extension| extension.to_str());
        if path.is_dir() {
            collect(&path, words);
        } else if matches!(extension, Some("rs" | "lua" | "sql" | "toml" | "yml"))
            && !path.ends_with("named.rs")
        {
            let text = fs::read_to_string(&path).unwrap();
            let lines = text.lines().filter(|line| !line.trim_start().starts_with("//"));
            words.extend(lines.flat_map(words_of).map(str::to_owned));
        }
    }
}

/// A header keeps its hyphens, and is taken apart as well for the code that puts it together.
fn words_of(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_ascii_alphanumeric() && !"_-".contains(c)).filter(|word| !word.is_empty())
}

/// Returns what is written as code and looks like a name of ours: an option, a function, a type, a metric or a header.
fn names(text: &str) -> BTreeSet<String> {
    let mut fenced = false;
    let prose = text.lines().filter(|line| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        !fenced && !fence
    });
    let prose = prose.collect::<Vec<_>>().join("\n");
    let codes: Vec<_> = prose.split('`').skip(1).step_by(2).map(str::to_owned).collect();
    codes.iter().flat_map(|code| words_of(code)).filter(|word| is_name(word)).map(str::to_owned).collect()
}

fn is_name(word: &str) -> bool {
    let is_header = word.starts_with("Strat-") || word.starts_with("Nats-");
    let is_plain = word.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    let is_snake = word.contains('_') && word.starts_with(|c: char| c.is_ascii_lowercase());
    let is_type = word.starts_with(|c: char| c.is_ascii_uppercase())
        && word.chars().skip(1).any(|c| c.is_ascii_lowercase())
        && word.chars().skip(1).any(|c| c.is_ascii_uppercase());
    is_header || is_plain && (is_snake || is_type)
}

#[test]
fn every_name_in_the_texts_is_in_the_code() {
    let code = code();
    let mut missing = Vec::new();
    let mut count = 0;
    for (path, text) in super::links::texts() {
        for name in names(&text) {
            count += 1;
            if !code.contains(&name) && !FOREIGN.contains(&name.as_str()) {
                missing.push(format!("{}: `{name}`", path.strip_prefix(support::root()).unwrap().display()));
            }
        }
    }
    assert!(count > 100, "{count} names: not all were found");
    assert!(missing.is_empty(), "no code has these:\n{}", missing.join("\n"));
}

#[test]
fn what_is_foreign_is_named_somewhere() {
    let named: BTreeSet<_> = super::links::texts().iter().flat_map(|(_, text)| names(text)).collect();
    for foreign in FOREIGN {
        assert!(named.contains(*foreign), "{foreign} is excused and not named any more");
    }
}

#[test]
fn names_are_told_from_prose() {
    let found = names(
        "`with_x(1)` and `Strat-Dead-Letter-Time`, `KvStore::open`; `plain` with_y\n```sh\n`with_z`\n```",
    );
    let wanted = ["KvStore", "Strat-Dead-Letter-Time", "with_x"].map(str::to_owned);
    assert_eq!(found, wanted.into());
}

#[test]
fn the_front_page_has_every_feature() {
    let manifest = fs::read_to_string(support::root().join("Cargo.toml")).unwrap();
    let features = manifest.split("[features]").nth(1).unwrap().split("\n[").next().unwrap();
    let known = features.lines().filter_map(|line| line.split_once(" = [")).map(|(feature, _)| feature);
    let known: BTreeSet<_> = known.filter(|feature| *feature != "default").map(str::to_owned).collect();

    let page = fs::read_to_string(support::root().join("src/docs/overview.md")).unwrap();
    let table = page.split("\n# Features\n").nth(1).unwrap().split("\n# ").next().unwrap();
    let first_cells = table.lines().filter_map(|line| line.strip_prefix("| ")?.split(" | ").next());
    let told: BTreeSet<_> = first_cells
        .flat_map(|cell| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>())
        .collect();
    assert_eq!(told, known);
    let readme = fs::read_to_string(support::root().join("README.md")).unwrap();
    assert!(
        readme
            .contains(table.split("\n\n").map(str::trim).find(|part| part.starts_with("| feature")).unwrap())
    );
}
