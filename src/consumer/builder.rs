//! Building a durable consumer.

use crate::{
    consumer::{
        ConsumeError, ConsumeErrorKind, ConsumerOptions, Delivery, DurableConsumer, HandlerError, OnMismatch,
        Order,
        batch::{BatchOptions, Batches},
        checks::{
            gap,
            overflow::Silence,
            request::ApiRequest,
            requirements::Requirements,
            streams::{self, Checked},
        },
        delivery::{
            breakers::Breakers, company::Company, decide::Policy, in_progress::InProgressSet,
            postponed::Postponed,
        },
        durable::Durable,
        handler::Handlers,
        meter::ConsumerMeter,
        receive::arrivals::Arrivals,
        shared::Shared,
        state::ConsumerState,
    },
    contract::{
        consumer_name::ConsumerName,
        domain::Domain,
        event::{Event, EventType},
        subject::Feed,
        value::ParseError,
    },
    dead_letter::Parking,
    dedupe::DedupeStore,
    link::Link,
    nats::server_clock::ServerClock,
    telemetry::log_limit::LogLimit,
};
use async_nats::Client;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// A builder of a [`DurableConsumer`].
#[derive(Debug)]
#[must_use = "a builder does nothing until it builds"]
pub struct ConsumerBuilder {
    link: Arc<Link>,
    company: Arc<Company>,
    name: Result<ConsumerName, ParseError>,
    store: Arc<dyn DedupeStore>,
    feed: Feed,
    domains: Vec<Domain>,
    options: ConsumerOptions,
    handlers: Handlers,
    handled_twice: Option<EventType>,
    batches: Vec<BatchOptions>,
}

impl ConsumerBuilder {
    pub(crate) fn new(
        link: Arc<Link>,
        company: Arc<Company>,
        name: &str,
        store: Arc<dyn DedupeStore>,
    ) -> Self {
        Self {
            link,
            company,
            name: name.parse(),
            store,
            feed: Feed::default(),
            domains: Vec::new(),
            options: ConsumerOptions::default(),
            handlers: Handlers::default(),
            handled_twice: None,
            batches: Vec::new(),
        }
    }

    /// Sets the feed to read; [`Feed::Strat`] unless set.
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
    /// time for each unit. It must not block its thread. It may be dropped at any await: at its timeout, at the end of
    /// the shutdown grace, and when its lease is lost.
    ///
    /// An error means that the attempt failed and is repeated; [`HandlerError::defer`] that what the handler depends on
    /// is away, and [`HandlerError::reject`] that no attempt can succeed.
    pub fn on<E, F, Fut>(mut self, handler: F) -> Self
    where
        E: Event,
        F: Fn(Delivery<E>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), HandlerError>> + Send + 'static,
    {
        self.handled_twice = self.handlers.add(handler).err().or(self.handled_twice);
        self
    }

    /// Adds a handler that receives several deliveries in one call, for one event type or with
    /// [`AnyEvent`](crate::AnyEvent) for all of them: what costs as much for many as for one, such as a transaction, is
    /// paid once. `settle_all_in` of a database store settles them [in the host's transaction](crate::docs::dedupe).
    ///
    /// Each delivery of the batch has its own claim, lease, timeout and attempt, as for [`on`](Self::on), and no two
    /// are of the same unit. `Ok` means that all of them were handled. If the handler fails, panics, or takes too long,
    /// what it did must be undone, as a transaction is: it is called again for both halves at once, until the event for
    /// which it fails is alone. Only that one has failed, and only its attempt counts. With [`HandlerError::defer`] the
    /// batch is not halved, and all of it comes again later.
    ///
    /// So that there is time to find that event, a call for `n` events may take the part `1 / (3 + log2 n)` of what is
    /// left of the processing timeout. If a delivery is dropped, which [`on`](Self::on) says when, the call is dropped
    /// and repeated without it.
    pub fn on_batch<E, F, Fut>(mut self, options: BatchOptions, handler: F) -> Self
    where
        E: Event,
        F: Fn(Vec<Delivery<E>>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), HandlerError>> + Send + 'static,
    {
        self.batches.push(options);
        let batches = Batches::new(options, handler);
        self.on(move |delivery| Arc::clone(&batches).handle(delivery))
    }

