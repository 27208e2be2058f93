//! Many publishes in flight at once, whose answers arrive in one inbox.

use crate::{
    nats::permission_violation::PermissionViolation,
    publish::{
        EncodedEvent, Outgoing, PublishError, PublishReceipt, Publisher,
        attempt::{
            answer::{Answer, Stored},
            failure::Failure,
        },
        flight::{Flight, Sent},
        publisher,
        span::PublishSpan,
        verify_duplicate,
    },
};
use async_nats::{Client, Message, Subject, Subscriber};
use futures::{
    FutureExt, Stream, StreamExt,
    future::BoxFuture,
    stream::{self, FuturesUnordered},
};
use std::{
    fmt::Write,
    future::poll_fn,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    task::unconstrained,
    time::{Instant, Sleep, sleep_until},
};
use tracing::Instrument;

/// The interval at which a waiting pipeline looks for attempts that will not be answered.
const SWEEP_EVERY: Duration = Duration::from_millis(50);

/// Publishes `events` with at most `max_in_flight` unacknowledged; outcomes come in their order.
///
/// The first attempts are sent in order, and each costs a place in a ring. One that fails, or that has to wait
/// because the client has no room for it, takes the slow path: that of a single publish.
pub(crate) fn pipelined<S>(
    publisher: Publisher,
    max_in_flight: usize,
    events: S,
) -> impl Stream<Item = Result<PublishReceipt, PublishError>> + Send + Unpin + use<S>
where
    S: Stream<Item = Result<EncodedEvent, PublishError>> + Send,
{
    let pipeline = Box::new(Pipeline::new(publisher, max_in_flight, events));
    Box::pin(stream::unfold(pipeline, |mut pipeline| async { Some((pipeline.next().await?, pipeline)) }))
}

struct Pipeline<S> {
    publisher: Publisher,
    max_in_flight: usize,
    events: Pin<Box<S>>,
    /// There are no more events.
    is_over: bool,
    flight: Flight,
    answers: Option<Answers>,
    /// First attempts that wait until the client has room, in their order.
    waiting: FuturesUnordered<BoxFuture<'static, Waited>>,
    slow_path: FuturesUnordered<BoxFuture<'static, (u64, Outcome)>>,
    sweep_timer: Pin<Box<Sleep>>,
    /// The stream and the domain of the last receipt, shared with the next ones.
    stream: Arc<str>,
    domain: Option<Arc<str>>,
}

type Outcome = Result<PublishReceipt, PublishError>;

/// A first attempt that had to wait, and the result of sending it.
struct Waited {
    number: u64,
    message: Outgoing,
    publish_span: PublishSpan,
    deadline: Instant,
    sent: Result<publisher::Sent, Failure>,
}

enum Step {
    Send(Result<EncodedEvent, PublishError>),
    Yield(Outcome),
    End,
}

impl<S: Stream<Item = Result<EncodedEvent, PublishError>> + Send> Pipeline<S> {
    fn new(publisher: Publisher, max_in_flight: usize, events: S) -> Self {
        Self {
            publisher,
            max_in_flight,
            events: Box::pin(events),
            is_over: false,
            flight: Flight::default(),
            answers: None,
            waiting: FuturesUnordered::new(),
            slow_path: FuturesUnordered::new(),
            sweep_timer: Box::pin(sleep_until(Instant::now() + SWEEP_EVERY)),
            stream: "".into(),
            domain: None,
        }
    }

    async fn next(&mut self) -> Option<Outcome> {
        loop {
            match poll_fn(|cx| self.poll_step(cx)).await {
                Step::Send(Ok(event)) => self.begin(event),
                Step::Send(Err(error)) => self.flight.push_done(Err(error)),
                Step::Yield(outcome) => return Some(outcome),
                Step::End => return None,
            }
        }
    }

