//! How the broker is doing, as far as this crate depends on it.

use crate::{
    nats::connection_watch::{ConnectionWatch, Disconnected},
    topology::{CHOCO_STREAM, DEAD_LETTER_STREAM, EVENT_STREAM, Forwarding, StreamInfo},
};
use async_nats::{
    Client,
    connection::State,
    jetstream::{self, Context, ErrorCode, response::Response},
};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// How long the broker has to answer; all is asked at once.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// How the broker is doing. See [`EventBridge::status`](crate::EventBridge::status).
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

/// One of the streams, as far as the broker told.
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

/// What a stream holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[non_exhaustive]
pub struct StreamState {
    /// How many messages.
    pub messages: u64,
    /// How many bytes they take.
    pub bytes: u64,
    /// The sequence of the oldest message.
    #[serde(rename(deserialize = "first_seq"))]
    pub first_sequence: u64,
    /// The sequence of the newest message there ever was.
    #[serde(rename(deserialize = "last_seq"))]
    pub last_sequence: u64,
}

impl BridgeStatus {
    pub(crate) async fn ask(client: &Client, watch: &ConnectionWatch) -> Self {
        let connection = client.connection_state();
        let server =
            client.try_server_info().map(|info| Server { name: info.server_name, version: info.version });
        let names = [EVENT_STREAM, CHOCO_STREAM, DEAD_LETTER_STREAM];
        // What is asked while disconnected only piles up in the client.
        if connection != State::Connected {
            let streams = names.map(|name| StreamStatus { name, found: Found::Unknown });
            return Self {
                connection,
                disconnected: watch.disconnected(client),
                server,
                is_jetstream_reachable: false,
                streams: streams.into(),
                forwarding: None,
            };
        }
        let context = jetstream::new(client.clone());
        let deadline = Instant::now() + ANSWER_WITHIN;
        let (reachable, events, (choco, forwarding), dead_letters) = tokio::join!(
            timeout_at(deadline, context.query_account()),
            told(&context, EVENT_STREAM, deadline),
            async {
                let choco = told(&context, CHOCO_STREAM, deadline).await;
                let forwarding = match &choco {
                    Some(Response::Ok(info)) => {
                        timeout_at(deadline, Forwarding::of(info, &context, watch)).await.ok()
                    }
                    _ => None,
                };
                (choco, forwarding.and_then(Result::ok))
            },
            told(&context, DEAD_LETTER_STREAM, deadline),
        );
        let streams: Vec<_> =
            names.into_iter().zip([events, choco, dead_letters]).map(StreamStatus::of).collect();
        // A user who may not ask for the account may well ask for a stream.
        let is_answered = streams.iter().any(|stream| !matches!(stream.found, Found::Unknown));
        Self {
            connection: client.connection_state(),
            disconnected: watch.disconnected(client),
            server,
            is_jetstream_reachable: is_answered || matches!(reachable, Ok(Ok(_))),
            streams,
            forwarding,
        }
    }

    /// The state of the connection.
    #[must_use]
    pub fn connection(&self) -> State {
        self.connection.clone()
    }

    /// Why there is no connection, such as `authorization violation` or `IO error`; `None` while there is one, and without
    /// a [`ConnectionWatch`](crate::ConnectionWatch).
    #[must_use]
    pub fn connection_error(&self) -> Option<&str> {
        self.disconnected.as_ref().map(Disconnected::why)
    }

    /// Whether there is a connection.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.connection == State::Connected
    }

    /// The name of the server that this connection is with, or was with last.
    #[must_use]
    pub fn server_name(&self) -> Option<&str> {
        self.server.as_ref().map(|server| server.name.as_str())
    }

    /// The version of that server.
    #[must_use]
    pub fn server_version(&self) -> Option<&str> {
        self.server.as_ref().map(|server| server.version.as_str())
    }

    /// Whether JetStream answered, for the account of this connection.
    #[must_use]
    pub fn is_jetstream_reachable(&self) -> bool {
        self.is_jetstream_reachable
    }

    /// The three streams: of events, what is forwarded to Choco, and dead letters. Where Choco has an account of its own,
    /// this connection sees some of them only.
    #[must_use]
    pub fn streams(&self) -> &[StreamStatus] {
        &self.streams
    }

    /// What a stream holds; `None` when it is missing or the broker did not say.
    #[must_use]
    pub fn stream(&self, name: &str) -> Option<StreamState> {
        self.streams.iter().find(|stream| stream.name == name)?.state()
    }

    /// How forwarding to Choco is doing; `None` when the broker did not say, or there is none.
    #[must_use]
    pub fn forwarding(&self) -> Option<&Forwarding> {
        self.forwarding.as_ref()
    }

    /// How many dead letters there are, of all consumers; `None` when the broker did not say.
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

async fn told(context: &Context, stream: &str, deadline: Instant) -> Option<Response<StreamInfo>> {
    timeout_at(deadline, StreamInfo::ask(context, stream)).await.ok()?.ok()
}

impl StreamStatus {
    fn of((name, told): (&'static str, Option<Response<StreamInfo>>)) -> Self {
        let found = match told {
            Some(Response::Ok(info)) => Found::Present(info.state.held),
            Some(Response::Err { error }) if error.error_code() == ErrorCode::STREAM_NOT_FOUND => {
                Found::Missing
            }
            _ => Found::Unknown,
        };
        Self { name, found }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.name
    }

    /// What it holds; `None` when it [is missing](Self::is_missing) or the broker did not say.
    #[must_use]
    pub fn state(&self) -> Option<StreamState> {
        match self.found {
            Found::Present(state) => Some(state),
            Found::Missing | Found::Unknown => None,
        }
    }

    /// Whether the broker says that there is no such stream.
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
