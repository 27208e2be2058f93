//! The final state of broker and store.

use crate::{End, Entry, Fact, LedgerError};
use futures::TryStreamExt;
use std::{collections::HashSet, time::Duration};
use stratt_event_bridge::{
    ConsumerName, Envelope, Event, EventBridge, Feed, IdempotencyKey, UnitUri,
    async_nats::jetstream::{
        self, Context,
        consumer::{AckPolicy, pull},
    },
    dead_letter::{DeadLetterFilter, DeadLetterReason},
    dedupe::{Claim, DedupeStore, Slot},
    topology::EVENT_STREAM,
};
use time::OffsetDateTime;

/// The final state of broker and store.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// All of `STRATT_EVENTS`.
    pub(crate) stored: Vec<Stored>,
    /// The messages of the feed that match the durable's filters.
    pub(crate) due: Vec<Stored>,
    /// The sequences in the feed of what the durable dead-lettered, each with the reason.
    pub(crate) dead_lettered: Vec<(u64, Option<DeadLetterReason>)>,
    pub(crate) settled: HashSet<IdempotencyKey>,
    /// Deliveries of the server to the durable.
    pub(crate) deliveries: u64,
    /// Messages that the server has not delivered to the durable, or that are not acknowledged.
    pub(crate) pending: u64,
    pub(crate) duplicate_window: Duration,
}

/// A stored message.
#[derive(Debug, Clone)]
pub(crate) struct Stored {
    pub(crate) sequence: u64,
    /// Its sequence in `STRATT_EVENTS`.
    pub(crate) origin: u64,
    /// `None` for what is not a valid envelope.
    pub(crate) key: Option<IdempotencyKey>,
    pub(crate) unit: Option<UnitUri>,
    pub(crate) at: OffsetDateTime,
}

impl Found {
    pub(crate) async fn read(
        bridge: &EventBridge,
        feed: Feed,
        durable: &ConsumerName,
        store: &dyn DedupeStore,
        entries: &[Entry],
    ) -> Result<Self, LedgerError> {
        let context = jetstream::new(bridge.client().clone());
        let (stored, duplicate_window) = messages(&context, EVENT_STREAM, None).await?;
        let info = context
            .get_consumer_from_stream::<pull::Config, _, _>(durable.as_str(), feed.stream())
            .await
            .map_err(LedgerError::new)?
            .cached_info()
            .clone();
        let (due, _) = messages(&context, feed.stream(), Some(&info.config)).await?;
        let letters: Vec<_> = bridge
            .dead_letters()
            .list(DeadLetterFilter::default().with_consumer(durable.clone()))
            .await
            .map_err(LedgerError::new)?
            .try_collect()
            .await
            .map_err(LedgerError::new)?;
        let of_feed = letters.iter().filter(|letter| letter.stream() == feed.stream());
        let dead_lettered = of_feed.map(|letter| (letter.stream_sequence(), letter.reason())).collect();
        let settled = settled(&due, durable, store, entries).await?;
        let unanswered = u64::try_from(info.num_ack_pending).unwrap_or(u64::MAX);
        Ok(Self {
            stored,
            due,
            dead_lettered,
            settled,
            deliveries: info.delivered.consumer_sequence,
            pending: info.num_pending.saturating_add(unanswered),
            duplicate_window,
        })
    }
}

/// Reads all messages of a stream, or those that match a consumer's filters.
async fn messages(
    context: &Context,
    name: &str,
    like: Option<&jetstream::consumer::Config>,
) -> Result<(Vec<Stored>, Duration), LedgerError> {
    let stream = context.get_stream(name).await.map_err(LedgerError::new)?;
    let reader = pull::Config {
        ack_policy: AckPolicy::None,
        filter_subject: like.map(|like| like.filter_subject.clone()).unwrap_or_default(),
        filter_subjects: like.map(|like| like.filter_subjects.clone()).unwrap_or_default(),
        inactive_threshold: Duration::from_secs(60),
        ..pull::Config::default()
    };
    let mut reader = stream.create_consumer(reader).await.map_err(LedgerError::new)?;
    let mut found = Vec::new();
    while reader.info().await.map_err(LedgerError::new)?.num_pending > 0 {
        let batch = reader.fetch().max_messages(1000).messages().await.map_err(LedgerError::new)?;
        let batch: Vec<_> = batch.try_collect().await.map_err(LedgerError::new)?;
        found.extend(batch.iter().filter_map(stored));
    }
    Ok((found, stream.cached_info().config.duplicate_window))
}

fn stored(message: &jetstream::Message) -> Option<Stored> {
    let info = message.info().ok()?;
    let sequence = info.stream_sequence;
    let source = message.headers.as_ref().and_then(|headers| headers.get("Nats-Stream-Source"));
    let origin =
        source.and_then(|source| source.as_str().split(' ').nth(1)?.parse().ok()).unwrap_or(sequence);
    let envelope: Option<Envelope> = Envelope::decode(&message.subject, &message.payload).ok();
    Some(Stored {
        sequence,
        origin,
        key: envelope.as_ref().map(Envelope::idempotency_key),
        unit: envelope.map(|envelope| envelope.event().unit_uri().clone()),
        at: info.published,
    })
}

/// Returns the settled keys: those recorded as settled, and those that the store reports as settled.
async fn settled(
    due: &[Stored],
    durable: &ConsumerName,
    store: &dyn DedupeStore,
    entries: &[Entry],
) -> Result<HashSet<IdempotencyKey>, LedgerError> {
    let seen = entries.iter().filter_map(|entry| match entry.fact {
        Fact::Ended { key, end: End::Settle, .. } => Some(key),
        _ => None,
    });
    let mut settled: HashSet<_> = seen.collect();
    let unseen: HashSet<_> = due.iter().filter_map(|stored| stored.key).collect();
    for key in unseen {
        if settled.contains(&key) {
            continue;
        }
        let slot = Slot::new(durable.clone(), key);
        match store.claim(&slot, Duration::from_secs(1)).await.map_err(LedgerError::new)? {
            Claim::Settled => _ = settled.insert(key),
            Claim::Acquired { fence, .. } => store.release(&slot, fence).await.map_err(LedgerError::new)?,
            Claim::Held { .. } => {}
        }
    }
    Ok(settled)
}
