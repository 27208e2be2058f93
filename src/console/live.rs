//! Parts of pages that are sent again and again, as server-sent events.

use axum::response::{
    IntoResponse, Response, Sse,
    sse::{Event, KeepAlive},
};
use futures::{Stream, StreamExt, stream};
use maud::Markup;
use std::{convert::Infallible, time::Duration};
use tokio::time::{MissedTickBehavior, interval, sleep};

/// The time between two versions of a part.
pub(super) const EVERY: Duration = Duration::from_secs(2);
/// After this time the browser has to ask again, and so does the authoriser.
const AT_MOST: Duration = Duration::from_secs(5 * 60);

/// A part of a page, in place of the one before.
pub(super) fn part(markup: &Markup) -> Event {
    Event::default().event("part").data(markup.0.replace('\r', ""))
}

/// The sign that nothing more will come.
pub(super) fn end() -> Event {
    Event::default().event("end").data("")
}

/// Returns a tick at once, and one after each `pause`.
pub(super) fn ticks(pause: Duration) -> impl Stream<Item = ()> + Send {
    let mut ticks = interval(pause);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    stream::unfold(ticks, |mut ticks| async move {
        ticks.tick().await;
        Some(((), ticks))
    })
}

/// Answers by these events, for five minutes: browsers then ask again by themselves.
pub(super) fn answer(events: impl Stream<Item = Event> + Send + 'static) -> Response {
    // Browsers take the connection for open with the first bytes, which may be long in coming.
    let begun = stream::once(async { Event::default().comment("begun") });
    let events = begun.chain(events.take_until(sleep(AT_MOST))).map(Ok::<_, Infallible>);
    Sse::new(events).keep_alive(KeepAlive::default()).into_response()
}
