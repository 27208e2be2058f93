//! Asking the server for messages: one request at a time, never for more than there is room for.
//!
//! The loop of async-nats asks ahead, can lose count of what it asked for, and stalls after a reconnect. Here a request
//! is counted before it is sent, its end is told by its own reply subject, and a request that shows no sign of life is
//! given up and made again.

use super::{ConsumerOptions, Order, takeover::GROUP};
use async_nats::{Client, HeaderValue, Message, StatusCode, Subscriber, connection::State};
use futures::{FutureExt, StreamExt};
use serde::Serialize;
use std::{sync::atomic::Ordering, time::Duration};
use tokio::time::{Instant, timeout};

/// How long the server keeps a request open at most.
const EXPIRES: Duration = Duration::from_secs(10);
/// How often the server says that an open request has nothing to deliver: so many times while it is open.
const HEARTBEATS: u32 = 5;
/// A request that was silent for so long is lost.
const SILENCE: Duration = Duration::from_secs(5);
/// How long to wait before a request is repeated that nobody took.
const PAUSE: Duration = Duration::from_millis(250);
/// How long messages on their way may take to arrive after the subscription is closed.
const DRAIN: Duration = Duration::from_secs(2);

/// The open requests and the subscription that their messages arrive on.
#[derive(Debug)]
pub(super) struct Puller {
    client: Client,
    subject: String,
    inbox: String,
    arrivals: Subscriber,
    open: Option<Request>,
    requests: u64,
    /// The count of connections when the last request was sent: another one has lost the request.
    connects: u64,
    not_before: Instant,
    /// How long the server keeps a request open.
    expires: Duration,
    pin: Option<Pin>,
}

/// The place of this process on a durable that serves one process at a time.
#[derive(Debug, Default)]
struct Pin {
    /// By which the server knows this process, once it was chosen.
    id: Option<String>,
}

#[derive(Debug)]
struct Request {
    id: u64,
    remaining: usize,
    sent: Instant,
    last_sign: Instant,
}

/// What arrived.
#[derive(Debug)]
pub(super) enum Arrival {
    Message(Message),
    /// The first message since the server chose this process.
    Chosen(Message),
    /// The server chose another process.
    Replaced,
    /// A status that the loop need not know about.
    Status,
    /// Nobody takes requests for this consumer: it may be gone, or without a leader.
    NobodyThere,
    /// The server says that the consumer was deleted.
    Deleted,
    /// The connection is closed for good.
    Closed,
}

#[derive(Serialize)]
struct Body<'a> {
    batch: usize,
    expires: u128,
    idle_heartbeat: u128,
    #[serde(skip_serializing_if = "Option::is_none")]
    group: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
}

impl Puller {
    pub(super) async fn open(
        client: Client,
        stream: &str,
        consumer: &str,
        options: &ConsumerOptions,
    ) -> Result<Self, async_nats::SubscribeError> {
        let inbox = client.new_inbox();
        let arrivals = client.subscribe(format!("{inbox}.*")).await?;
        let subject = format!("$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}");
        let connects = client.statistics().connects.load(Ordering::Relaxed);
        let not_before = Instant::now();
        // The server counts on requests to know that the process it chose is alive.
        let is_pinned = options.order == Order::PerUnit;
        let expires = if is_pinned { EXPIRES.min(options.ack_wait() / 4) } else { EXPIRES };
        let pin = is_pinned.then(Pin::default);
        Ok(Self {
            client,
            subject,
            inbox,
            arrivals,
            open: None,
            requests: 0,
            connects,
            not_before,
            expires,
            pin,
        })
    }

    /// Asks for `room` messages, unless a request is open.
    pub(super) async fn ask(&mut self, room: usize) {
        let now = Instant::now();
        if room == 0 || self.open.is_some() || now < self.not_before || !self.is_connected() {
            return;
        }
        self.requests += 1;
        let id = self.requests;
        self.connects = self.client.statistics().connects.load(Ordering::Relaxed);
        // Counted before it is sent, so that no message can arrive uncounted.
        self.open = Some(Request { id, remaining: room, sent: now, last_sign: now });
        let body = Body {
            batch: room,
            expires: self.expires.as_nanos(),
            idle_heartbeat: (self.expires / HEARTBEATS).as_nanos(),
            group: self.pin.as_ref().map(|_| GROUP),
            id: self.pin.as_ref().and_then(|pin| pin.id.as_deref()),
        };
        let body = serde_json::to_vec(&body).unwrap_or_default();
        let reply = format!("{}.{id}", self.inbox);
        if let Err(error) = self.client.publish_with_reply(self.subject.clone(), reply, body.into()).await {
            tracing::warn!(%error, "request for messages could not be sent");
            self.end_request(PAUSE);
        }
    }

