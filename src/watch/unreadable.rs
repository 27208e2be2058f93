//! The next event of a watch, if it is one that the client library cannot read.

use crate::nats::{api_context::ApiContext, readable::fault, stored::Stored};
use std::error::Error;

#[derive(Debug)]
pub(super) struct Unreadable {
    pub(super) sequence: u64,
    pub(super) subject: String,
    pub(super) why: &'static str,
}

impl Unreadable {
    /// Reads the first event from `from` on that one of the filters matches; `None` if there is none, or if the client
    /// library can read it.
    pub(super) async fn next(
        context: &ApiContext,
        stream: &str,
        from: u64,
        filters: &[String],
    ) -> Result<Option<Self>, Box<dyn Error + Send + Sync>> {
        let mut first: Option<Stored> = None;
        for filter in filters {
            let found = Stored::next(context, stream, from, filter).await?;
            let is_before =
                |found: &Stored| first.as_ref().is_none_or(|first| found.sequence < first.sequence);
            if let Some(found) = found.filter(is_before) {
                first = Some(found);
            }
        }
        Ok(first.and_then(|stored| {
            // In JSON, a replacement character stands for bytes that are not UTF-8.
            let is_replaced = stored.subject.contains(char::REPLACEMENT_CHARACTER);
            let why = fault(&stored, false).or_else(|| is_replaced.then_some("subject is not UTF-8"))?;
            Some(Self { sequence: stored.sequence, subject: stored.subject, why })
        }))
    }
}
