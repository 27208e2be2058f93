//! The role of a consumer that uses this crate.

use crate::{
    acl::{Inbox, Permissions, durable::use_of},
    consumer::Order,
    contract::{consumer_name::ConsumerName, subject::Feed},
    dedupe::BucketName,
    nats::api::ApiSubject,
    topology::DEAD_LETTER_STREAM,
};

/// A [`DurableConsumer`](crate::DurableConsumer) of one feed, which also writes its dead letters.
///
/// The settings are those of the [`ConsumerBuilder`](crate::ConsumerBuilder), as far as they need permissions.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a permission of its own")]
pub struct ConsumerRole {
    feed: Feed,
    name: ConsumerName,
    creates_durable: bool,
    order: Order,
    parks: bool,
    checks_streams: bool,
    bucket: Option<BucketName>,
    reads_dead_letters: bool,
    finds_unreadable_events: bool,
}

impl ConsumerRole {
    /// Returns the role of a consumer whose durable others create, with stream checks and without order.
    #[must_use]
    pub fn new(feed: Feed, name: ConsumerName) -> Self {
        Self {
            feed,
            name,
            creates_durable: false,
            order: Order::default(),
            parks: false,
            checks_streams: true,
            bucket: None,
            reads_dead_letters: false,
            finds_unreadable_events: false,
        }
    }

    /// Allows creating and updating its durable.
    ///
    /// A durable has several filters, which the server cannot limit: the user could read the whole feed, and may let
    /// its durable deliver to any subject. A durable that others create is the stricter choice.
    #[must_use]
    pub fn creating_durable(mut self) -> Self {
        self.creates_durable = true;
        self
    }

    /// Sets the order; a consumer with [`Order::PerUnit`] hands over at shutdown.
    #[must_use]
    pub fn with_order(mut self, order: Order) -> Self {
        self.order = order;
        self
    }

    /// Allows [parking](crate::ConsumerOptions::with_parking): redriving for itself, and reading and removing dead
    /// letters, which the server cannot limit to its own.
    #[must_use]
    pub fn parking(mut self) -> Self {
        self.parks = true;
        self
    }

    /// Follows [`with_stream_checks`](crate::ConsumerOptions::with_stream_checks) of the consumer's options.
    #[must_use]
    pub fn with_stream_checks(mut self, check: bool) -> Self {
        self.checks_streams = check;
        self
    }

    /// Allows opening, not creating, a [`KvStore`](crate::dedupe::KvStore) in this bucket: its own slots only.
    #[must_use]
    pub fn with_kv_store(mut self, bucket: BucketName) -> Self {
        self.bucket = Some(bucket);
        self
    }

    /// Allows reading back a dead letter that the broker dropped as a duplicate, to make sure that it is the same.
    ///
    /// That happens when a termination was lost, or its stream was recreated. Without the permission, such an event
    /// has two dead letters. With it, this user can read all dead letters, also those of other consumers.
    #[must_use]
    pub fn reading_dead_letters(mut self) -> Self {
        self.reads_dead_letters = true;
        self
    }

    /// Allows reading an event by its sequence, to find and dead-letter one that the client library cannot read, such
    /// as one with a header that is not UTF-8.
    ///
    /// Such an event cuts the connection at each delivery. Without the permission it stays, and an error in the log
    /// says among which sequences it is. With it this user can read every event of its feed, also of other domains
    /// and types, since the server cannot limit what is read by sequence.
    #[must_use]
    pub fn finding_unreadable_events(mut self) -> Self {
        self.finds_unreadable_events = true;
        self
    }

    /// Returns the permissions of the role.
    #[must_use]
    pub fn permissions(&self, inbox: &Inbox) -> Permissions {
        let Self { feed, name, .. } = self;
        let stream = feed.stream();
        let mut requests = Vec::new();
        if self.creates_durable {
            requests.push(ApiSubject::durable_create(stream, name.as_str()));
        }
        if self.order == Order::PerUnit {
            requests.push(ApiSubject::durable_unpin(stream, name.as_str()));
        }
        if self.checks_streams {
            requests.extend([stream, DEAD_LETTER_STREAM].map(ApiSubject::stream_info));
        }
        let mut publish: Vec<_> = use_of(*feed, name).collect();
        publish.push(format!("stratt.dlq.{name}.>"));
        if let Some(bucket) = &self.bucket {
            let (stream, keys) = (bucket.stream(), bucket.subject(format_args!("{name}.*")));
            requests.extend([ApiSubject::stream_info(&stream), ApiSubject::direct_get(&stream, &keys)]);
            publish.push(keys);
        }
        if self.parks {
            publish.push(format!("{}{name}.>", Feed::Strat.redrive_prefix()));
            requests.extend(
                [ApiSubject::direct_get_many, ApiSubject::message_delete].map(|of| of(DEAD_LETTER_STREAM)),
            );
        }
        if self.reads_dead_letters || self.parks {
            requests.push(ApiSubject::message_get(DEAD_LETTER_STREAM));
        }
        if self.finds_unreadable_events {
            requests.push(ApiSubject::message_get(stream));
        }
        Permissions::new(publish.into_iter().chain(requests.into_iter().map(ApiSubject::local)), inbox)
    }
}
