//! Live events without a durable: what [`EventBridge::watch`](crate::EventBridge::watch) reads.

mod builder;
mod error;
mod event;
mod live;
mod options;
mod reader;
mod temporary;
mod unreadable;

pub use builder::WatchBuilder;
pub use error::{WatchError, WatchErrorKind};
pub use event::WatchedEvent;
pub use live::Watch;
pub(crate) use options::temporary_name;
pub use options::{WatchFrom, WatchOptions};
