//! Requests for messages, never for more than there is room for.
//!
//! The loop of async-nats requests messages ahead, can lose count of them, and stalls after a reconnect. Here the
//! messages of a request are counted before it is sent. The next request is made when half of the room is free again,
//! so that the server always has one to serve. The server chooses which of two it serves first, so only their sum is
//! counted. A request that ends early says how many messages it lacks. When all requests are silent, they are dropped
//! and made again.

use crate::{
    consumer::{Order, checks::overflow::Silent, receive::pinned::PRIORITY_GROUP, shared::Shared},
    nats::{
        api::{ApiSubject, of_ack},
        api_context::ApiContext,
        connection_log::connects,
    },
    telemetry::log_limit::limited,
};
use async_nats::{
    Client, HeaderValue, Message, StatusCode, Subject, Subscriber, connection::State,
    message::OutboundMessage,
};
use futures::StreamExt;
use serde::Serialize;
use std::{
    future::poll_fn,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::time::{Instant, timeout};

/// The longest time that the server keeps a request open.
pub(crate) const EXPIRES: Duration = Duration::from_secs(10);
/// The number of idle heartbeats that the server sends during an open request.
const HEARTBEATS: u32 = 5;
/// The time after which a silent request is considered lost.
const SILENCE: Duration = Duration::from_secs(5);
/// The pause before a request that had no responder is repeated.
const PAUSE: Duration = Duration::from_millis(250);
/// The time without an arrival after which one is unlikely just when the subscription is closed.
const QUIET: Duration = Duration::from_millis(20);
/// The time that messages on their way have to arrive.
const DRAIN: Duration = Duration::from_secs(2);

/// The open requests and the subscription that their messages arrive on.
#[derive(Debug)]
pub(crate) struct Puller {
    client: Client,
    subject: Subject,
    inbox: String,
    arrivals: Subscriber,
    open: Option<Open>,
    /// The number of requests made so far; it is the last token of their reply subject.
    requests: u64,
    /// The count of connections when the last request was sent: another one has lost the request.
    connects: u64,
    not_before: Instant,
    /// The time that the server keeps a request open.
    expires: Duration,
    pin: Option<Pin>,
    shared: Arc<Shared>,
}

/// The pin of this process on a durable that serves one process at a time.
#[derive(Debug, Default)]
struct Pin {
    /// The id by which the server knows this process, once it is the pinned client.
    id: Option<String>,
}

/// The requests that the server has.
#[derive(Debug)]
struct Open {
    /// The number of the first of them.
    first: u64,
    /// The number of messages that are still to arrive.
    outstanding: usize,
    last_sent: Instant,
    last_heard: Instant,
}

/// An arrival on the subscription.
#[derive(Debug)]
pub(crate) enum Arrival {
    Message(Message),
    /// The first message since this process became the pinned client.
    Pinned(Message),
    /// Another process is the pinned client.
    Unpinned,
    /// A status that does not concern the dispatcher.
    Status,
    /// The server has no responder for this consumer: it may be gone, or without a leader.
    NoResponders,
    /// The consumer was deleted.
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
    pub(crate) async fn open(
        context: &ApiContext,
        shared: Arc<Shared>,
    ) -> Result<Self, async_nats::SubscribeError> {
        let (client, options) = (shared.client.clone(), &shared.options);
        let inbox = client.new_inbox();
        let arrivals = client.subscribe(format!("{inbox}.*")).await?;
        let next = ApiSubject::next_messages(shared.stream, shared.name.as_str());
        let subject = context.subject(&next).into();
        let connects = connects(&client);
        let not_before = Instant::now();
        // The requests of the pinned client are its heartbeat.
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
            shared,
        })
    }

    /// Returns a request for more messages to be sent, unless enough are requested already. `room` is the free room of
    /// `all`.
    pub(crate) fn request(&mut self, room: usize, all: usize, now: Instant) -> Option<OutboundMessage> {
        let outstanding = self.open.as_ref().map_or(0, |open| open.outstanding);
        let batch = room.saturating_sub(outstanding);
        // The server knows the pinned client by the id in its requests, and a second request might be sent before this
        // process has the id.
        let is_due = outstanding == 0 || (self.pin.is_none() && batch >= all.div_ceil(2));
        if batch == 0 || !is_due || now < self.not_before || !self.is_connected() {
            return None;
        }
        self.requests += 1;
        let id = self.requests;
        self.connects = connects(&self.client);
        // Counted before it is sent, so that no message can arrive uncounted.
        let open =
            self.open.get_or_insert(Open { first: id, outstanding: 0, last_sent: now, last_heard: now });
        open.outstanding += batch;
        open.last_sent = now;
        let body = Body {
            batch,
            expires: self.expires.as_nanos(),
            idle_heartbeat: (self.expires / HEARTBEATS).as_nanos(),
            group: self.pin.as_ref().map(|_| PRIORITY_GROUP),
            id: self.pin.as_ref().and_then(|pin| pin.id.as_deref()),
        };
        let payload = serde_json::to_vec(&body).unwrap_or_default().into();
        let reply = Some(format!("{}.{id}", self.inbox).into());
        Some(OutboundMessage { subject: self.subject.clone(), reply, payload, headers: None })
    }

    /// Drops requests that were lost, so that the next [`request`](Self::request) makes them again. Returns whether the
    /// cause is unknown.
    pub(crate) fn drop_lost_requests(&mut self) -> bool {
        let Some(open) = &self.open else { return false };
        let now = Instant::now();
        let is_reconnected = connects(&self.client) != self.connects;
        let is_silent = now.duration_since(open.last_heard) > SILENCE;
        let is_over = now.duration_since(open.last_sent) > self.expires + SILENCE;
        if !(is_reconnected || is_silent || is_over) {
            return false;
        }
        tracing::debug!(is_reconnected, is_silent, "requests for messages were lost and are made again");
        if !is_reconnected {
            self.note_silence();
        }
        self.open = None;
        !is_reconnected
    }

    /// Notes that the open requests have ended, or are silent.
    fn note_silence(&self) {
        let Some(open) = &self.open else { return };
        self.shared.silence.begin(Silent {
            since: open.last_heard,
            last: self.requests,
            last_sent: open.last_sent,
            outstanding: open.outstanding,
            connects: self.connects,
        });
    }

    /// Polls for the next arrival.
    pub(crate) fn poll_next(&mut self, cx: &mut Context<'_>, now: Instant) -> Poll<Arrival> {
        let message = ready!(self.arrivals.poll_next_unpin(cx));
        Poll::Ready(message.map_or(Arrival::Closed, |message| self.take(message, now)))
    }

    fn take(&mut self, message: Message, now: Instant) -> Arrival {
        let Some(status) = message.status.filter(|_| !is_event(&message)) else {
            self.count_message(now);
            return if self.pins_with(&message) {
                Arrival::Pinned(message)
            } else {
                Arrival::Message(message)
            };
        };
        let id = message.subject.rsplit('.').next().and_then(|id| id.parse::<u64>().ok());
        if let Some(id) = id {
            self.shared.silence.broken_by(id);
        }
        let Some(open) = self.open.as_mut().filter(|open| id.is_some_and(|id| id >= open.first)) else {
            return Arrival::Status;
        };
        open.last_heard = now;
        let description = message.description.as_deref().unwrap_or_default();
        match status {
            StatusCode::IDLE_HEARTBEAT => Arrival::Status,
            StatusCode::NO_RESPONDERS => {
                self.end_all(now + PAUSE);
                Arrival::NoResponders
            }
            StatusCode::PIN_ID_MISMATCH => {
                self.unpinned();
                self.end_all(now + PAUSE);
                Arrival::Unpinned
            }
            _ if description.eq_ignore_ascii_case("Consumer Deleted") => {
                self.end_all(now + PAUSE);
                Arrival::Deleted
            }
            // Expired: the usual end of a request.
            StatusCode::NOT_FOUND | StatusCode::TIMEOUT => {
                self.expired(lacking(&message), now);
                // The last request to be sent is also the last to end.
                if id == Some(self.requests) {
                    self.note_silence();
                }
                Arrival::Status
            }
            _ => {
                limited!(self.shared.lines, warn, "request for messages was ended by the server", %status, description);
                self.end_all(now + PAUSE);
                Arrival::Status
            }
        }
    }

    fn pins_with(&mut self, message: &Message) -> bool {
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

    fn count_message(&mut self, now: Instant) {
        if let Some(open) = &mut self.open {
            open.last_heard = now;
        }
        self.count(1);
    }

    /// Counts a request that ended short of this many messages, which every supported server reports.
    fn expired(&mut self, lacking: Option<usize>, now: Instant) {
        match lacking {
            Some(lacking) => self.count(lacking),
            None => self.end_all(now),
        }
    }

    fn count(&mut self, messages: usize) {
        if let Some(open) = &mut self.open {
            open.outstanding = open.outstanding.saturating_sub(messages);
            if open.outstanding == 0 {
                self.open = None;
            }
        }
    }

    fn end_all(&mut self, not_before: Instant) {
        self.open = None;
        self.not_before = not_before;
    }

    fn is_connected(&self) -> bool {
        self.client.connection_state() == State::Connected
    }

    /// Returns whether this process is the pinned client.
    pub(crate) fn is_pinned(&self) -> bool {
        self.pin.as_ref().is_some_and(|pin| pin.id.is_some())
    }

    /// Notes that this process is not the pinned client any more.
    pub(crate) fn unpinned(&mut self) {
        self.pin = Some(Pin::default());
    }

    /// Closes the subscription, so that nothing is delivered here any more, and returns what was on its way.
    pub(crate) async fn close(&mut self) -> Vec<Message> {
        let mut last = Vec::new();
        let drained = async {
            self.use_up(&mut last).await;
            // It has to wait for room in the client's command channel, which is not emptied while disconnected.
            if let Err(error) = self.arrivals.drain().await {
                tracing::warn!(%error, "subscription could not be drained");
                return;
            }
            while let Some(message) = self.arrivals.next().await {
                if is_event(&message) {
                    self.pins_with(&message);
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

    /// Takes what arrives until the open requests are used up, or nothing arrives for a while. async-nats forgets a
    /// subscription that it drains before the server does, and drops what arrives in between.
    async fn use_up(&mut self, last: &mut Vec<Message>) {
        while self.open.is_some() {
            let next = poll_fn(|cx| self.poll_next(cx, Instant::now()));
            match timeout(QUIET, next).await {
                Ok(Arrival::Message(message) | Arrival::Pinned(message)) => last.push(message),
                Ok(Arrival::Closed) | Err(_) => return,
                Ok(_) => {}
            }
        }
    }
}

/// Returns whether this is a message of the stream, which has an ack subject. It may have a status line as well: one
/// that its publisher wrote, and servers before 2.12 stored.
fn is_event(message: &Message) -> bool {
    message.reply.as_ref().is_some_and(|reply| of_ack(reply).is_some())
}

/// Returns how many messages an ended request is short of.
fn lacking(message: &Message) -> Option<usize> {
    message.headers.as_ref()?.get("Nats-Pending-Messages")?.as_str().parse().ok()
}
