//! One attempt: the message that is sent, the answer that counts, and the pause before the next attempt.

pub(super) mod answer;
pub(super) mod failure;
pub(super) mod outgoing;
pub(super) mod request;
pub(super) mod retry;
