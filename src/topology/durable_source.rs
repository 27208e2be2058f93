//! A durable of the events from which the broker forwards to Choco.

use crate::{
    nats::{api::ApiSubject, api_context::ApiContext},
    topology::{
        EVENT_STREAM, FORWARDED, TopologyError, TopologyErrorKind,
        first_sequence::{last_forwarded, unread},
        provision::update,
    },
};
use async_nats::{
    Client,
    jetstream::{
        ErrorCode,
        consumer::{AckPolicy, DeliverPolicy, push},
        response::Response,
        stream::{Config, StreamConsumerSource, SubjectTransform},
    },
};
use serde::{Serialize, de::IgnoredAny};
use std::{error::Error, time::Duration};

/// The name of the durable in the stream of events.
pub(crate) const DURABLE_SOURCE: &str = "CHOCO_STRATT";
/// The subject on which events reach the stream of Choco. A user that may subscribe to it reads all events.
const DELIVERY: &str = "stratt.source.choco";

/// The subjects of the transforms that mark where a source began: no event has one.
const MARK: &str = "stratt.since.";

/// The payload of a request about a durable, `{}`: the server does not take `null` for none.
#[derive(Debug, Serialize)]
struct NoPayload {}

/// Returns the setting of the source that uses the durable.
pub(super) fn durable_source() -> StreamConsumerSource {
    StreamConsumerSource::new(DURABLE_SOURCE, DELIVERY)
}

/// Checks that the server has durable sources as they should be: 2.14 has them, but skips events of a recreated stream.
pub(super) fn check_durable_source(client: &Client) -> Result<(), TopologyError> {
    if client.is_server_compatible(2, 15, 0) {
        return Ok(());
    }
    let version = client.server_info().version;
    let message =
        format!("nats-server {version} has no durable source that can be used: 2.15 or newer is needed");
    Err(TopologyError::new(TopologyErrorKind::UnsupportedServer, message))
}

/// Prepares the source that Choco is to have so that nothing is forwarded twice: one that differs from the present one
/// is another source to the server, and would begin at the oldest event, or where it once was.
///
/// It begins behind the last event that was forwarded. What is forwarded while the sources are exchanged is dropped by
/// Choco's duplicate window.
pub(super) async fn prepare(
    context: &ApiContext,
    choco: &mut Config,
    found: Option<&Config>,
) -> Result<(), TopologyError> {
    let wants = is_durable(choco);
    let Some(found) = found else { return if wants { create_durable(context, None).await } else { Ok(()) } };
    let had = is_durable(found);
    let is_same = wants == had && forwarded_subjects(choco) == forwarded_subjects(found);
    let is_missing = async || is_durable_missing(context).await.map_err(|error| failed("read", error));
    if is_same && !(wants && is_missing().await?) {
        keep_place(choco, found);
        return Ok(());
    }
    let forwarded = last_forwarded(context).await.map_err(unread)?;
    let next = (forwarded > 0).then(|| forwarded.saturating_add(1));
    if wants && had {
        // A source does not notice that it has another durable of the same name.
        let mut plain = choco.clone();
        plain.sources.iter_mut().flatten().for_each(|source| source.consumer = None);
        begin_at(&mut plain, next, true);
        update(context, &plain, found.clone()).await?;
    }
    if wants {
        // One that is left from before would begin at its old place.
        remove_durable(context).await?;
        create_durable(context, next).await?;
    }
    begin_at(choco, next, wants || had);
    Ok(())
}

/// Lets the source begin at a sequence, marked where the server may remember another place from before.
fn begin_at(choco: &mut Config, next: Option<u64>, is_marked: bool) {
    for source in choco.sources.iter_mut().flatten() {
        // A durable has its own.
        source.start_sequence = next.filter(|_| source.consumer.is_none());
        source.subject_transforms.extend(next.filter(|_| is_marked).map(mark));
    }
}

/// Returns a transform that no subject matches, by which the server takes a source for a new one.
fn mark(sequence: u64) -> SubjectTransform {
    SubjectTransform { source: format!("{MARK}{sequence}"), destination: format!("choco.since.{sequence}") }
}

/// Returns whether a transform does nothing but mark the place where a source began.
pub(super) fn is_mark(transform: &SubjectTransform) -> bool {
    transform.source.starts_with(MARK)
}

fn forwarded_subjects(choco: &Config) -> Vec<&SubjectTransform> {
    let transforms = choco.sources.iter().flatten().flat_map(|source| &source.subject_transforms);
    transforms.filter(|transform| !is_mark(transform)).collect()
}

/// Lets the source begin where the present one did, which makes it the same one.
fn keep_place(choco: &mut Config, found: &Config) {
    let found = found.sources.iter().flatten();
    for (source, found) in choco.sources.iter_mut().flatten().zip(found) {
        source.start_sequence = found.start_sequence;
        source
            .subject_transforms
            .extend(found.subject_transforms.iter().find(|found| is_mark(found)).cloned());
    }
}

/// Removes the durable, if there is one.
pub(super) async fn remove_durable(context: &ApiContext) -> Result<(), TopologyError> {
    let request = ApiSubject::durable_delete(EVENT_STREAM, DURABLE_SOURCE).request();
    match context.request(request, &NoPayload {}).await.map_err(|error| failed("removed", error))? {
        Response::Ok(IgnoredAny) => Ok(()),
        Response::Err { error } if error.error_code() == ErrorCode::CONSUMER_NOT_FOUND => Ok(()),
        Response::Err { error } => Err(failed("removed", error)),
    }
}

/// Returns whether the broker forwards from a durable.
pub(super) fn is_durable(choco: &Config) -> bool {
    choco.sources.iter().flatten().any(|source| source.consumer.is_some())
}

/// Returns whether there is no durable.
pub(super) async fn is_durable_missing(context: &ApiContext) -> Result<bool, Box<dyn Error + Send + Sync>> {
    let request = ApiSubject::durable_info(EVENT_STREAM, DURABLE_SOURCE).request();
    match context.request(request, &NoPayload {}).await? {
        Response::Ok(IgnoredAny) => Ok(false),
        Response::Err { error } if error.error_code() == ErrorCode::CONSUMER_NOT_FOUND => Ok(true),
        Response::Err { error } => Err(error.into()),
    }
}

async fn create_durable(context: &ApiContext, next: Option<u64>) -> Result<(), TopologyError> {
    let config = push::Config {
        durable_name: Some(DURABLE_SOURCE.to_owned()),
        deliver_subject: DELIVERY.to_owned(),
        deliver_policy: next
            .map_or(DeliverPolicy::All, |start_sequence| DeliverPolicy::ByStartSequence { start_sequence }),
        ack_policy: AckPolicy::FlowControl,
        flow_control: true,
        idle_heartbeat: Duration::from_secs(1),
        filter_subjects: FORWARDED.map(|(subjects, _)| subjects.to_owned()).into(),
        ..push::Config::default()
    };
    let created = context.create_consumer_on_stream(config, EVENT_STREAM).await;
    created.map(drop).map_err(|error| failed("created", error))
}

fn failed(verb: &str, error: impl Into<Box<dyn Error + Send + Sync>>) -> TopologyError {
    let message = format!("durable {DURABLE_SOURCE} of {EVENT_STREAM} could not be {verb}");
    TopologyError::new(TopologyErrorKind::Unavailable, message).caused_by(error)
}
