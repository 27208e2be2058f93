//! What is told to a connection and not to the one who asked: what the server refuses, and why it was lost.

use crate::telemetry::log_limit::{LogLimit, limited};
use async_nats::{Client, ClientError, Event, ServerError, connection::State};
use std::{
    borrow::Cow,
    collections::VecDeque,
    future::{Ready, ready},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::sync::Notify;

/// How many refused subjects are remembered, and how long they may be: far more than a service has in use.
const REMEMBERED: usize = 1024;
const LONGEST_SUBJECT: usize = 1024;

/// Hears from a connection which subjects the server refuses and why the connection was lost, so that a missing
/// permission or an expired password is told as what it is.
///
/// A server says "permissions violation" to the connection, not to the publish or the subscription that it is about;
/// those wait until their time is up. With a watch, a publish fails within a second with
/// [`PermissionDenied`](crate::PublishErrorKind::PermissionDenied), and a consumer ends with
/// [`PermissionDenied`](crate::ConsumeErrorKind::PermissionDenied); both name the subject. Without one they report a
/// time-out, or wait.
///
/// Nor does a publish hear that its connection was lost since the user expired: it waits for another one. With a watch,
/// what fails without a connection has a [cause](std::error::Error::source) that says why there is none, and so does the
/// [status](crate::BridgeStatus::connection_error).
///
/// A connection has one event callback, which is the host's. A host that has none gives it to the watch:
///
/// ```no_run
/// use stratt_event_bridge::{ConnectionWatch, EventBridge, async_nats};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let watch = ConnectionWatch::new();
/// let options = async_nats::ConnectOptions::new().event_callback(watch.callback());
/// let client = options.connect("nats://127.0.0.1:4222").await?;
/// let bridge = EventBridge::new(client, "orchestrator-http:publisher:1.4.0".parse()?).watching(watch);
/// # Ok(())
/// # }
/// ```
///
/// A host that has one calls [`observe`](Self::observe) in it. The watch is a cheap, cloneable handle that remembers a
/// bounded number of subjects. It is meant for one connection.
#[derive(Debug, Clone, Default)]
pub struct ConnectionWatch {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    refusals: Mutex<Refusals>,
    /// The last thing that went wrong with the connection itself, since it was there.
    error: Mutex<Option<Cow<'static, str>>>,
    changed: Notify,
    lines: LogLimit,
}

impl Default for Inner {
    fn default() -> Self {
        let lines = LogLimit::new("connection");
        Self { refusals: Mutex::default(), error: Mutex::default(), changed: Notify::new(), lines }
    }
}

#[derive(Debug, Default)]
struct Refusals {
    /// Something was heard: the watch is part of a connection.
    is_wired: bool,
    count: u64,
    /// The last one of each subject with its number, oldest first.
    latest: VecDeque<(u64, Refusal)>,
}

/// What the server refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refusal {
    Publish(String),
    Subscribe(String),
}

/// That there is no connection, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("connection to the broker is lost: {0}")]
pub(crate) struct Disconnected(String);

/// A moment in the life of a connection. What was refused before it says nothing about what is sent after it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moment(u64);

impl ConnectionWatch {
    /// A watch that has heard nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes notice of an event of the connection. It never waits, so it may be called in any callback.
    pub fn observe(&self, event: &Event) {
        self.lock().is_wired = true;
        match event {
            Event::ServerError(ServerError::Other(text)) => match Refusal::parse(text) {
                Some(refusal) => self.hear(&refusal),
                None => self.lost(text.clone()),
            },
            Event::ServerError(ServerError::AuthorizationViolation) => self.lost("authorization violation"),
            Event::ClientError(ClientError::Other(text)) => self.lost(text.clone()),
            Event::ClientError(ClientError::MaxReconnects) => {
                self.lost("maximum number of reconnects is reached");
            }
            Event::Connected => {
                // Subscriptions are made anew on a new connection, and refused anew.
                self.lock().latest.retain(|(_, refusal)| !refusal.is_of_subscription());
                *self.error() = None;
            }
            _ => {}
        }
    }

