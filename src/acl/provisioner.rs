//! The role that creates the streams.

use crate::{
    acl::{Inbox, Permissions},
    dedupe::BucketName,
    nats::api::ApiSubject,
    topology::{CHOCO_STREAM, DEAD_LETTER_STREAM, EVENT_STREAM},
};

/// A provisioner, which creates, updates and verifies the three streams, reads the state of
/// [forwarding](crate::EventBridge::forwarding), and creates the buckets of dedupe stores. It deletes nothing.
///
/// It may read events: the newest one of Choco says where a stream of events that was lost has to go on. Whoever sets
/// the streams could have them sent anywhere.
///
/// A provisioner that also creates durables needs the permissions of their [`ConsumerRole`](crate::acl::ConsumerRole)
/// as well.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ProvisionerRole {
    buckets: Vec<BucketName>,
}

impl ProvisionerRole {
    /// Allows creating this bucket, for a [`KvStore`](crate::dedupe::KvStore).
    #[must_use]
    pub fn with_kv_store(mut self, bucket: BucketName) -> Self {
        self.buckets.push(bucket);
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
        let newest = [EVENT_STREAM, CHOCO_STREAM].map(ApiSubject::message_get);
        Permissions::new(streams.chain(buckets).chain(newest).map(String::from), inbox)
    }
}
