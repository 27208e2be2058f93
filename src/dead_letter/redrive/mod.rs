//! Publishing dead-lettered events again, for the consumer that could not handle them.

mod canary;
mod failures;
mod group;
mod newer;
mod options;
mod publish;
mod recipient;
mod redriver;
mod release;

pub use options::{GroupRedriveOptions, RedriveOptions};

use crate::{
    dead_letter::{DeadLetterError, DeadLetterFilter, DeadLetters},
    publish::PublishReceipt,
};
use futures::{Stream, StreamExt, TryStreamExt, stream};
use redriver::{Redriver, Target};

impl DeadLetters {
    /// Sets the options of redrives.
    #[must_use]
    pub fn with_redrive_options(mut self, options: RedriveOptions) -> Self {
        self.redrive_options = options;
        self
    }

    /// Publishes the original bytes again, for the consumer that could not handle them and for no other, then removes
    /// the dead letter.
    ///
    /// The consumer handles the event with a fresh count of attempts. Repeating a redrive whose answer was lost is
    /// safe: it has a message id of its own, and once the dead letter is removed the answer is
    /// [`NotFound`](crate::dead_letter::DeadLetterErrorKind::NotFound).
    ///
    /// It is refused where the consumer's durable would not deliver it
    /// ([`NotReceived`](crate::dead_letter::DeadLetterErrorKind::NotReceived)), and where newer events of the same unit
    /// were stored since, unless they are among the dead letters of this consumer as well
    /// ([`Superseded`](crate::dead_letter::DeadLetterErrorKind::Superseded)). [`RedriveOptions`] allow both.
    ///
    /// The dead letter of a consumer that [parks](crate::ConsumerOptions::with_parking) stays until its event is
    /// handled, and only the first one of its unit is redriven
    /// ([`Parked`](crate::dead_letter::DeadLetterErrorKind::Parked)): the others follow by themselves.
    ///
    /// # Errors
    ///
    /// A [`DeadLetterError`] whose kind says why; unless it is `NotFound`, the dead letter is still there.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future may leave the event published and the dead letter in place; redriving again is safe.
    pub async fn redrive(&self, sequence: u64) -> Result<PublishReceipt, DeadLetterError> {
        let letter = self.get(sequence).await?;
        let (receipt, _) = Redriver::new(self.clone(), []).redrive_letter(&letter).await?;
        Ok(receipt)
    }

    /// Redrives all that match and were stored when this was called, in the order of their events; yields the outcome
    /// of each.
    ///
    /// # Errors
    ///
    /// When the broker does not answer. A dead letter that cannot be redriven yields its error and does not stop
    /// the others.
    ///
    /// # Cancel safety
    ///
    /// Nothing is published before the stream is polled; dropping it stops after the one under way, as for
    /// [`redrive`](Self::redrive).
    pub async fn redrive_all(
        &self,
        filter: DeadLetterFilter,
    ) -> Result<
        impl Stream<Item = Result<PublishReceipt, DeadLetterError>> + Send + Unpin + use<>,
        DeadLetterError,
    > {
        let letters = self.list(filter).await?;
        let mut targets: Vec<_> = letters.map_ok(|letter| Target::of(&letter)).try_collect().await?;
        targets.sort_by(|one, other| one.order().cmp(&other.order()));
        let redriver = Redriver::new(self.clone(), &targets);
        let redriven =
            stream::unfold((redriver, targets.into_iter()), |(mut redriver, mut left)| async move {
                let redriven = redriver.redrive(left.next()?.sequence).await;
                Some((redriven, (redriver, left)))
            });
        Ok(redriven.map_ok(|(receipt, _)| receipt).boxed())
    }
}
