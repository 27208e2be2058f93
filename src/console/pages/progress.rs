//! The progress of a redrive.

use crate::console::{
    live,
    redrives::{Ending, Seen},
    refusal::Refusal,
    state::Console,
    text::{line, number},
};
use axum::{
    extract::{Path, State},
    response::Response,
};
use futures::{StreamExt, stream};
use maud::{Markup, html};
use std::{sync::Arc, time::Duration};

const EVERY: Duration = Duration::from_millis(500);

/// Sends the progress of a redrive until it has ended.
pub(in crate::console) async fn live(
    State(console): State<Arc<Console>>,
    Path(id): Path<String>,
) -> Result<Response, Refusal> {
    let progress = console.redrives.get(&id).ok_or_else(|| Refusal::not_found("redrive of this group"))?;
    let has_ended = Arc::clone(&progress);
    let ticks = live::ticks(EVERY).take_while(move |()| std::future::ready(has_ended.ending().is_none()));
    let under_way = Arc::clone(&progress);
    let parts = ticks.map(move |()| live::part(&part(&under_way.seen())));
    let last = stream::once(async move { live::part(&part(&progress.seen())) });
    Ok(live::answer(parts.chain(last).chain(stream::once(async { live::end() }))))
}

pub(super) fn part(seen: &Seen) -> Markup {
    html! {
        p {
            @match &seen.ending {
                None => span.warn { "Under way" },
                Some(Ending::Done) => span.good { "Done" },
                Some(Ending::Stopped) => span.warn { "Stopped" },
                Some(Ending::Failed(why)) => span.bad { "Failed: " (line(why)) },
            }
            ": " (number(seen.redriven)) " of " (number(seen.total)) " redriven, "
            (number(seen.refused)) " refused. Begun by " (line(&seen.who)) "."
        }
        progress aria-label="Redriven" max=(seen.total.max(1)) value=(seen.redriven) {}
        @if let Some(why) = &seen.last_refusal { p { "The last refusal: " (line(why)) } }
        @if seen.ending.is_none() && seen.redriven == 1 { p.quiet { "Waits for the canary." } }
    }
}
