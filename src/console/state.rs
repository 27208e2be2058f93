//! The state that all requests share.

use crate::{
    EventBridge,
    console::{ConsoleOptions, audit::Audit, figures::Cache, redrives::Redrives},
};
use std::sync::Arc;
use tokio::sync::Semaphore;

/// The most pages that follow live events at a time: each has a temporary consumer at the broker.
const MOST_TAILS: usize = 20;

/// The state that all requests share.
#[derive(Debug)]
pub(super) struct Console {
    pub(super) bridge: EventBridge,
    pub(super) options: ConsoleOptions,
    pub(super) audit: Audit,
    pub(super) figures: Cache,
    pub(super) redrives: Redrives,
    pub(super) tails: Arc<Semaphore>,
}

impl Console {
    pub(super) fn new(bridge: EventBridge, options: ConsoleOptions) -> Self {
        Self {
            audit: Audit::new(&bridge),
            figures: Cache::default(),
            redrives: Redrives::default(),
            tails: Arc::new(Semaphore::new(MOST_TAILS)),
            bridge,
            options,
        }
    }
}
