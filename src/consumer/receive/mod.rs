//! From the wire to a handler: what is asked for, in which order it begins, and who carries it out.

pub(super) mod arrivals;
pub(super) mod dispatch;
pub(super) mod lanes;
pub(super) mod pinned;
pub(super) mod pull;
pub(super) mod worker;
