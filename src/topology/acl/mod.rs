//! Least privilege as code: the exact subjects of each role, and the blocks that nats-server reads.
//!
//! Roles, and what they cannot keep apart, are explained in [`docs::permissions`](crate::docs::permissions).

mod api;
mod consumer;
mod inbox;
mod operator;
mod permissions;
mod provisioner;
mod publisher;
mod reader;
mod two_accounts;

pub use consumer::Consumer;
pub use inbox::Inbox;
pub use operator::DeadLetterOperator;
pub use permissions::Permissions;
pub use provisioner::Provisioner;
pub use publisher::Publisher;
pub use reader::ChocoReader;
pub use two_accounts::TwoAccounts;
