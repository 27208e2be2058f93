//! The deliveries of one batch.

use crate::{
    consumer::{Delivery, HandlerError, handler::Verdict},
    contract::event::Event,
    telemetry::span,
};
use futures::stream::{FuturesUnordered, StreamExt};
use std::time::Duration;
use tokio::sync::oneshot;
use tracing::Span;

/// A delivery that waits for the result of its batch. It is gone once it no longer waits: its timeout is over, its
/// lease is lost, or the shutdown grace has ended.
#[derive(Debug)]
pub(super) struct Member<E> {
    delivery: Delivery<E>,
    /// The span of its processing.
    span: Span,
    answer: oneshot::Sender<Result<(), HandlerError>>,
}

/// The members of a batch.
#[derive(Debug)]
pub(super) struct Members<E>(Vec<Member<E>>);

impl<E> Member<E> {
    pub(super) fn new(delivery: Delivery<E>) -> (Self, oneshot::Receiver<Result<(), HandlerError>>) {
        let (answer, answered) = oneshot::channel();
        (Self { delivery, span: Span::current(), answer }, answered)
    }
}

impl<E> Members<E> {
    pub(super) fn new() -> Self {
        Self(Vec::new())
    }

    pub(super) fn push(&mut self, member: Member<E>) {
        self.0.push(member);
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Drops those that are gone; returns whether any is left.
    pub(super) fn keep_present(&mut self) -> bool {
        self.0.retain(|member| !member.answer.is_closed());
        !self.0.is_empty()
    }

    pub(super) fn deliveries(&self) -> Vec<Delivery<E>>
    where
        E: Clone,
    {
        self.0.iter().map(|member| member.delivery.clone()).collect()
    }

    /// Opens the span of a call for them.
    pub(super) fn open_span(&self) -> Span {
        let Some(Member { delivery: first, .. }) = self.0.first() else { return Span::none() };
        let (consumer, stream) = (first.slot.consumer().as_str(), first.feed.stream());
        span::process_batch(consumer, stream, self.len(), self.0.iter().map(|member| &member.span))
    }

    /// Returns how long a call may take, so that there is time for every halving, although each call takes as long. One
    /// alone has its own timeout.
    pub(super) fn limit(&self) -> Duration
    where
        E: Event,
    {
        let shortest = self.0.iter().map(|member| member.delivery.remaining()).min().unwrap_or_default();
        match self.len() {
            0 | 1 => Duration::MAX,
            several => shortest / (several.ilog2() + 3),
        }
    }

    /// Waits until one of them is gone.
    pub(super) async fn one_is_gone(&mut self) {
        let mut gone: FuturesUnordered<_> = self.0.iter_mut().map(|member| member.answer.closed()).collect();
        gone.next().await;
    }

    /// Takes away the second half.
    pub(super) fn split(&mut self) -> Self {
        Self(self.0.split_off(self.0.len().div_ceil(2)))
    }

    pub(super) fn succeed(self) {
        for member in self.0 {
            let _gone = member.answer.send(Ok(()));
        }
    }

    /// Gives all of them the error: the first as it is, and the others a copy of its verdict and text.
    pub(super) fn fail(self, error: HandlerError) {
        let (verdict, text) = (error.verdict(), error.to_string());
        let mut error = Some(error);
        for member in self.0 {
            let error = error.take().unwrap_or_else(|| copy(verdict, &text));
            let _gone = member.answer.send(Err(error));
        }
    }
}

fn copy(verdict: Verdict, text: &str) -> HandlerError {
    match verdict {
        Verdict::Retry(None) => HandlerError::retry(text),
        Verdict::Retry(Some(delay)) => HandlerError::retry_after(text, delay),
        Verdict::Defer(None) => HandlerError::defer(text),
        Verdict::Defer(Some(delay)) => HandlerError::defer_for(text, delay),
        Verdict::Reject => HandlerError::reject(text),
    }
}
