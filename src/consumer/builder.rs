//! Building a durable consumer.

use super::{
    ConsumeError, ConsumeErrorKind, ConsumerOptions, Delivery, DurableConsumer, HandlerError, Order,
    decide::Policy, durable, handler::Handlers, hold::Holds, process::Shared,
};
use crate::{
    bridge::EventBridge,
    consumer_name::ConsumerName,
    dedupe::DedupeStore,
    domain::Domain,
    event::{Event, EventType},
    subject::Feed,
    topology,
    value::ParseError,
};
use async_nats::jetstream;
use std::{sync::Arc, time::Duration};
use tokio_util::sync::CancellationToken;

/// Builds a [`DurableConsumer`].
#[derive(Debug)]
#[must_use = "a builder does nothing until it builds"]
pub struct ConsumerBuilder {
    bridge: EventBridge,
    name: Result<ConsumerName, ParseError>,
    store: Arc<dyn DedupeStore>,
    feed: Feed,
    domains: Vec<Domain>,
    options: ConsumerOptions,
    handlers: Handlers,
    handled_twice: Option<EventType>,
}

impl ConsumerBuilder {
    pub(crate) fn new(bridge: EventBridge, name: &str, store: Arc<dyn DedupeStore>) -> Self {
        Self {
            bridge,
            name: name.parse(),
            store,
            feed: Feed::default(),
            domains: Vec::new(),
            options: ConsumerOptions::default(),
            handlers: Handlers::default(),
            handled_twice: None,
        }
    }

    /// Which stream to read; [`Feed::Strat`] unless set.
    pub fn feed(mut self, feed: Feed) -> Self {
        self.feed = feed;
        self
    }

    /// Adds a domain to read; without any, all are read.
    pub fn domain(mut self, domain: Domain) -> Self {
        self.domains.push(domain);
        self
    }

    /// Sets the options.
    pub fn options(mut self, options: ConsumerOptions) -> Self {
        self.options = options;
        self
    }

    /// Adds the handler for one event type, or with [`AnyEvent`](crate::AnyEvent) for all of them.
    ///
    /// Only events that have a handler are delivered. The handler runs for at most the processing timeout, one at a
    /// time for each unit. It may be dropped at any await, and must not block its thread.
    pub fn on<E, F, Fut>(mut self, handler: F) -> Self
    where
        E: Event,
        F: Fn(Delivery<E>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), HandlerError>> + Send + 'static,
    {
        self.handled_twice = self.handlers.add(handler).err().or(self.handled_twice);
        self
    }

    /// Checks everything, and creates the durable or brings it up to date.
    ///
    /// # Errors
    ///
    /// A [`ConsumeError`] that says what to change when the name, handlers or options are not valid, when a stream is
    /// missing, when the store forgets sooner than the stream (unless the options allow that), or when the durable
    /// exists with settings that the server cannot change.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future may leave the durable created; building again is harmless.
    pub async fn build(self) -> Result<DurableConsumer, ConsumeError> {
        let name = self.check()?;
        let client = self.bridge.client().clone();
        if self.options.order == Order::PerUnit && !client.is_server_compatible(2, 11, 0) {
            let version = client.try_server_info().map(|server| server.version).unwrap_or_default();
            let message =
                format!("nats-server {version} is too old for `Order::PerUnit`: 2.11 or newer is needed");
            return Err(ConsumeError::new(ConsumeErrorKind::UnsupportedServer, message));
        }
        let context = jetstream::new(client.clone());
        let stream = durable::find_stream(&context, self.feed.stream()).await?;
        check_retention(&self.store, &self.options, self.feed, stream.cached_info().config.max_age)?;
        durable::find_stream(&context, topology::DEAD_LETTER_STREAM).await?;
        durable::ensure(&stream, &name, self.filters(), &self.options).await?;
        let shared = Shared {
            name,
            publisher: self.bridge.publisher().clone(),
            store: self.store,
            handlers: self.handlers,
            policy: Policy {
                max_attempts: self.options.max_attempts,
                retry_delays: self.options.retry_delays.clone(),
                in_place: self.options.order == Order::PerUnit,
            },
            holds: Holds::new(client.clone(), self.options.ack_wait()),
            client,
            options: self.options,
            store_is_down: false.into(),
            drain: CancellationToken::new(),
            cancel: CancellationToken::new(),
        };
        Ok(DurableConsumer { context, feed: self.feed, shared: Arc::new(shared) })
    }

    fn check(&self) -> Result<ConsumerName, ConsumeError> {
        let name = self
            .name
            .clone()
            .map_err(|error| ConsumeError::new(ConsumeErrorKind::InvalidName, error.to_string()))?;
        let invalid =
            |kind, message: String| Err(ConsumeError::new(kind, format!("consumer {name}: {message}")));
        if let Some(event_type) = self.handled_twice {
            return invalid(
                ConsumeErrorKind::InvalidHandlers,
                format!("two handlers for {event_type}: keep one"),
            );
        }
        if self.handlers.types().next().is_none() {
            let message = "no handler: add one with `on` for each event type to consume".to_owned();
            return invalid(ConsumeErrorKind::InvalidHandlers, message);
        }
        if let Some(problem) = self.options.problem() {
            return invalid(ConsumeErrorKind::InvalidOptions, problem);
        }
        Ok(name)
    }

    fn filters(&self) -> Vec<String> {
        let types = || self.handlers.types();
        if self.domains.is_empty() {
            return types().map(|event_type| self.feed.filter(None, event_type)).collect();
        }
        let mut domains: Vec<_> = self.domains.iter().collect();
        domains.sort();
        domains.dedup();
        domains
            .into_iter()
            .flat_map(|domain| types().map(move |event_type| self.feed.filter(Some(domain), event_type)))
            .collect()
    }
}

/// A store that forgets before the stream does lets an old event be handled again.
fn check_retention(
    store: &Arc<dyn DedupeStore>,
    options: &ConsumerOptions,
    feed: Feed,
    max_age: Duration,
) -> Result<(), ConsumeError> {
    let Some(retention) = store.retention() else { return Ok(()) };
    // An age of zero is no limit.
    let forgets_sooner = max_age.is_zero() || retention < max_age;
    if forgets_sooner && !options.allows_short_store_retention {
        let stream = feed.stream();
        let kept = if max_age.is_zero() { "without limit".to_owned() } else { format!("for {max_age:?}") };
        let message = format!(
            "dedupe store remembers for {retention:?} but {stream} keeps events {kept}: lengthen the store's retention, \
             or ask for it with `allow_short_store_retention`"
        );
        return Err(ConsumeError::new(ConsumeErrorKind::StoreRetention, message));
    }
    Ok(())
}
