//! Between the headers of a message and the columns of a row that waits to become one.

use crate::telemetry::trace_context::{
    headers::{MAX_STATE, PARENT_LENGTH, TRACEPARENT, TRACESTATE},
    inject,
};
use async_nats::{HeaderMap, HeaderName, HeaderValue};

/// The trace that a row belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StoredTrace {
    parent: HeaderValue,
    state: Option<HeaderValue>,
}

impl StoredTrace {
    /// Returns the text of both headers for the current span, if there is one, to be stored in a row.
    pub(crate) fn of_current() -> (Option<String>, Option<String>) {
        let mut headers = HeaderMap::new();
        inject(&mut headers);
        let text = |name| headers.get(name).map(|value| value.as_str().to_owned());
        (text(TRACEPARENT), text(TRACESTATE))
    }

    /// Reads the trace of a row. Others may have written it: text that cannot be one of our headers counts as none.
    pub(crate) fn read(parent: Option<&str>, state: Option<&str>) -> Option<Self> {
        let parent = parent.filter(|text| is_parent(text))?.parse().ok()?;
        let state = state.filter(|text| is_state(text)).and_then(|text| text.parse().ok());
        Some(Self { parent, state })
    }

    pub(crate) fn write(&self, headers: &mut HeaderMap) {
        headers.insert(HeaderName::from_static(TRACEPARENT), self.parent.clone());
        if let Some(state) = &self.state {
            headers.insert(HeaderName::from_static(TRACESTATE), state.clone());
        }
    }
}

/// Returns whether it has the shape of a parent. Its numbers are checked by readers.
fn is_parent(text: &str) -> bool {
    let is_in_place = |(place, byte)| match place {
        2 | 35 | 52 => byte == b'-',
        _ => matches!(byte, b'0'..=b'9' | b'a'..=b'f'),
    };
    text.len() == PARENT_LENGTH && text.bytes().enumerate().all(is_in_place)
}

fn is_state(text: &str) -> bool {
    (1..=MAX_STATE).contains(&text.len()) && text.bytes().all(|byte| matches!(byte, b' '..=b'~'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn what_a_row_says_becomes_headers() {
        let mut headers = HeaderMap::new();
        StoredTrace::read(Some(PARENT), Some("a=1,b=2")).unwrap().write(&mut headers);
        let text = |name: &str| headers.get(name).unwrap().as_str().to_owned();
        assert_eq!((text(TRACEPARENT), text(TRACESTATE)), (PARENT.into(), "a=1,b=2".into()));
        let mut headers = HeaderMap::new();
        StoredTrace::read(Some(PARENT), None).unwrap().write(&mut headers);
        assert_eq!(headers.len(), 1);
    }

    #[test]
    fn a_parent_of_another_shape_is_none() {
        for text in [
            "",
            "00",
            &PARENT.to_uppercase(),
            &PARENT.replace('-', "0"),
            &PARENT.replace("-01", "-0\n"),
            &PARENT.replace("01", "\u{fc}"),
            &format!("{PARENT}-more"),
            &"0".repeat(1 << 20),
        ] {
            assert_eq!(StoredTrace::read(Some(text), Some("a=1")), None, "{text:.80}");
        }
        assert_eq!(StoredTrace::read(None, Some("a=1")), None);
    }

    #[test]
    fn a_state_that_is_too_long_or_no_line_of_text_is_left_out() {
        let none = StoredTrace::read(Some(PARENT), None);
        let long = format!("a={}", "x".repeat(MAX_STATE));
        for text in ["", "a=1\r\nNats-Msg-Id: other", "a=\u{fc}", long.as_str()] {
            assert_eq!(StoredTrace::read(Some(PARENT), Some(text)), none, "{text:.80}");
        }
        assert_ne!(StoredTrace::read(Some(PARENT), Some(&long[..MAX_STATE])), none);
    }

    #[test]
    fn without_a_span_nothing_is_written() {
        assert_eq!(StoredTrace::of_current(), (None, None));
    }
}
