//! The rooms of the library, and which room may use which.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

/// Each room and the rooms that it uses, from the bottom to the top: a room uses only rooms listed before it.
///
/// A room is a folder or a file directly in `src`; left out are `lib.rs`, `docs`, and `bin`, which is another crate.
/// The parts of the consumer are one mechanism and use each other.
const ROOMS: &[(&str, &[&str])] = &[
    ("error_kind", &[]),
    ("jitter", &[]),
    ("report", &[]),
    ("contract", &["error_kind"]),
    ("telemetry", &[]),
    ("nats", &["contract", "telemetry"]),
    ("topology", &["contract", "error_kind", "nats", "report", "telemetry"]),
    ("sql", &["contract"]),
    ("dedupe", &["contract", "error_kind", "jitter", "nats", "report", "sql", "topology"]),
    ("publish", &["contract", "error_kind", "jitter", "nats", "report", "telemetry", "topology"]),
    ("link", &["nats", "publish"]),
    (
        "dead_letter",
        &["contract", "error_kind", "link", "nats", "publish", "report", "telemetry", "topology"],
    ),
    (
        "consumer::checks",
        &[
            "consumer",
            "consumer::delivery",
            "consumer::receive",
            "contract",
            "dead_letter",
            "dedupe",
            "nats",
            "report",
            "telemetry",
            "topology",
        ],
    ),
    (
        "consumer::delivery",
        &[
            "consumer",
            "consumer::receive",
            "contract",
            "dead_letter",
            "dedupe",
            "error_kind",
            "jitter",
            "report",
            "telemetry",
        ],
    ),
    (
        "consumer::receive",
        &["consumer", "consumer::checks", "consumer::delivery", "contract", "nats", "telemetry"],
    ),
    (
        "consumer",
        &[
            "consumer::checks",
            "consumer::delivery",
            "consumer::receive",
            "contract",
            "dead_letter",
            "dedupe",
            "error_kind",
            "link",
            "nats",
            "publish",
            "report",
            "telemetry",
        ],
    ),
    (
        "watch",
        &["consumer", "contract", "error_kind", "jitter", "link", "nats", "report", "telemetry", "topology"],
    ),
    ("durables", &["contract", "dead_letter", "error_kind", "link", "nats", "publish"]),
    ("explain", &["contract", "dead_letter", "dedupe", "durables", "link", "nats", "report"]),
    (
        "bridge",
        &[
            "consumer",
            "contract",
            "dead_letter",
            "dedupe",
            "durables",
            "explain",
            "link",
            "nats",
            "publish",
            "topology",
            "watch",
        ],
    ),
    ("acl", &["consumer", "contract", "dedupe", "nats", "topology", "watch"]),
    (
        "console",
        &["acl", "bridge", "contract", "dead_letter", "durables", "nats", "report", "topology", "watch"],
    ),
    (
        "outbox",
        &["bridge", "contract", "error_kind", "jitter", "nats", "publish", "report", "sql", "telemetry"],
    ),
    ("schema", &["contract", "dead_letter", "topology"]),
    (
        "testing",
        &[
            "bridge",
            "contract",
            "dead_letter",
            "dedupe",
            "durables",
            "explain",
            "nats",
            "publish",
            "report",
            "topology",
        ],
    ),
];

const CONSUMER_PARTS: [&str; 3] = ["checks", "delivery", "receive"];

/// An arrow from a room to a room that it uses.
type Arrow = (String, String);

/// All arrows of the library, each with a file that has it.
fn arrows() -> BTreeMap<Arrow, String> {
    let reexports = reexports();
    let mut arrows = BTreeMap::new();
    let src = support::root().join("src");
    for path in super::tidy::files("src", &["rs"]) {
        let name = path.strip_prefix(&src).unwrap().with_extension("").to_string_lossy().into_owned();
        if name == "lib" || name.starts_with("docs/") || name.starts_with("bin/") || name.ends_with("_tests")
        {
            continue;
        }
        let room = room(&name.split('/').collect::<Vec<_>>(), &reexports);
        for used in used(&fs::read_to_string(&path).unwrap(), &reexports) {
            if used != room {
                arrows.entry((room.clone(), used)).or_insert_with(|| name.clone());
            }
        }
    }
    arrows
}

/// The rooms that a file names, its unit tests left out.
fn used(text: &str, reexports: &BTreeMap<String, String>) -> BTreeSet<String> {
    let tests = ["mod", "pub(crate) mod"].map(|start| format!("\n#[cfg(test)]\n{start} tests {{"));
    let end = tests.iter().filter_map(|tests| text.find(tests)).min().unwrap_or(text.len());
    let lines = text[..end].lines().map(|line| line.split("//").next().unwrap());
    let code = lines.collect::<Vec<_>>().join("\n").replace("$crate::", "");
    let mut used = BTreeSet::new();
    for (at, start) in code.match_indices("crate::") {
        let mut paths = Vec::new();
        expand(&code[at + start.len()..], &[], &mut paths);
        used.extend(paths.iter().map(|path| room(path, reexports)));
    }
    used
}

