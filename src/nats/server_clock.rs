//! The time as the server tells it.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};
use tokio::time::Instant;

/// The clock of the server, as far as it is known here. What this machine takes the time for does not matter.
#[derive(Debug, Default)]
pub(crate) struct ServerClock(Mutex<Option<Reading>>);

#[derive(Debug, Clone, Copy)]
struct Reading {
    /// Since 1970.
    time: Duration,
    at: Instant,
}

impl ServerClock {
    /// Notes what the server took the time for a moment ago, since 1970.
    pub(crate) fn set(&self, time: Duration) {
        let reading = Reading { time, at: Instant::now() };
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(reading);
    }

    /// Returns the time since 1970; `None` while the server was not asked.
    pub(crate) fn now(&self) -> Option<Duration> {
        let reading = (*self.0.lock().unwrap_or_else(PoisonError::into_inner))?;
        Some(reading.time + reading.at.elapsed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_server_sets_it() {
        let clock = ServerClock::default();
        assert_eq!(clock.now(), None);
        // Not even near to what this machine takes the time for.
        let told = Duration::from_secs(1_000_000_000);
        clock.set(told);
        let now = clock.now().unwrap();
        assert!(now >= told && now < told + Duration::from_secs(60), "{now:?}");
    }
}
