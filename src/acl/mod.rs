//! Least privilege as code: the exact subjects of each role, and the blocks that nats-server reads.
//!
//! Roles, and what they cannot keep apart, are explained in [`docs::permissions`](crate::docs::permissions).

mod consumer;
mod durable;
mod inbox;
mod live_reader;
mod operator;
mod operator_mode;
mod permissions;
mod provisioner;
mod publisher;
mod reader;
mod watcher;

pub use consumer::ConsumerRole;
pub use inbox::Inbox;
pub use live_reader::LiveReaderRole;
pub use operator::OperatorRole;
pub use permissions::Permissions;
pub use provisioner::ProvisionerRole;
pub use publisher::PublisherRole;
pub use reader::ReaderRole;
pub use watcher::WatcherRole;
