//! `strattctl` as operators and their scripts use it: all its commands but those about dead letters.

use futures::StreamExt;
use serde_json::{Value, json};
use std::{process::Stdio, sync::Arc};
use stratt_event_bridge::{
    Delivery, Event, EventBridge, Feed, HandlerError, UnitPublished,
    dedupe::KvStoreOptions,
    testing::NatsServer,
    topology::{DEAD_LETTER_STREAM, StreamSettings, Topology},
};
use support::{
    DEADLINE, Running, Stage, eventually, published, quick, raw_publish, source, strattctl, without_settings,
};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::Command,
    time::timeout,
};

fn tool(url: &str, arguments: &str) -> Command {
    let mut command = without_settings(strattctl());
    command.env("NATS_URL", url).args(arguments.split_whitespace());
    command
}

/// Returns the exit code and the output of the tool.
async fn run(url: &str, arguments: &str) -> (i32, String, String) {
    let output = tool(url, arguments).output().await.unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

async fn run_json(url: &str, arguments: &str) -> (i32, Vec<Value>) {
    let (code, lines, complaint) = run(url, &format!("--json {arguments}")).await;
    let parsed = lines.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}")));
    assert!(!complaint.contains("panicked"), "{complaint}");
    (code, parsed.collect())
}

/// Runs a consumer that fails what it is given, with a store in JetStream.
async fn failing(stage: &Stage, name: &str) -> Running {
    let store = Arc::new(stage.bridge.create_kv_store(KvStoreOptions::default()).await.unwrap());
    let consumer = stage.bridge.consumer(name, store).options(quick());
    let consumer = consumer.on(|delivery: Delivery<UnitPublished>| async move {
        if delivery.event().uri.to_string().contains("bad") {
            return Err(HandlerError::reject("not for us"));
        }
        Ok(())
    });
    Running::start(consumer.build().await.unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_status_has_streams_forwarding_and_durables() {
    let stage = Stage::since(11).await;
    let url = stage.server.url();
    let running = failing(&stage, "catalogue").await;
    stage.bridge.publish(published("good", 1)).await.unwrap();
    stage.all_answered(Feed::Strat, "catalogue").await;
    let (code, lines, complaint) = run(url, "status").await;
    assert_eq!((code, complaint.as_str()), (0, ""), "{lines}");
    for wanted in
        ["server ", "STRATT_EVENTS    1 messages", "forwarding ", "catalogue: 0 pending, 0 unanswered"]
    {
        assert!(lines.contains(wanted), "{wanted}: {lines}");
    }
    let (code, status) = run_json(url, "status").await;
    assert_eq!((code, &status[0]["is_connected"]), (0, &true.into()));
    assert_eq!(status[0]["streams"][0]["messages"], 1);
    let durable = &status[0]["durables"][0];
    assert_eq!((&durable["name"], &durable["stream"]), (&"catalogue".into(), &"STRATT_EVENTS".into()));
    assert_eq!((&durable["pending"], &durable["paused_seconds"]), (&0.into(), &Value::Null));
    running.stop().await;

    let (code, paused) = run_json(url, "consumer pause catalogue --for 10m").await;
    assert_eq!((code, &paused[0]["paused"]), (0, &true.into()));
    let (_, status) = run_json(url, "status").await;
    assert!(status[0]["durables"][0]["paused_seconds"].as_u64().is_some_and(|left| left > 500), "{status:?}");
    let (code, resumed, _) = run(url, "consumer resume catalogue").await;
    assert_eq!((code, resumed.as_str()), (0, "catalogue of STRATT_EVENTS is not paused\n"));
    let (code, planned, complaint) =
        run(url, "consumer replay catalogue --from 2026-01-01T00:00:00Z --epoch 5").await;
    assert_eq!((code, planned.as_str()), (0, "1 events would be replayed for catalogue of STRATT_EVENTS\n"));
    assert_eq!(complaint, "strattctl: nothing is done without --yes\n");
    let (code, replayed) =
        run_json(url, "consumer replay catalogue --from 2026-01-01T00:00:00Z --epoch 5 --yes").await;
    assert_eq!((code, &replayed[0]["replayed"], &replayed[0]["epoch"]), (0, &1.into(), &5.into()));
    assert_eq!(run(url, "consumer replay catalogue --from yesterday").await.0, 2);
    let (code, _, complaint) = run(url, "consumer resume other").await;
    let wanted = "strattctl: durable other of STRATT_EVENTS does not exist: `strattctl status` lists them\n";
    assert_eq!((code, complaint.as_str()), (1, wanted));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_are_provisioned_only_when_it_is_confirmed() {
    let server = NatsServer::start().await.unwrap();
    let url = server.url();
    let (code, lines, _) = run(url, "status").await;
    assert!(code == 1 && lines.contains("missing: `strattctl provision --yes` creates it"), "{lines}");
    assert_eq!(run(url, "verify").await.0, 1);
    let (_, _, complaint) = run(url, "provision").await;
    assert!(complaint.contains("STRATT_EVENTS") || complaint.contains("--yes"), "{complaint}");
    let bridge = EventBridge::new(server.connect().await.unwrap(), source());
    assert!(bridge.verify(&Topology::default()).await.is_err());
    assert_eq!(run(url, "provision --yes").await.0, 0);
    bridge.verify(&Topology::default()).await.unwrap();
    assert_eq!(run(url, "verify").await.0, 0);
    let (code, differences) = run_json(url, "verify --max-age 10d").await;
    assert_eq!((code, &differences[0]["field"]), (1, &"max_age".into()), "{differences:?}");
    let (code, lines, complaint) = run(url, "provision --max-age 10d").await;
    assert!(code == 0 && lines.contains("max_age") && complaint.contains("nothing is done"), "{lines}");
    bridge.verify(&Topology::default()).await.unwrap();
    for heal in ["heal", "heal --yes"] {
        let (code, _, complaint) = run(url, heal).await;
        assert!(code == 0 && complaint.contains("nothing is owed"), "{heal}: {complaint}");
    }
    let full = "CHOCO_STRATT is full";
    let one = StreamSettings::default().with_max_messages(1);
    bridge.provision(&Topology::default().with_choco(one)).await.unwrap();
    for number in 1..=2 {
        bridge.publish(published("unit", number)).await.unwrap();
    }
    let status = || run(url, "status");
    eventually("full", status, |(code, lines, _)| *code == 1 && lines.contains(full)).await;
    let (code, lines, complaint) = run(url, "heal --yes").await;
    assert!(code == 1 && lines.contains(full) && complaint.contains("healing is of no use"), "{complaint}");
    let (code, _, complaint) = run(url, "verify").await;
    assert!(code == 1 && complaint.contains("`strattctl provision --yes` changes them"), "{complaint}");
}

#[tokio::test]
async fn streams_are_written_down_without_a_broker() {
    let nowhere = "nats://127.0.0.1:1";
    let topology = Topology::default().with_replicas(3).with_batches(true);
    let arguments = "provision --replicas 3 --batches --render";
    let (code, streams) = run_json(nowhere, &format!("{arguments} json")).await;
    assert_eq!((code, streams), (0, topology.to_json().unwrap()));
    let (code, resources, _) = run(nowhere, &format!("{arguments} nack")).await;
    assert_eq!((code, resources), (0, topology.to_nack().unwrap()));
    let (code, _, complaint) = run(nowhere, "provision --durable-source --render json").await;
    assert_eq!((code, complaint.lines().count()), (1, 1), "{complaint}");
    assert_eq!(run(nowhere, &format!("{arguments} nack --yes")).await.0, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_are_followed_and_hostile_ones_are_escaped() {
    let stage = Stage::new().await;
    let url = stage.server.url();
    stage.bridge.publish(published("unit", 1)).await.unwrap();
    raw_publish(url, b"strat.dev.unit.published", b"", b"\xff\x1b[2J").await;
    let long = "\u{1b}[2J\u{9b}x".repeat(18_000);
    let mut evil = published("unit", 2);
    evil.actor = Some(long);
    stage.bridge.publish(evil).await.unwrap();
    let (code, lines, complaint) = run(url, "tail --from oldest --count 3").await;
    assert_eq!((code, complaint.as_str(), lines.lines().count()), (0, "", 3));
    assert!(!lines.contains(['\u{1b}', '\u{9b}']));
    assert!(lines.lines().nth(1).unwrap().contains("event cannot be decoded"), "{lines:.300}");
    let (code, events) = run_json(url, "tail --from 2 --count 2").await;
    assert_eq!((code, &events[0]["sequence"], &events[1]["sequence"]), (0, &2.into(), &3.into()));
    assert!(events[0]["error"].is_string() && events[1]["envelope"]["payload"]["actor"].is_string());

    // What is forwarded after the tail has begun would be live.
    let choco = stage.stream(Feed::Choco).await;
    let forwarded = || async { choco.get_info().await.unwrap().state.messages };
    eventually("forwarded", forwarded, |forwarded| *forwarded == 3).await;
    let mut tail = tool(url, "tail --json --feed choco --type unit.published --domain dev");
    let mut tail = tail.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(tail.stdout.take().unwrap()).lines();
    let feed = stage.stream(Feed::Choco).await;
    let names = || async { feed.consumer_names().collect::<Vec<_>>().await.len() };
    eventually("temporary consumer", names, |names| *names == 1).await;
    stage.bridge.publish(published("unit", 3)).await.unwrap();
    let line = timeout(DEADLINE, lines.next_line()).await.expect("a line").unwrap().unwrap();
    let line: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(line["envelope"]["eventType"], "unit.published");
    support::signal(&tail, "-INT").await;
    let ended = timeout(DEADLINE, tail.wait()).await.expect("it ends");
    assert_eq!(ended.unwrap().code(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_way_of_an_event_is_explained() {
    let stage = Stage::new().await;
    let url = stage.server.url();
    let running = failing(&stage, "catalogue").await;
    let (good, bad) = (published("good", 1), published("bad", 2));
    let (good_key, bad_key) = (good.idempotency_key().to_string(), bad.idempotency_key().to_string());
    stage.bridge.publish(good).await.unwrap();
    stage.bridge.publish(bad).await.unwrap();
    stage.dead_letters_are(1).await;
    stage.all_answered(Feed::Strat, "catalogue").await;
    let choco = stage.stream(Feed::Choco).await;
    let forwarded = || async { choco.get_info().await.unwrap().state.messages };
    eventually("forwarded", forwarded, |forwarded| *forwarded == 2).await;

    let (code, explained) = run_json(url, &format!("explain {good_key}")).await;
    let explained = &explained[0];
    assert_eq!((code, &explained["key"]), (0, &good_key.clone().into()));
    assert_eq!(
        (&explained["stored"][0]["sequence"], &explained["forwarded"][0]["sequence"]),
        (&1.into(), &1.into())
    );
    let way = &explained["durables"][0];
    assert_eq!((&way["name"], &way["delivery"]), (&"catalogue".into(), &"answered".into()));
    assert_eq!((&way["slot"], &explained["deadLetters"]), (&"settled".into(), &json!([])));

    let (code, lines, _) = run(url, &format!("explain {bad_key}")).await;
    assert!(code == 0 && lines.contains("dead letter 1 of catalogue: rejected: not for us"), "{lines}");
    assert_eq!(run(url, "dead-letters redrive 1 --yes").await.0, 0);
    stage.dead_letters_are(1).await;
    let (_, explained) = run_json(url, &format!("explain {bad_key}")).await;
    assert_eq!(explained[0]["redrives"][0]["sequence"], 3, "{explained:?}");
    running.stop().await;
    let unknown = published("other", 9).idempotency_key();
    let (code, _, complaint) = run(url, &format!("explain {unknown}")).await;
    assert_eq!((code, complaint), (1, format!("strattctl: no event with the key {unknown} is stored\n")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_redrive_of_a_group_leaves_out_is_said() {
    let stage = Stage::new().await;
    let url = stage.server.url();
    let running = failing(&stage, "catalogue").await;
    stage.bridge.publish(published("bad", 1)).await.unwrap();
    stage.dead_letters_are(1).await;
    let (code, _, complaint) = run(url, "dead-letters redrive 1 --yes").await;
    assert!(code == 0 && complaint.contains("1 redriven; whether they are handled now"), "{complaint}");
    let letters = || async { stage.dead_letters().await };
    eventually("fails again", letters, |all| all.first().is_some_and(|one| one.sequence() == 2)).await;
    let (_, groups) = run_json(url, "dead-letters groups").await;
    let redrive = format!("dead-letters redrive --group {}", groups[0]["group"].as_str().unwrap());
    let left_out = "1 left out that failed again after a redrive: add --again";
    let (code, planned, complaint) = run(url, &redrive).await;
    assert!(code == 0 && planned.is_empty() && complaint.contains(left_out), "{complaint}");
    let (code, _, complaint) = run(url, &format!("{redrive} --yes")).await;
    assert!(code == 1 && complaint.contains(left_out), "{complaint}");
    let (code, planned, _) = run(url, &format!("{redrive} --again")).await;
    assert_eq!((code, planned.as_str()), (0, "2 would be redriven\n"));
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_is_redriven_behind_its_canary() {
    let stage = Stage::new().await;
    let url = stage.server.url();
    let running = failing(&stage, "catalogue").await;
    for number in 1..=3 {
        stage.bridge.publish(published(&format!("bad-{number}"), number)).await.unwrap();
    }
    stage.dead_letters_are(3).await;
    running.stop().await;
    let (code, groups) = run_json(url, "dead-letters groups").await;
    assert_eq!((code, groups.len(), &groups[0]["count"]), (0, 1, &3.into()));
    let id = groups[0]["group"].as_str().unwrap();
    let (code, plan, complaint) = run(url, &format!("dead-letters redrive --group {id}")).await;
    assert_eq!((code, plan.lines().count()), (0, 3));
    assert!(complaint.contains("nothing is done without --yes"), "{complaint}");
    let mended = stage.bridge.create_kv_store(KvStoreOptions::default()).await.unwrap();
    let mended = stage.bridge.consumer("catalogue", Arc::new(mended)).options(quick());
    let mended = mended.on(|_: Delivery<UnitPublished>| async { Ok(()) }).build().await.unwrap();
    let running = Running::start(mended);
    let (code, redriven) =
        run_json(url, &format!("dead-letters redrive --group {id} --interval 5ms --yes")).await;
    assert_eq!((code, redriven.len()), (0, 3), "{redriven:?}");
    assert!(redriven.iter().all(|one| one["outcome"] == "redriven"), "{redriven:?}");
    stage.dead_letters_are(0).await;
    running.stop().await;
    let (code, _, complaint) = run(url, &format!("dead-letters discard --group {id} --yes")).await;
    assert!(
        code == 1 && complaint.contains("not found: `strattctl dead-letters groups` lists them"),
        "{complaint}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_stream_or_broker_is_one_line_with_the_cure() {
    let server = NatsServer::start().await.unwrap();
    for (arguments, wanted) in [
        ("tail", "stream STRATT_EVENTS does not exist: provision the topology first"),
        ("heal", "CHOCO_STRATT"),
        ("dead-letters list", DEAD_LETTER_STREAM),
    ] {
        let (code, out, complaint) = run(server.url(), arguments).await;
        assert!(code != 0 && out.is_empty() && complaint.lines().count() == 1, "{arguments}: {complaint}");
        assert!(complaint.contains(wanted), "{arguments}: {complaint}");
    }
    for arguments in ["status", "tail", "verify", "heal", "consumer resume c", "dead-letters groups"] {
        let (code, out, complaint) = run("nats://op:s3cret@127.0.0.1:1", arguments).await;
        assert_eq!((code, out.as_str(), complaint.lines().count()), (3, "", 1), "{arguments}: {complaint}");
        assert!(complaint.contains("no broker at nats://127.0.0.1:1") && !complaint.contains("s3cret"));
    }
    let without = NatsServer::builder().without_jetstream().start().await.unwrap();
    let (code, _, complaint) = run(without.url(), "status").await;
    assert!(code == 3 && complaint.contains("JetStream"), "{complaint}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn completions_and_the_contract_need_no_broker() {
    let (code, script, _) = run("nats://127.0.0.1:1", "completions bash").await;
    assert!(code == 0 && script.contains("_strattctl") && script.contains("dead-letters"), "{code}");
    let folder = tempfile::tempdir().unwrap();
    let arguments = format!("contract {}", folder.path().join("schema").display());
    assert_eq!(run("nats://127.0.0.1:1", &arguments).await, (0, String::new(), String::new()));
    assert_eq!(std::fs::read_dir(folder.path().join("schema")).unwrap().count(), 9);
    let (code, printed) = run_json("nats://127.0.0.1:1", "permissions").await;
    assert!(code == 0 && printed[0]["config"].as_str().unwrap().contains("accounts {"));
}