    fn hear(&self, refusal: &Refusal) {
        let (lines, is_known) = (&self.inner.lines, self.lock().record(refusal.clone()));
        // One that is refused again and again does not hide another.
        if is_known {
            limited!(lines, error, "server still refuses a subject", %refusal);
        } else {
            limited!(lines, error, "server refuses a subject: the user of this connection lacks a permission", %refusal);
        }
        self.inner.changed.notify_waiters();
    }

    fn lost(&self, why: impl Into<Cow<'static, str>>) {
        *self.error() = Some(why.into());
    }

    /// Why there is no connection, as far as was heard; `None` while there is one.
    ///
    /// What a server says of a connection that goes on is no reason for anything.
    pub(crate) fn disconnected(&self, client: &Client) -> Option<Disconnected> {
        if client.connection_state() == State::Connected {
            return None;
        }
        self.error().as_deref().map(Disconnected::new)
    }

    /// For [`ConnectOptions::event_callback`](async_nats::ConnectOptions::event_callback).
    pub fn callback(&self) -> impl Fn(Event) -> Ready<()> + Send + Sync + 'static {
        let watch = self.clone();
        move |event| {
            watch.observe(&event);
            ready(())
        }
    }

    /// Whether it would hear of a refusal.
    pub(crate) fn is_wired(&self) -> bool {
        self.lock().is_wired
    }

    /// This moment, before something is sent.
    pub(crate) fn now(&self) -> Moment {
        Moment(self.lock().count)
    }

    /// The next refusal since then that `is_meant`, whenever it comes.
    pub(crate) async fn refusal(&self, since: Moment, is_meant: impl Fn(&Refusal) -> bool) -> Refusal {
        self.first(|| self.refused(since, &is_meant)).await
    }

    /// The refusal of the inboxes that answers come to, be it as old as the connection.
    pub(crate) async fn inbox_refusal(&self, inbox: &str) -> Refusal {
        self.first(|| self.inbox_refused(inbox)).await
    }

    /// Whichever of the two comes first, of a publish and of the inbox of its answer.
    pub(crate) async fn publish_refusal(
        &self,
        since: Moment,
        inbox: &str,
        is_meant: impl Fn(&Refusal) -> bool,
    ) -> Refusal {
        self.first(|| self.refused(since, &is_meant).or_else(|| self.inbox_refused(inbox))).await
    }

    /// The latest refusal since then that `is_meant`, if there was any.
    pub(crate) fn refused(&self, since: Moment, is_meant: impl Fn(&Refusal) -> bool) -> Option<Refusal> {
        self.lock().since(since, is_meant)
    }

    pub(crate) fn inbox_refused(&self, inbox: &str) -> Option<Refusal> {
        let is_inbox = |refusal: &Refusal| matches!(refusal, Refusal::Subscribe(subject) if is_of_same_prefix(subject, inbox));
        self.refused(Moment(0), is_inbox)
    }

    async fn first(&self, look: impl Fn() -> Option<Refusal>) -> Refusal {
        loop {
            // Begun before the look, so that nothing is missed between it and the wait.
            let changed = self.inner.changed.notified();
            if let Some(refusal) = look() {
                return refusal;
            }
            changed.await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Refusals> {
        self.inner.refusals.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn error(&self) -> MutexGuard<'_, Option<Cow<'static, str>>> {
        self.inner.error.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Disconnected {
    /// One line of printable text, whatever a server says.
    fn new(why: &str) -> Self {
        const LONGEST: usize = 256;
        let printable = why.chars().filter(|c| !c.is_control()).take(LONGEST);
        Self(printable.collect())
    }

    pub(crate) fn why(&self) -> &str {
        &self.0
    }
}

impl Refusals {
    /// Returns whether it is known already.
    fn record(&mut self, refusal: Refusal) -> bool {
        self.count += 1;
        let before = self.latest.len();
        self.latest.retain(|(_, known)| *known != refusal);
        let is_known = self.latest.len() < before;
        if self.latest.len() == REMEMBERED {
            self.latest.pop_front();
        }
        self.latest.push_back((self.count, refusal));
        is_known
    }

    fn since(&self, Moment(number): Moment, is_meant: impl Fn(&Refusal) -> bool) -> Option<Refusal> {
        let since = self.latest.iter().rev().take_while(|(of, _)| *of > number);
        since.map(|(_, refusal)| refusal).find(|refusal| is_meant(refusal)).cloned()
    }
}

impl Refusal {
    /// Reads `Permissions Violation for Publish to "subject"`, or `for Subscription to "subject"` with more after it.
    fn parse(text: &str) -> Option<Self> {
        let what = text.strip_prefix("Permissions Violation for ")?;
        let (verb, rest) = what.split_once(" to \"")?;
        let (subject, _) = rest.split_once('"')?;
        if subject.len() > LONGEST_SUBJECT {
            return None;
        }
        match verb {
            "Publish" => Some(Self::Publish(subject.to_owned())),
            "Subscription" => Some(Self::Subscribe(subject.to_owned())),
            _ => None,
        }
    }

    pub(crate) fn is_of_publish(&self, subject: &str) -> bool {
        matches!(self, Self::Publish(refused) if refused == subject)
    }

    fn is_of_subscription(&self) -> bool {
        matches!(self, Self::Subscribe(_))
    }
}

/// Whether two inboxes differ in the part only that makes each of them one of a kind.
fn is_of_same_prefix(subject: &str, inbox: &str) -> bool {
    let Some((prefix, _)) = inbox.rsplit_once('.') else { return false };
    subject.strip_prefix(prefix).is_some_and(|rest| rest.starts_with('.'))
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Publish(subject) => write!(f, "publish to {subject}"),
            Self::Subscribe(subject) => write!(f, "subscribe to {subject}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    fn refused(subject: &str) -> Event {
        let text = format!("Permissions Violation for Publish to \"{subject}\"");
        Event::ServerError(ServerError::Other(text))
    }

    fn seen(watch: &ConnectionWatch, since: Moment, subject: &str) -> bool {
        let meant = Refusal::Publish(subject.to_owned());
        watch.refusal(since, |refusal| *refusal == meant).now_or_never().is_some()
    }

    #[test]
    fn only_what_is_refused_afterwards_counts_and_only_for_its_subject() {
        let watch = ConnectionWatch::new();
        watch.observe(&refused("a"));
        let since = watch.now();
        assert!(!seen(&watch, since, "a"));
        watch.observe(&refused("a"));
        assert!(seen(&watch, since, "a") && !seen(&watch, since, "b"));
    }

    #[test]
    fn what_is_remembered_is_bounded_and_the_newest_stays() {
        let watch = ConnectionWatch::new();
        let since = watch.now();
        for number in 0..=REMEMBERED {
            watch.observe(&refused(&number.to_string()));
            watch.observe(&refused("again and again"));
        }
        watch.observe(&refused(&"x".repeat(LONGEST_SUBJECT + 1)));
        assert_eq!(watch.lock().latest.len(), REMEMBERED);
        assert!(!seen(&watch, since, "0") && seen(&watch, since, &REMEMBERED.to_string()));
    }

    #[test]
    fn text_of_other_kinds_is_passed_over() {
        for text in
            ["", "Permissions Violation for Publish to \"a", "Permissions Violation", "stale connection"]
        {
            assert_eq!(Refusal::parse(text), None, "{text}");
        }
        let queue = "Permissions Violation for Subscription to \"_INBOX.a.*\" using queue \"q\"";
        assert_eq!(Refusal::parse(queue), Some(Refusal::Subscribe("_INBOX.a.*".into())));
    }

    #[test]
    fn a_refused_inbox_is_known_until_the_next_connection() {
        let watch = ConnectionWatch::new();
        let text = "Permissions Violation for Subscription to \"_INBOX.a.*\"".to_owned();
        watch.observe(&Event::ServerError(ServerError::Other(text)));
        assert!(watch.inbox_refusal("_INBOX.b").now_or_never().is_some());
        assert!(watch.inbox_refusal("_INBOX_other.b").now_or_never().is_none());
        watch.observe(&Event::Connected);
        assert!(watch.inbox_refusal("_INBOX.b").now_or_never().is_none());
    }
}
