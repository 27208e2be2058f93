//! The figures that change all the time, read once for all who look.

use crate::{
    BridgeStatus, EventBridge, Feed,
    durables::{DurableStatus, DurablesErrorKind},
    report::report,
};
use serde::Serialize;
use std::{sync::Arc, time::Duration};
use tokio::{sync::Mutex, time::Instant};

/// The time for which figures are taken for the present ones.
const FRESH: Duration = Duration::from_secs(1);

/// The broker and the durables at one time.
#[derive(Debug, Serialize)]
pub(super) struct Figures {
    #[serde(flatten)]
    pub(super) status: BridgeStatus,
    pub(super) durables: Vec<DurableStatus>,
    /// The reason why those of a feed are missing.
    #[serde(rename = "durables_error")]
    pub(super) error: Option<String>,
}

/// The figures that were read last.
#[derive(Debug, Default)]
pub(super) struct Cache {
    last: Mutex<Option<(Instant, Arc<Figures>)>>,
}

impl Cache {
    /// Returns figures that are at most a second old.
    pub(super) async fn read(&self, bridge: &EventBridge) -> Arc<Figures> {
        // Held while they are read, so that a hundred pages ask once.
        let mut last = self.last.lock().await;
        if let Some((at, figures)) = &*last
            && at.elapsed() < FRESH
        {
            return Arc::clone(figures);
        }
        let figures = Arc::new(Figures::read(bridge).await);
        *last = Some((Instant::now(), Arc::clone(&figures)));
        figures
    }
}

impl Figures {
    async fn read(bridge: &EventBridge) -> Self {
        let status = bridge.status().await;
        let (mut durables, mut error) = (Vec::new(), None);
        // Without a connection, each list would wait for its time limit.
        let feeds = [Feed::Strat, Feed::Choco].into_iter().filter(|_| status.is_connected());
        for feed in feeds {
            match bridge.durables().list(feed).await {
                Ok(found) => durables.extend(found),
                // The list of streams says so.
                Err(missing) if missing.kind() == DurablesErrorKind::StreamNotFound => {}
                Err(failed) => error = Some(report(&failed).to_string()),
            }
        }
        Self { status, durables, error }
    }
}
