use std::{ffi::OsStr, process::Stdio};
use tokio::process::Command;

/// The variables that the programs of the repository read, beside `PATH` and the like.
const VARIABLES: [&str; 19] = [
    "DATABASE_URL",
    "DURABLE",
    "HTTP_ADDR",
    "HTTP_READ_TIMEOUT",
    "NATS_CA",
    "NATS_CERT",
    "NATS_CREDS",
    "NATS_INBOX_PREFIX",
    "NATS_JS_API_PREFIX",
    "NATS_JS_DOMAIN",
    "NATS_KEY",
    "NATS_NKEY",
    "NATS_PASSWORD",
    "NATS_REPLICAS",
    "NATS_URL",
    "NATS_USER",
    "RUST_LOG",
    "STREAM",
    "STREAMS",
];

/// A program without settings: those of the environment of the tests are removed.
pub fn without_settings(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    for name in VARIABLES {
        command.env_remove(name);
    }
    command.stdin(Stdio::null()).kill_on_drop(true);
    command
}
