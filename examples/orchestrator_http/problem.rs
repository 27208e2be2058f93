//! A request that was not carried out, told as RFC 9457 has it.

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use std::error::Error;
use stratt_event_bridge::{
    BuildError,
    outbox::{OutboxError, OutboxErrorKind},
};

/// A request that was not carried out: why, and which field is to be mended.
#[derive(Debug)]
pub(crate) struct Problem {
    status: StatusCode,
    field: Option<String>,
    detail: String,
}

impl Problem {
    pub(crate) fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self { status, field: None, detail: detail.into() }
    }

    /// A field that was left out or is not what it must be.
    pub(crate) fn field(name: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, detail).of(name)
    }

    /// A request that does not fit what is known.
    pub(crate) fn conflict(field: &str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, detail).of(field)
    }

    pub(crate) fn of(mut self, field: impl Into<String>) -> Self {
        self.field = Some(field.into());
        self
    }

    /// The caller learns that it may come back, the log learns why.
    fn unavailable(error: &dyn Error) -> Self {
        let cause = error.source().map(ToString::to_string);
        tracing::error!(%error, cause, "database cannot be used");
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "database cannot be used now; repeating the request is safe",
        )
    }
}

impl From<sqlx::Error> for Problem {
    fn from(error: sqlx::Error) -> Self {
        Self::unavailable(&error)
    }
}

impl From<OutboxError> for Problem {
    fn from(error: OutboxError) -> Self {
        match error.kind() {
            OutboxErrorKind::TooLarge | OutboxErrorKind::Invalid => {
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, error.to_string())
            }
            _ => Self::unavailable(&error),
        }
    }
}

impl From<BuildError> for Problem {
    fn from(error: BuildError) -> Self {
        // The time of this machine is past the year 9999: no request is to blame.
        Self::unavailable(&error)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        #[derive(Serialize)]
        struct Body {
            /// The status says it all.
            r#type: &'static str,
            title: &'static str,
            status: u16,
            detail: String,
            #[serde(skip_serializing_if = "Option::is_none")]
            field: Option<String>,
        }

        let title = self.status.canonical_reason().unwrap_or_default();
        let status = self.status.as_u16();
        let body = Body { r#type: "about:blank", title, status, detail: self.detail, field: self.field };
        let mut response = (self.status, Json(body)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        match self.status {
            StatusCode::SERVICE_UNAVAILABLE => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
            }
            // The rest of the body is not read.
            StatusCode::REQUEST_TIMEOUT | StatusCode::PAYLOAD_TOO_LARGE => {
                headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            _ => {}
        }
        response
    }
}
