//! What the subject that a delivery is acknowledged on says about it.

use std::time::Duration;

/// `$JS.ACK.{stream}.{consumer}.{deliveries}.{sequence}.{of the consumer}.{nanoseconds}.{pending}`; newer servers have the
/// domain and the account before the stream. Parsed once for each message, without allocating.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct AckSubject {
    /// How often the server delivered the message, this time included.
    pub(crate) deliveries: u64,
    /// The sequence in the stream.
    pub(crate) sequence: u64,
    /// The number of the delivery: the consumer counts them without gaps, redeliveries included.
    pub(crate) delivery: u64,
    /// When the server stored the message, since 1970. The date type of async-nats depends on its features.
    pub(crate) stored_at: Duration,
}

/// How many dots stand in the subjects of servers that do not name the domain.
const DOTS_WITHOUT_DOMAIN: usize = 8;

impl AckSubject {
    pub(crate) fn parse(subject: &str) -> Option<Self> {
        let mut tokens = subject.strip_prefix("$JS.ACK.")?.split('.');
        if subject.bytes().filter(|byte| *byte == b'.').count() > DOTS_WITHOUT_DOMAIN {
            let _domain_and_account = tokens.nth(1)?;
        }
        let _stream_and_consumer = tokens.nth(1)?;
        let deliveries = tokens.next()?.parse().ok()?;
        let sequence = tokens.next()?.parse().ok()?;
        let delivery = tokens.next()?.parse().ok()?;
        let stored_at = Duration::from_nanos(tokens.next()?.parse().ok()?);
        let _pending = tokens.next()?;
        Some(Self { deliveries, sequence, delivery, stored_at })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_and_new_servers_say_the_same() {
        let stored_at = Duration::from_nanos(99);
        let expected = AckSubject { deliveries: 2, sequence: 7, delivery: 5, stored_at };
        for subject in [
            "$JS.ACK.S.c.2.7.5.99.0",
            "$JS.ACK._.hash.S.c.2.7.5.99.0",
            "$JS.ACK.d.hash.S.c.2.7.5.99.0.random",
        ] {
            assert_eq!(AckSubject::parse(subject), Some(expected), "{subject}");
        }
    }

    #[test]
    fn what_is_no_ack_subject_says_nothing() {
        for subject in [
            "",
            "$JS.ACK",
            "$JS.ACK.S.c.2.7.5.99",
            "$JS.ACK.S.c.x.7.5.99.0",
            "$JS.ACK.S.c.2.-7.5.99.0",
            "$JS.ACK.S.c.2.7.x.99.0",
            "_INBOX.a.b",
        ] {
            assert_eq!(AckSubject::parse(subject), None, "{subject}");
        }
    }
}
