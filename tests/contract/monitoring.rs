//! Rules and dashboard under `examples/monitoring`: they read metrics and labels that the catalogue has, and each alert
//! is tested and names a section of the guide. The part `alarms` of the gate runs the rules.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

/// The labels that Prometheus adds, and the parts of a histogram.
const OF_PROMETHEUS: [&str; 2] = ["job", "instance"];
const PARTS: [&str; 3] = ["_bucket", "_count", "_sum"];

const RUNBOOK: &str =
    "https://docs.rs/stratt-event-bridge/latest/stratt_event_bridge/docs/operating/index.html#";

fn read(path: &str) -> String {
    fs::read_to_string(support::root().join(path)).unwrap()
}

/// The rows of the catalogue by the names of their metrics.
fn catalogue() -> BTreeMap<String, String> {
    let page = read("src/docs/observing.md");
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `stratt_")?.split_once("` | "));
    rows.map(|(name, row)| (format!("stratt_{name}"), row.to_owned())).collect()
}

fn is_of_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// The names of metrics in a text; those of series in tests and dashboards end where their labels begin. A name of an
/// outbox's table is a value and stands in quotes.
fn metrics(text: &str) -> Vec<&str> {
    let starts = text.match_indices("stratt_").map(|(start, _)| start);
    let starts = starts.filter(|start| !text[..*start].ends_with(|c| is_of_word(c) || c == '"' || c == '/'));
    starts.map(|start| text[start..].split(|c| !is_of_word(c)).next().unwrap()).collect()
}

/// The row of a metric; of a histogram, the row of the whole.
fn row<'a>(catalogue: &'a BTreeMap<String, String>, name: &str) -> Option<&'a str> {
    let whole = PARTS.iter().find_map(|part| name.strip_suffix(part));
    let histogram = whole.and_then(|whole| catalogue.get(whole)).filter(|row| row.starts_with("histogram"));
    catalogue.get(name).or(histogram).map(String::as_str)
}

/// The labels that a query groups by or selects.
fn labels(query: &str) -> BTreeSet<&str> {
    let grouped = ["by (", "on ("].iter().flat_map(|word| query.split(word).skip(1));
    let grouped = grouped.flat_map(|rest| rest.split(')').next().unwrap().split(", "));
    let selectors = query.split('{').skip(1).map(|rest| rest.split('}').next().unwrap());
    let selected =
        selectors.flat_map(|selector| selector.split(',').map(|one| one.split('=').next().unwrap()));
    grouped.chain(selected).map(str::trim).collect()
}

/// Returns what a query misses in the catalogue: metrics, and labels that none of its metrics has.
fn missing(catalogue: &BTreeMap<String, String>, query: &str) -> Vec<String> {
    let names = metrics(query);
    let unknown = names.iter().filter(|name| row(catalogue, name).is_none()).map(|name| (*name).to_owned());
    let rows: Vec<_> = names.iter().filter_map(|name| row(catalogue, name)).collect();
    let has = |label: &str| {
        OF_PROMETHEUS.contains(&label) || rows.iter().any(|row| row.contains(&format!("`{label}`")))
    };
    let labels = labels(query).into_iter().filter(|label| !has(label)).map(|label| format!("label {label}"));
    unknown.chain(labels).collect()
}

#[derive(Debug, Default)]
struct Alert {
    name: String,
    query: String,
    keys: BTreeSet<String>,
    runbook: String,
}

/// The alerts of the rules, read by their lines.
fn alerts() -> Vec<Alert> {
    let text = read("examples/monitoring/alerts.yml");
    let alerts = text.split("      - alert: ").skip(1).map(|part| {
        let mut alert = Alert { name: part.lines().next().unwrap().to_owned(), ..Alert::default() };
        let (expression, rest) = part.split_once("        labels:\n").unwrap();
        alert.query = expression.split_once("expr: ").unwrap().1.to_owned();
        for line in rest.lines().filter(|line| !line.starts_with("            ")) {
            let Some((key, value)) = line.trim().split_once(':') else { continue };
            alert.keys.insert(key.to_owned());
            if key == "runbook_url" {
                value.trim().clone_into(&mut alert.runbook);
            }
        }
        alert
    });
    alerts.collect()
}

