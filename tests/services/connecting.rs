//! The connections of the examples and tools, set by the variables that the command `nats` reads.

use std::process::Stdio;
use stratt_event_bridge::{EventBridge, async_nats::ConnectOptions, testing::NatsServer, topology::Topology};
use support::{
    HubAndLeaf, LeafStage, Orchestrator, eventually, example, source, strattctl, without_settings,
};
use tokio::io::{AsyncBufReadExt, BufReader};

/// Starts a server with the three streams that accepts connections with `user`.
async fn guarded(authorization: &str, options: ConnectOptions) -> NatsServer {
    let server = NatsServer::builder().config(format!("authorization {{ {authorization} }}"));
    let server = server.start().await.unwrap();
    let bridge = EventBridge::new(options.connect(server.url()).await.unwrap(), source());
    bridge.provision(&Topology::default()).await.unwrap();
    server
}

/// Runs the tool, and returns its exit code and its error output.
async fn tool(settings: &[(&str, &str)]) -> (i32, String) {
    let mut tool = without_settings(strattctl());
    let output = tool.args(["dead-letters", "list"]).envs(settings.iter().copied()).output().await.unwrap();
    (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
}

const PASSWORD: &str = "p@ss/w:r?d#1,%41";
const ENCODED: &str = "p%40ss%2Fw%3Ar%3Fd%231%2C%2541";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_credentials_of_the_url_are_used_by_all() {
    let options = ConnectOptions::with_user_and_password("op".into(), PASSWORD.into());
    let server = guarded(&format!("user: op, password: \"{PASSWORD}\""), options).await;
    let url = server.url().replace("nats://", &format!("nats://op:{ENCODED}@"));
    // Credentials in the URL take precedence over those beside it, as with `nats`.
    let settings = [("NATS_URL", &*url), ("NATS_USER", "other"), ("NATS_PASSWORD", "wrong")];
    assert_eq!(tool(&settings).await, (0, String::new()));

    let mut adapter = without_settings(example("choco_adapter"));
    let mut adapter = adapter.env("NATS_URL", &url).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(adapter.stdout.take().unwrap()).lines();
    let mut says = async || lines.next_line().await.unwrap().expect("it ended");
    while !says().await.contains("adapter is ready") {}

    let folder = tempfile::tempdir().unwrap();
    let database = format!("sqlite:{}", folder.path().join("orchestrator.db").display());
    let beside = [("NATS_USER", "op"), ("NATS_PASSWORD", PASSWORD)];
    for (url, beside) in [(&*url, &beside[..0]), (server.url(), &beside[..])] {
        let settings = [&[("NATS_URL", url), ("DATABASE_URL", &database)], beside].concat();
        let service = Orchestrator::start_with(&settings).await;
        eventually("ready", async || service.get("/readyz").await.status, |status| *status == 200).await;
        assert_eq!(service.stop().await, "orchestrator has drained");
    }

    let quickstart = without_settings(example("quickstart")).env("NATS_URL", &url).output().await.unwrap();
    let said = String::from_utf8(quickstart.stdout).unwrap();
    assert!(quickstart.status.success() && !said.contains(ENCODED), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_of_servers_is_tried_in_turn() {
    let options = ConnectOptions::with_token("t0ken".into());
    let server = guarded("token: t0ken", options).await;
    let there = server.url().trim_start_matches("nats://");
    for url in [
        format!("nats://t0ken@127.0.0.1:1,nats://t0ken@{there}"),
        format!("t0ken@{there}, t0ken@127.0.0.1:1"),
    ] {
        assert_eq!(tool(&[("NATS_URL", &url)]).await, (0, String::new()));
    }
    let mixed = format!("nats://127.0.0.1:1,nats://t0ken@{there}");
    let (code, complaint) = tool(&[("NATS_URL", &mixed)]).await;
    assert!(code == 3 && complaint.contains("the same user and password"), "{complaint}");
    assert_eq!(tool(&[("NATS_URL", &mixed.replace("t0ken@", "")), ("NATS_USER", "t0ken")]).await.0, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_seed_and_an_inbox_come_from_the_environment() {
    // From the documentation of NATS.
    const SEED: &str = "SUACSSL3UAHUDXKFSNVUZRF5UHPMWZ6BFDTJ7M6USDXIEDNPPQYYYCU3VY";
    const PUBLIC: &str = "UDXU4RCSJNZOIQHZNWXHXORDPRTGNJAHAHFRGZNEEJCPQTT2M7NLCNF4";
    let users = format!(
        "users: [ {{ nkey: {PUBLIC}, permissions: {{ publish: \">\", subscribe: \"_INBOX_desk.>\" }} }} ]"
    );
    let options = ConnectOptions::with_nkey(SEED.into()).custom_inbox_prefix("_INBOX_desk");
    let server = guarded(&users, options).await;
    let folder = tempfile::tempdir().unwrap();
    let seed = folder.path().join("desk.nk");
    std::fs::write(&seed, format!("# the desk\n{SEED}\n")).unwrap();
    let settings = [
        ("NATS_URL", server.url()),
        ("NATS_NKEY", seed.to_str().unwrap()),
        ("NATS_INBOX_PREFIX", "_INBOX_desk"),
    ];
    assert_eq!(tool(&settings).await, (0, String::new()));
    for wrong in ["_INBOX desk", "a..b", ">", "a.*"] {
        let (code, complaint) = tool(&[("NATS_URL", server.url()), ("NATS_INBOX_PREFIX", wrong)]).await;
        assert!(code == 3 && complaint.contains("NATS_INBOX_PREFIX: "), "{wrong}: {complaint}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_find_jetstream_in_the_hub_of_a_leaf_node() {
    let stage = LeafStage::on_leaf(HubAndLeaf::start().await).await;
    let url = stage.server.leaf.url();
    let quickstart = |domain: &'static str| {
        let mut quickstart = without_settings(example("quickstart"));
        quickstart.env("NATS_URL", url).env("NATS_JS_DOMAIN", domain);
        async move { quickstart.output().await.unwrap() }
    };
    assert!(quickstart("hub").await.status.success());
    assert!(stage.bridge.status().await.stream("STRATT_EVENTS").unwrap().messages >= 7);
    // Two streams would store each event.
    let twice = EventBridge::new(stage.client.clone(), source());
    twice.provision(&Topology::default()).await.unwrap();
    assert!(!quickstart("hub").await.status.success());

    assert_eq!(tool(&[("NATS_URL", url), ("NATS_JS_API_PREFIX", "$JS.hub.API")]).await, (0, String::new()));
    for (variable, value) in [("NATS_JS_DOMAIN", "a.b"), ("NATS_JS_API_PREFIX", "a.>")] {
        let (code, complaint) = tool(&[("NATS_URL", url), (variable, value)]).await;
        assert!(code == 3 && complaint.contains(&format!("{variable}: invalid")), "{complaint}");
    }
}

/// async-nats would read them only once the server asked for TLS.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_named_for_tls_is_never_ignored() {
    let server = NatsServer::start().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (empty, authority) = (file("empty", ""), file("ca.pem", "-----BEGIN CERTIFICATE-----\n"));
    for (variable, value, told) in [
        ("NATS_CA", "/nope", "NATS_CA: names a file that cannot be read: No such file"),
        ("NATS_CA", &empty, "NATS_CA: names a file without a certificate"),
        // The server has no TLS: nothing is sent to it in plain text.
        ("NATS_CA", &authority, "no broker at nats://"),
        ("NATS_CERT", "/nope", "NATS_CERT: names a file that cannot be read: No such file"),
        ("NATS_KEY", "/nope", "NATS_KEY: names a file that cannot be read: No such file"),
        ("NATS_CERT", &authority, "NATS_KEY: is not set"),
        ("NATS_KEY", &empty, "NATS_CERT: is not set"),
        ("NATS_NKEY", &empty, "NATS_NKEY: names a file without the seed"),
        ("NATS_CREDS", &empty, "NATS_CREDS: names a file without a JWT"),
    ] {
        let (code, complaint) = tool(&[("NATS_URL", server.url()), (variable, value)]).await;
        assert!(code == 3 && complaint.contains(told), "{variable}={value}: {complaint}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_that_is_refused_is_told_so() {
    let server = guarded(
        "user: op, password: s3cret",
        ConnectOptions::with_user_and_password("op".into(), "s3cret".into()),
    )
    .await;
    let (code, complaint) =
        tool(&[("NATS_URL", server.url()), ("NATS_USER", "op"), ("NATS_PASSWORD", "wr0ng")]).await;
    assert_eq!(code, 3);
    let says = "refuses this user: check NATS_URL, NATS_USER and NATS_PASSWORD, or NATS_CREDS";
    assert!(complaint.contains(says) && !complaint.contains("wr0ng"), "{complaint}");
}
