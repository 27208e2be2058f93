//! Explanations of events, held against what broker and store have.

use crate::{LedgerError, found::Found};
use futures::{StreamExt, TryStreamExt, stream};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};
use stratt_event_bridge::{
    ConsumerName, EventBridge, Feed, IdempotencyKey,
    dead_letter::DeadLetter,
    dedupe::{DedupeStore, SlotState},
    explain::{Explanation, Place, SeenSlot},
};
use time::{Duration, OffsetDateTime};

/// The explanations that are asked for at once.
const AT_ONCE: usize = 8;

/// The knowledge of one event.
#[derive(Debug, Default)]
struct Known {
    stored: Vec<u64>,
    due: Vec<u64>,
    since: Option<OffsetDateTime>,
}

/// Has `count` events explained, and returns how the explanations differ from what was found, a line each.
///
/// Keys are hashes: the first ones in their order are as good as any.
pub(crate) async fn differences(
    bridge: &EventBridge,
    feed: Feed,
    durable: &ConsumerName,
    store: &Arc<dyn DedupeStore>,
    found: &Found,
    count: usize,
) -> Result<Vec<String>, LedgerError> {
    let mut events: BTreeMap<IdempotencyKey, Known> = BTreeMap::new();
    for stored in &found.stored {
        if let Some(key) = stored.key {
            let known = events.entry(key).or_default();
            known.stored.push(stored.sequence);
            known.since = known.since.or(Some(stored.at - Duration::SECOND));
        }
    }
    for due in &found.due {
        if let Some(known) = due.key.and_then(|key| events.get_mut(&key)) {
            known.due.push(due.sequence);
        }
    }
    let asked = events.into_iter().take(count).map(|(key, known)| async move {
        let question = bridge.explain(key).store(Arc::clone(store));
        let question = if let Some(since) = known.since { question.since(since) } else { question };
        let seen = question.ask().await.map_err(LedgerError::new)?;
        Ok(difference(feed, durable, found, &known, &seen))
    });
    let differences: Vec<_> = stream::iter(asked).buffer_unordered(AT_ONCE).try_collect().await?;
    Ok(differences.into_iter().flatten().collect())
}

fn difference(
    feed: Feed,
    durable: &ConsumerName,
    found: &Found,
    known: &Known,
    seen: &Explanation,
) -> Option<String> {
    let sequences = |places: &[Place]| places.iter().map(Place::sequence).collect::<Vec<_>>();
    let in_feed = if feed == Feed::Strat { seen.stored() } else { seen.forwarded() };
    let letters = seen
        .dead_letters()
        .iter()
        .filter(|letter| letter.consumer() == durable.as_str() && letter.stream() == feed.stream());
    let letters: BTreeSet<_> = letters.map(DeadLetter::stream_sequence).collect();
    let dead_lettered = found.dead_lettered.iter().map(|(sequence, _)| *sequence);
    let dead_lettered: BTreeSet<_> = dead_lettered.filter(|sequence| known.due.contains(sequence)).collect();
    let is_settled = found.settled.contains(&seen.key());
    let ways = seen.ways().iter().filter(|way| way.feed() == feed && way.durable() == durable.as_str());
    let settled: Vec<_> = ways.map(|way| *way.slot() == SeenSlot::Seen(SlotState::Settled)).collect();
    let is_as_found = sequences(seen.stored()) == known.stored
        && sequences(in_feed) == known.due
        && letters == dead_lettered
        && settled == vec![is_settled; known.due.len()];
    let wanted = format!("{known:?}, dead-lettered at {dead_lettered:?}, settled: {is_settled}");
    (!is_as_found).then(|| format!("{} was not explained as it is: {wanted}; but:\n{seen}", seen.key()))
}
