//! `strattctl outbox`: the events of an outbox that were quarantined.

use serde_json::Value;
use stratt_event_bridge::{
    Envelope,
    outbox::{OutboxOptions, OutboxStatus},
};
use support::{Outbox, database, published, source, sqlite_pool_on, strattctl, without_settings};

/// Returns the exit code, the output and the complaint of the tool.
async fn run(database: &str, arguments: &str) -> (i32, String, String) {
    let mut tool = without_settings(strattctl());
    let arguments = format!("outbox {arguments}");
    let output =
        tool.env("DATABASE_URL", database).args(arguments.split_whitespace()).output().await.unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn quarantined_events_are_listed_retried_and_dropped() {
    support::needs!(Postgres);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("events.db");
    let (postgres, sqlite) = (database().await, format!("sqlite:{}", file.display()));
    let outboxes = [
        (Outbox::postgres(&postgres, OutboxOptions::default()).await, postgres),
        (Outbox::sqlite(sqlite_pool_on(&file).await, OutboxOptions::default()).await, sqlite),
    ];
    for (outbox, url) in outboxes {
        let events =
            (1..=3).map(|number| Envelope::builder(published("a", number), source()).build().unwrap());
        outbox.enqueue(&events.collect::<Vec<_>>(), true).await;
        assert_eq!(run(&url, "list").await, (0, String::new(), String::new()));
        outbox.run("UPDATE stratt_outbox SET state = 2, error = 'too \u{1b}[31mlarge'").await;
        let (code, status, _) = run(&url, "status").await;
        assert_eq!((code, status.as_str()), (1, "outbox      0 pending; 3 quarantined\n"));

        let (code, listed, complaint) = run(&url, "list --json").await;
        assert_eq!((code, complaint.as_str()), (1, ""));
        let listed: Vec<Value> = listed.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!((listed.len(), &listed[0]["subject"]), (3, &"strat.dev.unit.published".into()));
        let id = listed[0]["id"].as_i64().unwrap();
        let (_, shown, complaint) = run(&url, &format!("drop {id}")).await;
        assert!(shown.starts_with(&format!("{id} ")) && shown.ends_with("too \\u{1b}[31mlarge\n"), "{shown}");
        assert_eq!(complaint, "strattctl: nothing is done without --yes\n");

        let (code, _, complaint) = run(&url, &format!("drop {id} --yes")).await;
        assert_eq!((code, complaint.as_str()), (0, "strattctl: 1 removed\n"));
        let (code, _, complaint) = run(&url, &format!("retry {id} --yes")).await;
        assert_eq!((code, complaint.as_str()), (1, "strattctl: 0 pending again; 1 are not quarantined\n"));
        let (code, _, complaint) = run(&url, "retry --all --yes").await;
        assert_eq!((code, complaint.as_str()), (0, "strattctl: 2 pending again\n"));
        let OutboxStatus { pending, quarantined, .. } = outbox.status().await;
        assert_eq!((pending, quarantined), (2, 0));
    }
}

#[tokio::test]
async fn a_database_that_fails_is_one_line_without_its_password() {
    for (url, code, wanted) in [
        ("postgres://desk:s3cret@127.0.0.1:1/units", 3, "strattctl: "),
        ("mysql://desk:s3cret@127.0.0.1/units", 2, "names a database that this tool was not built for"),
        ("", 2, "DATABASE_URL is not set"),
    ] {
        let (ended, _, complaint) = run(url, "status").await;
        assert_eq!(ended, code, "{complaint}");
        assert!(complaint.contains(wanted) && complaint.lines().count() == 1, "{complaint}");
        assert!(!complaint.contains("s3cret"), "{complaint}");
    }
}
