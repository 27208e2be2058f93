//! The subjects of JetStream itself: requests, acknowledgements, flow control and advisories.
//!
//! No other file writes one by hand, so that a user who is granted these subjects may do what this crate asks for.

mod jetstream_domain;
mod prefix;

pub use jetstream_domain::JetStreamDomain;
pub use prefix::ApiPrefix;

use std::fmt;

/// The subject of a request to JetStream, without the [prefix](ApiPrefix) that says which JetStream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ApiSubject(String);

const ACK_PREFIX: &str = "$JS.ACK.";
const CONSUMER_ADVISORY_PREFIX: &str = "$JS.EVENT.ADVISORY.CONSUMER.";

impl ApiSubject {
    fn new(request: impl fmt::Display) -> Self {
        Self(request.to_string())
    }

    /// Reads the settings and the state of a stream.
    pub(crate) fn stream_info(stream: &str) -> Self {
        Self::new(format_args!("STREAM.INFO.{stream}"))
    }

    /// Lists the streams, or those that take the messages of a subject.
    pub(crate) fn stream_names() -> Self {
        Self::new("STREAM.NAMES")
    }

    /// Creates a stream.
    pub(crate) fn stream_create(stream: &str) -> Self {
        Self::new(format_args!("STREAM.CREATE.{stream}"))
    }

    /// Changes the settings of a stream.
    pub(crate) fn stream_update(stream: &str) -> Self {
        Self::new(format_args!("STREAM.UPDATE.{stream}"))
    }

    /// Lets another server lead a stream.
    pub(crate) fn leader_stepdown(stream: &str) -> Self {
        Self::new(format_args!("STREAM.LEADER.STEPDOWN.{stream}"))
    }

    /// Reads a message of a stream from its leader.
    pub(crate) fn message_get(stream: &str) -> Self {
        Self::new(format_args!("STREAM.MSG.GET.{stream}"))
    }

    /// Removes a message from a stream.
    pub(crate) fn message_delete(stream: &str) -> Self {
        Self::new(format_args!("STREAM.MSG.DELETE.{stream}"))
    }

    /// Reads the last message of a subject from any replica.
    pub(crate) fn direct_get(stream: &str, subject: &str) -> Self {
        Self::new(format_args!("DIRECT.GET.{stream}.{subject}"))
    }

    /// Reads messages of a stream from any replica, many with one request.
    pub(crate) fn direct_get_many(stream: &str) -> Self {
        Self::new(format_args!("DIRECT.GET.{stream}"))
    }

    /// Reads the settings and the state of a durable.
    pub(crate) fn durable_info(stream: &str, durable: &str) -> Self {
        Self::new(format_args!("CONSUMER.INFO.{stream}.{durable}"))
    }

    /// Lists the consumers of a stream, with settings and state.
    pub(crate) fn durable_list(stream: &str) -> Self {
        Self::new(format_args!("CONSUMER.LIST.{stream}"))
    }

    /// Creates or changes a durable with several filters.
    pub(crate) fn durable_create(stream: &str, durable: &str) -> Self {
        Self::new(format_args!("CONSUMER.CREATE.{stream}.{durable}"))
    }

    /// Creates the consumer by which the server copies a stream, with several filters.
    pub(crate) fn source_create(stream: &str) -> Self {
        Self::new(format_args!("CONSUMER.CREATE.{stream}"))
    }

    /// Removes a durable.
    pub(crate) fn durable_delete(stream: &str, durable: &str) -> Self {
        Self::new(format_args!("CONSUMER.DELETE.{stream}.{durable}"))
    }

    /// Pauses a durable, or resumes it.
    pub(crate) fn durable_pause(stream: &str, durable: &str) -> Self {
        Self::new(format_args!("CONSUMER.PAUSE.{stream}.{durable}"))
    }

    /// Ends the pin of a durable's pinned client.
    pub(crate) fn durable_unpin(stream: &str, durable: &str) -> Self {
        Self::new(format_args!("CONSUMER.UNPIN.{stream}.{durable}"))
    }

    /// Pulls messages from a durable.
    pub(crate) fn next_messages(stream: &str, durable: &str) -> Self {
        Self::new(format_args!("CONSUMER.MSG.NEXT.{stream}.{durable}"))
    }

    /// Any other request, such as `META.LEADER.STEPDOWN`.
    #[cfg(feature = "testing")]
    pub(crate) fn other(request: &str) -> Self {
        Self::new(request)
    }

    /// Returns the request as async-nats makes it, which adds the prefix.
    pub(crate) fn request(self) -> String {
        self.0
    }

    /// Returns the subject of the request to the JetStream of the connection itself.
    pub(crate) fn local(self) -> String {
        ApiPrefix::default().subject(&self)
    }
}

