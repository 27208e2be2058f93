//! The temporary consumer of a watch, and the requests for its messages.
//!
//! The ordered consumer of async-nats rests on its loop of requests, which can lose count and stalls after a reconnect.
//! Here one request is open at a time, and whatever is not as expected ends the temporary consumer: the watch then
//! makes another one, behind the last event.

use crate::nats::{
    ack_subject::AckSubject, api::ApiSubject, api_context::ApiContext, connection_log::connects,
};
use async_nats::{Client, Message, StatusCode, Subject, Subscriber, connection::State};
use futures::StreamExt;
use serde::Serialize;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// The number of messages that one request asks for.
const BATCH: usize = 200;
/// The longest time that the server keeps a request open.
const EXPIRES: Duration = Duration::from_secs(10);
/// The interval of the server's heartbeats during an open request.
const HEARTBEAT: Duration = Duration::from_secs(2);
/// The time after which a silent request is considered lost.
const SILENCE: Duration = Duration::from_secs(5);
/// The interval of the checks for a lost connection.
const TICK: Duration = Duration::from_millis(250);

#[derive(Debug)]
pub(super) struct Temporary {
    client: Client,
    subject: Subject,
    inbox: String,
    arrivals: Subscriber,
    /// The number of messages that are still to arrive for the open request; 0 if there is none.
    outstanding: usize,
    /// The number of requests made so far; it is the last token of their reply subject.
    requests: u64,
    /// The number of deliveries so far, which the server counts without gaps.
    deliveries: u64,
    last_heard: Instant,
    /// The count of connections when it was made.
    connects: u64,
}

/// The reason why a temporary consumer is of no use any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Loss {
    Reconnected,
    /// The open request was silent.
    Silent,
    /// A delivery did not arrive.
    Gap,
    /// The server ended the request, or does not know the consumer.
    Refused,
    /// The connection is closed for good.
    Closed,
}

#[derive(Serialize)]
struct Body {
    batch: usize,
    expires: u128,
    idle_heartbeat: u128,
}

impl Temporary {
    /// Subscribes to the messages of a consumer that exists.
    pub(super) async fn open(
        context: &ApiContext,
        stream: &str,
        name: &str,
    ) -> Result<Self, async_nats::SubscribeError> {
        let client = context.client();
        let connects = connects(&client);
        let inbox = client.new_inbox();
        let arrivals = client.subscribe(format!("{inbox}.*")).await?;
        let subject = context.subject(&ApiSubject::next_messages(stream, name)).into();
        let last_heard = Instant::now();
        Ok(Self {
            client,
            subject,
            inbox,
            arrivals,
            outstanding: 0,
            requests: 0,
            deliveries: 0,
            last_heard,
            connects,
        })
    }

    /// Returns the next message, or why there is none.
    pub(super) async fn next(&mut self) -> Result<(Message, AckSubject), Loss> {
        loop {
            if self.outstanding == 0 && self.is_connected() && !self.request().await {
                return Err(Loss::Closed);
            }
            // What has arrived comes first: a lost connection does not make it wrong.
            tokio::select! {
                biased;
                arrival = self.arrivals.next() => {
                    let Some(message) = arrival else { return Err(Loss::Closed) };
                    if let Some(next) = self.take(message) {
                        return next;
                    }
                }
                () = sleep(TICK) => {
                    if let Some(loss) = self.loss() {
                        return Err(loss);
                    }
                }
            }
        }
    }

    /// Requests messages; returns false if the connection is closed for good.
    async fn request(&mut self) -> bool {
        self.requests += 1;
        self.outstanding = BATCH;
        self.last_heard = Instant::now();
        let body = Body { batch: BATCH, expires: EXPIRES.as_nanos(), idle_heartbeat: HEARTBEAT.as_nanos() };
        let payload = serde_json::to_vec(&body).unwrap_or_default().into();
        let reply = format!("{}.{}", self.inbox, self.requests);
        self.client.publish_with_reply(self.subject.clone(), reply, payload).await.is_ok()
    }

    fn take(&mut self, message: Message) -> Option<Result<(Message, AckSubject), Loss>> {
        self.last_heard = Instant::now();
        // A message of the stream may have a status line as well: one that its publisher wrote.
        if let Some(ack) = message.reply.as_deref().and_then(AckSubject::parse) {
            self.deliveries += 1;
            self.outstanding = self.outstanding.saturating_sub(1);
            let is_next = ack.delivery == self.deliveries;
            return Some(if is_next { Ok((message, ack)) } else { Err(Loss::Gap) });
        }
        let request = message.subject.rsplit('.').next().and_then(|request| request.parse::<u64>().ok());
        if request != Some(self.requests) {
            return None;
        }
        let description = message.description.as_deref().unwrap_or_default();
        match message.status {
            Some(StatusCode::IDLE_HEARTBEAT) => None,
            // Expired, or used up: the usual end of a request.
            Some(StatusCode::NOT_FOUND | StatusCode::TIMEOUT) => {
                self.outstanding = 0;
                None
            }
            status => {
                tracing::debug!(?status, description, "temporary consumer of a watch is gone");
                Some(Err(Loss::Refused))
            }
        }
    }

    fn loss(&self) -> Option<Loss> {
        if !self.is_connected() {
            return None;
        }
        if connects(&self.client) != self.connects {
            return Some(Loss::Reconnected);
        }
        (self.last_heard.elapsed() > SILENCE).then_some(Loss::Silent)
    }

    fn is_connected(&self) -> bool {
        self.client.connection_state() == State::Connected
    }
}
