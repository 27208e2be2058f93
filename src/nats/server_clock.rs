//! The server's time.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};
use tokio::time::Instant;

/// The clock of the server, as far as it is known here, independent of the clock of this machine.
#[derive(Debug, Default)]
pub(crate) struct ServerClock(Mutex<Option<Reading>>);

#[derive(Debug, Clone, Copy)]
struct Reading {
    /// Since 1970.
    time: Duration,
    at: Instant,
}

impl ServerClock {
    /// Sets the time that the server has just reported, since 1970.
    pub(crate) fn set(&self, time: Duration) {
        let reading = Reading { time, at: Instant::now() };
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(reading);
    }

    /// Returns the time since 1970; `None` until the server has reported it.
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
        // Far from the time of this machine.
        let time = Duration::from_secs(1_000_000_000);
        clock.set(time);
        let now = clock.now().unwrap();
        assert!(now >= time && now < time + Duration::from_secs(60), "{now:?}");
    }
}
