//! Who creates the streams.

use crate::{
    acl::{Inbox, Permissions, bucket::bucket_stream},
    contract::value::ParseError,
    nats::api::ApiSubject,
    topology::{CHOCO_STREAM, DEAD_LETTER_STREAM, EVENT_STREAM},
};

/// Creates, updates and verifies the three streams, asks how [forwarding](crate::EventBridge::forwarding) is doing, and
/// creates the buckets of dedupe stores. It deletes nothing and reads no message.
///
/// Whoever creates the durable of somebody else has the permissions of that [`ConsumerRole`](crate::acl::ConsumerRole) as well.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ProvisionerRole {
    bucket_streams: Vec<String>,
}

impl ProvisionerRole {
    /// Also creates this bucket, for a [`KvStore`](crate::dedupe::KvStore).
    ///
    /// # Errors
    ///
    /// When the name is not 1 to 255 of `A-Z a-z 0-9 _ -`.
    pub fn with_kv_store(mut self, bucket: &str) -> Result<Self, ParseError> {
        self.bucket_streams.push(bucket_stream(bucket)?);
        Ok(self)
    }

    /// What it may do.
    #[must_use]
    pub fn permissions(&self, inbox: &Inbox) -> Permissions {
        let streams = [EVENT_STREAM, CHOCO_STREAM, DEAD_LETTER_STREAM].into_iter().flat_map(|stream| {
            [ApiSubject::stream_info, ApiSubject::stream_create, ApiSubject::stream_update]
                .map(|request| request(stream))
        });
        let buckets = self.bucket_streams.iter().flat_map(|stream| {
            [ApiSubject::stream_info, ApiSubject::stream_create].map(|request| request(stream))
        });
        Permissions::new(streams.chain(buckets).map(String::from), inbox)
    }
}
