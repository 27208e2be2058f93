//! Standard output, which its reader may close at any time.

use crate::text;
use serde::Serialize;
use std::io::{self, ErrorKind, Write};

/// Lines for people, or objects of JSON for programs.
#[derive(Debug)]
pub(crate) struct Output {
    is_json: bool,
    is_closed: bool,
}

impl Output {
    pub(crate) fn new(is_json: bool) -> Self {
        Self { is_json, is_closed: false }
    }

    /// Returns whether the reader has gone, as `head` does.
    pub(crate) fn is_closed(&self) -> bool {
        self.is_closed
    }

    pub(crate) fn is_json(&self) -> bool {
        self.is_json
    }

    /// Writes the object, or the line in its place.
    pub(crate) fn item(&mut self, value: &impl Serialize, line: impl FnOnce() -> String) -> io::Result<()> {
        if self.is_json { self.json(value) } else { self.line(&line()) }
    }

    pub(crate) fn json(&mut self, value: &impl Serialize) -> io::Result<()> {
        let json = serde_json::to_string(value)?;
        self.write(&text::escaped_json(&json))
    }

    /// Writes a text of several lines, which holds nothing of others.
    pub(crate) fn raw(&mut self, text: &[u8]) -> io::Result<()> {
        self.write_bytes(text)
    }

    pub(crate) fn line(&mut self, line: &str) -> io::Result<()> {
        self.write(&text::escaped(line))
    }

    fn write(&mut self, line: &str) -> io::Result<()> {
        self.write_bytes(format!("{line}\n").as_bytes())
    }

    fn write_bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.is_closed {
            return Ok(());
        }
        let mut out = io::stdout().lock();
        match out.write_all(bytes).and_then(|()| out.flush()) {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => {
                self.is_closed = true;
                Ok(())
            }
            written => written,
        }
    }
}
