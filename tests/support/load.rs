use super::{published, source};
use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use stratt_event_bridge::{Envelope, EventBridge, PublishReceipt};
use tokio::{task::JoinHandle, time::sleep};

/// Publishers that go on until they are stopped, each for a unit of its own; every event has a number of its own.
pub struct Load {
    is_over: Arc<AtomicBool>,
    next: Arc<AtomicU64>,
    publishers: Vec<JoinHandle<Vec<(u64, PublishReceipt)>>>,
    slowest: Arc<Mutex<Duration>>,
}

impl Load {
    pub fn start(bridge: &EventBridge, publishers: usize) -> Self {
        Self::paced(bridge, publishers, Duration::ZERO, 0)
    }

    /// Starts publishers that pause between two events, which are larger than usual by `more` bytes: servers that elect
    /// a leader need the machine as well.
    pub fn paced(bridge: &EventBridge, publishers: usize, pause: Duration, more: usize) -> Self {
        let slowest: Arc<Mutex<Duration>> = Arc::default();
        let (is_over, next) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(1)));
        let publisher = |unit| {
            let (bridge, is_over, next) = (bridge.clone(), Arc::clone(&is_over), Arc::clone(&next));
            let slowest = Arc::clone(&slowest);
            tokio::spawn(async move {
                let mut acknowledged = Vec::new();
                while !is_over.load(Ordering::SeqCst) {
                    let number = next.fetch_add(1, Ordering::SeqCst);
                    let begun = Instant::now();
                    let event = Envelope::builder(published(&format!("unit-{unit}"), number), source());
                    let event = if more > 0 { event.meta("filler", "x".repeat(more)) } else { event };
                    let receipt = bridge.publish_envelope(&event.build().unwrap()).await.unwrap();
                    {
                        let mut slowest = slowest.lock().unwrap();
                        *slowest = begun.elapsed().max(*slowest);
                    }
                    acknowledged.push((number, receipt));
                    if !pause.is_zero() {
                        sleep(pause).await;
                    }
                }
                acknowledged
            })
        };
        let publishers = (0..publishers).map(publisher).collect();
        Self { is_over, next, publishers, slowest }
    }

    /// Returns the latency of the slowest publish so far.
    pub fn slowest(&self) -> Duration {
        *self.slowest.lock().unwrap()
    }

    /// Returns the number of publishes that were begun.
    pub fn begun(&self) -> u64 {
        self.next.load(Ordering::SeqCst)
    }

    /// Stops the publishers and returns the receipts with the numbers of their events; a second call returns none.
    pub async fn stop(&mut self) -> Vec<(u64, PublishReceipt)> {
        self.is_over.store(true, Ordering::SeqCst);
        let mut acknowledged = Vec::new();
        for publisher in self.publishers.drain(..) {
            acknowledged.extend(publisher.await.unwrap());
        }
        acknowledged
    }
}
