//! The status of the broker, as far as this crate depends on it.

use crate::{
    nats::{
        api_context::ApiContext,
        connection_watch::{ConnectionWatch, Disconnected},
    },
    topology::{Access, CHOCO_STREAM, DEAD_LETTER_STREAM, EVENT_STREAM, Forwarding, Memory, StreamInfo},
};
use async_nats::{
    connection::State,
    jetstream::{Context, ErrorCode, response::Response},
};
use serde::{Deserialize, Serialize};
use std::{pin::pin, time::Duration};
use tokio::time::{Instant, timeout_at};

/// The time within which the broker has to answer; all requests are sent at once.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// The status of the broker. See [`EventBridge::status`](crate::EventBridge::status).
#[derive(Debug, Clone, Serialize)]
#[serde(into = "Serialized")]
pub struct BridgeStatus {
    connection: State,
    disconnected: Option<Disconnected>,
    server: Option<Server>,
    is_jetstream_reachable: bool,
    streams: Vec<StreamStatus>,
    forwarding: Option<Forwarding>,
}

#[derive(Debug, Clone)]
struct Server {
    name: String,
    version: String,
}

/// One of the streams, as far as the broker reported it.
#[derive(Debug, Clone, Serialize)]
pub struct StreamStatus {
    name: &'static str,
    #[serde(flatten)]
    found: Found,
}

#[derive(Debug, Clone, Serialize)]
#[serde(tag = "status", rename_all = "snake_case")]
enum Found {
    Present(StreamState),
    Missing,
    /// The broker did not answer, or refused.
    Unknown,
}

/// The messages that a stream holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[non_exhaustive]
pub struct StreamState {
    /// The number of messages.
    pub messages: u64,
    /// The number of bytes they take.
    pub bytes: u64,
    /// The sequence of the oldest message.
    #[serde(rename(deserialize = "first_seq"))]
    pub first_sequence: u64,
    /// The sequence of the newest message that there has ever been.
    #[serde(rename(deserialize = "last_seq"))]
    pub last_sequence: u64,
}

impl BridgeStatus {
    pub(crate) async fn ask(context: &ApiContext, watch: &ConnectionWatch, memory: &Memory) -> Self {
        let client = context.client();
        let connection = client.connection_state();
        let server =
            client.try_server_info().map(|info| Server { name: info.server_name, version: info.version });
        let names = [EVENT_STREAM, CHOCO_STREAM, DEAD_LETTER_STREAM];
        // Requests while disconnected would only pile up in the client.
        if connection != State::Connected {
            let streams = names.map(|name| StreamStatus { name, found: Found::Unknown });
            return Self {
                connection,
                disconnected: watch.disconnected(&client),
                server,
                is_jetstream_reachable: false,
                streams: streams.into(),
                forwarding: None,
            };
        }
        // Two answers, one after the other.
        let within = ANSWER_WITHIN * 2 / 5;
        let access = Access { context: context.clone(), watch: watch.clone(), within };
        let deadline = Instant::now() + ANSWER_WITHIN;
        let asked = async {
            tokio::join!(
                ask(context, EVENT_STREAM, deadline),
                async {
                    let choco = ask(context, CHOCO_STREAM, deadline).await;
                    let forwarding = match &choco {
                        Some(Response::Ok(info)) => {
                            timeout_at(deadline, Forwarding::of(info, memory, &access, None)).await.ok()
                        }
                        _ => None,
                    };
                    (choco, forwarding.and_then(Result::ok))
                },
                ask(context, DEAD_LETTER_STREAM, deadline),
            )
        };
        let account = timeout_at(deadline, context.query_account());
        let (mut asked, mut account) = (pin!(asked), pin!(account));
        let (reachable, (events, (choco, forwarding), dead_letters)) = tokio::select! {
            reachable = &mut account => (Some(reachable), asked.await),
            answers = &mut asked => (None, answers),
        };
        let streams: Vec<_> =
            names.into_iter().zip([events, choco, dead_letters]).map(StreamStatus::of).collect();
        // A user who may not read the account may still read a stream, and does not wait for that.
        let is_answered = streams.iter().any(|stream| !matches!(stream.found, Found::Unknown));
        let is_jetstream_reachable = is_answered
            || match reachable {
                Some(reachable) => matches!(reachable, Ok(Ok(_))),
                None => matches!(account.await, Ok(Ok(_))),
            };
        Self {
            connection: client.connection_state(),
            disconnected: watch.disconnected(&client),
            server,
            is_jetstream_reachable,
            streams,
            forwarding,
        }
    }

    /// Returns the state of the connection.
    #[must_use]
    pub fn connection(&self) -> State {
        self.connection.clone()
    }

    /// Returns why there is no connection, such as `authorization violation` or `IO error`; `None` while there is
    /// one, and without a [`ConnectionWatch`](crate::ConnectionWatch).
    #[must_use]
    pub fn connection_error(&self) -> Option<&str> {
        self.disconnected.as_ref().map(Disconnected::why)
    }

