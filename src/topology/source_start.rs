//! Where forwarding goes on when its source is changed.

use crate::topology::{
    CHOCO_STREAM, TopologyError, TopologyErrorKind, difference::sources, first_sequence::last_forwarded,
};
use async_nats::jetstream::{Context, stream::Config};

/// Lets a source that is about to be changed begin behind the last event that was forwarded.
///
/// To the server, a source with other subject transforms is another one: it would forward everything that
/// `STRATT_EVENTS` holds once more, and Choco drops only what its duplicate window still knows. A source that stays as
/// it is keeps its beginning.
pub(super) async fn continue_source(
    context: &Context,
    wanted: &mut [Config],
    found: &[Option<Config>],
) -> Result<(), TopologyError> {
    let both = wanted.iter_mut().zip(found).filter_map(|(wanted, found)| Some((wanted, found.as_ref()?)));
    let Some((wanted, found)) = both.into_iter().find(|(wanted, _)| wanted.name == CHOCO_STREAM) else {
        return Ok(());
    };
    let start = if sources(wanted) == sources(found) {
        found.sources.iter().flatten().find_map(|source| source.start_sequence)
    } else {
        let last = last_forwarded(context).await.map_err(|error| {
            let message = format!(
                "newest message of {CHOCO_STREAM}, behind which its new source has to begin, could not be read"
            );
            TopologyError::new(TopologyErrorKind::Unavailable, message).caused_by(error)
        })?;
        (last > 0).then(|| last.saturating_add(1))
    };
    for source in wanted.sources.iter_mut().flatten() {
        source.start_sequence = start;
    }
    Ok(())
}