impl fmt::Display for ApiSubject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Returns whether `subject` is `wanted` or below it.
pub(crate) fn covers(wanted: &str, subject: &str) -> bool {
    subject.strip_prefix(wanted).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// Returns the subject that acknowledges a delivery, for one whose reply subject is not known. The server goes by the
/// sequence.
pub(crate) fn ack(stream: &str, durable: &str, deliveries: u64, sequence: u64, delivery: u64) -> String {
    format!("{ACK_PREFIX}{stream}.{durable}.{deliveries}.{sequence}.{delivery}.0.0")
}

/// Returns the subjects of all acknowledgements for a durable, in both forms that servers use.
///
/// They have a fixed number of tokens. With `>` in place of the last five, one form of this durable would match the
/// other form of a foreign one, and `+NXT` as an acknowledgement is a request for a message.
pub(crate) fn acks(stream: &str, durable: &str) -> [String; 2] {
    [
        format!("{ACK_PREFIX}{stream}.{durable}.*.*.*.*.*"),
        // With the domain and the account before the stream: from nats-server 2.16 on.
        format!("{ACK_PREFIX}*.*.{stream}.{durable}.*.*.*.*.*"),
    ]
}

/// Returns what follows the prefix of acknowledgements in `subject`; `None` if it is no acknowledgement.
pub(crate) fn of_ack(subject: &str) -> Option<&str> {
    subject.strip_prefix(ACK_PREFIX)
}

/// Returns whether `subject` acknowledges a delivery of the durable, in either form that servers use.
pub(crate) fn is_ack_of(subject: &str, stream: &str, durable: &str) -> bool {
    let named = format!("{stream}.{durable}.");
    of_ack(subject).is_some_and(|rest| rest.starts_with(&named) || rest.contains(&format!(".{named}")))
}

/// Returns the subjects of the flow control of a stream that is copied, in both forms that servers use.
pub(crate) fn flow_control(stream: &str) -> [String; 2] {
    [format!("$JS.FC.{stream}.*.*"), format!("$JS.FC.*.*.{stream}.*.*")]
}

/// Returns the subject of advisories of one kind about all consumers of a stream.
pub(crate) fn consumer_advisory(kind: &str, stream: &str) -> String {
    format!("{CONSUMER_ADVISORY_PREFIX}{kind}.{stream}.*")
}

/// Returns kind, stream and consumer of an advisory's subject; `None` if it is not one about a consumer.
pub(crate) fn of_consumer_advisory(subject: &str) -> Option<(&str, &str, &str)> {
    let mut parts = subject.strip_prefix(CONSUMER_ADVISORY_PREFIX)?.splitn(3, '.');
    Some((parts.next()?, parts.next()?, parts.next()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, path::Path};

    /// Calls `check` with each Rust file below `folder`.
    fn each_source(folder: &Path, check: &mut dyn FnMut(&Path, &str)) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                each_source(&path, check);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                check(&path, &fs::read_to_string(&path).unwrap());
            }
        }
    }

    #[test]
    fn no_other_file_writes_a_subject_of_jetstream() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        each_source(&root, &mut |path, text| {
            // Tests may spell out what they expect.
            let is_exempt = path.starts_with(root.join("nats/api"))
                // The help of the tool names the default.
                || path.ends_with("strattctl/connect/mod.rs")
                || path.ends_with("nats/api.rs")
                || path.to_string_lossy().ends_with("_tests.rs");
            let code = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
            for line in code.lines().filter(|line| !line.trim_start().starts_with("//")) {
                assert!(is_exempt || !line.contains("$JS."), "{}: {line}", path.display());
            }
        });
    }

    #[test]
    fn acks_of_both_forms_belong_to_their_durable_only() {
        for (subject, is_ours) in [
            ("$JS.ACK.S.c.1.1.1.1.1", true),
            ("$JS.ACK.d.hash.S.c.1.1.1.1.1", true),
            ("$JS.ACK.S.other.1.1.1.1.1", false),
            ("$JS.ACK.MORES.c.1.1.1.1.1", false),
            ("$JS.API.CONSUMER.INFO.S.c.", false),
        ] {
            assert_eq!(is_ack_of(subject, "S", "c"), is_ours, "{subject}");
        }
    }

    #[test]
    fn a_request_covers_itself_and_what_is_below_it() {
        let create = ApiSubject::durable_create("S", "c");
        let local = create.clone().local();
        assert!(
            covers(&local, "$JS.API.CONSUMER.CREATE.S.c")
                && covers(&local, "$JS.API.CONSUMER.CREATE.S.c.a.*")
        );
        assert!(!covers(&local, "$JS.API.CONSUMER.CREATE.S.cc"));
        assert_eq!(create.request(), "CONSUMER.CREATE.S.c");
    }
}
