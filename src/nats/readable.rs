//! Messages that async-nats cannot read.

use crate::nats::stored::Stored;
use async_nats::{HeaderName, StatusCode};

/// Returns why async-nats would drop the connection if this message were delivered; `None` if it can read it.
/// `is_pinned` says that it is delivered to a pinned client: the server then adds a header.
pub(crate) fn fault(stored: &Stored, is_pinned: bool) -> Option<&'static str> {
    if stored.header.is_empty() && !is_pinned {
        return None;
    }
    if stored.subject.split_whitespace().count() != 1 {
        return Some("subject has a blank");
    }
    if stored.header.is_empty() { None } else { fault_of(&stored.header) }
}

/// Returns why async-nats cannot read a header. Follows `connection.rs` of async-nats 0.51 step by step, so that what
/// it can read is never taken for unreadable.
fn fault_of(header: &[u8]) -> Option<&'static str> {
    let Ok(text) = std::str::from_utf8(header) else { return Some("header is not UTF-8") };
    let mut lines = text.lines().peekable();
    let Some(rest) = lines.next().and_then(|version| version.strip_prefix("NATS/1.0")) else {
        return Some("header does not begin with its version");
    };
    let rest = rest.trim();
    let status = rest.split_once(' ').map_or(rest, |(status, _)| status.trim());
    if !status.is_empty() && status.parse::<StatusCode>().is_err() {
        return Some("header has a status that is not of three digits");
    }
    while let Some(line) = lines.next() {
        if line.is_empty() {
            continue;
        }
        let Some((name, value)) = line.split_once(':') else { return Some("header line has no colon") };
        if name.parse::<HeaderName>().is_err() {
            return Some("header has a name that is not allowed");
        }
        let mut value = value.trim_start().to_owned();
        while let Some(continued) = lines.next_if(|line| line.starts_with(char::is_whitespace)) {
            value.push_str(continued);
        }
        // Here async-nats panics instead of returning an error.
        if value.trim_end().contains('\r') {
            return Some("header value has a carriage return");
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use async_nats::connection::State;
    use futures::StreamExt;
    use std::time::Duration;
    use time::OffsetDateTime;
    use tokio::{
        io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
        net::TcpListener,
        time::timeout,
    };

    const READABLE: &[&[u8]] = &[
        b"NATS/1.0\r\n\r\n",
        b"NATS/1.0",
        b"NATS/1.0 503 No Responders\r\n\r\n",
        b"NATS/1.0   404\r\n\r\n",
        b"NATS/1.0\nX: a\n\n",
        b"NATS/1.0\r\nX:\r\n\r\n",
        b"NATS/1.0\r\n:no name\r\n\r\n",
        b"NATS/1.0\r\nX: a: b\r\n\r\n",
        b"NATS/1.0\r\nX: a\r\n and no colon\r\n\r\n",
        b"NATS/1.0\r\nX: a\r\n\xc2\xa0and no colon\r\n\r\n",
        b"NATS/1.0\r\nX: a\r\r\n\r\n",
        b"NATS/1.0\r\n\r\nX: Jos\xc3\xa9\r\n\r\n",
    ];
    const UNREADABLE: &[&[u8]] = &[
        b"NATS/1.0\r\nX-Author: Jos\xe9\r\n\r\n",
        b"NATS/1.0\r\nno colon\r\n\r\n",
        b"NATS/1.0\r\n leading: blank\r\n\r\n",
        b"NATS/1.0\r\nX Y: a\r\n\r\n",
        b"NATS/1.0\r\n\xc3\xa4: a\r\n\r\n",
        b"NATS/2.0\r\n\r\n",
        b"\r\nNATS/1.0\r\n\r\n",
        b"NATS/1.0 fine\r\n\r\n",
        b"NATS/1.0 1000\r\n\r\n",
        b"no header",
    ];

    fn stored(subject: &str, header: &'static [u8]) -> Stored {
        let (header, payload) = (header.into(), bytes::Bytes::new());
        let time = OffsetDateTime::UNIX_EPOCH;
        Stored { sequence: 1, subject: subject.to_owned(), time, header, headers: None, payload }
    }

    /// Returns whether async-nats delivers the message; if not, it has dropped the connection.
    async fn is_delivered(stored: &Stored) -> bool {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("nats://{}", listener.local_addr().unwrap());
        let size = stored.header.len();
        let start = format!("HMSG {} 1 reply {size} {size}\r\n", stored.subject).into_bytes();
        let message = [start.as_slice(), &stored.header, b"\r\n"].concat();
        let server = tokio::spawn(async move {
            let (read, mut write) = listener.accept().await.unwrap().0.into_split();
            write.write_all(b"INFO {\"server_id\":\"s\",\"version\":\"2.10.0\",\"max_payload\":1000,\"headers\":true}\r\n").await.unwrap();
            let mut lines = BufReader::new(read).split(b'\n');
            while let Some(line) = lines.next_segment().await.unwrap() {
                let answer = match line.get(..4) {
                    Some(b"PING") => b"PONG\r\n",
                    Some(b"SUB ") => message.as_slice(),
                    _ => continue,
                };
                write.write_all(answer).await.unwrap();
            }
        });
        let client = async_nats::connect(url).await.unwrap();
        let mut messages = client.subscribe("s").await.unwrap();
        let cut = async {
            while client.connection_state() == State::Connected {
                tokio::task::yield_now().await;
            }
        };
        let is_delivered = timeout(Duration::from_secs(10), async {
            tokio::select! {
                message = messages.next() => message.is_some(),
                () = cut => false,
            }
        });
        let is_delivered = is_delivered.await.expect("the message is delivered, or the connection is cut");
        server.abort();
        is_delivered
    }

    #[tokio::test]
    async fn what_async_nats_reads_is_readable_and_nothing_else() {
        for (headers, is_readable) in [(READABLE, true), (UNREADABLE, false)] {
            for header in headers {
                let (stored, shown) = (stored("s", header), String::from_utf8_lossy(header));
                assert_eq!(fault(&stored, false).is_none(), is_readable, "{shown:?}");
                assert_eq!(is_delivered(&stored).await, is_readable, "{shown:?}");
            }
        }
    }

    #[tokio::test]
    async fn a_blank_in_a_subject_is_not_read_beside_a_header() {
        let (blank, header) = ("strat.a\u{a0}b.unit.published", b"NATS/1.0\r\n\r\n");
        let with_header = stored(blank, header);
        assert!(fault(&with_header, false).is_some());
        assert!(!is_delivered(&with_header).await);
        // The pinned client receives it with a header.
        assert!(fault(&stored(blank, b""), true).is_some());
        assert!(fault(&stored(blank, b""), false).is_none());
        assert!(fault(&stored("strat.a.unit.published", header), true).is_none());
    }

    #[test]
    fn what_async_nats_panics_at_is_not_readable() {
        assert!(fault(&stored("s", b"NATS/1.0\r\nX: a\rb\r\n\r\n"), false).is_some());
    }
}
