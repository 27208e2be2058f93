//! The detection of a second stream for the same subjects, in the JetStream of the connection itself.

use crate::{
    nats::{api::ApiSubject, api_context::ApiContext},
    report::report,
    topology::{StreamInfo, TopologyError, TopologyErrorKind},
};
use async_nats::jetstream::{response::Response, stream::Config};
use futures::future::try_join_all;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};
use std::{error::Error, time::Duration};
use tokio::time::timeout;

/// A user may lack the permission, which looks like a time-out.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// Checks that streams in another domain, or in another account, are the only ones that store what is published on this
/// connection.
///
/// A message goes to the streams of all JetStream domains of the account, so a hub and its leaf node that both have
/// the stream would both store each event, and the first of them to acknowledge would be heard.
pub(super) async fn must_be_stored_once(
    context: &ApiContext,
    wanted: &[Config],
) -> Result<(), TopologyError> {
    let (prefix, own) = (context.prefix(), context.client().server_info().domain);
    if prefix.is_local() || (own.is_some() && prefix.domain() == own.as_deref()) {
        return Ok(());
    }
    let each = wanted.iter().flat_map(|stream| stream.subjects.iter().map(move |subject| (stream, subject)));
    try_join_all(each.map(|(stream, subject)| check(context, &stream.name, subject))).await.map(drop)
}

async fn check(context: &ApiContext, stream: &str, subject: &str) -> Result<(), TopologyError> {
    let names = match takers_of(context, subject).await {
        Ok(names) => names,
        Err(error) => {
            let subject_of_request = ApiSubject::stream_names().local();
            tracing::warn!(
                stream, subject, subject_of_request, error = %report(&*error),
                "streams of the connection's own JetStream cannot be listed: one of them may store each message as well"
            );
            return Ok(());
        }
    };
    for name in names {
        if name == stream && is_same(context, stream).await {
            continue;
        }
        let domain = context.client().server_info().domain;
        let domain = domain.map_or_else(String::new, |domain| format!(" in domain {domain}"));
        let prefix = context.prefix();
        let message = format!(
            "stream {name}{domain} takes {subject} as well as {stream} behind {prefix}, and both would store each \
             message: delete it, or leave the domain or prefix out of the options"
        );
        return Err(TopologyError::new(TopologyErrorKind::StoredTwice, message));
    }
    Ok(())
}

/// Returns the streams of the connection's own JetStream that take messages of `subject`; none if it has no JetStream.
async fn takers_of(context: &ApiContext, subject: &str) -> Result<Vec<String>, Box<dyn Error + Send + Sync>> {
    #[derive(Deserialize)]
    struct Names {
        streams: Option<Vec<String>>,
    }
    let found = ask_locally(context, ApiSubject::stream_names(), json!({ "subject": subject })).await?;
    match found {
        None => Ok(Vec::new()),
        Some(Response::Ok(Names { streams })) => Ok(streams.unwrap_or_default()),
        Some(Response::Err { error }) => Err(error.into()),
    }
}

/// Returns whether the connection's own JetStream is the one behind the prefix: a server of the domain itself, or a
/// prefix that is only another name. Two streams of one name were not created at the same nanosecond.
async fn is_same(context: &ApiContext, stream: &str) -> bool {
    let local = ask_locally::<StreamInfo>(context, ApiSubject::stream_info(stream), json!({})).await;
    let wanted = timeout(ANSWER_WITHIN, StreamInfo::ask(context, stream)).await;
    match (local, wanted) {
        (Ok(Some(Response::Ok(local))), Ok(Ok(Response::Ok(wanted)))) => {
            matches!((local.created(), wanted.created()), (Ok(local), Ok(wanted)) if local == wanted)
        }
        _ => false,
    }
}

/// Makes a request to the connection's own JetStream; `None` if there is none.
async fn ask_locally<T: DeserializeOwned>(
    context: &ApiContext,
    request: ApiSubject,
    body: Value,
) -> Result<Option<Response<T>>, Box<dyn Error + Send + Sync>> {
    let client = context.client();
    let asked = client.request(request.local(), body.to_string().into());
    match timeout(ANSWER_WITHIN, asked).await? {
        Ok(answer) => Ok(Some(serde_json::from_slice(&answer.payload)?)),
        Err(error) if error.kind() == async_nats::client::RequestErrorKind::NoResponders => Ok(None),
        Err(error) => Err(error.into()),
    }
}
