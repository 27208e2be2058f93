use super::{eventually, number_of};
use std::{
    collections::HashMap,
    future::{Ready, ready},
    sync::{Arc, Mutex},
};
use stratt_event_bridge::{Delivery, HandlerError, PublishReceipt, UnitPublished};

/// The runs of the handler for each event, by the event's number.
#[derive(Clone, Default)]
pub struct Effects(Arc<Mutex<HashMap<u64, u32>>>);

impl Effects {
    pub fn handler(
        &self,
    ) -> impl Fn(Delivery<UnitPublished>) -> Ready<Result<(), HandlerError>> + Send + Sync + use<> {
        let effects = self.clone();
        move |delivery| {
            let number = number_of(&delivery.event().fingerprint);
            *effects.0.lock().unwrap().entry(number).or_default() += 1;
            ready(Ok(()))
        }
    }

    /// Returns the number of events that had an effect.
    pub fn count(&self) -> usize {
        self.0.lock().unwrap().len()
    }

    pub fn contain(&self, number: u64) -> bool {
        self.0.lock().unwrap().contains_key(&number)
    }

    pub async fn exceed(&self, count: usize) {
        eventually("events with an effect", || async { self.count() }, |seen| *seen > count).await;
    }

    /// Waits until everything that was acknowledged had exactly one effect, and nothing else had any.
    pub async fn are_each_once(&self, acknowledged: &[(u64, PublishReceipt)]) {
        let all = acknowledged.len();
        eventually("events with an effect", || async { self.count() }, |seen| *seen >= all).await;
        let effects = self.0.lock().unwrap().clone();
        assert_eq!(effects.len(), all);
        for (number, _) in acknowledged {
            assert_eq!(effects.get(number), Some(&1), "event {number}");
        }
    }
}
