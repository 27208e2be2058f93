//! Redriving a group: one first, and the others once that one is handled.

use crate::{
    dead_letter::{
        DeadLetterError, DeadLetterErrorKind, DeadLetterGroup, DeadLetters,
        pace::ticks,
        redrive::{
            GroupRedriveOptions,
            canary::Canary,
            failures::Failures,
            redriver::{Redriver, Target},
        },
    },
    publish::PublishReceipt,
};
use futures::{Stream, StreamExt, TryStreamExt, stream};
use std::future::ready;
use tokio::time::Interval;

/// The number of redriven events from which on a share of them says something.
const FEW: u64 = 20;

impl DeadLetters {
    /// Redrives a group of dead letters: first the oldest event alone, as a canary, and the others at a set pace once
    /// the consumer has handled it. Yields the outcome of each.
    ///
    /// Events that were redriven before, and were dead-lettered again, are left out unless the
    /// [options](GroupRedriveOptions) say otherwise. So a redrive that was interrupted is continued by calling this
    /// again: what it has redriven is gone from the dead letters, or is left out.
    ///
    /// It stops with an error when the canary fails again
    /// ([`CanaryFailed`](DeadLetterErrorKind::CanaryFailed)) or is not handled in time
    /// ([`CanaryPending`](DeadLetterErrorKind::CanaryPending)), and when more than a share of the others fail again
    /// ([`FailedAgain`](DeadLetterErrorKind::FailedAgain)). Whether the canary is handled is seen by the durable's ack
    /// floor: an older event that still waits for a retry holds that back.
    ///
    /// # Errors
    ///
    /// When the broker does not answer. A dead letter that cannot be redriven yields its error and does not stop the
    /// others.
    ///
    /// # Cancel safety
    ///
    /// Nothing is published before the stream is polled; dropping it stops after the one under way, as for
    /// [`redrive`](Self::redrive).
    pub async fn redrive_group(
        &self,
        group: &DeadLetterGroup,
        options: GroupRedriveOptions,
    ) -> Result<
        impl Stream<Item = Result<PublishReceipt, DeadLetterError>> + Send + Unpin + use<>,
        DeadLetterError,
    > {
        let letters = self.list(group.filter()).await?;
        let of_group = letters.try_filter(|letter| {
            ready(group.contains(letter) && (options.redrives_again || !letter.is_redriven()))
        });
        let mut targets: Vec<_> = of_group.map_ok(|letter| Target::of(&letter)).try_collect().await?;
        targets.sort_by(|one, other| one.order().cmp(&other.order()));
        let run = Run {
            redriver: Redriver::new(self.clone(), &targets),
            failures: Failures::from_now(self, group.filter()).await?,
            dead_letters: self.clone(),
            left: targets.into_iter(),
            options,
            canary: None,
            has_passed: false,
            is_over: false,
            redriven: 0,
            ticks: ticks(options.interval),
        };
        Ok(stream::unfold(run, |mut run| async move { Some((run.next().await?, run)) }).boxed())
    }
}

/// A group that is being redriven.
#[derive(Debug)]
struct Run {
    redriver: Redriver,
    dead_letters: DeadLetters,
    failures: Failures,
    left: std::vec::IntoIter<Target>,
    options: GroupRedriveOptions,
    /// The first that was redriven, until its fate is known.
    canary: Option<Canary>,
    has_passed: bool,
    is_over: bool,
    redriven: u64,
    ticks: Interval,
}

impl Run {
    async fn next(&mut self) -> Option<Result<PublishReceipt, DeadLetterError>> {
        if self.is_over {
            return None;
        }
        if let Err(error) = self.may_go_on().await {
            self.is_over = true;
            return Some(Err(error));
        }
        let target = self.left.next()?;
        self.ticks.tick().await;
        let redriven = self.redriver.redrive(target.sequence).await;
        if let Ok((receipt, recipient)) = &redriven {
            self.redriven += 1;
            if !self.has_passed {
                self.canary = Some(Canary::new(recipient, target.sequence, receipt));
            }
        }
        Some(redriven.map(|(receipt, _)| receipt))
    }

    /// Waits for the canary, and fails if it or too many of the others failed again.
    async fn may_go_on(&mut self) -> Result<(), DeadLetterError> {
        if let Some(canary) = self.canary.take() {
            let context = &self.dead_letters.context;
            canary.passes(context, &mut self.failures, self.options.canary_wait).await?;
            self.has_passed = true;
        }
        let failed = self.failures.count_lately().await?;
        if self.redriven >= FEW && failed * 100 > self.redriven * u64::from(self.options.most_failed) {
            let counts =
                format!("{failed} of {} were dead-lettered again: look at their errors", self.redriven);
            return Err(DeadLetterError::new(DeadLetterErrorKind::FailedAgain, None).caused_by(counts));
        }
        Ok(())
    }
}
