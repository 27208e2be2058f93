//! The two headers of W3C trace context, as text.

use crate::telemetry::trace_context::headers::{MAX_STATE, PARENT_LENGTH};
use opentelemetry::trace::{SpanContext, SpanId, TraceFlags, TraceId, TraceState};

pub(super) fn traceparent(span: &SpanContext) -> String {
    let sampled = u8::from(span.is_sampled());
    format!("00-{:032x}-{:016x}-{sampled:02x}", span.trace_id(), span.span_id())
}

/// Writes the state; `None` when it is empty, or longer than others have to read.
pub(super) fn tracestate(state: &TraceState) -> Option<String> {
    Some(state.header()).filter(|text| !text.is_empty() && text.len() <= MAX_STATE)
}

/// Reads the headers; `None` if the first is not valid. A state that is not valid is left out.
pub(super) fn parse<'a>(parent: &str, states: impl Iterator<Item = &'a str>) -> Option<SpanContext> {
    let (trace_id, span_id, flags) = parse_parent(parent)?;
    let context = SpanContext::new(trace_id, span_id, flags, true, parse_states(states).unwrap_or_default());
    context.is_valid().then_some(context)
}

fn parse_parent(text: &str) -> Option<(TraceId, SpanId, TraceFlags)> {
    let bytes = text.as_bytes();
    let later = match bytes.get(PARENT_LENGTH..)? {
        [] => true,
        // Later versions may have more fields.
        [b'-', ..] => !text.starts_with("00"),
        _ => false,
    };
    let is_hex = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    let mut parts = text.get(..PARENT_LENGTH)?.split('-');
    let mut next = |length: usize| {
        let part = parts.next()?;
        (part.len() == length && part.bytes().all(|byte| is_hex(&byte))).then_some(part)
    };
    let (version, trace, span, flags) = (next(2)?, next(32)?, next(16)?, next(2)?);
    if version == "ff" || !later {
        return None;
    }
    let flags = u8::from_str_radix(flags, 16).ok()?;
    Some((TraceId::from_hex(trace).ok()?, SpanId::from_hex(span).ok()?, TraceFlags::new(flags & 1)))
}

fn parse_states<'a>(states: impl Iterator<Item = &'a str>) -> Option<TraceState> {
    let mut all = String::new();
    for state in states {
        if !all.is_empty() {
            all.push(',');
        }
        if all.len() + state.len() > MAX_STATE {
            return None;
        }
        all.push_str(state);
    }
    let is_printable = all.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    if is_printable { all.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn read(parent: &str, states: &[&str]) -> Option<SpanContext> {
        parse(parent, states.iter().copied())
    }

    #[test]
    fn what_is_written_is_read_again() {
        let context = read(PARENT, &["a=1,b=2", "c=3"]).unwrap();
        assert!(context.is_remote() && context.is_sampled());
        assert_eq!(traceparent(&context), PARENT);
        assert_eq!(tracestate(context.trace_state()).as_deref(), Some("a=1,b=2,c=3"));
        let unsampled = read(&PARENT.replace("-01", "-00"), &[]).unwrap();
        assert!(!unsampled.is_sampled());
        assert_eq!(
            (traceparent(&unsampled), tracestate(unsampled.trace_state())),
            (PARENT.replace("-01", "-00"), None)
        );
    }

    #[test]
    fn later_versions_may_add_more_and_unknown_flags_are_dropped() {
        let later = read(&format!("cc{}-what-comes", &PARENT[2..]), &[]).unwrap();
        assert_eq!(traceparent(&later), PARENT);
        assert_eq!(traceparent(&read(&PARENT.replace("-01", "-ff"), &[]).unwrap()), PARENT);
    }

    #[test]
    fn text_that_is_not_valid_is_none() {
        let zeros = |length| "0".repeat(length);
        for text in [
            String::new(),
            "00".into(),
            PARENT[1..].into(),
            format!("{PARENT}-more"),
            format!("cc{}more", &PARENT[2..]),
            format!("ff{}", &PARENT[2..]),
            PARENT.to_uppercase(),
            PARENT.replace('-', "_"),
            PARENT.replace("4bf9", "4bfg"),
            PARENT.replace("4bf9", "+bf9"),
            PARENT.replace("4bf92f3577b34da6a3ce929d0e0e4736", &zeros(32)),
            PARENT.replace("00f067aa0ba902b7", &zeros(16)),
            PARENT.replace("4bf9", "4b\u{fc}"),
            "ü".repeat(40),
            "0".repeat(1 << 20),
        ] {
            assert_eq!(read(&text, &[]), None, "{text:.80}");
        }
    }

    #[test]
    fn a_state_that_is_not_valid_or_too_long_is_left_out() {
        let long = format!("a={}", "x".repeat(MAX_STATE));
        for states in [&["no pair"][..], &[long.as_str()], &["a=\u{1}"], &["a=1", long.as_str()], &["A=1"]] {
            let context = read(PARENT, states).unwrap();
            assert_eq!(tracestate(context.trace_state()), None, "{states:.80?}");
        }
    }
}
