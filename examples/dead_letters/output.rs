//! Standard output, which its reader may close at any time.

use crate::{letter::Shown, text};
use serde::Serialize;
use std::io::{self, ErrorKind, Write};
use stratt_event_bridge::dead_letter::DeadLetter;

/// Lines for people, or objects of JSON for programs.
#[derive(Debug)]
pub(crate) struct Output {
    is_json: bool,
    is_closed: bool,
}

/// The outcome for one dead letter.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Outcome {
    pub(crate) sequence: u64,
    #[serde(rename = "outcome")]
    pub(crate) became: &'static str,
    /// Where a redriven event is stored now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) stream: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) stream_sequence: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<String>,
}

impl Output {
    pub(crate) fn new(is_json: bool) -> Self {
        Self { is_json, is_closed: false }
    }

    /// Returns whether the reader has gone, as `head` does.
    pub(crate) fn is_closed(&self) -> bool {
        self.is_closed
    }

    pub(crate) fn list(&mut self, letter: &DeadLetter) -> io::Result<()> {
        let shown = Shown::from(letter);
        if self.is_json { self.json(&shown) } else { self.line(&shown.line()) }
    }

    pub(crate) fn show(&mut self, letter: &DeadLetter) -> io::Result<()> {
        let shown = Shown::from(letter);
        if self.is_json {
            return self.json(&shown);
        }
        shown.lines().iter().try_for_each(|line| self.line(line))
    }

    pub(crate) fn outcome(&mut self, outcome: &Outcome) -> io::Result<()> {
        if self.is_json {
            return self.json(outcome);
        }
        let Outcome { sequence, became, error, .. } = outcome;
        match (error, &outcome.stream, outcome.stream_sequence) {
            (Some(error), ..) => self.line(&format!("{sequence} {became}: {error}")),
            (None, Some(stream), Some(at)) => self.line(&format!("{sequence} {became} as {stream} {at}")),
            _ => self.line(&format!("{sequence} {became}")),
        }
    }

    fn json(&mut self, value: &impl Serialize) -> io::Result<()> {
        let json = serde_json::to_string(value)?;
        self.write(&text::escaped_json(&json))
    }

    fn line(&mut self, line: &str) -> io::Result<()> {
        self.write(&text::escaped(line))
    }

    fn write(&mut self, line: &str) -> io::Result<()> {
        if self.is_closed {
            return Ok(());
        }
        match writeln!(io::stdout().lock(), "{line}") {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => {
                self.is_closed = true;
                Ok(())
            }
            written => written,
        }
    }
}
