//! Counters in the format of Prometheus.

use std::{
    collections::BTreeMap,
    fmt::Write,
    sync::{Mutex, MutexGuard, PoisonError},
};
use stratt_event_bridge::{
    EventType,
    outbox::{OutboxStatus, RelayProgress},
};

/// Counts since the start of the process. Labels are routes, statuses and event types: never what a caller made up.
#[derive(Debug)]
pub(crate) struct Metrics {
    counts: Mutex<Counts>,
    relay: RelayProgress,
}

#[derive(Debug, Default)]
struct Counts {
    requests: BTreeMap<(String, u16), u64>,
    enqueued: BTreeMap<&'static str, u64>,
}

impl Metrics {
    pub(crate) fn of(relay: RelayProgress) -> Self {
        Self { counts: Mutex::default(), relay }
    }

    pub(crate) fn requested(&self, route: &str, status: u16) {
        *self.lock().requests.entry((route.to_owned(), status)).or_default() += 1;
    }

    pub(crate) fn enqueued(&self, event_type: &'static str) {
        *self.lock().enqueued.entry(event_type).or_default() += 1;
    }

    /// The text format of <https://prometheus.io/docs/instrumenting/exposition_formats/>. `outbox` is what waits; it
    /// is left out when the database does not say.
    pub(crate) fn text(&self, outbox: Option<OutboxStatus>) -> String {
        let mut text = String::new();
        let counts = self.lock();
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
        let published = self.relay.summary().published;
        let help = "Events that the relay of this process has published.";
        family(&mut text, "relay_published_total", "counter", help, single(published));
        let Some(status) = outbox else { return text };
        let oldest = status.oldest_pending.unwrap_or_default().as_secs_f64();
        let help = "Events that can never be published.";
        family(&mut text, "relay_quarantined", "gauge", help, single(status.quarantined));
        family(&mut text, "outbox_pending", "gauge", "Events that wait.", single(status.pending));
        let help = "How long the oldest event has waited.";
        family(&mut text, "outbox_oldest_pending_seconds", "gauge", help, single(oldest));
        text
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
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