    /// Checks everything, and creates the durable or brings it up to date.
    ///
    /// # Errors
    ///
    /// A [`ConsumeError`] that says what to change when the name, handlers or options are not valid, when a stream is
    /// missing or unfit, when the store forgets sooner than the stream (unless the options allow that), when the
    /// durable exists with other settings ([`OnMismatch`](crate::OnMismatch)) or is ahead of its stream, when the
    /// server is too old, or when a permission is missing. All checks are listed in
    /// [`docs::operating`](crate::docs::operating).
    ///
    /// # Cancel safety
    ///
    /// Dropping the future may leave the durable created; building again is harmless.
    pub async fn build(self) -> Result<DurableConsumer, ConsumeError> {
        let (client, watch) = (self.link.client.clone(), self.link.watch.clone());
        self.checked().await.map_err(|error| error.explained(watch.disconnected(&client)))
    }

    async fn checked(mut self) -> Result<DurableConsumer, ConsumeError> {
        let name = self.check()?;
        let client = self.link.client.clone();
        self.check_version(&client)?;
        let context = self.link.context.clone();
        let (watch, stream) = (self.link.watch.clone(), self.feed.stream());
        let api = ApiRequest { context: context.clone(), client: client.clone(), watch: watch.clone() };
        let Checked { max_age, replicas } = if self.options.checks_streams {
            let retry_budget = self.link.retry_budget;
            streams::check(&api, &name, self.feed, &self.store, &self.options, retry_budget).await?
        } else {
            tracing::warn!(consumer = %name, "streams are not checked: the options turn the checks off");
            Checked::default()
        };
        let requirements =
            Requirements::new(self.feed, &name, &self.handlers, &self.options).with_replicas(replicas);
        let durable = Durable::new(&api, stream, &name).await?;
        let config = durable.ensure(self.filters(&name), &self.options, &requirements).await?;
        if self.options.on_mismatch == OnMismatch::Keep {
            self.options.ack_wait = Some(config.ack_wait);
        }
        let lines = Arc::new(LogLimit::new(name.as_str()));
        // A durable that others change still has an ack wait of at least the lease.
        let in_progress = InProgressSet::new(client.clone(), self.options.lease(), Arc::clone(&lines));
        let meter = ConsumerMeter::new(name.as_str(), self.handlers.types());
        let breakers = Breakers::new(self.options.circuit_breaker, self.handlers.types());
        let state = ConsumerState::new(meter, breakers, Arc::clone(&in_progress));
        let parks = self.options.parks.then(|| Parking::new(&self.link, name.clone(), stream));
        let shared = Shared {
            name,
            feed: self.feed,
            stream: self.feed.stream(),
            publisher: self.link.publisher.clone(),
            store: self.store,
            handlers: self.handlers,
            policy: Policy {
                max_attempts: self.options.max_attempts,
                retry_delays: self.options.retry_delays.clone(),
                in_place: self.options.order == Order::PerUnit,
            },
            in_progress,
            company: self.company,
            client,
            options: self.options,
            postponed: Postponed::default(),
            parking: parks.map(Arc::new),
            max_age,
            clock: ServerClock::default(),
            arrivals: Arrivals::default(),
            silence: Silence::default(),
            state,
            lines,
            drain: CancellationToken::new(),
            cancel: CancellationToken::new(),
        };
        if shared.options.checks_streams {
            gap::check_end(&context, &shared).await?;
        }
        Ok(DurableConsumer { context, feed: self.feed, watch, config, shared: Arc::new(shared) })
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
        let (in_flight, timeout) = (self.options.max_in_flight, self.options.processing_timeout);
        let in_batches = || self.batches.iter().find_map(|batch| batch.problem(in_flight, timeout));
        if let Some(problem) = self.options.problem().or_else(in_batches) {
            return invalid(ConsumeErrorKind::InvalidOptions, problem);
        }
        Ok(name)
    }

    /// Checks the version of the server: older ones answer "ok" and ignore what they do not know.
    fn check_version(&self, client: &Client) -> Result<(), ConsumeError> {
        let (minor, what) = match self.options.order {
            Order::Relaxed => (10, "a consumer"),
            Order::PerUnit => (11, "`Order::PerUnit`"),
        };
        let Some(server) = client.try_server_info() else {
            return Err(ConsumeError::new(ConsumeErrorKind::Unavailable, "not connected to the broker"));
        };
        if client.is_server_compatible(2, minor, 0) {
            return Ok(());
        }
        let version = server.version;
        let message = format!("nats-server {version} is too old for {what}: 2.{minor} or newer is needed");
        Err(ConsumeError::new(ConsumeErrorKind::UnsupportedServer, message))
    }

    fn filters(&self, name: &ConsumerName) -> Vec<String> {
        let types: Vec<_> = self.handlers.types().collect();
        self.feed.filters(name, self.domains.iter().cloned(), &types)
    }
}
