//! The wire contract: what is said, and nothing of how it travels. No I/O, no runtime, no client.

pub(crate) mod consumer_name;
pub(crate) mod domain;
pub(crate) mod envelope;
pub(crate) mod epoch;
pub(crate) mod event;
pub(crate) mod fingerprint;
pub(crate) mod source;
pub(crate) mod subject;
pub(crate) mod uri;
pub(crate) mod value;
