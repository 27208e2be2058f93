//! Failures and the exit codes that they end with.

use crate::text;
use std::{error::Error, fmt, io};
use stratt_event_bridge::{
    async_nats::jetstream::{self, ErrorCode},
    dead_letter::{DeadLetterError, DeadLetterErrorKind},
    durables::{DurablesError, DurablesErrorKind},
    topology::{DEAD_LETTER_STREAM, TopologyError, TopologyErrorKind},
    watch::{WatchError, WatchErrorKind},
};

/// The exit code when something of it failed.
pub(crate) const SOME_FAILED: u8 = 1;
/// The exit code when it was asked wrongly, as clap has it.
const WRONG_USAGE: u8 = 2;
/// The exit code when there is no broker, or it does not answer.
const NO_BROKER: u8 = 3;

/// The reason why a command ended.
#[derive(Debug)]
pub(crate) struct Failure {
    error: Box<dyn Error + Send + Sync>,
    code: u8,
}

impl Failure {
    pub(crate) fn new(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { error: error.into(), code: SOME_FAILED }
    }

    /// Returns a failure because there is no broker, or because it does not answer.
    pub(crate) fn no_broker(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { error: error.into(), code: NO_BROKER }
    }

    pub(crate) fn wrong_usage(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { error: error.into(), code: WRONG_USAGE }
    }

    pub(crate) fn code(&self) -> u8 {
        self.code
    }

    fn of(error: impl Error + Send + Sync + 'static, is_of_broker: bool) -> Self {
        if is_of_broker { Self::no_broker(error) } else { Self::new(error) }
    }
}

impl fmt::Display for Failure {
    /// Writes the error with its causes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&chain(&*self.error))
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::new(error)
    }
}

impl From<DeadLetterError> for Failure {
    fn from(error: DeadLetterError) -> Self {
        let refused = error.source().and_then(|cause| cause.downcast_ref::<jetstream::Error>());
        if refused.is_some_and(|refused| refused.error_code() == ErrorCode::STREAM_NOT_FOUND) {
            return Self::no_broker(missing(DEAD_LETTER_STREAM));
        }
        let is_of_broker = error.kind() == DeadLetterErrorKind::Unavailable;
        Self::of(error, is_of_broker)
    }
}

impl From<DurablesError> for Failure {
    fn from(error: DurablesError) -> Self {
        let is_of_broker = error.kind() == DurablesErrorKind::Unavailable;
        Self::of(error, is_of_broker)
    }
}

/// Returns what is said of a stream that does not exist.
pub(crate) fn missing(stream: impl fmt::Display) -> String {
    format!("stream {stream} does not exist: `strattctl provision --yes` creates it")
}

impl From<TopologyError> for Failure {
    fn from(error: TopologyError) -> Self {
        let is_of_broker = error.kind() == TopologyErrorKind::Unavailable;
        Self::of(error, is_of_broker)
    }
}

impl From<WatchError> for Failure {
    fn from(error: WatchError) -> Self {
        let is_of_broker = matches!(error.kind(), WatchErrorKind::Unavailable | WatchErrorKind::Closed);
        Self::of(error, is_of_broker)
    }
}

/// Returns an error with its causes, on one line; a cause that the error before says itself is not said again. Parts
/// of it may be quoted from messages.
pub(crate) fn chain(error: &(dyn Error + 'static)) -> String {
    let mut said = error.to_string();
    let mut line = said.clone();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        if !said.ends_with(&text) {
            line.push_str(": ");
            line.push_str(&text);
        }
        said = text;
        cause = error.source();
    }
    text::escaped(&line)
}

#[allow(clippy::print_stderr, reason = "a command complains there")]
pub(crate) fn complain(line: &str) {
    eprintln!("strattctl: {line}");
}
