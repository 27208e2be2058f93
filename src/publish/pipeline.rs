//! Many publishes in flight at once, whose answers come to one inbox.

use super::{
    Fact, PublishError, PublishReceipt, Publisher,
    answer::{Answer, Stored},
    failure::Failure,
    flight::{Flight, Sent},
    suppression,
};
use async_nats::{HeaderMap, Message, Subject, Subscriber};
use futures::{
    FutureExt, Stream, StreamExt,
    future::BoxFuture,
    stream::{self, FuturesUnordered},
};
use std::{
    fmt::Write,
    future::poll_fn,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};
use tokio::time::{Instant, Sleep, sleep_until, timeout_at};
use tracing::Instrument;

/// How often it is looked for attempts that nobody will answer. Only while it waits.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Publishes `facts` with at most `max_in_flight` unacknowledged; outcomes come in their order.
///
/// The first attempt of each is sent in order and costs a slot in a ring. One that fails goes the way of a single publish.
pub(crate) fn pipelined<S>(
    publisher: Publisher,
    max_in_flight: usize,
    facts: S,
) -> impl Stream<Item = Result<PublishReceipt, PublishError>> + Send + use<S>
where
    S: Stream<Item = Result<Fact, PublishError>> + Send,
{
    let pipeline = Box::new(Pipeline::new(publisher, max_in_flight, facts));
    stream::unfold(pipeline, |mut pipeline| async { Some((pipeline.next().await?, pipeline)) })
}

struct Pipeline<S> {
    publisher: Publisher,
    max_in_flight: usize,
    facts: Pin<Box<S>>,
    /// There are no more facts.
    is_over: bool,
    flight: Flight,
    answers: Option<Answers>,
    elsewhere: FuturesUnordered<BoxFuture<'static, (u64, Outcome)>>,
    look: Pin<Box<Sleep>>,
    /// The stream that the last receipt names, to name it once.
    stream: Arc<str>,
}

type Outcome = Result<PublishReceipt, PublishError>;

enum Step {
    Send(Result<Fact, PublishError>),
    Yield(Outcome),
    End,
}

impl<S: Stream<Item = Result<Fact, PublishError>> + Send> Pipeline<S> {
    fn new(publisher: Publisher, max_in_flight: usize, facts: S) -> Self {
        Self {
            publisher,
            max_in_flight,
            facts: Box::pin(facts),
            is_over: false,
            flight: Flight::default(),
            answers: None,
            elsewhere: FuturesUnordered::new(),
            look: Box::pin(sleep_until(Instant::now() + LOOK_EVERY)),
            stream: "".into(),
        }
    }

    async fn next(&mut self) -> Option<Outcome> {
        loop {
            match poll_fn(|cx| self.poll_step(cx)).await {
                Step::Send(Ok(fact)) => self.begin(fact).await,
                Step::Send(Err(error)) => self.flight.push_done(Err(error)),
                Step::Yield(outcome) => return Some(outcome),
                Step::End => return None,
            }
        }
    }

    fn poll_step(&mut self, cx: &mut Context<'_>) -> Poll<Step> {
        loop {
            self.take_answers(cx);
            while let Poll::Ready(Some((number, outcome))) = self.elsewhere.poll_next_unpin(cx) {
                self.flight.settle(number, outcome);
            }
            // Sent as long as there is room, so that the server has something to do while receipts are looked at.
            if !self.is_over && self.flight.len() < self.max_in_flight {
                match self.facts.as_mut().poll_next(cx) {
                    Poll::Ready(Some(fact)) => return Poll::Ready(Step::Send(fact)),
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
            if self.look.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            self.look_for_failures();
        }
    }

    /// Sends the first attempt. Nothing is sent after it before it is on its way.
    async fn begin(&mut self, fact: Fact) {
        let at = Instant::now();
        let moment = self.publisher.watch.now();
        let deadline = at + self.publisher.options.retry_budget();
        let emission = fact.emission(&self.publisher.context);
        let mut headers = fact.headers();
        emission.travels_in(&mut headers);
        let sent =
            self.send(&fact, headers, deadline.min(at + self.publisher.options.attempt_timeout())).await;
        let number = self.flight.next_number();
        let sending = Sent { fact, emission, moment, at, deadline };
        match sent {
            Ok(()) => self.flight.push_sent(sending),
            Err(failure) => {
                self.flight.push_elsewhere();
                self.repeat(number, sending, failure);
            }
        }
    }

    async fn send(&mut self, fact: &Fact, headers: HeaderMap, until: Instant) -> Result<(), Failure> {
        let client = self.publisher.context.client();
        let answers = match &mut self.answers {
            Some(answers) => answers,
            none => none.insert(Answers::open(&self.publisher, until).await?),
        };
        let inbox = answers.inbox_of(self.flight.next_number());
        let (subject, payload) = (fact.subject.clone(), fact.payload.clone());
        let mut sending = pin!(client.publish_with_reply_and_headers(subject, inbox, headers, payload));
        // Usually there is room at once, and no time is needed.
        if let Some(sent) = sending.as_mut().now_or_never() {
            return Ok(sent?);
        }
        timeout_at(until, sending).await.map_err(|_elapsed| Failure::unanswered())?.map_err(Failure::from)
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
                // Of somebody else: that of JetStream is still to come.
                None => {}
            }
        }
    }

