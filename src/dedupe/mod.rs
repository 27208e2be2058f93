//! Dedupe stores.
