//! The use of one durable.

use crate::{
    contract::{consumer_name::ConsumerName, subject::Feed},
    nats::api::{ApiSubject, acks},
};

/// Returns all subjects that a consumer needs of a durable that exists, and none of any other durable.
pub(super) fn use_of(feed: Feed, name: &ConsumerName) -> impl Iterator<Item = String> {
    let (stream, durable) = (feed.stream(), name.as_str());
    let requests = [ApiSubject::durable_info(stream, durable), ApiSubject::next_messages(stream, durable)];
    requests.map(ApiSubject::local).into_iter().chain(acks(stream, durable))
}
