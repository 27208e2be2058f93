//! Publishing through a bridge.

use crate::{
    bridge::EventBridge,
    contract::{envelope::Envelope, event::Event},
    publish::{EncodedEvent, MAX_BATCH, PublishError, PublishReceipt, pipelined},
};
use futures::{Stream, StreamExt};

impl EventBridge {
    /// The most events that one [batch](Self::publish_batch) may have: the server's default.
    pub const MAX_BATCH: usize = MAX_BATCH;

    /// Publishes an event in a new envelope, and waits until the stream has stored it.
    ///
    /// An attempt that is not acknowledged is repeated with the same message id until the retry budget is used up.
    ///
    /// # Errors
    ///
    /// A [`PublishError`] whose kind is the reason, and which knows whether the event may have been stored all the
    /// same.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves the outcome unknown; publishing the same fact again is safe.
    pub async fn publish<E: Event>(&self, event: E) -> Result<PublishReceipt, PublishError> {
        let envelope = Envelope::builder(event, self.inner.source.clone()).build()?;
        self.publish_envelope(&envelope).await
    }

    /// Publishes an envelope, and waits until the stream has stored it.
    ///
    /// # Errors
    ///
    /// As for [`publish`](Self::publish).
    ///
    /// # Cancel safety
    ///
    /// As for [`publish`](Self::publish).
    pub async fn publish_envelope<E: Event>(
        &self,
        envelope: &Envelope<E>,
    ) -> Result<PublishReceipt, PublishError> {
        let event = EncodedEvent::new(envelope, self.inner.options.cloud_events())?;
        self.inner.link.publisher.publish(event.into_outgoing()).await
    }

    /// Publishes envelopes with many unacknowledged at once, and yields their receipts in the order of the input.
    ///
    /// A failed one yields its error in its place and does not stop the others. Events are sent in the order of the
    /// input; one that has to be repeated may be stored after its successors.
    ///
    /// # Cancel safety
    ///
    /// Dropping the stream leaves the outcome of those in flight unknown; publishing them again is safe.
    ///
    /// ```no_run
    /// # use stratt_event_bridge::{Envelope, EventBridge};
    /// use futures::{StreamExt, stream};
    ///
    /// # async fn example(bridge: EventBridge, envelopes: Vec<Envelope>) {
    /// let mut receipts = bridge.publish_all(stream::iter(envelopes));
    /// while let Some(receipt) = receipts.next().await {
    ///     match receipt {
    ///         Ok(receipt) => println!("{}", receipt.sequence()),
    ///         Err(error) => println!("{error}"),
    ///     }
    /// }
    /// # }
    /// ```
    pub fn publish_all<E: Event, S>(
        &self,
        envelopes: S,
    ) -> impl Stream<Item = Result<PublishReceipt, PublishError>> + Send + Unpin + use<E, S>
    where
        S: Stream<Item = Envelope<E>> + Send,
    {
        let options = self.inner.options;
        let events = envelopes.map(move |envelope| EncodedEvent::new(&envelope, options.cloud_events()));
        pipelined(self.inner.link.publisher.clone(), options.max_in_flight(), events)
    }

    /// Publishes envelopes in one batch, of which the stream stores all or nothing, and waits until it has. Their
    /// receipts come in the order of the input, which is also the order in which they are stored, one behind the
    /// other.
    ///
    /// For events that belong together, or where the server syncs each write (`sync_interval: always`): it syncs a
    /// batch as a whole. A batch has at most [`MAX_BATCH`](Self::MAX_BATCH) events. It needs nats-server 2.12 or
    /// newer and a stream that [allows it](crate::topology::Topology::with_batches).
    ///
    /// The broker refuses a batch that holds an event it has stored within the duplicate window. Such events are then
    /// looked up one by one and left out: their receipts are duplicates and name where they were stored, and all
    /// others are stored together. An event that is in the batch twice is stored once. A batch whose acknowledgement
    /// was lost is repeated in the same way: if it was stored, all receipts are duplicates.
    ///
    /// # Errors
    ///
    /// A [`PublishError`] of the whole batch. Unless its outcome is unknown, nothing was stored. Of kind
    /// [`Unsupported`](crate::PublishErrorKind::Unsupported) when the server or the stream takes no batches,
    /// [`TooLarge`](crate::PublishErrorKind::TooLarge) when there are more than [`MAX_BATCH`](Self::MAX_BATCH) or one
    /// of them is too large.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves the outcome unknown, but not halved; publishing the same batch again is safe.
    pub async fn publish_batch<'a, E: Event + 'a>(
        &self,
        envelopes: impl IntoIterator<Item = &'a Envelope<E>>,
    ) -> Result<Vec<PublishReceipt>, PublishError> {
        let is_cloud_event = self.inner.options.cloud_events();
        let events: Result<Vec<_>, _> =
            envelopes.into_iter().map(|envelope| EncodedEvent::new(envelope, is_cloud_event)).collect();
        self.inner.link.publisher.publish_batch(&events?).await
    }
}
