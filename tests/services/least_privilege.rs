//! Each example and tool, run as the user that `strattctl permissions` prints for it.

use async_nats::{Client, ConnectOptions, HeaderMap, jetstream};
use serde_json::{Value, json};
use std::process::Stdio;
use stratt_event_bridge::{
    Envelope, EventBridge,
    acl::Inbox,
    async_nats,
    testing::NatsServer,
    topology::{Topology, TwoAccounts},
};
use support::{Orchestrator, eventually, example, published, source, strattctl, without_settings};
use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    process::{Child, ChildStdout},
};

const USERS: [&str; 6] = ["orchestrator", "catalogue", "desk", "deploy", "choco-admin", "choco-reader"];

/// A server that was started with what is printed.
struct Printed {
    server: NatsServer,
    text: String,
}

impl Printed {
    async fn start() -> Self {
        let output = without_settings(strattctl()).arg("permissions").output().await.unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let variable = |user: &str| user.to_uppercase().replace('-', "_");
        let passwords = USERS.map(|user| format!("{}_PASSWORD: pw\n", variable(user))).concat();
        let server = NatsServer::builder().config(passwords).config(&text).start().await.unwrap();
        let printed = Self { server, text };
        let accounts = TwoAccounts::new("STRATT", "CHOCO").unwrap();
        for (user, topology) in [
            ("deploy", Topology::default().without_choco()),
            ("choco-admin", Topology::default().only_choco(&accounts)),
        ] {
            let bridge = EventBridge::new(printed.connect(user).await, source());
            bridge.provision(&topology).await.unwrap();
        }
        printed
    }

    async fn connect(&self, user: &str) -> Client {
        let options = ConnectOptions::with_user_and_password(user.into(), "pw".into());
        let inbox = Inbox::of_user(user).unwrap();
        options.custom_inbox_prefix(inbox.prefix()).connect(self.server.url()).await.unwrap()
    }

    /// Returns the settings by which a program connects as a user, as the comments document them.
    fn settings(&self, program: &str, user: &str) -> Vec<(&str, &str)> {
        let user = format!("NATS_USER={user} ");
        let line = self.text.lines().find_map(|line| {
            let settings = line.strip_prefix("# ")?.strip_prefix(program)?.strip_prefix(": ")?;
            settings.starts_with(&user).then_some(settings)
        });
        let mut settings: Vec<_> =
            line.unwrap().split(' ').map(|setting| setting.split_once('=').unwrap()).collect();
        settings.extend([("NATS_URL", self.server.url()), ("NATS_PASSWORD", "pw")]);
        settings
    }

    /// Returns the permission violations so far.
    fn refused(&self) -> Vec<String> {
        let log = std::fs::read_to_string(self.server.folder().join("nats-server.log")).unwrap();
        log.lines().filter(|line| line.contains("Violation")).map(str::to_owned).collect()
    }
}

/// The example `choco_adapter` as a process.
struct Adapter(Child, Lines<BufReader<ChildStdout>>);

impl Adapter {
    async fn start(settings: &[(&str, &str)]) -> Self {
        let mut adapter = without_settings(example("choco_adapter"));
        let mut adapter = adapter.envs(settings.iter().copied()).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(adapter.stdout.take().unwrap()).lines();
        let mut adapter = Self(adapter, lines);
        adapter.until("adapter is ready").await;
        adapter
    }

    async fn until(&mut self, message: &str) -> Value {
        let mut before = Vec::new();
        loop {
            let Some(line) = self.1.next_line().await.unwrap() else { panic!("it ended: {before:#?}") };
            let line: Value = serde_json::from_str(&line).unwrap();
            if line["fields"]["message"] == message {
                return line["fields"].clone();
            }
            before.push(line);
        }
    }

    async fn stop(mut self) {
        support::signal(&self.0, "-TERM").await;
        self.until("adapter has drained").await;
        assert!(self.0.wait().await.unwrap().success());
    }
}

/// Stores two dead letters: one of the adapter for an invalid event, and one that can be redriven.
async fn two_letters(printed: &Printed) {
    let garbage = jetstream::new(printed.connect("orchestrator").await);
    garbage.publish("strat.dev.unit.published", "garbage".into()).await.unwrap().await.unwrap();
    let envelope = Envelope::builder(published("b", 2), source()).build().unwrap();
    let mut headers = HeaderMap::new();
    headers.insert("Strat-Dead-Letter-Subject", envelope.subject());
    headers.insert("Strat-Dead-Letter-Consumer", "catalogue");
    headers.insert("Strat-Dead-Letter-Reason", "exhausted");
    headers.insert("Strat-Dead-Letter-Stream", "STRATT_EVENTS");
    headers.insert("Strat-Dead-Letter-Sequence", "2");
    let subject = "stratt.dlq.catalogue.dev.unit.published";
    let catalogue = jetstream::new(printed.connect("catalogue").await);
    let written = catalogue.publish_with_headers(subject, headers, envelope.encode().unwrap().into());
    written.await.unwrap().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_program_works_as_the_user_that_is_printed_for_it() {
    let printed = Printed::start().await;
    // Creates what the next program finds.
    Adapter::start(&printed.settings("choco_adapter", "deploy")).await.stop().await;
    let mut adapter = Adapter::start(&printed.settings("choco_adapter", "catalogue")).await;

    let folder = tempfile::tempdir().unwrap();
    let database = format!("sqlite:{}", folder.path().join("orchestrator.db").display());
    let mut settings = printed.settings("orchestrator-http", "orchestrator");
    settings.push(("DATABASE_URL", &database));
    let service = Orchestrator::start_with(&settings).await;
    let body = json!({ "uri": "strat://dev/rule/a@1.0.0", "content": "x" }).to_string();
    assert_eq!(service.post("/units", body).await.status, 201);
    let readiness = service.get("/readyz").await;
    assert_eq!(readiness.status, 200, "{readiness:?}");
    assert_eq!(adapter.until("listed").await["uri"], "strat://dev/rule/a@1.0.0");
    let published = async || service.metric("orchestrator_relay_published_total").await;
    eventually("published events", published, |count| count == "1").await;
    assert_eq!(service.stop().await, "orchestrator has drained");

    two_letters(&printed).await;
    let settings = printed.settings("strattctl", "desk");
    let tool = async |arguments: &str| {
        let mut tool = without_settings(strattctl());
        let output = tool.envs(settings.clone()).args(arguments.split(' ')).output().await.unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        assert!(output.status.success(), "{arguments}: {}", text(output.stderr));
        text(output.stdout)
    };
    let listed = async || tool("dead-letters list").await.lines().count();
    eventually("dead letters", listed, |count| *count == 2).await;
    let of = async |reason: &str| {
        let line = tool(&format!("dead-letters list --reason {reason}")).await;
        line.split_whitespace().next().unwrap().to_owned()
    };
    tool("dead-letters redrive --all").await;
    let invalid = of("invalid").await;
    tool(&format!("dead-letters show {invalid}")).await;
    tool(&format!("dead-letters discard {invalid} --yes")).await;
    tool(&format!("dead-letters redrive {} --yes", of("exhausted").await)).await;
    assert_eq!(adapter.until("listed").await["uri"], "strat://dev/rule/b@1.0.0");
    let followed = tool("tail --name desk --from oldest --count 2").await;
    assert_eq!(followed.lines().count(), 2, "{followed}");
    adapter.stop().await;
    assert_eq!(printed.refused(), [""; 0]);
}
