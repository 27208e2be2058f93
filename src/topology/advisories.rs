//! The stream that keeps the server's advisories about events that it gave up.

use crate::{
    contract::subject::Feed,
    nats::{api::consumer_advisory, api_context::ApiContext},
    topology::{
        ADVISORY_STREAM, StreamSettings, TopologyError, TopologyErrorKind,
        provision::{check_version, make, read, refuse_immutable},
    },
};
use async_nats::jetstream::stream::{Config, RetentionPolicy};

/// Returns the subjects of advisories that the server will not deliver an event again, for all consumers of a stream.
pub(crate) fn advisory_subjects(feed: Feed) -> [String; 2] {
    ["MAX_DELIVERIES", "MSG_TERMINATED"].map(|kind| consumer_advisory(kind, feed.stream()))
}

/// Creates the stream, or changes what differs.
pub(crate) async fn provision_advisories(
    context: &ApiContext,
    settings: &StreamSettings,
) -> Result<(), TopologyError> {
    if let Some(problem) = settings.problem(ADVISORY_STREAM) {
        return Err(TopologyError::new(TopologyErrorKind::InvalidSettings, problem));
    }
    check_version(&context.client())?;
    let subjects: Vec<_> = [Feed::Strat, Feed::Choco].into_iter().flat_map(advisory_subjects).collect();
    let subjects: Vec<_> = subjects.iter().map(String::as_str).collect();
    // Swept advisories leave the stream, so that a recreated durable does not sweep them again.
    let wanted =
        Config { retention: RetentionPolicy::WorkQueue, ..settings.config(ADVISORY_STREAM, &subjects, None) };
    let found = read(context, &wanted).await?;
    refuse_immutable([(&wanted, &found)])?;
    make(context, &wanted, found).await
}
