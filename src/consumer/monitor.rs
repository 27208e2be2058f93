//! The monitor of a running consumer.

use crate::consumer::{
    ConsumeSummary, DurableConsumer, OpenBreaker,
    state::{ConsumerPhase, ConsumerState, Snapshot},
};
use async_nats::{Client, connection::State};
use std::{sync::Arc, time::Duration};

/// A monitor of a consumer while it runs and afterwards, for health checks and dashboards.
///
/// A cheap, cloneable handle, taken from the consumer before it [runs](DurableConsumer::run):
///
/// ```no_run
/// use stratt_event_bridge::DurableConsumer;
///
/// # async fn example(consumer: DurableConsumer) -> Result<(), Box<dyn std::error::Error>> {
/// let monitor = consumer.monitor();
/// let running = tokio::spawn(consumer.run(std::future::pending()));
/// let status = monitor.status();
/// println!("{}: {} in flight, {:?} pending", status.is_working(), status.in_flight(), status.pending());
/// # running.await??;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct ConsumerMonitor {
    client: Client,
    state: Arc<ConsumerState>,
}

/// The status of a consumer, as its [`ConsumerMonitor`] returns it.
#[derive(Debug, Clone, Copy)]
pub struct ConsumerStatus {
    snapshot: Snapshot,
    is_connected: bool,
}

impl DurableConsumer {
    /// Returns a monitor of this consumer.
    #[must_use]
    pub fn monitor(&self) -> ConsumerMonitor {
        ConsumerMonitor { client: self.shared.client.clone(), state: Arc::clone(&self.shared.state) }
    }
}

impl ConsumerMonitor {
    /// Returns the current status without I/O. Values that come from the server are as old as
    /// [`last_told`](ConsumerStatus::last_told) says.
    #[must_use]
    pub fn status(&self) -> ConsumerStatus {
        let is_connected = self.client.connection_state() == State::Connected;
        ConsumerStatus { snapshot: self.state.snapshot(), is_connected }
    }
}

impl ConsumerStatus {
    /// Returns the phase of the consumer.
    #[must_use]
    pub fn phase(&self) -> ConsumerPhase {
        match self.snapshot.phase {
            ConsumerPhase::Running if self.pause_remaining().is_some() => ConsumerPhase::Paused,
            ConsumerPhase::Running if self.snapshot.breakers.are_all() => ConsumerPhase::CircuitOpen,
            phase => phase,
        }
    }

    /// Returns the circuit breakers of this process that are open, in the order of the contract. The events of the
    /// other types are handled as ever.
    pub fn open_breakers(&self) -> impl Iterator<Item = OpenBreaker> {
        self.snapshot.breakers.iter()
    }

    /// Returns for how long its durable stays paused, if it runs and an operator has paused it (nats-server 2.11 and
    /// newer). As the server said at [`last_told`](Self::last_told): a pause that an operator begins, changes or ends
    /// is noticed within 5 s.
    #[must_use]
    pub fn pause_remaining(&self) -> Option<Duration> {
        let told = self.snapshot.server_info.filter(|_| self.snapshot.phase == ConsumerPhase::Running)?;
        told.pause?.checked_sub(told.at.elapsed()).filter(|left| !left.is_zero())
    }

    /// Returns whether it runs, is connected, is not paused, has a dedupe store that answers, and a circuit breaker of
    /// one event type at least that is not open: events are handled as they come, except those of the
    /// [types that wait](Self::open_breakers).
    ///
    /// A broker that is frozen, or behind a network that loses everything, stays connected for two to three
    /// minutes. For readiness use [`is_working_within`](Self::is_working_within).
    #[must_use]
    pub fn is_working(&self) -> bool {
        self.phase() == ConsumerPhase::Running && self.is_connected && self.is_store_up()
    }

    /// Returns whether it [is working](Self::is_working) and the broker has answered a question within this
    /// time: events are handled as they come.
    ///
    /// The broker is asked every 5 s and has 2 s to answer, so that less than 10 s would take a healthy one
    /// for silent; with 15 s, one answer may be lost.
    #[must_use]
    pub fn is_working_within(&self, silence: Duration) -> bool {
        self.is_working() && self.last_told().is_some_and(|age| age <= silence)
    }

    /// Returns whether the connection to the broker is up.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.is_connected
    }

    /// Returns whether the dedupe store answered the last claim. While it does not, no messages are requested.
    #[must_use]
    pub fn is_store_up(&self) -> bool {
        self.snapshot.is_store_up
    }

    /// Returns the number of messages in flight: being claimed, or with a handler that runs.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.snapshot.in_flight
    }

    /// Returns the number of messages that are held here: those in flight and those that wait for their turn.
    #[must_use]
    pub fn held(&self) -> usize {
        self.snapshot.held
    }

    /// Returns the counts so far.
    #[must_use]
    pub fn counts(&self) -> ConsumeSummary {
        self.snapshot.counts
    }

    /// Returns the number of dead letters stored so far.
    #[must_use]
    pub fn dead_letters(&self) -> u64 {
        let ConsumeSummary { exhausted, rejected, invalid, .. } = self.snapshot.counts;
        exhausted + rejected + invalid
    }

    /// Returns the lag: the events that the server has not delivered to any process of this durable yet. As of
    /// [`last_told`](Self::last_told); `None` before the server has told anything.
    #[must_use]
    pub fn pending(&self) -> Option<u64> {
        Some(self.snapshot.server_info?.pending)
    }

    /// Returns the number of events that are delivered to some process of the durable and not answered yet. As of
    /// [`last_told`](Self::last_told).
    #[must_use]
    pub fn unanswered(&self) -> Option<u64> {
        Some(self.snapshot.server_info?.unanswered)
    }

    /// Returns the age of the last answer about what is pending, which is asked for at the start and every 5 s; `None`
    /// without one.
    #[must_use]
    pub fn last_told(&self) -> Option<Duration> {
        Some(self.snapshot.server_info?.at.elapsed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::consumer::{delivery::breakers::OpenBreakers, state::ServerInfo};
    use tokio::time::Instant;

    #[test]
    fn a_pause_ends_without_another_word_of_the_server() {
        let status = |phase, pause| {
            let at = Instant::now().checked_sub(Duration::from_secs(3)).unwrap();
            let told = ServerInfo { at, pending: 0, unanswered: 0, pause: Some(Duration::from_secs(pause)) };
            let counts = ConsumeSummary::default();
            let snapshot = Snapshot {
                phase,
                counts,
                in_flight: 0,
                held: 0,
                is_store_up: true,
                breakers: OpenBreakers::default(),
                server_info: Some(told),
            };
            ConsumerStatus { snapshot, is_connected: true }
        };
        let paused = status(ConsumerPhase::Running, 60);
        assert_eq!((paused.phase(), paused.is_working()), (ConsumerPhase::Paused, false));
        assert!(paused.pause_remaining().is_some_and(|left| left <= Duration::from_secs(57)));
        let over = status(ConsumerPhase::Running, 3);
        assert_eq!(
            (over.phase(), over.is_working(), over.pause_remaining()),
            (ConsumerPhase::Running, true, None)
        );
        let ended = status(ConsumerPhase::Ended, 60);
        assert_eq!((ended.phase(), ended.pause_remaining()), (ConsumerPhase::Ended, None));
    }
}
