//! The shape of the source and of its texts: small files and folders, lines and names that fit, words of the glossary.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

const FOLDERS: [&str; 4] = ["src", "tests", "examples", "benches"];

/// The docs of the fields of events are their descriptions in the schema, for readers of other languages.
const EXCUSED: &[&str] = &["src/contract/event/chain.rs", "src/contract/event/unit.rs"];

/// Words that the glossary of `src/docs/architecture.md` replaces, and words that leave open who does something.
const AVOIDED: [&str; 14] = [
    "anew",
    "are told",
    "be it",
    "is told",
    "nobody",
    "obituary",
    "set aside",
    "sets aside",
    "sign of life",
    "signs of life",
    "somebody",
    "stands still",
    "vitals",
    "whoever",
];
/// A doc comment that begins with one of these says neither what a thing is nor what a function does.
const QUESTIONS: [&str; 6] = ["How", "Of", "What", "Whether", "Who", "Why"];

/// All files below a folder with one of these extensions.
pub(crate) fn files(folder: &str, extensions: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![support::root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
            if path.is_dir() && !path.ends_with("node_modules") {
                folders.push(path);
            } else if extensions.contains(&extension) {
                found.push(path);
            }
        }
    }
    assert!(!found.is_empty());
    found
}

fn name(path: &Path) -> String {
    path.strip_prefix(support::root()).unwrap().to_string_lossy().into_owned()
}

/// All files of the four folders, each with its path from the root and its text.
fn texts(extensions: &[&str]) -> Vec<(String, String)> {
    let files = FOLDERS.iter().flat_map(|folder| files(folder, extensions));
    files.map(|path| (name(&path), fs::read_to_string(&path).unwrap())).collect()
}

fn none(violations: &[String]) {
    assert!(violations.is_empty(), "{} violations:\n{}", violations.len(), violations.join("\n"));
}

#[test]
fn files_are_small() {
    let lines = |text: &str| text.lines().count();
    let of_src = files("src", &["rs"]).into_iter();
    let mut lengths: Vec<_> = of_src.map(|path| lines(&fs::read_to_string(path).unwrap())).collect();
    lengths.sort_unstable();
    assert!(lengths[lengths.len() / 2] <= 150, "the median file has {} lines", lengths[lengths.len() / 2]);
    for (name, text) in texts(&["rs"]) {
        assert!(lines(&text) <= 400, "{name} has {} lines", lines(&text));
    }
}

#[test]
fn folders_are_small() {
    let mut sizes: BTreeMap<PathBuf, usize> = BTreeMap::new();
    for path in files("src", &["rs", "md", "sql", "lua", "txt"]) {
        *sizes.entry(path.parent().unwrap().to_owned()).or_default() += 1;
    }
    for (folder, size) in sizes {
        let name = format!("{}/", name(&folder));
        assert!(size <= 15, "{name} has {size} files");
    }
}

#[test]
fn lines_fit_into_120_columns() {
    let mut wide = Vec::new();
    for (name, text) in texts(&["rs", "md", "sql", "lua", "toml", "py", "js"]) {
        let extension = name.rsplit('.').next();
        let (is_markdown, is_rust) = (extension == Some("md"), extension == Some("rs"));
        for (number, full) in text.lines().enumerate() {
            let line = full.trim_start();
            let text =
                ["/// ", "//! ", "// "].iter().find_map(|mark| line.strip_prefix(mark)).unwrap_or(line);
            // A row of a table cannot be broken, nor can an address, nor can a string of code, which rustfmt leaves as
            // it is.
            let is_code = is_rust || !is_markdown && line.contains('"');
            let is_string = text == line && is_code;
            let is_excused = text.starts_with('|') || text.contains("https://") || is_string;
            if full.chars().count() > 120 && !is_excused {
                wide.push(format!("{name}:{}", number + 1));
            }
        }
    }
    none(&wide);
}

#[test]
fn names_of_tests_are_short() {
    let mut long = Vec::new();
    for (name, text) in texts(&["rs"]) {
        let functions = text.split("fn ").skip(1).filter_map(|rest| rest.split(['(', '<']).next());
        let is_name = |word: &&str| word.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        long.extend(functions.filter(is_name).filter(|f| f.len() >= 60).map(|f| format!("{name}: {f}")));
    }
    none(&long);
}

#[test]
fn comments_use_the_words_of_the_glossary() {
    let mut found = Vec::new();
    for (name, text) in texts(&["rs", "md", "sql", "lua"]) {
        for (number, line) in text.lines().enumerate().filter(|_| name.starts_with("src/")) {
            // What stands in backticks is code: a user of the system is called `nobody`.
            let prose: String = prose(&name, line).split('`').step_by(2).collect::<Vec<_>>().join(" ");
            let words: Vec<_> =
                prose.split(|c: char| !c.is_alphanumeric()).filter(|w| !w.is_empty()).collect();
            let words = format!(" {} ", words.join(" ").to_lowercase());
            for avoided in AVOIDED.iter().filter(|avoided| words.contains(&format!(" {avoided} "))) {
                found.push(format!("{name}:{}: {avoided}", number + 1));
            }
        }
    }
    none(&found);
}

/// The part of a line that is a text for people.
fn prose<'a>(name: &str, line: &'a str) -> &'a str {
    let mark = match name.rsplit('.').next() {
        Some("md") => return line,
        Some("rs") => "//",
        _ => "--",
    };
    line.trim_start().strip_prefix(mark).unwrap_or_default()
}

#[test]
fn doc_comments_do_not_begin_with_a_question() {
    let mut found = Vec::new();
    for (name, text) in texts(&["rs"]).into_iter().filter(|(name, _)| !EXCUSED.contains(&name.as_str())) {
        let lines: Vec<_> = text.lines().map(str::trim_start).collect();
        for (index, line) in lines.iter().enumerate() {
            let Some(first) = ["/// ", "//! "].iter().find_map(|mark| line.strip_prefix(mark)) else {
                continue;
            };
            let is_first = index == 0 || !lines[index - 1].starts_with(&line[..3]);
            let word = first.split(|c: char| !c.is_alphabetic()).next().unwrap();
            if is_first && QUESTIONS.contains(&word) {
                found.push(format!("{name}:{}: {line}", index + 1));
            }
        }
    }
    none(&found);
}

#[test]
fn nothing_is_left_to_do() {
    // Put together, so that this file does not find itself.
    let marks = [["TO", "DO"], ["FIX", "ME"], ["X", "XX:"], ["dbg", "!("]].map(|parts| parts.concat());
    for (name, text) in texts(&["rs"]) {
        for mark in &marks {
            assert!(!text.contains(mark.as_str()), "{name} has {mark}");
        }
    }
}

#[test]
fn every_fault_has_tests_or_a_reason() {
    let folder = support::root().join("tests");
    let table = fs::read_to_string(folder.join("faults.md")).unwrap();
    let rows: Vec<_> = table.lines().filter_map(|line| line.strip_prefix("| ")?.split_once(" |")).collect();
    let numbers: Vec<_> = rows.iter().filter_map(|(number, _)| number.parse::<u32>().ok()).collect();
    // Those between are faults of what is to be built.
    assert_eq!(numbers, (1..=50).chain(56..=58).collect::<Vec<_>>());
    let tests: Vec<_> = files("tests", &["rs"])
        .iter()
        .map(|path| (path.clone(), fs::read_to_string(path).unwrap()))
        .collect();
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
