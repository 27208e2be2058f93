//! Making the streams what they should be, or checking that they are.

use crate::{
    nats::{account_limit, api_context::ApiContext},
    topology::{
        CHOCO_STREAM, Difference, Topology, TopologyError, TopologyErrorKind,
        difference::{differences, merged},
        durable_source::{self, check_durable_source, is_durable, remove_durable},
        first_sequence::follow_lost_origin,
        stored_twice::must_be_stored_once,
    },
};
use async_nats::{
    Client,
    jetstream::{
        self, ErrorCode,
        context::{
            CreateStreamErrorKind, GetStreamError, GetStreamErrorKind, RequestError, RequestErrorKind,
        },
        stream::Config,
    },
};
use std::error::Error;

impl Topology {
    /// Creates what is missing and changes what differs; see [`EventBridge::provision`](crate::EventBridge::provision).
    pub(crate) async fn provision(&self, context: &ApiContext) -> Result<(), TopologyError> {
        let (mut wanted, found) = self.look(context).await?;
        // All streams are checked before any is changed.
        refuse_immutable(wanted.iter().zip(&found))?;
        follow_lost_origin(context, &mut wanted, &found).await?;
        for (wanted, found) in wanted.iter_mut().zip(found) {
            if wanted.name != CHOCO_STREAM {
                make(context, wanted, found).await?;
                continue;
            }
            durable_source::prepare(context, wanted, found.as_ref()).await?;
            let is_left = found.as_ref().is_some_and(is_durable) && !is_durable(wanted);
            make(context, wanted, found).await?;
            if is_left {
                remove_durable(context).await?;
            }
        }
        Ok(())
    }

    /// Checks the streams without changing them; see [`EventBridge::verify`](crate::EventBridge::verify).
    pub(crate) async fn verify(&self, context: &ApiContext) -> Result<(), TopologyError> {
        let (wanted, found) = self.look(context).await?;
        let mut drift = Vec::new();
        for (wanted, found) in wanted.iter().zip(found) {
            let missing = || {
                let message = format!("stream {} does not exist: provision the topology", wanted.name);
                TopologyError::new(TopologyErrorKind::NotFound, message)
            };
            drift.extend(differences(wanted, &found.ok_or_else(missing)?));
        }
        if drift.is_empty() {
            Ok(())
        } else {
            Err(TopologyError::differing(TopologyErrorKind::Mismatch, drift))
        }
    }

    /// Checks the settings and the server, and reads the streams as they are.
    async fn look(&self, context: &ApiContext) -> Result<(Vec<Config>, Vec<Option<Config>>), TopologyError> {
        if let Some(problem) = self.problem() {
            return Err(TopologyError::new(TopologyErrorKind::InvalidSettings, problem));
        }
        let client = context.client();
        check_version(&client)?;
        if self.durable_source {
            check_durable_source(&client)?;
        }
        let wanted = self.streams(client.is_server_compatible(2, 12, 0));
        must_be_stored_once(context, &wanted).await?;
        let mut found = Vec::new();
        for wanted in &wanted {
            found.push(read(context, wanted).await?);
        }
        Ok((wanted, found))
    }
}

/// Fails if the server cannot make these streams what they should be.
pub(super) fn refuse_immutable<'a>(
    streams: impl IntoIterator<Item = (&'a Config, &'a Option<Config>)>,
) -> Result<(), TopologyError> {
    let found = streams.into_iter().filter_map(|(wanted, found)| Some(differences(wanted, found.as_ref()?)));
    let immutable: Vec<_> = found.flatten().filter(Difference::is_immutable).collect();
    if immutable.is_empty() {
        Ok(())
    } else {
        Err(TopologyError::differing(TopologyErrorKind::Conflict, immutable))
    }
}

/// Creates a stream, or changes what differs.
pub(super) async fn make(
    context: &ApiContext,
    wanted: &Config,
    found: Option<Config>,
) -> Result<(), TopologyError> {
    let found = match found {
        Some(found) => found,
        None => create(context, wanted).await?,
    };
    if differences(wanted, &found).is_empty() { Ok(()) } else { update(context, wanted, found).await }
}

