//! The events of a connection that the server reports to no single request: permission violations, and why the
//! connection was lost.

use crate::{
    nats::permission_violation::PermissionViolation,
    telemetry::log_limit::{LogLimit, limited},
};
use async_nats::{Client, ClientError, Event, ServerError, connection::State};
use std::{
    borrow::Cow,
    collections::VecDeque,
    future::{Ready, ready},
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::sync::Notify;

/// The number of violated subjects that are remembered: far more than a service uses.
const REMEMBERED: usize = 1024;

/// A listener on one connection, which knows the subjects that the server refuses and why the connection was lost, so
/// that a missing permission or an expired password is reported as such.
///
/// A server reports a permission violation to the connection, not to the publish or the subscription that caused it:
/// those wait until they time out. With a watch, a publish fails within a second with
/// [`PermissionDenied`](crate::PublishErrorKind::PermissionDenied), and a consumer ends with
/// [`PermissionDenied`](crate::ConsumeErrorKind::PermissionDenied); both name the subject. Without a watch, a publish
/// times out and a consumer waits.
///
/// Likewise, a publish does not learn that its connection was lost because the user expired: it waits for a new
/// connection. With a watch, errors of a lost connection have a [cause](std::error::Error::source) that says why it
/// was lost, and so does the [status](crate::BridgeStatus::connection_error).
///
/// A connection has a single event callback, which belongs to the host. A host that does not use it gives it to the
/// watch:
///
/// ```no_run
/// use stratt_event_bridge::{ConnectionWatch, EventBridge, async_nats};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let watch = ConnectionWatch::new();
/// let options = async_nats::ConnectOptions::new().event_callback(watch.callback());
/// let client = options.connect("nats://127.0.0.1:4222").await?;
/// let bridge =
///     EventBridge::new(client, "orchestrator-http:publisher:1.4.0".parse()?).with_connection_watch(watch);
/// # Ok(())
/// # }
/// ```
///
/// A host that uses it calls [`observe`](Self::observe) in its callback. The watch is a cheap, cloneable handle and
/// remembers a bounded number of subjects. It is meant for one connection.
#[derive(Debug, Clone, Default)]
pub struct ConnectionWatch {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    violations: Mutex<Violations>,
    /// The last failure of the connection itself since it was last established.
    error: Mutex<Option<Cow<'static, str>>>,
    changed: Notify,
    lines: LogLimit,
}

impl Default for Inner {
    fn default() -> Self {
        let lines = LogLimit::new("connection");
        Self { violations: Mutex::default(), error: Mutex::default(), changed: Notify::new(), lines }
    }
}

#[derive(Debug, Default)]
struct Violations {
    /// An event was observed: the watch is wired to a connection.
    is_wired: bool,
    count: u64,
    /// The last violation of each subject with its number, oldest first.
    latest: VecDeque<(u64, PermissionViolation)>,
}

/// A lost connection, and why it was lost.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("connection to the broker is lost: {0}")]
pub(crate) struct Disconnected(String);

/// A point in the sequence of violations. Those before it do not concern what is sent after it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mark(u64);

impl ConnectionWatch {
    /// Returns a watch that has observed nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes note of an event of the connection. Never waits, so it may be called in any callback.
    pub fn observe(&self, event: &Event) {
        self.lock().is_wired = true;
        match event {
            Event::ServerError(ServerError::Other(text)) => match PermissionViolation::parse(text) {
                Some(violation) => self.record(&violation),
                None => self.lost(text.clone()),
            },
            Event::ServerError(ServerError::AuthorizationViolation) => self.lost("authorization violation"),
            Event::ClientError(ClientError::Other(text)) => self.lost(text.clone()),
            Event::ClientError(ClientError::MaxReconnects) => {
                self.lost("maximum number of reconnects is reached");
            }
            Event::Connected => {
                // A new connection repeats its subscriptions, and the server repeats the violations.
                self.lock().latest.retain(|(_, violation)| !violation.is_of_subscription());
                *self.error() = None;
            }
            _ => {}
        }
    }

    fn record(&self, violation: &PermissionViolation) {
        let (lines, is_known) = (&self.inner.lines, self.lock().record(violation.clone()));
        // Two texts, so that a violation that is repeated again and again does not use up the limit of a new one.
        if is_known {
            limited!(lines, error, "permission violation is repeated", %violation);
        } else {
            limited!(lines, error, "permission violation: the user of this connection lacks a permission", %violation);
        }
        self.inner.changed.notify_waiters();
    }

    fn lost(&self, why: impl Into<Cow<'static, str>>) {
        *self.error() = Some(why.into());
    }

    /// Returns why there is no connection, as far as it was observed; `None` while there is one.
    ///
    /// Errors that a server reports on a connection that persists explain nothing.
    pub(crate) fn disconnected(&self, client: &Client) -> Option<Disconnected> {
        if client.connection_state() == State::Connected {
            return None;
        }
        self.error().as_deref().map(Disconnected::new)
    }

    /// Returns a callback for [`ConnectOptions::event_callback`](async_nats::ConnectOptions::event_callback).
    pub fn callback(&self) -> impl Fn(Event) -> Ready<()> + Send + Sync + 'static {
        let watch = self.clone();
        move |event| {
            watch.observe(&event);
            ready(())
        }
    }

    /// Returns whether the watch would observe a violation.
    pub(crate) fn is_wired(&self) -> bool {
        self.lock().is_wired
    }

    /// Returns a mark to take before something is sent.
    pub(crate) fn now(&self) -> Mark {
        Mark(self.lock().count)
    }

    /// Awaits the answer to a request, or the permission violation because of which there will be none: one since the
    /// mark that `is_meant`, or one of the inbox that the answer goes to.
    pub(crate) async fn guard<T>(
        &self,
        since: Mark,
        inbox: &str,
        is_meant: impl Fn(&PermissionViolation) -> bool,
        answer: Pin<&mut impl Future<Output = T>>,
    ) -> Result<T, PermissionViolation> {
        tokio::select! {
            biased;
            answer = answer => Ok(answer),
            violation = self.violation(since, inbox, is_meant) => Err(violation),
        }
    }

    /// Awaits the first violation since the mark that `is_meant`, or one of the inbox, however old.
    pub(crate) async fn violation(
        &self,
        since: Mark,
        inbox: &str,
        is_meant: impl Fn(&PermissionViolation) -> bool,
    ) -> PermissionViolation {
        loop {
            // Begun before the check, so that no violation between it and the wait is missed.
            let changed = self.inner.changed.notified();
            if let Some(violation) = self.violated(since, &is_meant).or_else(|| self.inbox_violated(inbox)) {
                return violation;
            }
            changed.await;
        }
    }

    /// Returns the latest violation since the mark that `is_meant`.
    pub(crate) fn violated(
        &self,
        since: Mark,
        is_meant: impl Fn(&PermissionViolation) -> bool,
    ) -> Option<PermissionViolation> {
        self.lock().since(since, is_meant)
    }

    /// Returns the violation of the inboxes that answers go to, however old.
    pub(crate) fn inbox_violated(&self, inbox: &str) -> Option<PermissionViolation> {
        self.violated(Mark(0), |violation| violation.is_of_inbox(inbox))
    }

    fn lock(&self) -> MutexGuard<'_, Violations> {
        self.inner.violations.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn error(&self) -> MutexGuard<'_, Option<Cow<'static, str>>> {
        self.inner.error.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Disconnected {
    /// Makes one line of printable text of a server's message.
    fn new(why: &str) -> Self {
        const LONGEST: usize = 256;
        let printable = why.chars().filter(|c| !c.is_control()).take(LONGEST);
        Self(printable.collect())
    }

    pub(crate) fn why(&self) -> &str {
        &self.0
    }
}

impl Violations {
    /// Records a violation, and returns whether its subject was known already.
    fn record(&mut self, violation: PermissionViolation) -> bool {
        self.count += 1;
        let before = self.latest.len();
        self.latest.retain(|(_, known)| *known != violation);
        let is_known = self.latest.len() < before;
        if self.latest.len() == REMEMBERED {
            self.latest.pop_front();
        }
        self.latest.push_back((self.count, violation));
        is_known
    }

    fn since(
        &self,
        Mark(number): Mark,
        is_meant: impl Fn(&PermissionViolation) -> bool,
    ) -> Option<PermissionViolation> {
        let since = self.latest.iter().rev().take_while(|(of, _)| *of > number);
        since.map(|(_, violation)| violation).find(|violation| is_meant(violation)).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nats::permission_violation::LONGEST_SUBJECT;
    use futures::FutureExt;
    use std::pin::pin;

    fn violation(kind: &str, subject: &str) -> Event {
        let text = format!("Permissions Violation for {kind} to \"{subject}\"");
        Event::ServerError(ServerError::Other(text))
    }

    fn publish_violation(subject: &str) -> Event {
        violation("Publish", subject)
    }

    fn seen(watch: &ConnectionWatch, since: Mark, subject: &str) -> bool {
        let is_meant = |violation: &PermissionViolation| violation.is_of_publish(subject);
        watch.violation(since, "_INBOX.b", is_meant).now_or_never().is_some()
    }

    #[test]
    fn only_later_violations_of_the_same_subject_count() {
        let watch = ConnectionWatch::new();
        watch.observe(&publish_violation("a"));
        let since = watch.now();
        assert!(!seen(&watch, since, "a"));
        watch.observe(&publish_violation("a"));
        assert!(seen(&watch, since, "a") && !seen(&watch, since, "b"));
    }

    #[test]
    fn a_bounded_number_is_remembered_and_the_newest_stays() {
        let watch = ConnectionWatch::new();
        let since = watch.now();
        for number in 0..=REMEMBERED {
            watch.observe(&publish_violation(&number.to_string()));
            watch.observe(&publish_violation("again and again"));
        }
        watch.observe(&publish_violation(&"x".repeat(LONGEST_SUBJECT + 1)));
        assert_eq!(watch.lock().latest.len(), REMEMBERED);
        assert!(!seen(&watch, since, "0") && seen(&watch, since, &REMEMBERED.to_string()));
    }

    #[test]
    fn a_violated_inbox_is_known_until_the_next_connection() {
        let watch = ConnectionWatch::new();
        watch.observe(&violation("Subscription", "_INBOX.a.*"));
        let since = watch.now();
        assert!(watch.violation(since, "_INBOX.b", |_| false).now_or_never().is_some());
        assert!(watch.violation(since, "_INBOX_other.b", |_| false).now_or_never().is_none());
        watch.observe(&Event::Connected);
        assert!(watch.violation(since, "_INBOX.b", |_| false).now_or_never().is_none());
    }

    #[test]
    fn an_answer_wins_over_a_violation() {
        let watch = ConnectionWatch::new();
        let since = watch.now();
        watch.observe(&publish_violation("a"));
        let is_meant = |violation: &PermissionViolation| violation.is_of_publish("a");
        let answered = watch.guard(since, "_INBOX.b", is_meant, pin!(ready(1))).now_or_never();
        assert_eq!(answered, Some(Ok(1)));
        let unanswered =
            watch.guard(since, "_INBOX.b", is_meant, pin!(std::future::pending::<u8>())).now_or_never();
        assert_eq!(unanswered, Some(Err(PermissionViolation::Publish("a".into()))));
    }
}
