//! The opening of a watch.

use crate::{
    contract::subject::Feed,
    link::Link,
    watch::{Watch, WatchError, WatchErrorKind, WatchOptions, reader::Reader},
};
use std::{sync::Arc, time::Duration};

/// A builder of a [`Watch`], from [`EventBridge::watch`](crate::EventBridge::watch).
#[derive(Debug, Clone)]
#[must_use = "nothing is watched until `open`"]
pub struct WatchBuilder {
    link: Arc<Link>,
    feed: Feed,
    options: WatchOptions,
}

impl WatchBuilder {
    pub(crate) fn new(link: &Arc<Link>, feed: Feed) -> Self {
        Self { link: Arc::clone(link), feed, options: WatchOptions::default() }
    }

    /// Sets the options.
    pub fn options(mut self, options: WatchOptions) -> Self {
        self.options = options;
        self
    }

    /// Opens the watch. When it returns, the place where the watch begins is fixed: every event that is stored later is
    /// received.
    ///
    /// # Errors
    ///
    /// A [`WatchError`] when the options are not valid, the stream does not exist, a permission is missing, or the
    /// broker does not answer.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future may leave a temporary consumer on the server, which removes it after the
    /// [inactive threshold](WatchOptions::with_inactive_threshold).
    pub async fn open(self) -> Result<Watch, WatchError> {
        let Self { link, feed, options } = self;
        if options.inactive_threshold < Duration::from_secs(1) {
            let message = format!(
                "inactive threshold {:?} is too short: the server needs at least 1 s",
                options.inactive_threshold
            );
            return Err(WatchError::new(WatchErrorKind::InvalidOptions, message));
        }
        if options.from.start_at().deliver_policy().is_none() {
            let message =
                format!("a watch cannot begin at {:?}: sequences begin at 1, years at 0", options.from);
            return Err(WatchError::new(WatchErrorKind::InvalidOptions, message));
        }
        let mut reader = Reader::new(&link, feed, options);
        reader.attach().await?;
        Ok(Watch::new(reader))
    }
}