    /// Gives up a request that was lost, so that the next [`ask`](Self::ask) makes it again.
    pub(super) fn give_up_lost(&mut self) {
        let Some(request) = &self.open else { return };
        let now = Instant::now();
        let is_reconnected = self.client.statistics().connects.load(Ordering::Relaxed) != self.connects;
        let is_silent = now.duration_since(request.last_sign) > SILENCE;
        let is_over = now.duration_since(request.sent) > self.expires + SILENCE;
        if is_reconnected || is_silent || is_over {
            tracing::debug!(is_reconnected, is_silent, "request for messages is lost and made again");
            self.open = None;
        }
    }

    /// The next arrival.
    pub(super) async fn next(&mut self) -> Arrival {
        match self.arrivals.next().await {
            Some(message) => self.take(message),
            None => Arrival::Closed,
        }
    }

    /// The next arrival, if there is one already.
    pub(super) fn next_now(&mut self) -> Option<Arrival> {
        self.next().now_or_never()
    }

    fn take(&mut self, message: Message) -> Arrival {
        let Some(status) = message.status else {
            self.count_message();
            return if self.is_chosen_by(&message) {
                Arrival::Chosen(message)
            } else {
                Arrival::Message(message)
            };
        };
        let is_of_open =
            |request: &Request| message.subject.rsplit('.').next() == Some(request.id.to_string().as_str());
        let Some(request) = self.open.as_mut().filter(|request| is_of_open(request)) else {
            return Arrival::Status;
        };
        let description = message.description.as_deref().unwrap_or_default();
        match status {
            StatusCode::IDLE_HEARTBEAT => {
                request.last_sign = Instant::now();
                Arrival::Status
            }
            StatusCode::NO_RESPONDERS => {
                self.end_request(PAUSE);
                Arrival::NobodyThere
            }
            StatusCode::PIN_ID_MISMATCH => {
                self.pin = Some(Pin::default());
                self.end_request(PAUSE);
                Arrival::Replaced
            }
            _ if description.eq_ignore_ascii_case("Consumer Deleted") => {
                self.end_request(PAUSE);
                Arrival::Deleted
            }
            // Expired: the usual end of a request.
            StatusCode::NOT_FOUND | StatusCode::TIMEOUT => {
                self.end_request(Duration::ZERO);
                Arrival::Status
            }
            _ => {
                tracing::warn!(%status, description, "request for messages was ended by the server");
                self.end_request(PAUSE);
                Arrival::Status
            }
        }
    }

    fn is_chosen_by(&mut self, message: &Message) -> bool {
        let Some(pin) = &mut self.pin else { return false };
        let id = message.headers.as_ref().and_then(|headers| headers.get("Nats-Pin-Id"));
        match id.map(HeaderValue::as_str) {
            Some(id) if pin.id.as_deref() != Some(id) => {
                pin.id = Some(id.to_owned());
                true
            }
            _ => false,
        }
    }

    fn count_message(&mut self) {
        let Some(request) = &mut self.open else { return };
        request.last_sign = Instant::now();
        request.remaining = request.remaining.saturating_sub(1);
        if request.remaining == 0 {
            self.open = None;
        }
    }

    fn end_request(&mut self, pause: Duration) {
        self.open = None;
        self.not_before = Instant::now() + pause;
    }

    fn is_connected(&self) -> bool {
        self.client.connection_state() == State::Connected
    }

    /// Closes the subscription, so that nothing is delivered here any more, and returns what was on its way.
    pub(super) async fn close(mut self) -> Vec<Message> {
        let mut last = Vec::new();
        if let Err(error) = self.arrivals.drain().await {
            tracing::warn!(%error, "subscription could not be drained");
            return last;
        }
        let drained = async {
            while let Some(message) = self.arrivals.next().await {
                if message.status.is_none() {
                    last.push(message);
                }
            }
        };
        if timeout(DRAIN, drained).await.is_err() {
            tracing::warn!(
                "subscription did not drain in time; what is lost is redelivered after the ack wait"
            );
        }
        last
    }
}
