//! The barrier of strict order: after a lost delivery, an event that was given back, or a fail-over, nothing begins
//! until this process is caught up.

use crate::consumer::{Order, receive::lanes::UnitLanes};
use std::sync::Arc;
use tokio::sync::Notify;

/// The barrier before the lanes of a consumer. It is up while they are closed.
#[derive(Debug)]
pub(crate) struct Barrier {
    order: Order,
    /// The number of the last delivery, where each is to follow the one before.
    last_delivery: Option<u64>,
    /// The number of times that the barrier was raised.
    raised: u64,
    /// Asks the loop to check whether this process is caught up.
    check: Arc<Notify>,
}

impl Barrier {
    pub(crate) fn new(order: Order, check: Arc<Notify>) -> Self {
        Self { order, last_delivery: None, raised: 0, check }
    }

    /// Notes a delivery by its number. Returns the number before it if deliveries between the two were lost.
    pub(crate) fn lost_before(&mut self, delivery: u64) -> Option<u64> {
        if self.order == Order::Relaxed {
            return None;
        }
        self.last_delivery.replace(delivery).filter(|last| delivery != last.wrapping_add(1))
    }

    /// Forgets the last delivery: those since then went to another process and are not lost.
    pub(crate) fn forget_last_delivery(&mut self) {
        self.last_delivery = None;
    }

    /// Lets nothing begin until this process is caught up.
    pub(crate) fn raise<T>(&mut self, lanes: &mut UnitLanes<T>) {
        lanes.close();
        self.raised += 1;
        self.check.notify_one();
    }

    /// Returns the number of the present barrier, if it is up.
    pub(crate) fn current<T>(&self, lanes: &UnitLanes<T>) -> Option<u64> {
        lanes.is_closed().then_some(self.raised)
    }
}
