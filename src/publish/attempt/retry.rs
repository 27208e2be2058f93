//! Repeating attempts until one is answered, the answer is final, or the time is up.

use crate::publish::{PublishError, PublishErrorKind, attempt::failure::Failure};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// Growing pauses between the attempts of one publish, and what the failed attempts left behind. The pauses have a
/// random part, so that many publishers do not come back in step.
pub(crate) struct Backoff {
    deadline: Instant,
    pause: Duration,
    outcome_unknown: bool,
    was_denied: bool,
}

impl Backoff {
    const FIRST: Duration = Duration::from_millis(50);
    const LONGEST: Duration = Duration::from_secs(1);

    pub(crate) fn until(deadline: Instant) -> Self {
        Self { deadline, pause: Self::FIRST, outcome_unknown: false, was_denied: false }
    }

    /// Waits before the next attempt, after `log` has seen why there is one.
    ///
    /// # Errors
    ///
    /// When there is no next attempt. The outcome is unknown if that of any attempt is.
    pub(crate) async fn wait_after(
        &mut self,
        failure: Failure,
        log: impl FnOnce(&PublishError),
    ) -> Result<(), PublishError> {
        let Failure { error, mut try_again } = failure;
        self.outcome_unknown |= error.is_outcome_unknown();
        if error.kind() == PublishErrorKind::PermissionDenied {
            // A first violation may be that of an earlier message to this subject, before the permissions were changed.
            try_again = !std::mem::replace(&mut self.was_denied, true);
        }
        let pause = crate::jitter::spread(self.pause);
        self.pause = (self.pause * 2).min(Self::LONGEST);
        if !try_again || Instant::now() + pause >= self.deadline {
            return Err(error.with_outcome_unknown(self.outcome_unknown));
        }
        log(&error);
        sleep(pause).await;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nats::permission_violation::PermissionViolation;

    fn soon() -> Backoff {
        Backoff::until(Instant::now() + Duration::from_secs(20))
    }

    #[tokio::test]
    async fn one_unknown_outcome_makes_the_last_one_unknown() {
        let mut backoff = soon();
        assert!(backoff.wait_after(Failure::unanswered(), |_| {}).await.is_ok());
        let error = backoff.wait_after(Failure::too_large(), |_| {}).await.unwrap_err();
        assert!(error.kind() == PublishErrorKind::TooLarge && error.is_outcome_unknown());
    }

    #[tokio::test]
    async fn a_permission_violation_is_final_when_it_is_repeated() {
        let mut backoff = soon();
        let denied = || Failure::denied(&PermissionViolation::Publish("a".into()), false);
        assert!(backoff.wait_after(denied(), |_| {}).await.is_ok());
        assert!(backoff.wait_after(denied(), |_| {}).await.is_err());
    }

    #[tokio::test]
    async fn no_attempt_is_made_after_the_deadline() {
        let mut backoff = Backoff::until(Instant::now());
        assert!(backoff.wait_after(Failure::unanswered(), |_| {}).await.is_err());
    }
}
