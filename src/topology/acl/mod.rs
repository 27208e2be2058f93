#![doc = include_str!("../../docs/permissions.md")]

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
