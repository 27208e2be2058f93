//! The parsing of requests: every part is hostile until it has become a value of the domain.

use crate::{api::Service, problem::Problem};
use axum::{
    body::{Bytes, HttpBody},
    extract::{FromRequest, FromRequestParts, Path, Request},
    http::{StatusCode, header::CONTENT_TYPE, request::Parts},
};
use serde::{Deserialize, Deserializer, de::DeserializeOwned, de::Error};
use serde_json::error::Category;
use std::{str::FromStr, sync::Arc};
use stratt_event_bridge::{GateName, ParseError, RunId, UnitUri};
use tokio::time::timeout;

/// The maximum size of a body, in bytes.
pub(crate) const MAX_BODY: usize = 256 * 1024;

/// A body that is a JSON object. None at all stands for an empty object.
#[derive(Debug)]
pub(crate) struct Body<T>(pub(crate) T);

impl<T: DeserializeOwned> FromRequest<Arc<Service>> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, service: &Arc<Service>) -> Result<Self, Problem> {
        let media_type = request.headers().get(CONTENT_TYPE).cloned();
        // A body that announces its size is refused before it is read.
        if usize::try_from(request.body().size_hint().lower()).is_ok_and(|bytes| bytes > MAX_BODY) {
            let detail = format!("body has more than {MAX_BODY} bytes");
            return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail));
        }
        let read = timeout(service.read_timeout, Bytes::from_request(request, service)).await;
        let read = read.map_err(|_elapsed| {
            let limit = service.read_timeout;
            Problem::new(StatusCode::REQUEST_TIMEOUT, format!("body did not come within {limit:?}"))
        })?;
        let bytes = read.map_err(|refused| Problem::new(refused.status(), refused.body_text()))?;
        let is_json = media_type.as_ref().and_then(|value| value.to_str().ok()).is_some_and(|value| {
            value.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/json")
        });
        match (is_json, bytes.is_empty()) {
            (true, false) => parse(&bytes).map(Self),
            (_, true) => parse(b"{}").map(Self),
            (false, false) => {
                let detail = "body must be JSON, with `Content-Type: application/json`";
                Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail))
            }
        }
    }
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    // serde would take an array for a struct.
    if bytes.trim_ascii_start().first() != Some(&b'{') {
        return Err(Problem::new(StatusCode::BAD_REQUEST, "body must be a JSON object"));
    }
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let read = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let (path, error) = (error.path().to_string(), error.into_inner());
        let detail = error.to_string();
        match error.classify() {
            // A field that occurs twice is named in the message alone.
            Category::Data if path == "." => {
                Problem::field(detail.split('`').nth(1).unwrap_or_default(), detail.as_str())
            }
            Category::Data => Problem::field(path, detail),
            _ => Problem::new(StatusCode::BAD_REQUEST, format!("body is not JSON: {detail}")),
        }
    })?;
    let rest = json.end().map_err(|error| format!("body is more than one JSON object: {error}"));
    rest.map_err(|detail| Problem::new(StatusCode::BAD_REQUEST, detail))?;
    Ok(read)
}

/// The value that a text stands for.
fn value<T: FromStr<Err = ParseError>>(field: &str, text: &str) -> Result<T, Problem> {
    text.parse().map_err(|error: ParseError| Problem::field(field, error.to_string()))
}

/// The value of a field that must be there.
pub(crate) fn required<T>(field: &str, value: Option<T>) -> Result<T, Problem> {
    value.ok_or_else(|| Problem::field(field, format!("{field} is missing")))
}

/// Free text, such as who asked or why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FreeText(String);

impl From<FreeText> for String {
    fn from(text: FreeText) -> Self {
        text.0
    }
}

impl<'de> Deserialize<'de> for FreeText {
    /// Short, so that an event always fits its envelope, and printable, since it goes to logs and to databases.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text.is_empty() || text.len() > 1024 || text.chars().any(char::is_control) {
            return Err(D::Error::custom("must be 1 to 1024 bytes of text without control characters"));
        }
        Ok(Self(text))
    }
}

/// The unit of a path: `/units/dev/rule/no-secrets@1.0.0` is `strat://dev/rule/no-secrets@1.0.0`.
#[derive(Debug)]
pub(crate) struct UnitOfPath(pub(crate) UnitUri);

impl<S: Send + Sync> FromRequestParts<S> for UnitOfPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        #[derive(Deserialize)]
        struct Segments {
            domain: String,
            r#type: String,
            unit: String,
        }

        let Segments { domain, r#type, unit } = segments(parts, state).await?;
        value("uri", &format!("strat://{domain}/{type}/{unit}")).map(Self)
    }
}

/// The gate of a path, and the run that reached it.
#[derive(Debug)]
pub(crate) struct GateOfPath(pub(crate) GateName, pub(crate) RunId);

impl<S: Send + Sync> FromRequestParts<S> for GateOfPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        #[derive(Deserialize)]
        struct Segments {
            gate: String,
            run: String,
        }

        let Segments { gate, run } = segments(parts, state).await?;
        Ok(Self(value("gate", &gate)?, value("runId", &run)?))
    }
}

async fn segments<S, T>(parts: &mut Parts, state: &S) -> Result<T, Problem>
where
    S: Send + Sync,
    T: DeserializeOwned + Send,
{
    let read = Path::<T>::from_request_parts(parts, state).await;
    let Path(segments) = read.map_err(|refused| Problem::new(refused.status(), refused.body_text()))?;
    Ok(segments)
}
