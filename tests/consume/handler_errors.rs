//! The errors that `?` accepts in a handler.

use std::{error::Error, fmt, io};
use stratt_event_bridge::HandlerError;

/// An error that is no `std::error::Error` but converts into one, like `anyhow::Error` and `eyre::Report`.
struct Report(Box<dyn Error + Send + Sync>);

impl From<Report> for Box<dyn Error + Send + Sync> {
    fn from(report: Report) -> Self {
        report.0
    }
}

#[derive(Debug)]
struct Plain;

impl fmt::Display for Plain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("plain")
    }
}

impl Error for Plain {}

fn fails<E>(error: E) -> Result<(), HandlerError>
where
    HandlerError: From<E>,
{
    Err(error)?;
    Ok(())
}

#[test]
fn a_question_mark_takes_any_error_that_can_be_boxed() {
    let boxed: Box<dyn Error + Send + Sync> = "boxed".into();
    let report = Report("report".into());
    assert_eq!(fails(boxed).unwrap_err().to_string(), "boxed");
    assert_eq!(fails(report).unwrap_err().to_string(), "report");
    assert_eq!(fails(Plain).unwrap_err().to_string(), "plain");
    assert_eq!(fails(io::Error::other("io")).unwrap_err().to_string(), "io");
    assert_eq!(fails("text").unwrap_err().to_string(), "text");
    assert_eq!(fails(HandlerError::reject("own")).unwrap_err().to_string(), "own");
}
