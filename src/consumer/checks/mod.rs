//! Checks of the streams and of the durable, when a consumer is built and while it runs.

pub(super) mod age;
pub(super) mod difference;
pub(super) mod fitness;
pub(super) mod gap;
pub(super) mod inspector;
pub(super) mod look;
pub(super) mod overflow;
pub(super) mod request;
pub(super) mod requirements;
pub(super) mod streams;
pub(super) mod unreadable;
