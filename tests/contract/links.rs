//! References of the texts: every link resolves, and every command names what exists.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// The texts for people, with their paths.
pub fn texts() -> Vec<(PathBuf, String)> {
    let docs = fs::read_dir(support::root().join("src/docs")).unwrap().map(|entry| entry.unwrap().path());
    let docs = docs.filter(|path| path.extension().is_some_and(|extension| extension == "md"));
    let others = [".github/CONTRIBUTING.md", "README.md", "CHANGELOG.md", "tests/golden/README.md"];
    let others = others.map(|name| support::root().join(name));
    let paths: Vec<_> = docs.chain(others).collect();
    assert!(paths.len() > 10);
    paths.into_iter().map(|path| (path.clone(), fs::read_to_string(path).unwrap())).collect()
}

/// The code of fenced blocks in this language, and the text without any.
fn parted(text: &str, language: &str) -> (String, String) {
    let (mut code, mut prose, mut fence) = (Vec::new(), Vec::new(), None);
    for line in text.lines() {
        match (line.trim_start().strip_prefix("```"), fence) {
            (Some(opened), None) => fence = Some(opened),
            (Some(_), Some(_)) => fence = None,
            (None, Some(opened)) if opened == language => code.push(line),
            (None, Some(_)) => {}
            (None, None) => prose.push(line),
        }
    }
    assert!(fence.is_none(), "a block is not closed");
    (code.join("\n"), prose.join("\n"))
}

/// Returns each text between `open` and the next `close`.
fn between<'a>(text: &'a str, open: &'a str, close: char) -> impl Iterator<Item = &'a str> {
    text.split(open).skip(1).filter_map(move |rest| Some(rest.split_once(close)?.0))
}

/// The targets of links in any of their forms.
fn targets(prose: &str) -> Vec<&str> {
    let defined =
        prose.lines().filter(|line| line.starts_with('[')).filter_map(|line| line.split_once("]: "));
    let defined = defined.map(|(_, target)| target.trim());
    between(prose, "](", ')').chain(between(prose, "<http", '>')).chain(defined).collect()
}

/// The anchors that rustdoc and others make of headings.
pub fn anchors(text: &str) -> Vec<String> {
    let (_, prose) = parted(text, "");
    let headings = prose.lines().filter(|line| line.starts_with('#'));
    let anchor = |heading: &str| {
        let words = heading.trim_start_matches('#').trim().to_lowercase();
        let kept = words.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
        kept.collect::<String>().replace(' ', "-")
    };
    headings.map(anchor).collect()
}

fn is_well_formed(url: &str) -> bool {
    let Some(rest) = url.strip_prefix("https://") else { return false };
    let host = rest.split(['/', '#', '?']).next().unwrap();
    let is_label = |label: &str| {
        !label.is_empty() && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    };
    host.contains('.')
        && host.split('.').all(is_label)
        && url.bytes().all(|b| b.is_ascii_graphic() && !b"<>\"\\^`{}|".contains(&b))
}

/// Where a link leads to, if it is broken. Rustdoc resolves those to items; what they say of headings it does not.
fn broken(path: &Path, target: &str) -> Option<String> {
    if target.starts_with("http") || target.starts_with("://") || target.starts_with("s://") {
        let url = if target.starts_with("http") { target.to_owned() } else { format!("http{target}") };
        return (!is_well_formed(&url)).then(|| "no well-formed https URL".into());
    }
    let (file, anchor) = target.split_once('#').map_or((target, None), |(file, anchor)| (file, Some(anchor)));
    let file = match file.strip_prefix("crate::docs::") {
        Some(page) => support::root().join("src/docs").join(page).with_extension("md"),
        None if file.starts_with("crate") || file.starts_with("Self") => return None,
        None if file.is_empty() => path.to_owned(),
        None => path.parent().unwrap().join(file),
    };
    if !file.exists() {
        return Some(format!("{} does not exist", file.display()));
    }
    let anchor = anchor?;
    let known = anchors(&fs::read_to_string(&file).unwrap());
    (!known.iter().any(|known| known == anchor)).then(|| format!("{} has no such heading", file.display()))
}

