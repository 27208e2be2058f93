//! Where the sequences of a stream of events begin that was lost while Choco's was not.

use crate::nats::api_context::ApiContext;
use crate::topology::{CHOCO_STREAM, EVENT_STREAM, Forwarded, StreamInfo, TopologyError, TopologyErrorKind};
use async_nats::jetstream::stream::Config;
use std::error::Error;

/// Lets a stream of events that has to be created while Choco's is there begin behind the last event that was
/// forwarded.
///
/// The broker forwards what follows that event's sequence. In a stream that begins at 1, it would skip all before it:
/// nats-server up to 2.14 for good, later ones for some 20 s.
pub(super) async fn follow_lost_origin(
    context: &ApiContext,
    wanted: &mut [Config],
    found: &[Option<Config>],
) -> Result<(), TopologyError> {
    let has_choco = found.iter().flatten().any(|config| config.name == CHOCO_STREAM);
    let mut missing = wanted.iter_mut().zip(found).filter(|(_, found)| found.is_none());
    let Some((events, _)) = missing.find(|(wanted, _)| wanted.name == EVENT_STREAM && has_choco) else {
        return Ok(());
    };
    let last = last_forwarded(context).await.map_err(unread)?;
    let next = (last > 0).then(|| last.saturating_add(1));
    events.first_sequence = events.first_sequence.max(next);
    Ok(())
}

/// Returns the sequence that the last forwarded event had in the stream of events; 0 if none was forwarded.
///
/// Where the newest messages of Choco are gone, it is the least that it can have been.
pub(super) async fn last_forwarded(context: &ApiContext) -> Result<u64, Box<dyn Error + Send + Sync>> {
    let ever = StreamInfo::last_sequence(context, CHOCO_STREAM).await?;
    let newest = Forwarded::newest(context).await?;
    let (stored, sequence) = newest.map_or((0, 0), |newest| (newest.stored, newest.sequence));
    Ok(sequence.saturating_add(ever.saturating_sub(stored)))
}

/// Returns the error of a topology that has to continue behind what was forwarded.
pub(super) fn unread(error: Box<dyn Error + Send + Sync>) -> TopologyError {
    let message =
        format!("newest message of {CHOCO_STREAM} could not be read, which tells what was forwarded last");
    TopologyError::new(TopologyErrorKind::Unavailable, message).caused_by(error)
}