    fn stored(&mut self, number: u64, stored: &Stored<'_>) {
        let Some(Sent { fact, emission, deadline, .. }) = self.flight.take(number) else { return };
        if *self.stream != *stored.stream {
            self.stream = (*stored.stream).into();
        }
        let receipt = PublishReceipt::new(Arc::clone(&self.stream), stored.sequence, stored.is_duplicate);
        if stored.is_duplicate && self.publisher.options.verifies_duplicates() {
            let Publisher { context, meter, .. } = self.publisher.clone();
            let verify = async move {
                let message = fact.into_outgoing();
                let outcome = suppression::verify(&context, &message, receipt, deadline).await;
                emission.end(&meter, &outcome);
                (number, outcome)
            };
            self.elsewhere.push(verify.boxed());
        } else {
            let outcome = Ok(receipt);
            emission.end(&self.publisher.meter, &outcome);
            self.flight.settle(number, outcome);
        }
    }

    /// Finds the first attempts that were refused on the connection, or have had their time.
    fn look_for_failures(&mut self) {
        let now = Instant::now();
        self.look.as_mut().reset(now + LOOK_EVERY);
        let Publisher { watch, options, inbox, .. } = &self.publisher;
        let inbox_refusal = watch.inbox_refused(inbox);
        let timeout = options.attempt_timeout();
        let failure = |sent: &Sent| {
            let refusal = watch.refused(sent.moment, |refusal| refusal.is_of_publish(&sent.fact.subject));
            if let Some(refusal) = refusal {
                return Some(Failure::denied(&refusal, false));
            }
            // Stored all the same, perhaps: it is the answer that may not come in.
            if let Some(refusal) = &inbox_refusal {
                return Some(Failure::denied(refusal, true));
            }
            (now >= sent.deadline.min(sent.at + timeout)).then(Failure::unanswered)
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
        let publisher = self.publisher.clone();
        let Sent { fact, emission, deadline, .. } = sent;
        let span = emission.span().clone();
        let repeated = async move {
            let mut message = fact.into_outgoing();
            emission.travels_in(&mut message.headers);
            let outcome = publisher.recover(message, failure, deadline).await;
            emission.end(&publisher.meter, &outcome);
            (number, outcome)
        };
        self.elsewhere.push(repeated.instrument(span).boxed());
    }
}

/// The inbox of a pipeline, in which every publish has its number.
struct Answers {
    subscriber: Subscriber,
    /// With the dot before the number.
    prefix: String,
}

impl Answers {
    async fn open(publisher: &Publisher, until: Instant) -> Result<Self, Failure> {
        let client = publisher.context.client();
        let prefix = format!("{}.", client.new_inbox());
        match timeout_at(until, client.subscribe(format!("{prefix}*"))).await {
            Ok(Ok(subscriber)) => Ok(Self { subscriber, prefix }),
            Ok(Err(error)) => Err(Failure::disconnected(error)),
            // Nothing was sent. To say that it may have been is safe.
            Err(_elapsed) => Err(Failure::unanswered()),
        }
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
