//! Plumbing for NATS and its client, with nothing of STRATT in it.

pub(crate) mod account_limit;
pub(crate) mod ack_subject;
pub(crate) mod api;
pub(crate) mod api_context;
pub(crate) mod batch_get;
pub(crate) mod config_diff;
pub(crate) mod connection_log;
pub(crate) mod connection_watch;
pub(crate) mod permission_violation;
pub(crate) mod readable;
pub(crate) mod server_clock;
pub(crate) mod stored;
pub(crate) mod subject_filter;
