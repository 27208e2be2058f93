//! An event that was published, and its end at a durable.

use crate::{
    EventBridge,
    contract::{event::key::IdempotencyKey, subject::Feed},
    dead_letter::{DeadLetter, DeadLetterFilter},
    dedupe::{DedupeStore, Slot, SlotState},
    durables::{DeliveryState, DurablesErrorKind},
    nats::stored::Stored,
    publish::PublishReceipt,
    testing::session::{NotSettled, Outcome, Session, Watched},
    topology::forwarded_as,
};
use futures::TryStreamExt;
use std::{error::Error, sync::Arc, time::Duration};
use tokio::time::{Instant, sleep};

/// The pause between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// An event in the stream of events.
#[derive(Debug)]
pub(super) struct Published<'a> {
    bridge: &'a EventBridge,
    key: IdempotencyKey,
    sequence: u64,
    subject: String,
}

impl<'a> Published<'a> {
    pub(super) async fn read(bridge: &'a EventBridge, receipt: &PublishReceipt) -> Result<Self, NotSettled> {
        let sequence = receipt.sequence();
        let found = Stored::at(&bridge.link().context, receipt.stream(), sequence).await;
        let found = found.map_err(|error| failed(error, "event"))?;
        let id = found.as_ref().and_then(|found| found.header_value("Nats-Msg-Id")).unwrap_or_default();
        // The id of a redriven event goes on behind its key.
        let key = id.split(':').next().unwrap_or_default().parse();
        match (found.as_ref(), key) {
            (Some(Stored { subject, .. }), Ok(key)) => {
                Ok(Self { bridge, key, sequence, subject: subject.clone() })
            }
            (Some(_), Err(error)) => Err(failed(error, "key of the event")),
            (None, _) => Err(NotSettled {
                message: format!("event at sequence {sequence} of {} is gone", receipt.stream()),
                explanation: None,
                source: None,
            }),
        }
    }

    /// Returns the end of the event at the durable; `None` if it has none at the deadline.
    pub(super) async fn end_at(
        &self,
        durable: &Watched,
        deadline: Instant,
    ) -> Result<Option<Outcome>, NotSettled> {
        let Watched { feed, name, store } = durable;
        let slot = Slot::new(name.clone(), self.key);
        let (mut delivered_as, mut next) = (None, 1);
        loop {
            if delivered_as.is_none() {
                delivered_as = self.sequence_in(*feed, &mut next).await?;
            }
            if let Some(sequence) = delivered_as {
                // Asked for before the dead letters: one is stored before its event is answered.
                let is_handled = self.is_answered(durable, sequence).await?
                    || match store {
                        Some(store) => {
                            let seen = store.peek(&slot).await;
                            seen.map_err(|error| failed(error, "slot"))? == SlotState::Settled
                        }
                        None => false,
                    };
                let dead_letter = self.dead_letter(durable, sequence).await?;
                if is_handled || dead_letter.is_some() {
                    let attempts = store.as_ref().and_then(|store| store.attempts(&slot));
                    return Ok(Some(Outcome { feed: *feed, durable: name.clone(), attempts, dead_letter }));
                }
            }
            if Instant::now() >= deadline {
                return Ok(None);
            }
            sleep(LOOK_EVERY).await;
        }
    }

    /// Returns its sequence in the feed, once it is there.
    async fn sequence_in(&self, feed: Feed, next: &mut u64) -> Result<Option<u64>, NotSettled> {
        if feed == Feed::Strat {
            return Ok(Some(self.sequence));
        }
        let found =
            forwarded_as(&self.bridge.link().context, self.subject_in(feed), self.sequence, next).await;
        found.map_err(|error| failed(error, "forwarded event"))
    }

    /// Returns the subject that the event has in the feed.
    fn subject_in(&self, feed: Feed) -> String {
        for (of_events, in_feed) in
            [(Feed::Strat.prefix(), feed.prefix()), (Feed::Strat.redrive_prefix(), feed.redrive_prefix())]
        {
            if let Some(rest) = self.subject.strip_prefix(of_events) {
                return format!("{in_feed}{rest}");
            }
        }
        self.subject.clone()
    }

    /// Returns whether the durable has answered this event and all that it was delivered before.
    async fn is_answered(&self, durable: &Watched, sequence: u64) -> Result<bool, NotSettled> {
        let status = match self.bridge.durables().get(durable.feed, &durable.name).await {
            // Its process may still be starting.
            Err(error) if error.kind() == DurablesErrorKind::NotFound => return Ok(false),
            found => found.map_err(|error| failed(error, "durable"))?,
        };
        let subject = self.subject_in(durable.feed);
        if status.reads(&subject) {
            return Ok(status.delivery_of(sequence) == DeliveryState::Answered);
        }
        let message = format!("durable {} reads nothing on {subject}", durable.name);
        Err(NotSettled { message, explanation: None, source: None })
    }

    async fn dead_letter(&self, durable: &Watched, sequence: u64) -> Result<Option<DeadLetter>, NotSettled> {
        let filter = DeadLetterFilter::default().with_consumer(durable.name.clone());
        let found = self.bridge.dead_letters().list(filter).await;
        let found = found.map_err(|error| failed(error, "dead letters"))?;
        let is_meant = |letter: &DeadLetter| {
            letter.stream() == durable.feed.stream() && letter.stream_sequence() == sequence
        };
        let mut found = found.try_filter(|letter| std::future::ready(is_meant(letter)));
        found.try_next().await.map_err(|error| failed(error, "dead letters"))
    }

    /// Returns the error of an event that has not come to its end at `durable`.
    pub(super) async fn not_settled(&self, durable: &Watched, session: &Session) -> NotSettled {
        let mut question = self.bridge.explain(self.key);
        for Watched { name, store, .. } in &session.durables {
            if let Some(store) = store {
                let store = Arc::clone(store);
                question = question.store_of(name.clone(), store);
            }
        }
        let Watched { feed, name, .. } = durable;
        let message = format!(
            "event at sequence {} is not settled at durable {name} of {} within {:?}",
            self.sequence,
            feed.stream(),
            session.deadline
        );
        match question.ask().await {
            Ok(known) => NotSettled { message, explanation: Some(Box::new(known)), source: None },
            Err(error) => NotSettled { message, explanation: None, source: Some(error.into()) },
        }
    }
}

fn failed(error: impl Into<Box<dyn Error + Send + Sync>>, what: &str) -> NotSettled {
    NotSettled { message: format!("{what} cannot be read"), explanation: None, source: Some(error.into()) }
}
