//! Who consumes events with this crate.

use crate::{
    acl::{
        Inbox, Permissions,
        api::{about_durable, about_stream, bucket_stream, use_of},
    },
    consumer::Order,
    contract::{
        consumer_name::ConsumerName, domain::Domain, event::EventType, subject::Feed, value::ParseError,
    },
    topology::DEAD_LETTER_STREAM,
};

/// Consumes one feed by one durable with a [`DurableConsumer`](crate::DurableConsumer), and writes its dead letters.
///
/// The settings are those of the [`ConsumerBuilder`](crate::ConsumerBuilder), as far as they need permissions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsumerRole {
    feed: Feed,
    name: ConsumerName,
    filters: Vec<String>,
    order: Order,
    checks_streams: bool,
    bucket: Option<String>,
    reads_dead_letters: bool,
    finds_unreadable_events: bool,
}

impl ConsumerRole {
    /// Of a durable that somebody else creates, in any order, with stream checks.
    #[must_use]
    pub fn new(feed: Feed, name: ConsumerName) -> Self {
        let (filters, order) = (Vec::new(), Order::default());
        Self {
            feed,
            name,
            filters,
            order,
            checks_streams: true,
            bucket: None,
            reads_dead_letters: false,
            finds_unreadable_events: false,
        }
    }

    /// May create and update its durable, for these event types in these domains, or in all if none is given.
    ///
    /// One type in one domain, or in all, is pinned: the server refuses any other filter. With several filters it cannot
    /// be, and the user could read the whole feed. In both cases it may give its durable a subject of any name to deliver
    /// to; a durable that somebody else creates is the stricter choice.
    #[must_use]
    pub fn creating_durable(
        mut self,
        domains: impl IntoIterator<Item = Domain>,
        event_types: impl IntoIterator<Item = EventType>,
    ) -> Self {
        let event_types: Vec<_> = event_types.into_iter().collect();
        self.filters = self.feed.filters(domains, &event_types);
        self
    }

    /// For [`Order::PerUnit`], which hands over at shutdown.
    #[must_use]
    pub fn with_order(mut self, order: Order) -> Self {
        self.order = order;
        self
    }

    /// Follows [`with_stream_checks`](crate::ConsumerOptions::with_stream_checks) of the consumer's options.
    #[must_use]
    pub fn with_stream_checks(mut self, check: bool) -> Self {
        self.checks_streams = check;
        self
    }

    /// With a [`KvStore`](crate::dedupe::KvStore) in this bucket, opened and not created: its own slots only.
    ///
    /// # Errors
    ///
    /// When the name is not 1 to 255 of `A-Z a-z 0-9 _ -`.
    pub fn with_kv_store(mut self, bucket: &str) -> Result<Self, ParseError> {
        bucket_stream(bucket)?;
        self.bucket = Some(bucket.to_owned());
        Ok(self)
    }

    /// May read back a dead letter that the broker says it has, to be sure that it is the same.
    ///
    /// That happens when a termination was lost, or its stream was created anew. Without it such an event has two dead
    /// letters. With it this user can read all dead letters, also those of others.
    #[must_use]
    pub fn reading_dead_letters(mut self) -> Self {
        self.reads_dead_letters = true;
        self
    }

    /// May read an event by its sequence, to find and dead-letter one that the client library cannot read, as with a header
    /// that is not UTF-8.
    ///
    /// Such an event cuts the connection at each delivery. Without the permission it stays, and an error in the log says
    /// among which sequences it is. With it this user can read every event of its feed, also of other domains and types,
    /// since the server cannot limit what is read by sequence.
    #[must_use]
    pub fn finding_unreadable_events(mut self) -> Self {
        self.finds_unreadable_events = true;
        self
    }

    /// What it may do.
    #[must_use]
    pub fn permissions(&self, inbox: &Inbox) -> Permissions {
        let Self { feed, name, .. } = self;
        let mut publish = Vec::from(use_of(*feed, name));
        publish.push(format!("stratt.dlq.{name}.>"));
        let create = about_durable("CREATE", *feed, name);
        match self.filters.as_slice() {
            [] => {}
            [one] => publish.push(format!("{create}.{one}")),
            _ => publish.push(create),
        }
        if self.order == Order::PerUnit {
            publish.push(about_durable("UNPIN", *feed, name));
        }
        if self.checks_streams {
            publish.extend([feed.stream(), DEAD_LETTER_STREAM].map(|stream| about_stream("INFO", stream)));
        }
        if let Some(bucket) = &self.bucket {
            let (stream, keys) = (format!("KV_{bucket}"), format!("$KV.{bucket}.{name}.*"));
            publish.extend([
                about_stream("INFO", &stream),
                format!("$JS.API.DIRECT.GET.{stream}.{keys}"),
                keys,
            ]);
        }
        if self.reads_dead_letters {
            publish.push(about_stream("MSG.GET", DEAD_LETTER_STREAM));
        }
        if self.finds_unreadable_events {
            publish.push(about_stream("MSG.GET", feed.stream()));
        }
        Permissions::new(publish, inbox)
    }
}
