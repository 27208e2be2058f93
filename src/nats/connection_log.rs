//! Log lines about the connection to the broker, for each component that uses it.

use crate::telemetry::log_limit::{LogLimit, limited};
use async_nats::{Client, connection::State};
use std::{
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

/// A log of the connection: one line when it is lost, and one when it is back.
#[derive(Debug)]
pub(crate) struct ConnectionLog {
    client: Client,
    /// The number of connects at the last check, which reveals a loss between two checks.
    connects: u64,
    lost_at: Option<Instant>,
}

impl ConnectionLog {
    pub(crate) fn new(client: Client) -> Self {
        Self { connects: connects(&client), client, lost_at: None }
    }

    /// Checks the connection; to be called periodically.
    pub(crate) fn look(&mut self, lines: &LogLimit) {
        let owner = lines.owner();
        let is_connected = self.client.connection_state() == State::Connected;
        let connects = connects(&self.client);
        match (self.lost_at, is_connected) {
            (None, false) => {
                self.lost_at = Some(Instant::now());
                limited!(lines, warn, "connection to the broker is lost; waiting for it", owner);
            }
            (Some(lost_at), true) => {
                self.lost_at = None;
                let away = Duration::from_secs(lost_at.elapsed().as_secs());
                limited!(lines, info, "connection to the broker is back", owner, ?away);
            }
            (None, true) if connects != self.connects => {
                limited!(lines, warn, "connection to the broker was lost and is back", owner);
            }
            _ => {}
        }
        self.connects = connects;
    }
}

/// Returns how often the client has connected: once, and once more after each loss.
pub(crate) fn connects(client: &Client) -> u64 {
    client.statistics().connects.load(Ordering::Relaxed)
}
