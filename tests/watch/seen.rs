//! The next items of a watch.

use futures::StreamExt;
use std::time::Duration;
use stratt_event_bridge::{
    Event,
    watch::{Watch, WatchError, WatchErrorKind, WatchedEvent},
};
use support::{DEADLINE, number_of};
use tokio::time::timeout;

pub async fn next(watch: &mut Watch) -> Result<WatchedEvent, WatchError> {
    timeout(DEADLINE, watch.next()).await.expect("an event").expect("no end")
}

pub async fn next_error(watch: &mut Watch) -> (WatchErrorKind, Option<u64>) {
    let error = next(watch).await.expect_err("an error");
    (error.kind(), error.sequence())
}

/// Returns the numbers of the next events.
pub async fn numbers(watch: &mut Watch, count: usize) -> Vec<u64> {
    let mut numbers = Vec::new();
    while numbers.len() < count {
        numbers.push(number_of(next(watch).await.expect("an event").event().fingerprint()));
    }
    numbers
}

/// Checks that nothing more arrives.
pub async fn nothing(watch: &mut Watch) {
    let more = timeout(Duration::from_millis(300), watch.next()).await;
    assert!(more.is_err(), "{more:?}");
}