/// The queries of the dashboard, with the titles of their panels.
fn queries() -> Vec<(String, String)> {
    let dashboard: serde_json::Value =
        serde_json::from_str(&read("examples/monitoring/dashboard.json")).unwrap();
    let mut found = Vec::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        let title = panel["title"].as_str().unwrap();
        let targets = panel["targets"].as_array().into_iter().flatten();
        found.extend(targets.map(|target| (title.to_owned(), target["expr"].as_str().unwrap().to_owned())));
    }
    for variable in dashboard["templating"]["list"].as_array().unwrap() {
        let query = variable["query"]["query"].as_str().unwrap_or_default().replace("__name__", "job");
        found.push((variable["name"].to_string(), query.replace("~\"stratt_.+\"", "")));
    }
    found
}

#[test]
fn rules_and_dashboard_read_what_the_catalogue_has() {
    let catalogue = catalogue();
    assert!(catalogue.len() > 20, "{catalogue:#?}");
    let (alerts, queries) = (alerts(), queries());
    assert!(alerts.len() >= 9 && queries.len() > 20, "{alerts:#?} {queries:#?}");
    let of_alerts = alerts.iter().map(|alert| (&alert.name, &alert.query));
    for (name, query) in of_alerts.chain(queries.iter().map(|(title, query)| (title, query))) {
        assert_eq!(missing(&catalogue, query), [""; 0], "of {name}: {query}");
    }
    // In the tests each series has all labels of its row, and no other.
    let tests = read("examples/monitoring/alerts_test.yml");
    let series = tests.split("series: '").skip(1).map(|rest| rest.split('\'').next().unwrap());
    for series in series.filter(|series| !series.starts_with("up{")) {
        let named = metrics(series)[0];
        let row = row(&catalogue, named).unwrap_or_else(|| panic!("{series}"));
        let cells: Vec<_> = row.split(" | ").collect();
        let known: BTreeSet<_> = ["consumer", "event_type", "outcome", "cause", "reason", "outbox"]
            .into_iter()
            .filter(|label| cells[1].contains(&format!("`{label}`")))
            .chain(OF_PROMETHEUS)
            .collect();
        assert_eq!(labels(series), known, "{series}");
    }
}

#[test]
fn each_alert_is_tested_and_says_where_to_read_on() {
    let guide = read("src/docs/operating.md");
    let tests = read("examples/monitoring/alerts_test.yml");
    let section = guide.split("\n# Alarms\n").nth(1).unwrap().split("\n# ").next().unwrap();
    let mut sections: BTreeSet<_> = super::links::anchors(section).into_iter().collect();
    for Alert { name, keys, runbook, .. } in alerts() {
        for key in ["severity", "summary", "description", "runbook_url"] {
            assert!(keys.contains(key), "{name} has no {key}");
        }
        let anchor = runbook.strip_prefix(RUNBOOK).unwrap_or_else(|| panic!("{name}: {runbook}"));
        assert!(sections.remove(anchor), "{name}: no section of its own at {anchor}");
        assert!(section.contains(&format!("\n`{name}`: ")), "{name} is not named in its section");
        assert!(tests.contains(&format!("alertname=\"{name}\"")), "{name} never fires in a test");
        assert!(tests.contains(&format!("alertname: {name}\n")), "the texts of {name} are not tested");
    }
    assert_eq!(sections, BTreeSet::new(), "no alert leads there");
}

#[test]
fn what_is_not_in_the_catalogue_is_found() {
    let catalogue = catalogue();
    let right = r#"sum by (consumer) (rate(stratt_retries_total{job=~"$job"}[5m])) > 0"#;
    assert_eq!(missing(&catalogue, right), [""; 0]);
    let wrong = r#"max by (outbox) (stratt_retries_total{queue="stratt_outbox"} / stratt_retries_sum)"#;
    assert_eq!(missing(&catalogue, wrong), ["stratt_retries_sum", "label outbox", "label queue"]);
    assert_eq!(missing(&catalogue, "stratt_handler_duration_seconds_sum"), [""; 0]);
}
