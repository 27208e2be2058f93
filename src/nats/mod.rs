//! What NATS and its client have, and nothing of STRATT.

pub(crate) mod account_limit;
pub(crate) mod ack_subject;
pub(crate) mod connection_log;
pub(crate) mod connection_watch;
pub(crate) mod server_clock;
pub(crate) mod stored;
