//! The live tail: events as they are stored.

use crate::{
    Feed,
    console::{
        access::Visit,
        live,
        pages::{feed, feed_name, layout, live_rows},
        refusal::Refusal,
        state::Console,
    },
    nats::batch_get::Messages,
    topology::StreamInfo,
    watch::WatchOptions,
};
use axum::{
    Extension,
    extract::{Query, State},
    http::StatusCode,
    response::{Html, Response},
};
use futures::{StreamExt, TryStreamExt};
use maud::{Markup, html};
use serde::Deserialize;
use std::{sync::Arc, time::Duration};

/// The number of events that the page shows when it is loaded.
const NEWEST: u64 = 50;
/// Long enough for a short loss of the connection.
const INACTIVE: Duration = Duration::from_secs(10);

#[derive(Debug, Deserialize)]
pub(in crate::console) struct Asked {
    feed: Option<String>,
}

impl Asked {
    fn feed(&self) -> Result<Feed, Refusal> {
        self.feed.as_deref().map_or(Ok(Feed::Strat), feed)
    }
}

pub(in crate::console) async fn page(
    State(console): State<Arc<Console>>,
    Extension(visit): Extension<Visit>,
    Query(asked): Query<Asked>,
) -> Result<Html<String>, Refusal> {
    let feed = asked.feed()?;
    let rows = newest(&console, feed).await?;
    let place = |path: &str, feed| format!("{}?feed={}", visit.path(path), feed_name(feed));
    let body = html! {
        p {
            @for of in [Feed::Strat, Feed::Choco] {
                @if of == feed { a href=(place("/tail", of)) aria-current="page" { (of.stream()) } }
                @else { a href=(place("/tail", of)) { (of.stream()) } }
                " "
            }
        }
        (layout::live_state())
        button type="button" data-hold="" aria-pressed="false" hidden { "Hold" }
        noscript { p { "The newest " (NEWEST) " events; load the page again for newer ones." } }
        div.scroll {
            table.stack {
                thead {
                    tr {
                        th scope="col" { "Sequence" } th scope="col" { "Announced" } th scope="col" { "Type" }
                        th scope="col" { "Domain" } th scope="col" { "Event" }
                    }
                }
                tbody data-tail=(place("/tail/live", feed)) { (rows) }
            }
        }
    };
    Ok(layout::page(&visit, "Live tail", &body))
}

/// Reads the newest events of the stream itself: no consumer is left behind.
async fn newest(console: &Console, feed: Feed) -> Result<Markup, Refusal> {
    let unavailable = |error: Box<dyn std::error::Error + Send + Sync>| {
        let why = format!("events of {} cannot be read: {error}", feed.stream());
        Refusal::new(StatusCode::SERVICE_UNAVAILABLE, why)
    };
    let context = &console.bridge.link().context;
    let last = StreamInfo::last_sequence(context, feed.stream()).await.map_err(unavailable)?;
    let first = last.saturating_sub(NEWEST).saturating_add(1);
    let found = Messages::of(context, feed.stream(), format!("{}>", feed.prefix()), first..=last);
    let mut found: Vec<_> = found.try_collect().await.map_err(unavailable)?;
    found.reverse();
    let shows_payloads = console.options.shows_payloads();
    Ok(html! { @for found in &found { (live_rows::stored(found, shows_payloads)) } })
}

/// Sends events as they are stored.
pub(in crate::console) async fn live(
    State(console): State<Arc<Console>>,
    Query(asked): Query<Asked>,
) -> Result<Response, Refusal> {
    let feed = asked.feed()?;
    let place = Arc::clone(&console.tails).try_acquire_owned().map_err(|_| {
        Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "too many pages follow live events: close some")
    })?;
    let options = WatchOptions::default().with_inactive_threshold(INACTIVE);
    let watch = console.bridge.watch(feed).options(options).open().await?;
    let shows_payloads = console.options.shows_payloads();
    let rows = watch.map(move |event| {
        // Taken for as long as the browser listens.
        let _taken = &place;
        live::part(&live_rows::watched(&event, shows_payloads))
    });
    Ok(live::answer(rows))
}
