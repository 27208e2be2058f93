//! Printing an error with what caused it.

use std::{error::Error, fmt, iter::successors};

/// Returns the error and all its causes on one line, with `: ` between them.
pub(crate) fn report(error: &(dyn Error + 'static)) -> impl fmt::Display {
    Report(error)
}

struct Report<'a>(&'a (dyn Error + 'static));

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        successors(self.0.source(), |cause| (*cause).source()).try_for_each(|cause| write!(f, ": {cause}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        PublishError, PublishErrorKind,
        dedupe::{StoreError, StoreErrorKind},
    };

    #[test]
    fn a_report_has_every_cause() {
        let full = StoreError::new(StoreErrorKind::Full).caused_by("disk");
        let error = PublishError::caused(PublishErrorKind::Refused, full);
        assert_eq!(report(&error).to_string(), "broker refused the message: dedupe store is full: disk");
        assert_eq!(report(&PublishError::new(PublishErrorKind::StreamFull)).to_string(), "stream is full");
    }
}