    fn poll_step(&mut self, cx: &mut Context<'_>) -> Poll<Step> {
        loop {
            self.take_answers(cx);
            while let Poll::Ready(Some(waited)) = self.waiting.poll_next_unpin(cx) {
                self.finish(waited);
            }
            while let Poll::Ready(Some((number, outcome))) = self.slow_path.poll_next_unpin(cx) {
                self.flight.settle(number, outcome);
            }
            // Sends while there is room, so that the server is busy while receipts are consumed.
            if !self.is_over && self.flight.len() < self.max_in_flight {
                match self.events.as_mut().poll_next(cx) {
                    Poll::Ready(Some(event)) => return Poll::Ready(Step::Send(event)),
                    Poll::Ready(None) => self.is_over = true,
                    Poll::Pending => {}
                }
            }
            if let Some(outcome) = self.flight.pop() {
                return Poll::Ready(Step::Yield(outcome));
            }
            if self.flight.is_empty() {
                return if self.is_over { Poll::Ready(Step::End) } else { Poll::Pending };
            }
            if self.sweep_timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            self.sweep();
        }
    }

    /// Sends the first attempt, or lets it wait. No later event is sent before it.
    fn begin(&mut self, event: EncodedEvent) {
        let begun = Instant::now();
        let mark = self.publisher.watch.now();
        let deadline = begun + self.publisher.options.retry_budget();
        let publish_span = event.span(&self.publisher.context);
        let number = self.flight.next_number();
        let sent = if self.waiting.is_empty() { self.send(&event, &publish_span) } else { None };
        let sending = Sent { event, publish_span, mark, begun, deadline };
        match sent {
            Some(Ok(())) => self.flight.push_sent(sending),
            Some(Err(failure)) => {
                self.flight.push_slow();
                self.repeat(number, sending, failure);
            }
            None => {
                self.flight.push_slow();
                self.wait(number, sending);
            }
        }
    }

    /// Sends at once; `None` if the client has no room.
    fn send(&mut self, event: &EncodedEvent, publish_span: &PublishSpan) -> Option<Result<(), Failure>> {
        let client = self.publisher.context.client();
        let answers = match &mut self.answers {
            Some(answers) => answers,
            none => match Answers::open(&client)? {
                Ok(answers) => none.insert(answers),
                Err(failure) => return Some(Err(failure)),
            },
        };
        let inbox = answers.inbox_of(self.flight.next_number());
        let mut headers = event.headers();
        publish_span.inject_into(&mut headers);
        let (subject, payload) = (event.subject.clone(), event.payload.clone());
        let sent = at_once(client.publish_with_reply_and_headers(subject, inbox, headers, payload))?;
        Some(sent.map_err(Failure::from))
    }

    /// Sends when the client has room, after those that have waited longer.
    fn wait(&mut self, number: u64, sending: Sent) {
        let publisher = self.publisher.clone();
        let Sent { event, publish_span, deadline, .. } = sending;
        let waited = async move {
            let mut message = event.into_outgoing();
            publish_span.inject_into(&mut message.headers);
            let sent = publisher.send(&message, deadline).await;
            Waited { number, message, publish_span, deadline, sent }
        };
        // The client admits them in the order in which they ask, unless the runtime makes one of them yield.
        self.waiting.push(unconstrained(waited).boxed());
    }

    fn take_answers(&mut self, cx: &mut Context<'_>) {
        while let Some(answers) = &mut self.answers {
            let Poll::Ready(Some(message)) = answers.subscriber.poll_next_unpin(cx) else { return };
            let Some(number) = answers.number(&message) else { continue };
            match Answer::read(&message).outcome() {
                Some(Ok(stored)) => self.stored(number, &stored),
                Some(Err(failure)) => {
                    if let Some(sent) = self.flight.take(number) {
                        self.repeat(number, sent, failure);
                    }
                }
                // Not from JetStream, whose answer is still to come.
                None => {}
            }
        }
    }

