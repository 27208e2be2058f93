//! The whole flow on every supported series of servers; what a server is too old for is refused beforehand.

use std::process::Stdio;
use stratt_event_bridge::testing::NatsServer;
use support::{DEADLINE, example};
use tokio::{process::Command, time::timeout};

/// The newest of each series when this was written; the usual tests run on 2.15.
const OLDER: [&str; 4] = ["2.10.26", "2.11.11", "2.12.8", "2.14.6"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_quickstart_runs_on_every_supported_series() {
    for version in OLDER {
        let server = NatsServer::builder().version(version).start().await.unwrap();
        let quickstart = Command::new(example("quickstart"))
            .env("NATS_URL", server.url())
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output();
        let output = timeout(DEADLINE, quickstart).await.expect("the quickstart ends").unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{version}: {said}\n{}", String::from_utf8_lossy(&output.stderr));
        // It ran on that server, and on no other.
        assert!(said.contains(&format!("nats-server {version}\n")), "{said}");
    }
}
