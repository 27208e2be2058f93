//! The trace that a message belongs to, carried in its headers: <https://www.w3.org/TR/trace-context/>.
//!
//! Nothing of it without the feature `otel`.

#[cfg(feature = "otel")]
mod carried;
#[cfg(not(feature = "otel"))]
mod off;
#[cfg(feature = "otel")]
mod w3c;

#[cfg(feature = "otel")]
pub(crate) use carried::{extract, inject};
#[cfg(not(feature = "otel"))]
pub(crate) use off::{extract, inject};