    fn stored(&mut self, number: u64, stored: &Stored<'_>) {
        let Some(sent) = self.flight.take(number) else { return };
        if *self.stream != *stored.stream {
            self.stream = (*stored.stream).into();
        }
        if self.domain.as_deref() != stored.domain.as_deref() {
            self.domain = stored.domain.as_deref().map(Arc::from);
        }
        let receipt = PublishReceipt::new(Arc::clone(&self.stream), stored.sequence, stored.is_duplicate)
            .with_domain(self.domain.clone());
        let receipt = match self.publisher.in_domain(receipt) {
            Ok(receipt) => receipt,
            Err(failure) => return self.repeat(number, sent, failure),
        };
        let Sent { event, publish_span, deadline, .. } = sent;
        if stored.is_duplicate && self.publisher.options.verify_duplicates() {
            let Publisher { context, meter, .. } = self.publisher.clone();
            let verify = async move {
                let message = event.into_outgoing();
                let outcome = verify_duplicate::verify(&context, &message, receipt, deadline).await;
                publish_span.end(&meter, &outcome);
                (number, outcome)
            };
            self.slow_path.push(verify.boxed());
        } else {
            let outcome = Ok(receipt);
            publish_span.end(&self.publisher.meter, &outcome);
            self.flight.settle(number, outcome);
        }
    }

    /// Finds the first attempts with a permission violation, or whose time is up.
    fn sweep(&mut self) {
        let now = Instant::now();
        self.sweep_timer.as_mut().reset(now + SWEEP_EVERY);
        let Publisher { watch, options, inbox, .. } = &self.publisher;
        let inbox_violation = watch.inbox_violated(inbox);
        let timeout = options.attempt_timeout();
        let failure = |sent: &Sent| {
            let is_its = |violation: &PermissionViolation| violation.is_of_publish(&sent.event.subject);
            if let Some(violation) = watch.violated(sent.mark, is_its) {
                return Some(Failure::denied(&violation, false));
            }
            // The event may be stored nevertheless: perhaps only the answer is forbidden.
            if let Some(violation) = &inbox_violation {
                return Some(Failure::denied(violation, true));
            }
            (now >= sent.deadline.min(sent.begun + timeout)).then(Failure::unanswered)
        };
        let failed = self.flight.overdue(|sent| failure(sent).is_some());
        let failed: Vec<_> = failed
            .into_iter()
            .filter_map(|number| {
                let sent = self.flight.take(number)?;
                Some((number, failure(&sent)?, sent))
            })
            .collect();
        for (number, failure, sent) in failed {
            self.repeat(number, sent, failure);
        }
    }

    fn repeat(&mut self, number: u64, sent: Sent, failure: Failure) {
        let Sent { event, publish_span, deadline, .. } = sent;
        let mut message = event.into_outgoing();
        publish_span.inject_into(&mut message.headers);
        self.finish(Waited { number, message, publish_span, deadline, sent: Err(failure) });
    }

    /// Continues as a single publish does.
    fn finish(&mut self, waited: Waited) {
        let publisher = self.publisher.clone();
        let Waited { number, message, publish_span, deadline, sent } = waited;
        let span = publish_span.span().clone();
        let finished = async move {
            let outcome = publisher.finish(message, sent, deadline).await;
            publish_span.end(&publisher.meter, &outcome);
            (number, outcome)
        };
        self.slow_path.push(finished.instrument(span).boxed());
    }
}

/// Returns the result of sending if the client has room; `None` otherwise.
fn at_once<T>(sending: impl Future<Output = T>) -> Option<T> {
    // Otherwise the runtime would make it yield from time to time, so that other tasks run.
    unconstrained(sending).now_or_never()
}

/// The inbox of a pipeline, with a numbered subject for every publish.
struct Answers {
    subscriber: Subscriber,
    /// The prefix of its subjects, with the dot before the number.
    prefix: String,
}

impl Answers {
    /// Subscribes at once; `None` if the client has no room.
    fn open(client: &Client) -> Option<Result<Self, Failure>> {
        let prefix = format!("{}.", client.new_inbox());
        let opened = at_once(client.subscribe(format!("{prefix}*")))?;
        Some(opened.map(|subscriber| Self { subscriber, prefix }).map_err(Failure::disconnected))
    }

    fn inbox_of(&self, number: u64) -> Subject {
        const DIGITS: usize = 20;
        let mut inbox = String::with_capacity(self.prefix.len() + DIGITS);
        inbox.push_str(&self.prefix);
        // Writing into a `String` cannot fail.
        let _infallible = write!(inbox, "{number}");
        inbox.into()
    }

    fn number(&self, message: &Message) -> Option<u64> {
        message.subject.strip_prefix(self.prefix.as_str())?.parse().ok()
    }
}
