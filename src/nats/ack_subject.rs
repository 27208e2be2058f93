//! The facts about a delivery that its ack subject holds.

use crate::nats::api::of_ack;
use std::time::Duration;

/// The ack subject of a delivery: `$JS.ACK.{stream}.{consumer}.{deliveries}.{sequence}.{of the
/// consumer}.{nanoseconds}.{pending}`; newer servers have the domain and the account before the stream. Parsed once
/// for each message, without allocating.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct AckSubject {
    /// The number of times that the server has delivered the message, this time included.
    pub(crate) deliveries: u64,
    /// The sequence in the stream.
    pub(crate) sequence: u64,
    /// The number of the delivery: the consumer counts them without gaps, redeliveries included.
    pub(crate) delivery: u64,
    /// When the server stored the message, since 1970. The date type of async-nats depends on its features.
    pub(crate) stored_at: Duration,
}

/// The number of dots after the prefix on servers that do not name the domain.
const DOTS_WITHOUT_DOMAIN: usize = 6;

impl AckSubject {
    pub(crate) fn parse(subject: &str) -> Option<Self> {
        let rest = of_ack(subject)?;
        let mut tokens = rest.as_bytes().split(|byte| *byte == b'.');
        if rest.bytes().filter(|byte| *byte == b'.').count() > DOTS_WITHOUT_DOMAIN {
            let _domain_and_account = tokens.nth(1)?;
        }
        let _stream_and_consumer = tokens.nth(1)?;
        let deliveries = number(tokens.next()?)?;
        let sequence = number(tokens.next()?)?;
        let delivery = number(tokens.next()?)?;
        let stored_at = Duration::from_nanos(number(tokens.next()?)?);
        let _pending = tokens.next()?;
        Some(Self { deliveries, sequence, delivery, stored_at })
    }
}

fn number(token: &[u8]) -> Option<u64> {
    let (first, rest) = token.split_first()?;
    rest.iter().try_fold(digit(*first)?, |number, byte| number.checked_mul(10)?.checked_add(digit(*byte)?))
}

fn digit(byte: u8) -> Option<u64> {
    byte.is_ascii_digit().then(|| u64::from(byte - b'0'))
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
            "$JS.ACK.S.c.2.7..99.0",
            "$JS.ACK.S.c.2.7.18446744073709551616.99.0",
            "_INBOX.a.b",
        ] {
            assert_eq!(AckSubject::parse(subject), None, "{subject}");
        }
    }
}
