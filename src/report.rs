//! Printing an error with what caused it.

use std::{error::Error, fmt, iter::successors};

/// Returns the error and all its causes on one line, with `: ` between them. Some errors say their cause themselves:
/// that is not said again.
pub(crate) fn report(error: &(dyn Error + 'static)) -> impl fmt::Display {
    Report(error)
}

struct Report<'a>(&'a (dyn Error + 'static));

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut said = self.0.to_string();
        f.write_str(&said)?;
        for cause in successors(self.0.source(), |cause| (*cause).source()) {
            let text = cause.to_string();
            if !said.ends_with(&text) {
                write!(f, ": {text}")?;
            }
            said = text;
        }
        Ok(())
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
        let said = StoreError::new(StoreErrorKind::Unavailable).caused_by("cannot connect: no route");
        let says_again =
            PublishError::caused(PublishErrorKind::Refused, said.with_message("no store: no route"));
        let wanted = "broker refused the message: no store: no route: cannot connect: no route";
        assert_eq!(report(&says_again).to_string(), wanted);
        let outer = PublishError::caused(PublishErrorKind::Refused, "broker refused the message");
        assert_eq!(report(&outer).to_string(), "broker refused the message");
    }
}
