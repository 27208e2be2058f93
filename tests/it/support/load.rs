use super::published;
use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};
use stratt_event_bridge::{EventBridge, PublishReceipt};
use tokio::task::JoinHandle;

/// Publishers that go on until they are stopped, each for a unit of its own; every event has a number of its own.
pub struct Load {
    is_over: Arc<AtomicBool>,
    next: Arc<AtomicU64>,
    publishers: Vec<JoinHandle<Vec<(u64, PublishReceipt)>>>,
}

impl Load {
    pub fn start(bridge: &EventBridge, publishers: usize) -> Self {
        let (is_over, next) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(1)));
        let publisher = |unit| {
            let (bridge, is_over, next) = (bridge.clone(), Arc::clone(&is_over), Arc::clone(&next));
            tokio::spawn(async move {
                let mut acknowledged = Vec::new();
                while !is_over.load(Ordering::SeqCst) {
                    let number = next.fetch_add(1, Ordering::SeqCst);
                    let receipt = bridge.publish(published(&format!("unit-{unit}"), number)).await.unwrap();
                    acknowledged.push((number, receipt));
                }
                acknowledged
            })
        };
        let publishers = (0..publishers).map(publisher).collect();
        Self { is_over, next, publishers }
    }

    /// How many were begun.
    pub fn begun(&self) -> u64 {
        self.next.load(Ordering::SeqCst)
    }

    /// All that were acknowledged, with their numbers.
    pub async fn stop(self) -> Vec<(u64, PublishReceipt)> {
        self.is_over.store(true, Ordering::SeqCst);
        let mut acknowledged = Vec::new();
        for publisher in self.publishers {
            acknowledged.extend(publisher.await.unwrap());
        }
        acknowledged
    }
}
