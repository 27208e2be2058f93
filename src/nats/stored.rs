//! A stored message with any headers, even unreadable ones.

use crate::nats::api::ApiSubject;
use async_nats::{
    HeaderMap,
    jetstream::{Context, ErrorCode, message::StreamMessage, response::Response, stream::RawMessage},
};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};
use std::error::Error;
use time::OffsetDateTime;

/// A message that was read from its stream.
#[derive(Debug)]
pub(crate) struct Stored {
    pub(crate) sequence: u64,
    pub(crate) subject: String,
    pub(crate) time: OffsetDateTime,
    /// The headers as they are sent; empty where there are none.
    pub(crate) header: Bytes,
    /// The headers as async-nats reads them; `None` if it cannot.
    pub(crate) headers: Option<HeaderMap>,
    pub(crate) payload: Bytes,
}

#[derive(Debug, Deserialize)]
struct Answer {
    message: RawMessage,
}

impl Stored {
    /// Returns the message at `sequence`; `None` if there is none.
    pub(crate) async fn at(
        context: &Context,
        stream: &str,
        sequence: u64,
    ) -> Result<Option<Self>, Box<dyn Error + Send + Sync>> {
        Self::ask(context, stream, json!({ "seq": sequence })).await
    }

    /// Returns the first message from `sequence` on whose subject matches `filter`; `None` if there is none.
    pub(crate) async fn next(
        context: &Context,
        stream: &str,
        sequence: u64,
        filter: &str,
    ) -> Result<Option<Self>, Box<dyn Error + Send + Sync>> {
        Self::ask(context, stream, json!({ "seq": sequence, "next_by_subj": filter })).await
    }

    /// Returns the last message whose subject matches `filter`; `None` if there is none.
    ///
    /// A filter of all subjects, `>`, would find nothing where the last message of the stream was deleted.
    pub(crate) async fn last(
        context: &Context,
        stream: &str,
        filter: &str,
    ) -> Result<Option<Self>, Box<dyn Error + Send + Sync>> {
        Self::ask(context, stream, json!({ "last_by_subj": filter })).await
    }

    /// Returns the sequence from which on messages were stored at `time` or later: at most `end`, which is behind the
    /// last one that matters. By bisection, since sequences are in the order of time.
    pub(crate) async fn first_since(
        context: &Context,
        stream: &str,
        filter: &str,
        end: u64,
        time: OffsetDateTime,
    ) -> Result<u64, Box<dyn Error + Send + Sync>> {
        let (mut low, mut high) = (1, end);
        while low < high {
            let middle = low.midpoint(high);
            match Self::next(context, stream, middle, filter).await? {
                Some(found) if found.time < time => low = found.sequence.saturating_add(1),
                _ => high = middle,
            }
        }
        Ok(low)
    }

    /// Returns the value of a header, the last if there are several, even where async-nats cannot read the headers.
    pub(crate) fn header_value(&self, name: &str) -> Option<&str> {
        let lines = self.header.split(|byte| *byte == b'\n').filter_map(|line| str::from_utf8(line).ok());
        let named = lines.filter_map(|line| line.split_once(':')).filter(|(found, _)| *found == name);
        named.map(|(_, value)| value.trim()).next_back()
    }

    /// Requests a message as JSON. A direct get would send the headers as they are, and headers that async-nats
    /// cannot read cut the connection.
    async fn ask(
        context: &Context,
        stream: &str,
        what: Value,
    ) -> Result<Option<Self>, Box<dyn Error + Send + Sync>> {
        match context.request(ApiSubject::message_get(stream).request(), &what).await? {
            Response::Ok(Answer { message }) => Self::decode(message).map(Some),
            Response::Err { error } if error.error_code() == ErrorCode::NO_MESSAGE_FOUND => Ok(None),
            Response::Err { error } => Err(error.into()),
        }
    }

    fn decode(raw: RawMessage) -> Result<Self, Box<dyn Error + Send + Sync>> {
        // As the payload of a message without headers, any text is decoded and not read.
        let decoded = |text: String| {
            StreamMessage::try_from(RawMessage { payload: text, headers: None, ..raw.clone() })
                .map(|message| message.payload)
        };
        let header = raw.headers.clone().map_or(Ok(Bytes::new()), decoded)?;
        let payload = decoded(raw.payload.clone())?;
        let RawMessage { sequence, ref subject, time, .. } = raw;
        let subject = subject.clone();
        let headers = StreamMessage::try_from(raw).ok().map(|message| message.headers);
        Ok(Self { sequence, subject, time, header, headers, payload })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_value_of_a_header_is_read_among_unreadable_ones() {
        let header = b"NATS/1.0\r\nno colon\r\nA: 1\r\nB:\xff\r\nA:2 3 \r\n\r\n";
        let stored = Stored {
            sequence: 1,
            subject: String::new(),
            time: OffsetDateTime::UNIX_EPOCH,
            header: Bytes::from_static(header),
            headers: None,
            payload: Bytes::new(),
        };
        assert_eq!((stored.header_value("A"), stored.header_value("B")), (Some("2 3"), None));
    }
}
