//! The consumer that a dead letter is redriven for.

use crate::{
    contract::{
        consumer_name::ConsumerName,
        domain::Domain,
        event::EventType,
        subject::{Address, Feed, redrive_subject},
    },
    dead_letter::{DeadLetter, DeadLetterError, DeadLetterErrorKind, unavailable},
    nats::{
        api_context::ApiContext,
        subject_filter::{filters, matches},
    },
};
use async_nats::jetstream::{
    consumer::{Config, Info},
    context::ConsumerInfoErrorKind,
};
use std::error::Error;

/// The consumer that could not handle an event, and the event's domain and type.
#[derive(Debug, Clone)]
pub(super) struct Recipient {
    pub(super) feed: Feed,
    pub(super) domain: Domain,
    consumer: ConsumerName,
    event_type: EventType,
}

/// The durable, or its stream, does not exist.
#[derive(Debug)]
pub(super) struct Missing;

impl Recipient {
    /// Returns the recipient that a dead letter names; `None` if its consumer, its stream or its subject is not valid.
    pub(super) fn of(letter: &DeadLetter) -> Option<Self> {
        let address = Address::parse(letter.subject())?;
        Some(Self {
            feed: letter.stream().parse().ok()?,
            domain: address.domain.parse().ok()?,
            consumer: letter.consumer().parse().ok()?,
            event_type: address.event_type.parse().ok()?,
        })
    }

    /// Returns the subject that the event is published on.
    pub(super) fn subject(&self) -> String {
        redrive_subject(&self.consumer, &self.domain, self.event_type)
    }

    /// Checks that its durable would deliver the event. Published on a subject that is not read, it would be lost once
    /// its dead letter is removed.
    pub(super) async fn check(&self, context: &ApiContext, sequence: u64) -> Result<(), DeadLetterError> {
        let found = self.durable(context).await.map_err(|error| unavailable(Some(sequence), error))?;
        let problem = match found {
            Ok(Info { config, .. }) if self.is_read_by(&config) => return Ok(()),
            Ok(_) => format!(
                "durable {} of {} does not filter {}: start it with this version of the crate, or add the filter",
                self.consumer,
                self.feed,
                self.delivered_on()
            ),
            Err(Missing) => {
                format!("durable {} of {} does not exist in this account", self.consumer, self.feed)
            }
        };
        Err(DeadLetterError::new(DeadLetterErrorKind::NotReceived, Some(sequence)).caused_by(problem))
    }

    /// Returns the state of its durable.
    pub(super) async fn durable(
        &self,
        context: &ApiContext,
    ) -> Result<Result<Info, Missing>, Box<dyn Error + Send + Sync>> {
        // A handle only: the name says all that is needed.
        let stream = context.get_stream_no_info(self.feed.stream()).await?;
        match stream.consumer_info(self.consumer.as_str()).await {
            Ok(info) => Ok(Ok(info)),
            Err(error) => match error.kind() {
                ConsumerInfoErrorKind::NotFound | ConsumerInfoErrorKind::StreamNotFound => Ok(Err(Missing)),
                _ => Err(error.into()),
            },
        }
    }

    fn is_read_by(&self, config: &Config) -> bool {
        let (filters, subject) = (filters(config), self.delivered_on());
        filters.is_empty() || filters.iter().any(|filter| matches(filter, &subject))
    }

    /// Returns the subject that the event is delivered on.
    pub(super) fn delivered_on(&self) -> String {
        self.feed.redrive_filter(&self.consumer, Some(&self.domain), self.event_type)
    }
}