    /// Returns whether there is a connection.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.connection == State::Connected
    }

    /// Returns the name of the server that this connection is with, or was with last.
    #[must_use]
    pub fn server_name(&self) -> Option<&str> {
        self.server.as_ref().map(|server| server.name.as_str())
    }

    /// Returns the version of that server.
    #[must_use]
    pub fn server_version(&self) -> Option<&str> {
        self.server.as_ref().map(|server| server.version.as_str())
    }

    /// Returns whether JetStream answered, for the account of this connection.
    #[must_use]
    pub fn is_jetstream_reachable(&self) -> bool {
        self.is_jetstream_reachable
    }

    /// Returns the three streams: of events, what is forwarded to Choco, and dead letters. Where Choco has an account
    /// of its own, this connection sees some of them only.
    #[must_use]
    pub fn streams(&self) -> &[StreamStatus] {
        &self.streams
    }

    /// Returns what a stream holds; `None` when it is missing or the broker did not report it.
    #[must_use]
    pub fn stream(&self, name: &str) -> Option<StreamState> {
        self.streams.iter().find(|stream| stream.name == name)?.state()
    }

    /// Returns the state of forwarding to Choco; `None` when the broker did not report it, or there is none.
    #[must_use]
    pub fn forwarding(&self) -> Option<&Forwarding> {
        self.forwarding.as_ref()
    }

    /// Returns the number of dead letters of all consumers; `None` when the broker did not report it.
    #[must_use]
    pub fn dead_letters(&self) -> Option<u64> {
        Some(self.stream(DEAD_LETTER_STREAM)?.messages)
    }
}

/// The serialized form.
#[derive(Serialize)]
struct Serialized {
    is_connected: bool,
    connection_error: Option<String>,
    server_name: Option<String>,
    server_version: Option<String>,
    is_jetstream_reachable: bool,
    streams: Vec<StreamStatus>,
    forwarding: Option<Forwarding>,
}

impl From<BridgeStatus> for Serialized {
    fn from(status: BridgeStatus) -> Self {
        Self {
            is_connected: status.is_connected(),
            connection_error: status.connection_error().map(str::to_owned),
            server_name: status.server_name().map(str::to_owned),
            server_version: status.server_version().map(str::to_owned),
            is_jetstream_reachable: status.is_jetstream_reachable,
            streams: status.streams,
            forwarding: status.forwarding,
        }
    }
}

/// Asks for a stream; `None` if there is no answer in time.
async fn ask(context: &Context, stream: &str, deadline: Instant) -> Option<Response<StreamInfo>> {
    timeout_at(deadline, StreamInfo::ask(context, stream)).await.ok()?.ok()
}

impl StreamStatus {
    fn of((name, info): (&'static str, Option<Response<StreamInfo>>)) -> Self {
        let found = match info {
            Some(Response::Ok(info)) => Found::Present(info.state.held),
            Some(Response::Err { error }) if error.error_code() == ErrorCode::STREAM_NOT_FOUND => {
                Found::Missing
            }
            _ => Found::Unknown,
        };
        Self { name, found }
    }

    /// Returns its name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.name
    }

    /// Returns what it holds; `None` when it [is missing](Self::is_missing) or the broker did not report it.
    #[must_use]
    pub fn state(&self) -> Option<StreamState> {
        match self.found {
            Found::Present(state) => Some(state),
            Found::Missing | Found::Unknown => None,
        }
    }

    /// Returns whether the broker reports that there is no such stream.
    #[must_use]
    pub fn is_missing(&self) -> bool {
        matches!(self.found, Found::Missing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_status_is_serialized_without_private_structure() {
        let state = StreamState { messages: 2, bytes: 900, first_sequence: 1, last_sequence: 2 };
        let status = BridgeStatus {
            connection: State::Connected,
            disconnected: None,
            server: Some(Server { name: "n1".into(), version: "2.15.1".into() }),
            is_jetstream_reachable: true,
            streams: vec![
                StreamStatus { name: EVENT_STREAM, found: Found::Present(state) },
                StreamStatus { name: CHOCO_STREAM, found: Found::Missing },
            ],
            forwarding: None,
        };
        let expected = json!({
            "is_connected": true,
            "connection_error": null,
            "server_name": "n1",
            "server_version": "2.15.1",
            "is_jetstream_reachable": true,
            "streams": [
                {
                    "name": EVENT_STREAM, "status": "present",
                    "messages": 2, "bytes": 900, "first_sequence": 1, "last_sequence": 2,
                },
                { "name": CHOCO_STREAM, "status": "missing" },
            ],
            "forwarding": null,
        });
        assert_eq!(serde_json::to_value(&status).ok(), Some(expected));
    }
}
