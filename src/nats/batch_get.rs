//! Reading many messages of a stream with one request.

use crate::nats::{api::ApiSubject, api_context::ApiContext, connection_log::connects, stored::Stored};
use async_nats::{Client, HeaderMap, jetstream::message::StreamMessage};
use bytes::Bytes;
use futures::{Stream, StreamExt, stream};
use serde_json::json;
use std::{collections::VecDeque, error::Error, time::Duration};
use tokio::time::timeout;

/// The most messages that one request asks for.
const BATCH: u64 = 1000;
/// The time between two messages of an answer: far longer than one takes.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);
/// The headers that an answer has beside those of the message.
const ADDED: [&str; 7] = [
    "Nats-Stream",
    "Nats-Subject",
    "Nats-Sequence",
    "Nats-Time-Stamp",
    "Nats-Num-Pending",
    "Nats-Last-Sequence",
    "Nats-UpTo-Sequence",
];

/// A message of a stream.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) sequence: u64,
    pub(crate) subject: String,
    /// Empty where the client cannot read them.
    pub(crate) headers: HeaderMap,
    pub(crate) payload: Bytes,
}

type Failure = Box<dyn Error + Send + Sync>;

/// Messages of a stream by their subject, in the order of their sequences.
#[derive(Debug)]
pub(crate) struct Messages {
    context: ApiContext,
    name: String,
    filter: String,
    /// The sequence that is read next.
    from: u64,
    /// The last sequence that is read.
    last: u64,
    read: VecDeque<Found>,
    /// Up to this sequence, messages are read one by one.
    singly_until: u64,
}

impl Messages {
    /// Returns the messages that match `filter`, from one sequence to another, both included.
    ///
    /// They are read from any replica, a thousand at a time. A replica may be behind: that there are no more is asked
    /// of the leader. Headers that the client cannot read end the connection when they arrive in such an answer; the
    /// leader sends them as text, so what a failed request asked for is read again one by one.
    pub(crate) fn of(
        context: &ApiContext,
        name: &str,
        filter: String,
        sequences: std::ops::RangeInclusive<u64>,
    ) -> impl Stream<Item = Result<Found, Failure>> + Send + Unpin + use<> {
        let messages = Self {
            context: context.clone(),
            name: name.to_owned(),
            filter,
            from: *sequences.start(),
            last: *sequences.end(),
            read: VecDeque::new(),
            singly_until: 0,
        };
        let unfolded = stream::try_unfold(messages, |mut messages| async move {
            let next = messages.next().await?;
            Ok(next.map(|message| (message, messages)))
        });
        unfolded.boxed()
    }

    async fn next(&mut self) -> Result<Option<Found>, Failure> {
        if self.read.is_empty() && self.from <= self.last && self.from > self.singly_until {
            let client = self.context.client();
            let connects_before = connects(&client);
            let answered = self.read_batch(&client).await?;
            if answered.is_none() && connects(&client) == connects_before {
                let subject = self.context.subject(&ApiSubject::direct_get_many(&self.name));
                return Err(
                    format!("no answer from {subject}: is this user allowed to publish to it?").into()
                );
            }
            if answered != Some(true) {
                self.singly_until = self.from.saturating_add(BATCH);
                self.read.clear();
            }
        }
        let message = match self.read.pop_front() {
            Some(message) => Some(message),
            None if self.from <= self.last => self.read_one().await?,
            None => None,
        };
        let message = message.filter(|message| message.sequence <= self.last);
        self.from = message.as_ref().map_or(u64::MAX, |message| message.sequence.saturating_add(1));
        Ok(message)
    }

    /// Reads one message from the leader.
    async fn read_one(&self) -> Result<Option<Found>, Failure> {
        let message = Stored::next(&self.context, &self.name, self.from, &self.filter).await?;
        Ok(message.map(Found::from))
    }

    /// Returns whether the messages of a batch are read; `None` if an answer did not come in time.
    async fn read_batch(&mut self, client: &Client) -> Result<Option<bool>, Failure> {
        let inbox = client.new_inbox();
        let mut answers = client.subscribe(inbox.clone()).await?;
        let body = json!({ "seq": self.from, "next_by_subj": self.filter, "batch": BATCH });
        let subject = self.context.subject(&ApiSubject::direct_get_many(&self.name));
        client.publish_with_reply(subject, inbox, body.to_string().into()).await?;
        loop {
            let Ok(Some(answer)) = timeout(ANSWER_WITHIN, answers.next()).await else { return Ok(None) };
            if let Some(status) = answer.status {
                // The end of the batch, or no message at all; anything else is a refusal.
                return Ok(Some(matches!(status.as_u16(), 204 | 404)));
            }
            // A server before 2.11 sends one message, whatever it is asked for.
            let is_one_of_many =
                answer.headers.as_ref().is_some_and(|all| all.get("Nats-Num-Pending").is_some());
            self.read.push_back(Found::from(StreamMessage::try_from(answer)?));
            if !is_one_of_many {
                return Ok(Some(true));
            }
        }
    }
}

impl From<StreamMessage> for Found {
    /// Takes a message from an answer, without what the answer has beside it.
    fn from(message: StreamMessage) -> Self {
        let StreamMessage { sequence, subject, payload, .. } = message;
        let mut headers = HeaderMap::new();
        let all = message.headers.iter().filter(|(name, _)| !ADDED.contains(&name.as_ref()));
        for (name, value) in all.flat_map(|(name, values)| values.iter().map(move |value| (name, value))) {
            headers.append(name.clone(), value.clone());
        }
        Self { sequence, subject: subject.into_string(), headers, payload }
    }
}

impl From<Stored> for Found {
    fn from(stored: Stored) -> Self {
        let Stored { sequence, subject, headers, payload, .. } = stored;
        Self { sequence, subject, headers: headers.unwrap_or_default(), payload }
    }
}