#[test]
fn every_link_leads_somewhere() {
    let mut wrong = Vec::new();
    let mut count = 0;
    for (path, text) in texts() {
        let (_, prose) = parted(&text, "");
        for target in targets(&prose) {
            count += 1;
            if let Some(problem) = broken(&path, target) {
                wrong.push(format!("{}: {target}: {problem}", path.display()));
            }
        }
    }
    assert!(count > 100, "{count} links: not all were found");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Paths of the repository are written as code, beginning with the name of a folder.
#[test]
fn every_path_that_is_named_exists() {
    let mut count = 0;
    for (path, text) in texts() {
        let (_, prose) = parted(&text, "");
        for code in prose.split('`').skip(1).step_by(2) {
            let named = code.split_whitespace().next().unwrap_or_default();
            let folders = ["src/", "tests/", "examples/", "benches/", ".ci/", ".cargo/"];
            if !folders.iter().any(|folder| named.starts_with(folder)) || named.contains(['{', '*']) {
                continue;
            }
            count += 1;
            let named = support::root().join(named);
            // A folder of an example is named without more.
            let is_there = named.exists() || named.with_extension("rs").exists();
            assert!(is_there, "{}: {} does not exist", path.display(), named.display());
        }
    }
    assert!(count > 10, "{count} paths: not all were found");
}

/// In fenced `sh`, and in the prose where it names one.
#[test]
fn every_command_names_what_there_is() {
    let manifest = fs::read_to_string(support::root().join("Cargo.toml")).unwrap();
    let mut count = 0;
    for (path, text) in texts() {
        let (commands, prose) = parted(&text, "sh");
        let (shown, _) = parted(&text, "text");
        let in_prose = prose.split('`').skip(1).step_by(2).map(|code| code.replace('\n', " "));
        let lines = commands.lines().chain(shown.lines()).map(str::to_owned).chain(in_prose);
        for line in lines.filter(|line| line.starts_with("cargo ")) {
            count += 1;
            let mut words = line.split_whitespace().take_while(|word| *word != "--");
            while let Some(word) = words.next() {
                let is_there = match word {
                    "--example" => is_target("examples", words.next().unwrap()),
                    "-p" | "--package" => is_package(words.next().unwrap()),
                    "--bench" => is_target("benches", words.next().unwrap()),
                    "--test" => is_target("tests", words.next().unwrap()),
                    "--features" => words
                        .next()
                        .unwrap()
                        .split(',')
                        .all(|feature| manifest.contains(&format!("\n{feature} = ["))),
                    _ => true,
                };
                assert!(is_there, "{}: `{line}`: there is no such {word}", path.display());
            }
        }
    }
    assert!(count > 10, "{count} commands: not all were found");
}

fn is_target(folder: &str, name: &str) -> bool {
    let folder = support::root().join(folder);
    folder.join(name).with_extension("rs").is_file() || folder.join(name).join("main.rs").is_file()
}

fn is_package(name: &str) -> bool {
    let folders = ["", "benches", "examples", "examples/orchestrator_http", "tests"];
    let manifests = folders.map(|folder| support::root().join(folder).join("Cargo.toml"));
    let line = format!("name = \"{name}\"");
    manifests.iter().any(|manifest| fs::read_to_string(manifest).unwrap().lines().any(|known| known == line))
}

#[test]
fn what_is_broken_is_found() {
    let here = support::root().join("src/docs/wire.md");
    let broken = |target| broken(&here, target).is_some();
    for wrong in [
        "http://example.com",
        "https://",
        "https://localhost/x",
        "https://exa mple.com",
        "missing.md",
        "crate::docs::missing",
        "crate::docs::wire#missing",
        "#missing",
    ] {
        assert!(broken(wrong), "{wrong}");
    }
    for right in
        ["https://a.example/b#c", "crate::EventBridge", "crate::docs::wire#envelope", "#events", "wire.md"]
    {
        assert!(!broken(right), "{right}");
    }
    assert!(
        !is_target("examples", "missing")
            && is_target("examples", "soak")
            && is_target("benches", "micro")
            && !is_package("missing")
            && is_package("examples")
    );
}
