//! The role that creates the streams.

use crate::{
    acl::{Inbox, Permissions},
    dedupe::BucketName,
    nats::api::ApiSubject,
    topology::{CHOCO_STREAM, DEAD_LETTER_STREAM, DURABLE_SOURCE, EVENT_STREAM},
};

/// A provisioner, which creates, updates and verifies the three streams, reads the state of
/// [forwarding](crate::EventBridge::forwarding), and creates the buckets of dedupe stores. It deletes nothing.
///
/// It may read events: the newest one of Choco says where a stream of events that was lost has to go on. A user that
/// sets up the streams could have them sent anywhere in any case.
///
/// A provisioner that also creates durables needs the permissions of their [`ConsumerRole`](crate::acl::ConsumerRole)
/// as well.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ProvisionerRole {
    buckets: Vec<BucketName>,
    durable_source: bool,
}

impl ProvisionerRole {
    /// Allows creating this bucket, for a [`KvStore`](crate::dedupe::KvStore).
    #[must_use]
    pub fn with_kv_store(mut self, bucket: BucketName) -> Self {
        self.buckets.push(bucket);
        self
    }

    /// Allows switching a [durable source](crate::topology::Topology::with_durable_source) on and off, and reading its
    /// state. No role may subscribe to the subject that its events are delivered on.
    #[must_use]
    pub fn with_durable_source(mut self) -> Self {
        self.durable_source = true;
        self
    }

    /// Returns the permissions of the role.
    #[must_use]
    pub fn permissions(&self, inbox: &Inbox) -> Permissions {
        let streams = [EVENT_STREAM, CHOCO_STREAM, DEAD_LETTER_STREAM].into_iter().flat_map(|stream| {
            [ApiSubject::stream_info, ApiSubject::stream_create, ApiSubject::stream_update]
                .map(|request| request(stream))
        });
        let buckets = self.buckets.iter().flat_map(|bucket| {
            [ApiSubject::stream_info, ApiSubject::stream_create].map(|request| request(&bucket.stream()))
        });
        let durable = [ApiSubject::durable_info, ApiSubject::durable_create, ApiSubject::durable_delete]
            .map(|request| request(EVENT_STREAM, DURABLE_SOURCE));
        let durable = durable.into_iter().filter(|_| self.durable_source);
        let newest = [EVENT_STREAM, CHOCO_STREAM].map(ApiSubject::message_get);
        let requests = streams.chain(buckets).chain(newest).chain(durable).map(ApiSubject::local);
        // A second stream for the same subjects would store each event as well.
        Permissions::new(requests, inbox).asking_beside(ApiSubject::stream_names())
    }
}
