//! What is counted, as Prometheus reads it.

use std::{
    collections::BTreeMap,
    fmt::Write,
    sync::{Mutex, MutexGuard, PoisonError},
};
use stratt_event_bridge::{EventType, outbox::OutboxStatus};

/// Counts since the start of the process. Labels are routes, statuses and event types: never what a caller made up.
#[derive(Debug, Default)]
pub(crate) struct Metrics(Mutex<Counts>);

#[derive(Debug, Default)]
struct Counts {
    requests: BTreeMap<(String, u16), u64>,
    enqueued: BTreeMap<&'static str, u64>,
    published: u64,
}

impl Metrics {
    pub(crate) fn requested(&self, route: &str, status: u16) {
        *self.lock().requests.entry((route.to_owned(), status)).or_default() += 1;
    }

    pub(crate) fn enqueued(&self, event_type: &'static str) {
        *self.lock().enqueued.entry(event_type).or_default() += 1;
    }

    /// The text format of <https://prometheus.io/docs/instrumenting/exposition_formats/>. `outbox` is how many events
    /// were ever enqueued, and then what waits; it is left out when the database does not say.
    pub(crate) fn text(&self, outbox: Option<(u64, OutboxStatus)>) -> String {
        let mut text = String::new();
        let mut counts = self.lock();
        let requests = counts
            .requests
            .iter()
            .map(|((route, status), count)| (format!("{{route=\"{route}\",status=\"{status}\"}}"), *count));
        family(&mut text, "http_requests_total", "counter", "Requests by route and status.", requests);
        let enqueued = EventType::ALL.iter().map(|event_type| {
            let count = counts.enqueued.get(event_type.as_str()).copied().unwrap_or_default();
            (format!("{{type=\"{event_type}\"}}"), count)
        });
        family(&mut text, "events_enqueued_total", "counter", "Events committed to the outbox.", enqueued);
        let Some((enqueued, status)) = outbox else { return text };
        // What was enqueued is counted before what waits is: never more than is true, and never less than before.
        let published = enqueued.saturating_sub(status.pending).saturating_sub(status.set_aside);
        counts.published = counts.published.max(published);
        let oldest = status.oldest_pending.unwrap_or_default().as_secs_f64();
        let help = "Events that relays have published, of all processes since the database was made.";
        family(&mut text, "relay_published_total", "counter", help, single(counts.published));
        let help = "Events that can never be published.";
        family(&mut text, "relay_set_aside", "gauge", help, single(status.set_aside));
        family(&mut text, "outbox_pending", "gauge", "Events that wait.", single(status.pending));
        let help = "How long the oldest event has waited.";
        family(&mut text, "outbox_oldest_pending_seconds", "gauge", help, single(oldest));
        text
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn family<T: ToString>(
    text: &mut String,
    name: &str,
    kind: &str,
    help: &str,
    samples: impl IntoIterator<Item = (String, T)>,
) {
    let name = format!("orchestrator_{name}");
    // Writing to a string cannot fail.
    let _infallible = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
    for (labels, value) in samples {
        let _infallible = writeln!(text, "{name}{labels} {}", value.to_string());
    }
}

fn single<T>(value: T) -> [(String, T); 1] {
    [(String::new(), value)]
}
