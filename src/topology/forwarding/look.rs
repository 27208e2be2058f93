//! The content of both streams at one moment.

use crate::{
    nats::{
        api::ApiSubject, api_context::ApiContext, connection_watch::ConnectionWatch,
        permission_violation::PermissionViolation, stored::Stored,
    },
    topology::{
        CHOCO_STREAM, DURABLE_SOURCE, EVENT_STREAM, FORWARDED, Forwarded, StreamInfo,
        durable_source::is_durable_missing,
    },
};
use async_nats::jetstream::{ErrorCode, response::Response};
use std::{error::Error, pin::pin, time::Duration};
use time::OffsetDateTime;
use tokio::time::timeout;

/// A connection, the watch that observes its permission violations, and the time limit of each answer.
#[derive(Debug, Clone)]
pub(crate) struct Access {
    pub(crate) context: ApiContext,
    pub(crate) watch: ConnectionWatch,
    pub(crate) within: Duration,
}

/// Returned where messages were not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unread {
    /// The user of the connection may not, or it seems so.
    Refused,
    /// The broker did not answer, or had no answer.
    NoAnswer,
}

/// The newest event of the origin that the broker forwards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Newest {
    pub(super) sequence: u64,
    pub(super) id: Option<String>,
}

/// The newest message of each stream. That of the origin is read first, so that Choco had the time to get it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Messages {
    pub(super) newest: Option<Newest>,
    pub(super) forwarded: Option<Forwarded>,
}

/// The stream of events, as far as this user may read it.
#[derive(Debug)]
pub(super) enum Origin {
    Found(Box<StreamInfo>),
    Missing,
    Unknown,
}

/// The place that forwarding has reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reached {
    Exactly(u64),
    /// The newest messages of Choco are gone.
    AtLeast(u64),
}

/// The facts of both streams that are compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Look {
    pub(super) messages: Messages,
    /// When the stream of events was created, and the sequences that it has or had.
    pub(super) created: OffsetDateTime,
    pub(super) first: u64,
    pub(super) last: u64,
    /// The last sequence of Choco before anything else was read, and when its message was stored.
    pub(super) choco_last: u64,
    pub(super) choco_newest: Option<OffsetDateTime>,
}

impl Messages {
    /// Reads both.
    pub(super) async fn read(choco: &Access, origin: &Access) -> Result<Self, Unread> {
        let newest = origin.answer(ApiSubject::message_get(EVENT_STREAM), Newest::read(&origin.context));
        let newest = newest.await?.map_err(|_| Unread::NoAnswer)?;
        let forwarded =
            choco.answer(ApiSubject::message_get(CHOCO_STREAM), Forwarded::newest(&choco.context));
        let forwarded = forwarded.await?.map_err(|_| Unread::NoAnswer)?;
        Ok(Self { newest, forwarded })
    }
}

impl Newest {
    async fn read(context: &ApiContext) -> Result<Option<Self>, Box<dyn Error + Send + Sync>> {
        let mut newest: Option<Self> = None;
        for (subjects, _) in FORWARDED {
            if let Some(stored) = Stored::last(context, EVENT_STREAM, subjects).await?
                && newest.as_ref().is_none_or(|newest| newest.sequence < stored.sequence)
            {
                let id = stored.header_value("Nats-Msg-Id").map(str::to_owned);
                newest = Some(Self { sequence: stored.sequence, id });
            }
        }
        Ok(newest)
    }
}

impl Origin {
    pub(super) async fn read(access: &Access) -> Self {
        let info = StreamInfo::ask(&access.context, EVENT_STREAM);
        match access.answer(ApiSubject::stream_info(EVENT_STREAM), info).await {
            Ok(Ok(Response::Ok(info))) => Self::Found(Box::new(info)),
            Ok(Ok(Response::Err { error })) if error.error_code() == ErrorCode::STREAM_NOT_FOUND => {
                Self::Missing
            }
            _ => Self::Unknown,
        }
    }
}

/// Returns whether it is known that the durable that the broker forwards from is missing.
pub(super) async fn lacks_durable(origin: &Access) -> bool {
    let subject = ApiSubject::durable_info(EVENT_STREAM, DURABLE_SOURCE);
    matches!(origin.answer(subject, is_durable_missing(&origin.context)).await, Ok(Ok(true)))
}

impl Access {
    /// Awaits the answer to requests with this subject.
    async fn answer<T>(&self, subject: ApiSubject, answer: impl Future<Output = T>) -> Result<T, Unread> {
        let inbox = self.context.client().new_inbox();
        let is_ours = |violation: &PermissionViolation| self.context.is_refused(&subject, violation);
        let answer = pin!(timeout(self.within, answer));
        match self.watch.guard(self.watch.now(), &inbox, is_ours, answer).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) if self.watch.is_wired() => Err(Unread::NoAnswer),
            // Without a connection watch, a permission violation is not reported, and the request times out.
            Ok(Err(_)) | Err(_) => Err(Unread::Refused),
        }
    }
}

impl Look {
    /// Returns what is compared; `None` if the broker sent a time that cannot be read.
    pub(super) fn of(messages: Messages, origin: &StreamInfo, choco: &StreamInfo) -> Option<Self> {
        Some(Self {
            messages,
            created: origin.created().ok()?,
            first: origin.state.held.first_sequence,
            last: origin.state.held.last_sequence,
            choco_last: choco.state.held.last_sequence,
            choco_newest: choco.state.newest(),
        })
    }

    /// Returns how far the stream of events, as it is now, was forwarded.
    pub(super) fn reached(&self) -> Reached {
        match &self.messages.forwarded {
            _ if self.is_of_another_origin() => Reached::Exactly(0),
            None if self.choco_last == 0 => Reached::Exactly(0),
            None => Reached::AtLeast(0),
            Some(forwarded) if forwarded.stored < self.choco_last => Reached::AtLeast(forwarded.sequence),
            Some(forwarded) => Reached::Exactly(forwarded.sequence),
        }
    }

    /// Returns whether the newest message of Choco came from a stream of events that was there before this one.
    fn is_of_another_origin(&self) -> bool {
        let is_newer = self.choco_newest.is_some_and(|stored| self.created > stored);
        match (&self.messages.newest, &self.messages.forwarded) {
            // Clocks of servers differ by more than the moment between a creation and the first event.
            (
                Some(Newest { sequence, id: Some(id) }),
                Some(Forwarded { sequence: same, id: Some(other), .. }),
            ) if sequence == same => id != other,
            (_, Some(forwarded)) => is_newer || forwarded.sequence > self.last,
            (_, None) => is_newer,
        }
    }
}
