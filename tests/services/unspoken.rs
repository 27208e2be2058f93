//! Credentials in the wrong place, or in an invalid URL: no program writes any part of them, at any log level.

use futures::future::join_all;
use std::{ffi::OsStr, os::unix::ffi::OsStrExt};
use support::{example, orchestrator_http, strattctl, without_settings};
use tokio::process::Command;

/// A part of every secret below.
const SECRET: &str = "qzx";

const SERVERS: &[&[u8]] = &[
    b"alice:qzx@127.0.0.1:1",
    b"nats:alice:qzx@127.0.0.1:1",
    b"//alice:qzx@127.0.0.1:1",
    b"nats:///alice:qzx@127.0.0.1:1",
    b"nats://alice:qzx@127.0.0.1:1",
    b"nats://alice:qzx@@127.0.0.1:1",
    b"nats://alice:qzx %zz^@127.0.0.1:1",
    b"nats://qzx@127.0.0.1:1",
    b"nats://alice:12/qzx@127.0.0.1:1",
    b"nats://alice:12?qzx@127.0.0.1:1",
    b"nats://alice:12#qzx@127.0.0.1:1",
    b"nats://alice:12,qzx@127.0.0.1:1",
    b"nats://alice:qzx,1@127.0.0.1:1",
    b"nats://alice:qzx@127.0.0.1:1,nats://bob:qzxy@127.0.0.1:1",
    b"nats://alice:qzx@127.0.0.1:1,nats://127.0.0.1:1",
    b"nats://alice:qzx@127.0.0.1:port",
    b"nats://alice:qzx@",
    b"nats://alice:qzx",
    b"http://alice:qzx@127.0.0.1:1",
    b"ws://alice:qzx@127.0.0.1:1",
    b"qzx://alice@127.0.0.1:1",
    b"nats://alice:qzx\xff@127.0.0.1:1",
    b"nats://alice:qzx%ff@127.0.0.1:1",
    b" nats://alice:\"qzx\n\"@127.0.0.1:1",
];

/// Values where a file should be named.
const FILES: [&str; 4] = ["NATS_CREDS", "NATS_NKEY", "NATS_KEY", "NATS_CERT"];

const DATABASES: &[&[u8]] = &[
    b"ann:qzx@127.0.0.1:1/x",
    b"qzx@127.0.0.1:1/x",
    b"qzx",
    b"postgres:ann:qzx@127.0.0.1:1/x",
    b"postgres://ann:qzx@127.0.0.1:1/x",
    b"postgres://ann:qzx@127.0.0.1:1/x?sslmode=qzx",
    b"postgres://ann:12/qzx@127.0.0.1:1/x",
    b"postgres://ann:12?qzx=qzx@127.0.0.1:1/x",
    b"postgres://ann:12#qzx@127.0.0.1:1/x",
    b"postgres://127.0.0.1:1/x?user=ann&password=qzx",
    b"postgres://127.0.0.1:1/x?user=ann&passwrd=qzx",
    b"postgres://ann:qzx\xff@127.0.0.1:1/x",
    b"mysql://ann:qzx@127.0.0.1:1/x",
    b"sqlite:/nowhere/x.db?mode=qzx",
];

async fn keeps_quiet(mut program: Command, settings: &[(&str, &[u8])]) {
    for (name, value) in settings {
        program.env(name, OsStr::from_bytes(value));
    }
    let output = program.env("RUST_LOG", "trace").output().await.unwrap();
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(!output.status.success() && !said.contains(SECRET), "{settings:?}: {said}");
    assert!(!said.is_empty() && !said.contains("panicked"), "{settings:?}: {said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_part_of_a_credential_is_written() {
    let (tool, adapter, service) = (strattctl(), example("choco_adapter"), orchestrator_http());
    let folder = tempfile::tempdir().unwrap();
    let database = format!("sqlite:{}", folder.path().join("orchestrator.db").display());
    let seed = b"SUAqzxqzx".as_slice();
    let brokers = SERVERS.iter().map(|url| vec![("NATS_URL", *url)]);
    let files = FILES.iter().map(|name| vec![("NATS_URL", b"nats://127.0.0.1:1".as_slice()), (*name, seed)]);
    for settings in brokers.chain(files) {
        let mut tool = without_settings(tool);
        tool.args(["dead-letters", "list"]);
        let mut service = without_settings(&service);
        service.env("HTTP_ADDR", "127.0.0.1:0").env("DATABASE_URL", &database);
        let programs = [tool, without_settings(&adapter), service];
        join_all(programs.map(|program| keeps_quiet(program, &settings))).await;
    }
    for url in DATABASES {
        let mut service = without_settings(&service);
        service.env("HTTP_ADDR", "127.0.0.1:0");
        keeps_quiet(service, &[("DATABASE_URL", url)]).await;
    }
}
