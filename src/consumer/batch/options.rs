//! Options of a handler of batches.

use std::time::Duration;

/// The size of the batches that the handler of [`on_batch`](crate::ConsumerBuilder::on_batch) receives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchOptions {
    pub(super) max_events: usize,
    pub(super) max_wait: Duration,
}

impl Default for BatchOptions {
    /// Returns 32 events within 10 ms, so that with the default of 64 in flight one batch is collected while another is
    /// handled.
    fn default() -> Self {
        Self { max_events: 32, max_wait: Duration::from_millis(10) }
    }
}

impl BatchOptions {
    /// Sets the most events of a batch, at most
    /// [`max_in_flight`](crate::ConsumerOptions::with_max_in_flight); half of that lets one batch be collected while
    /// another is handled. Default: 32.
    #[must_use]
    pub fn with_max_events(mut self, events: usize) -> Self {
        self.max_events = events;
        self
    }

    /// Sets how long the first event of a batch waits for others. It is a part of the processing timeout. Default: 10
    /// ms.
    #[must_use]
    pub fn with_max_wait(mut self, wait: Duration) -> Self {
        self.max_wait = wait;
        self
    }

    /// Returns what has to be changed.
    pub(in crate::consumer) fn problem(self, max_in_flight: usize, timeout: Duration) -> Option<String> {
        let Self { max_events, max_wait } = self;
        if max_events == 0 {
            Some("batches of no event: allow at least one".into())
        } else if max_events > max_in_flight {
            Some(format!("batches of {max_events} with {max_in_flight} in flight: allow more in flight"))
        } else if max_wait >= timeout / 2 {
            Some(format!(
                "a batch is collected for {max_wait:?} of a processing timeout of {timeout:?}: shorten it"
            ))
        } else {
            None
        }
    }
}
