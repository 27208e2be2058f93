//! The streams written down for other tools, which create what `verify` accepts.

use serde_json::{Value, json};
use std::time::Duration;
use stratt_event_bridge::{
    EventBridge,
    testing::NatsServer,
    topology::{Storage, StreamSettings, Topology, TopologyErrorKind, TwoAccounts},
};
use support::source;

/// The settings of a stream that NACK knows, as its resource definition has them (`deploy/crds.yml`, April 2026).
const OF_NACK: &[&str] = &[
    "allowAtomicPublish",
    "allowDirect",
    "discard",
    "duplicateWindow",
    "firstSequence",
    "maxAge",
    "maxBytes",
    "maxMsgSize",
    "maxMsgs",
    "name",
    "preventDelete",
    "replicas",
    "retention",
    "sources",
    "storage",
    "subjects",
];

fn topologies() -> Vec<Topology> {
    let settings = StreamSettings::default()
        .with_max_age(Duration::from_hours(48))
        .with_duplicate_window(Duration::from_millis(90_500))
        .with_max_bytes(1 << 30)
        .with_max_messages(1_000_000);
    vec![
        Topology::default(),
        Topology::default().with_storage(Storage::Memory).with_batches(true).with_first_sequence(1000),
        Topology::default().with_events(settings).with_max_age(Duration::ZERO),
        Topology::default().without_choco(),
    ]
}

/// Creates the streams by the API, on a server that has none, and lets the bridge verify them.
async fn created(topology: &Topology, streams: Vec<Value>) {
    let server = NatsServer::builder().version(support::NEWEST).start().await.unwrap();
    let client = server.connect().await.unwrap();
    for stream in streams {
        let name = stream["name"].as_str().unwrap();
        let body = serde_json::to_vec(&stream).unwrap();
        let answer = client.request(format!("$JS.API.STREAM.CREATE.{name}"), body.into()).await.unwrap();
        let answer: Value = serde_json::from_slice(&answer.payload).unwrap();
        assert!(answer.get("error").is_none(), "{answer} to {stream}");
    }
    let bridge = EventBridge::new(client, source());
    bridge.verify(topology).await.unwrap_or_else(|error| panic!("{error}: {topology:?}"));
}

#[tokio::test]
async fn streams_created_from_json_are_what_is_verified() {
    for topology in topologies() {
        created(&topology, topology.to_json().unwrap()).await;
    }
}

#[tokio::test]
async fn streams_created_by_nack_are_what_is_verified() {
    for topology in topologies() {
        created(&topology, topology.to_nack().unwrap().split("---\n").map(as_nack_creates).collect()).await;
    }
}

/// Returns what NACK makes of a resource, as its `streamSpecToConfig` does.
fn as_nack_creates(resource: &str) -> Value {
    let (head, spec) = resource.split_once("spec:\n").unwrap();
    let mut made = json!({ "max_consumers": -1, "max_msgs_per_subject": -1 });
    for line in spec.lines() {
        let (setting, value) = line.strip_prefix("  ").unwrap().split_once(": ").unwrap();
        assert!(OF_NACK.contains(&setting), "{setting}");
        let value: Value = serde_json::from_str(value).unwrap();
        let of_api = match setting {
            "replicas" => "num_replicas",
            "maxAge" => "max_age",
            "duplicateWindow" => "duplicate_window",
            "maxBytes" => "max_bytes",
            "maxMsgs" => "max_msgs",
            "maxMsgSize" => "max_msg_size",
            "allowDirect" => "allow_direct",
            "allowAtomicPublish" => "allow_atomic",
            "firstSequence" => "first_seq",
            // Not of the stream.
            "preventDelete" => continue,
            same => same,
        };
        made[of_api] = match setting {
            "maxAge" | "duplicateWindow" => json!(nanoseconds(value.as_str().unwrap())),
            "sources" => value.as_array().unwrap().iter().map(source_of).collect(),
            _ => value,
        };
    }
    let name = made["name"].as_str().unwrap().to_lowercase().replace('_', "-");
    let wanted = format!("apiVersion: jetstream.nats.io/v1beta2\nkind: Stream\nmetadata:\n  name: {name}\n");
    assert_eq!(head, wanted);
    made
}

fn source_of(source: &Value) -> Value {
    let transforms = source["subjectTransforms"].as_array().unwrap().iter();
    let transforms: Vec<_> =
        transforms.map(|pair| json!({ "src": pair["source"], "dest": pair["dest"] })).collect();
    json!({ "name": source["name"], "subject_transforms": transforms })
}

/// Reads the two units of Go that are written.
fn nanoseconds(duration: &str) -> u64 {
    match duration.strip_suffix("ns") {
        Some(nanoseconds) => nanoseconds.parse().unwrap(),
        None => duration.strip_suffix('s').unwrap().parse::<u64>().unwrap() * 1_000_000_000,
    }
}

#[test]
fn a_source_in_another_account_is_written_with_its_prefixes() {
    let accounts = TwoAccounts::new("STRATT", "CHOCO").unwrap();
    let topology = Topology::default().only_choco(&accounts);
    let json = topology.to_json().unwrap();
    let external = &json[0]["sources"][0]["external"];
    let nack = topology.to_nack().unwrap();
    for (of_api, of_nack) in [("api", "externalApiPrefix"), ("deliver", "externalDeliverPrefix")] {
        assert!(nack.contains(&format!("\"{of_nack}\":{}", external[of_api])), "{external} {nack}");
    }
}

#[test]
fn settings_that_cannot_be_written_are_refused() {
    let brief = StreamSettings::default().with_max_age(Duration::from_secs(1));
    for topology in
        [Topology::default().with_durable_source(true), Topology::default().with_dead_letters(brief)]
    {
        let errors = [topology.to_json().unwrap_err(), topology.to_nack().unwrap_err()];
        assert!(errors.iter().all(|error| error.kind() == TopologyErrorKind::InvalidSettings), "{errors:?}");
    }
}
