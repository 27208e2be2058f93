//! The stream of live events.

use crate::watch::{WatchError, WatchedEvent, reader::Reader};
use futures::{Stream, StreamExt, stream, stream::BoxStream};
use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

/// Live events of one feed, each once and in the order of the stream: a [`Stream`].
///
/// It has no durable, no dedupe and no acknowledgements: a process that starts again begins where its
/// [options](crate::watch::WatchOptions) say, and two processes both receive every event. Redriven events are not
/// among them, since each is for one consumer.
///
/// Lost connections, restarted servers and lost leaders leave no gap: the watch goes on behind the last event that it
/// yielded. An error stands in place of one event, or reports what the watch could not receive; only
/// [`Closed`](crate::watch::WatchErrorKind::Closed) ends it.
///
/// It reads ahead by at most 200 events and does nothing while it is not polled. When it is dropped, or its process is
/// killed, the server removes its temporary consumer after the
/// [inactive threshold](crate::watch::WatchOptions::with_inactive_threshold).
#[must_use = "nothing is received until it is polled"]
pub struct Watch {
    events: BoxStream<'static, Result<WatchedEvent, WatchError>>,
}

impl Watch {
    pub(super) fn new(reader: Reader) -> Self {
        let events = stream::unfold(reader, |mut reader| async {
            let next = reader.next().await?;
            Some((next, reader))
        });
        Self { events: events.boxed() }
    }
}

impl Stream for Watch {
    type Item = Result<WatchedEvent, WatchError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.events.poll_next_unpin(cx)
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").finish_non_exhaustive()
    }
}
