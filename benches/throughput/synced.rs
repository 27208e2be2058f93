//! A server that syncs every write, where singly published events stand in the place of raw use.

use crate::{Bench, Failure};
use stratt_event_bridge::testing::NatsServer;
use tempfile::TempDir;

pub(crate) struct Synced {
    pub(crate) bench: Bench,
    _server: NatsServer,
    _folder: TempDir,
}

impl Synced {
    pub(crate) async fn start() -> Result<Self, Failure> {
        let folder = tempfile::tempdir()?;
        let store = folder.path().display();
        let config = format!("jetstream {{ store_dir: \"{store}\", sync_interval: always }}");
        let server = NatsServer::builder().config(config).start().await?;
        Ok(Self { bench: Bench::new(&server).await?, _server: server, _folder: folder })
    }
}
