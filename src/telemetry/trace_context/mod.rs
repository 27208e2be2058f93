//! The trace that a message belongs to, carried in its headers: <https://www.w3.org/TR/trace-context/>.
//!
//! Without the feature `otel` nothing is carried, except that an outbox passes on the trace in its rows.

#[cfg(feature = "otel")]
mod carried;
#[cfg(any(feature = "otel", feature = "postgres", feature = "sqlite"))]
mod headers;
#[cfg(not(feature = "otel"))]
mod off;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
mod stored;
#[cfg(feature = "otel")]
mod w3c;

#[cfg(feature = "otel")]
pub(crate) use carried::{extract, inject};
#[cfg(not(feature = "otel"))]
pub(crate) use off::{extract, inject};
#[cfg(any(feature = "postgres", feature = "sqlite"))]
pub(crate) use stored::StoredTrace;
