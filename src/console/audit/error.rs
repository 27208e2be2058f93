//! The error of the audit stream.

use crate::console::AUDIT_STREAM;
use std::error::Error;

/// A failed operation on the audit stream.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct AuditError {
    message: String,
    source: Box<dyn Error + Send + Sync>,
}

impl AuditError {
    pub(super) fn not_stored(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        let message = format!(
            "audit stream {AUDIT_STREAM} has not stored the entry: provision it by `console::provision_audit`, and \
             allow this user to publish to `stratt.audit.>`"
        );
        Self { message, source: source.into() }
    }

    pub(super) fn not_read(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { message: format!("audit stream {AUDIT_STREAM} cannot be read"), source: source.into() }
    }

    pub(super) fn not_provisioned(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { message: format!("audit stream {AUDIT_STREAM} cannot be created"), source: source.into() }
    }
}
