//! The options of a redrive.

/// The options of a redrive: which of its checks are left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RedriveOptions {
    pub(super) takes_back: bool,
    pub(super) is_unchecked: bool,
}

impl RedriveOptions {
    /// Sets whether an event is redriven although newer events of its unit were stored since, which the consumer may
    /// have handled: it then handles an old event after newer ones. It is refused by default.
    #[must_use]
    pub fn with_older_than_newest(mut self, redrive: bool) -> Self {
        self.takes_back = redrive;
        self
    }

    /// Sets whether an event is redriven although it is not known that its consumer would receive it, such as one in
    /// another account. It is refused by default, since it may be lost.
    #[must_use]
    pub fn with_unchecked_consumer(mut self, redrive: bool) -> Self {
        self.is_unchecked = redrive;
        self
    }
}