/// Collects the paths of a tree of imports, and returns what follows it.
fn expand<'a>(text: &'a str, before: &[&'a str], paths: &mut Vec<Vec<&'a str>>) -> &'a str {
    let text = text.trim_start();
    if let Some(mut rest) = text.strip_prefix('{') {
        loop {
            rest = rest.trim_start().trim_start_matches(',').trim_start();
            if let Some(rest) = rest.strip_prefix('}') {
                return rest;
            }
            let after = expand(rest, before, paths);
            assert!(after.len() < rest.len(), "not a tree of imports: {rest}");
            rest = after;
        }
    }
    let length = text.find(|c: char| !c.is_alphanumeric() && c != '_' && c != '*').unwrap_or(text.len());
    let (word, rest) = text.split_at(length);
    let path = [before, &[word]].concat();
    if let Some(rest) = rest.strip_prefix("::") {
        return expand(rest, &path, paths);
    }
    paths.push(path);
    // The new name of `x as y`.
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    rest.strip_prefix(" as ").map_or(rest, |rest| rest.trim_start_matches(is_part))
}

fn room(path: &[&str], reexports: &BTreeMap<String, String>) -> String {
    match path {
        ["consumer", part, ..] if CONSUMER_PARTS.contains(part) => format!("consumer::{part}"),
        [name, ..] => reexports.get(*name).cloned().unwrap_or_else(|| (*name).to_owned()),
        [] => panic!("a path has a word"),
    }
}

/// The names at the root of the crate, each with the room that it comes from.
fn reexports() -> BTreeMap<String, String> {
    let lib = fs::read_to_string(support::root().join("src/lib.rs")).unwrap();
    let mut found = BTreeMap::from([("dedupe_conformance".to_owned(), "testing".to_owned())]);
    for (at, start) in lib.match_indices("\npub use ") {
        let mut paths = Vec::new();
        expand(&lib[at + start.len()..], &[], &mut paths);
        found.extend(paths.iter().map(|path| (path.last().unwrap().to_string(), path[0].to_owned())));
    }
    found
}

fn table() -> BTreeSet<Arrow> {
    let rows = ROOMS.iter();
    rows.flat_map(|(room, uses)| uses.iter().map(|used| ((*room).to_owned(), (*used).to_owned()))).collect()
}

#[test]
fn a_room_uses_only_what_the_table_says() {
    let (table, arrows) = (table(), arrows());
    for ((room, used), file) in &arrows {
        let arrow = (room.clone(), used.clone());
        assert!(table.contains(&arrow), "src/{file}.rs: `{room}` may not use `{used}`");
    }
    for arrow in &table {
        assert!(arrows.contains_key(arrow), "strike {arrow:?} from the table: no file has it any more");
    }
}

#[test]
fn the_table_points_one_way() {
    let place = |name: &str| ROOMS.iter().position(|(room, _)| *room == name).expect(name);
    for (room, used) in table() {
        let within_consumer = [&room, &used].iter().all(|room| room.starts_with("consumer"));
        assert!(
            within_consumer || place(&used) < place(&room),
            "`{room}` is listed before `{used}`, which it uses"
        );
    }
}

#[test]
fn every_room_is_in_the_table() {
    let entries = fs::read_dir(support::root().join("src")).unwrap();
    let names = entries.map(|entry| entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned());
    let found: BTreeSet<_> = names.filter(|name| !["bin", "docs", "lib"].contains(&name.as_str())).collect();
    let listed = ROOMS.iter().map(|(room, _)| (*room).to_owned()).filter(|room| !room.contains(':'));
    assert_eq!(found, listed.collect());
}

#[test]
fn the_contract_knows_neither_runtime_nor_client() {
    let files = super::tidy::files("src/contract", &["rs"]).into_iter();
    for path in files.chain([support::root().join("src/consumer/delivery/decide.rs")]) {
        let text = fs::read_to_string(&path).unwrap();
        for foreign in ["tokio::", "async_nats::", "async fn", "std::fs", "std::net"] {
            assert!(!text.contains(foreign), "{} has {foreign}", path.display());
        }
    }
}

#[test]
fn arrows_are_found_however_they_are_written() {
    let reexports = BTreeMap::from([("EventBridge".to_owned(), "bridge".to_owned())]);
    let text = "//! `crate::schema`
use crate::{
    EventBridge,
    consumer::{Order as O, checks::{self, gap::Gap}},
    nats,
};
fn f() -> crate::sql::Error { $crate::outbox::f() }

#[cfg(test)]
mod tests {
    use crate::acl;
}";
    let found: Vec<_> = used(text, &reexports).into_iter().collect();
    assert_eq!(found, ["bridge", "consumer", "consumer::checks", "nats", "sql"]);
}
