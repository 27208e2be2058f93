//! Handlers: what a service does with an event, and how it says that it could not.

use crate::{
    consumer::Delivery,
    contract::event::{AnyEvent, Event, EventType},
    report::report,
};
use futures::{FutureExt, future::BoxFuture};
use std::{collections::HashMap, error::Error, fmt, future::Future, sync::Arc, time::Duration};

/// The reason why a handler did not handle an event, and what follows from it.
///
/// `?` means [`retry`](Self::retry). It takes every error that converts to `Box<dyn Error + Send + Sync>`: any
/// [`std::error::Error`], such a box itself, text, `anyhow::Error`, `eyre::Report`.
///
/// ```
/// use stratt_event_bridge::{Delivery, HandlerError, UnitDeprecated};
///
/// async fn handle(delivery: Delivery<UnitDeprecated>) -> Result<(), HandlerError> {
///     let line = std::fs::read_to_string("/etc/hostname")?; // retried
///     if line == "maintenance" {
///         return Err(HandlerError::defer("this host is being maintained")); // later, costs no attempt
///     }
///     if line.is_empty() {
///         return Err(HandlerError::reject("this host has no name")); // dead-lettered at once
///     }
///     Ok(())
/// }
/// ```
pub struct HandlerError {
    verdict: Verdict,
    cause: Box<dyn Error + Send + Sync>,
}

/// The consequence of a handler's error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Retry(Option<Duration>),
    Defer(Option<Duration>),
    Reject,
}

impl HandlerError {
    /// The attempt failed; another one may succeed. It is made after the delay that the options set.
    pub fn retry(cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { verdict: Verdict::Retry(None), cause: cause.into() }
    }

    /// The attempt failed; another one may succeed after `delay`, in place of the one that the options set.
    pub fn retry_after(cause: impl Into<Box<dyn Error + Send + Sync>>, delay: Duration) -> Self {
        Self { verdict: Verdict::Retry(Some(delay)), cause: cause.into() }
    }

    /// The handler depends on something that is away, and the event is not at fault: this attempt does not count.
    ///
    /// It opens the [circuit breaker](crate::CircuitBreaker) of the event's type, so that no other handler of this type
    /// begins until a probe succeeds. Without a breaker the event alone waits, for the delay that the options set.
    pub fn defer(cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { verdict: Verdict::Defer(None), cause: cause.into() }
    }

    /// As [`defer`](Self::defer), where it is known how long that lasts: no probe begins before `delay` is over.
    pub fn defer_for(cause: impl Into<Box<dyn Error + Send + Sync>>, delay: Duration) -> Self {
        Self { verdict: Verdict::Defer(Some(delay)), cause: cause.into() }
    }

    /// No attempt will ever succeed: the event is dead-lettered at once.
    pub fn reject(cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { verdict: Verdict::Reject, cause: cause.into() }
    }

    pub(super) fn verdict(&self) -> Verdict {
        self.verdict
    }
}

// `HandlerError` itself is no `Error`: it would then convert to the box, and this would contradict the identity
// conversion.
impl<E: Into<Box<dyn Error + Send + Sync>>> From<E> for HandlerError {
    fn from(error: E) -> Self {
        Self::retry(error)
    }
}

impl fmt::Display for HandlerError {
    /// The cause and all that caused it, on one line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", report(&*self.cause))
    }
}

impl fmt::Debug for HandlerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HandlerError").field("verdict", &self.verdict).field("cause", &self.cause).finish()
    }
}

type Handler = dyn Fn(Delivery<AnyEvent>) -> BoxFuture<'static, Result<(), HandlerError>> + Send + Sync;

/// The handlers of a consumer, at most one for each event type.
#[derive(Clone, Default)]
pub(super) struct Handlers {
    by_type: HashMap<EventType, Arc<Handler>>,
}

impl Handlers {
    /// Adds a handler for every type that `E` can have. `Err` is a type that has a handler already.
    pub(super) fn add<E, F, Fut>(&mut self, handler: F) -> Result<(), EventType>
    where
        E: Event,
        F: Fn(Delivery<E>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), HandlerError>> + Send + 'static,
    {
        let handler: Arc<Handler> = Arc::new(move |delivery| match delivery.narrow() {
            Some(delivery) => handler(delivery).boxed(),
            None => {
                futures::future::err(HandlerError::reject("event is not of the type of this handler")).boxed()
            }
        });
        for &event_type in E::TYPES {
            if self.by_type.insert(event_type, Arc::clone(&handler)).is_some() {
                return Err(event_type);
            }
        }
        Ok(())
    }

    pub(super) fn get(&self, event_type: EventType) -> Option<&Handler> {
        self.by_type.get(&event_type).map(Arc::as_ref)
    }

    /// The types that have a handler, in the order of the contract.
    pub(super) fn types(&self) -> impl Iterator<Item = EventType> + '_ {
        EventType::ALL.iter().copied().filter(|event_type| self.by_type.contains_key(event_type))
    }
}

impl fmt::Debug for Handlers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.types()).finish()
    }
}
