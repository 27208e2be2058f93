//! Settings that contradict each other.

use crate::topology::{CHOCO_STREAM, DEAD_LETTER_STREAM, EVENT_STREAM, Part, Topology};
use std::time::Duration;

/// A dead letter without the bytes and the headers of its event has some 2 KiB, most of it the error.
pub(crate) const SMALLEST_DEAD_LETTER: i32 = 4096;
/// An upper bound of what the broker adds to a message that it forwards: some 100 bytes, and more with longer subjects.
const SOURCE_HEADER: i32 = 1024;

impl Topology {
    /// Returns what is wrong with the settings and what to change; `None` if they are valid.
    pub(super) fn problem(&self) -> Option<String> {
        let choco = self.forwarded();
        let named =
            [(EVENT_STREAM, &self.events), (CHOCO_STREAM, &choco), (DEAD_LETTER_STREAM, &self.dead_letters)];
        named
            .into_iter()
            .find_map(|(name, settings)| settings.problem(name))
            .or_else(|| self.remembers_too_long())
            .or_else(|| self.forgets_first())
            .or_else(|| self.is_durable_elsewhere())
            .or_else(|| self.stops_forwarding())
            .or_else(|| self.takes_no_dead_letter())
    }

    fn remembers_too_long(&self) -> Option<String> {
        let origin = self.events.window();
        let window = self.choco.duplicate_window().filter(|window| *window >= origin)?;
        Some(format!(
            "{CHOCO_STREAM} has a duplicate window of {window:?}, which must be shorter than the {origin:?} of \
             {EVENT_STREAM}: shorten it, or leave it out"
        ))
    }

    fn is_durable_elsewhere(&self) -> Option<String> {
        (self.durable_source && self.part != Part::All).then(|| {
            format!("a durable source needs {EVENT_STREAM} and {CHOCO_STREAM} in one account: switch it off")
        })
    }

    fn forgets_first(&self) -> Option<String> {
        let kept: Duration = self.dead_letters.age();
        let sources = [(EVENT_STREAM, &self.events), (CHOCO_STREAM, &self.choco)];
        let (name, source) = sources.into_iter().find(|(_, source)| source.age() > kept)?;
        Some(format!(
            "{DEAD_LETTER_STREAM} keeps messages for {kept:?}, shorter than the {:?} of {name}: lengthen it",
            source.age()
        ))
    }

    /// Finds a size limit at which a message that does not fit would stop forwarding for good, silently.
    fn stops_forwarding(&self) -> Option<String> {
        let fits = self.choco.max_message_size()?;
        match self.events.max_message_size() {
            Some(published) if fits >= published.saturating_add(SOURCE_HEADER) => None,
            Some(published) => Some(format!(
                "{CHOCO_STREAM} takes messages of {fits} bytes, but the {published} of {EVENT_STREAM} become up to \
                 {SOURCE_HEADER} more when they are forwarded: raise its limit, or leave it out"
            )),
            None => Some(format!(
                "{CHOCO_STREAM} takes messages of {fits} bytes, but {EVENT_STREAM} has no limit: leave it out"
            )),
        }
    }

    fn takes_no_dead_letter(&self) -> Option<String> {
        let fits = self.dead_letters.max_message_size().filter(|fits| *fits < SMALLEST_DEAD_LETTER)?;
        Some(format!(
            "{DEAD_LETTER_STREAM} takes messages of {fits} bytes, but a dead letter may need {SMALLEST_DEAD_LETTER}: \
             raise its limit, or leave it out"
        ))
    }
}