/// Checks that the server is new enough: older ones answer "ok" and ignore subject transforms, so that events would be
/// forwarded under a wrong subject.
pub(crate) fn check_version(client: &Client) -> Result<(), TopologyError> {
    let Some(server) = client.try_server_info() else {
        return Err(TopologyError::new(TopologyErrorKind::Unavailable, "not connected to the broker"));
    };
    if client.is_server_compatible(2, 10, 0) {
        return Ok(());
    }
    let message = format!("nats-server {} is too old: 2.10 or newer is needed", server.version);
    Err(TopologyError::new(TopologyErrorKind::UnsupportedServer, message))
}

pub(super) async fn read(context: &ApiContext, wanted: &Config) -> Result<Option<Config>, TopologyError> {
    match context.get_stream(&wanted.name).await {
        Ok(stream) => Ok(Some(stream.cached_info().config.clone())),
        Err(error) => match error.kind() {
            GetStreamErrorKind::JetStream(answer) if answer.error_code() == ErrorCode::STREAM_NOT_FOUND => {
                Ok(None)
            }
            GetStreamErrorKind::JetStream(answer) => Err(refused("read", wanted, answer)),
            _ if has_no_responder(&error) => {
                let message = match context.prefix() {
                    prefix if prefix.is_local() => {
                        "server has no JetStream: start nats-server with `-js`".to_owned()
                    }
                    prefix => format!("no JetStream answers behind {prefix}: is that its domain or prefix?"),
                };
                Err(TopologyError::new(TopologyErrorKind::Unavailable, message).caused_by(error))
            }
            _ => Err(failed(TopologyErrorKind::Unavailable, "read", wanted, error)),
        },
    }
}

/// Returns whether the server has no responder for such requests: JetStream is off.
fn has_no_responder(error: &GetStreamError) -> bool {
    let request = error.source().and_then(|source| source.downcast_ref::<RequestError>());
    request.is_some_and(|request| request.kind() == RequestErrorKind::NoResponders)
}

async fn create(context: &ApiContext, wanted: &Config) -> Result<Config, TopologyError> {
    match context.create_stream(wanted).await {
        Ok(_) => {}
        Err(error) => match error.kind() {
            // Another process was faster; what it made is compared like anything else that was there before.
            CreateStreamErrorKind::JetStream(answer)
                if answer.error_code() == ErrorCode::STREAM_NAME_EXIST => {}
            CreateStreamErrorKind::JetStream(answer) => return Err(refused("created", wanted, answer)),
            _ => return Err(failed(TopologyErrorKind::Unavailable, "created", wanted, error)),
        },
    }
    let found = read(context, wanted).await?;
    found.ok_or_else(|| {
        let message = format!("stream {} was deleted while it was created", wanted.name);
        TopologyError::new(TopologyErrorKind::NotFound, message)
    })
}

pub(super) async fn update(
    context: &ApiContext,
    wanted: &Config,
    found: Config,
) -> Result<(), TopologyError> {
    let config = merged(wanted, found);
    context.update_stream(&config).await.map_err(|error| match error.kind() {
        CreateStreamErrorKind::JetStream(answer) => refused("updated", wanted, answer),
        _ => failed(TopologyErrorKind::Unavailable, "updated", wanted, error),
    })?;
    let left = read(context, wanted).await?.map(|found| differences(wanted, &found)).unwrap_or_default();
    if left.is_empty() {
        Ok(())
    } else {
        Err(TopologyError::differing(TopologyErrorKind::UnsupportedServer, left))
    }
}

fn refused(verb: &str, stream: &Config, answer: jetstream::Error) -> TopologyError {
    let is_limit = account_limit::is_reached(&answer);
    let kind = if is_limit { TopologyErrorKind::LimitReached } else { TopologyErrorKind::Refused };
    failed(kind, verb, stream, answer)
}

fn failed(
    kind: TopologyErrorKind,
    verb: &str,
    stream: &Config,
    error: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> TopologyError {
    TopologyError::new(kind, format!("stream {} could not be {verb}", stream.name)).caused_by(error)
}
