//! The search for events that async-nats cannot read, to dead-letter them.
//!
//! When such an event is delivered, async-nats drops the connection: the event never arrives here, and the server
//! delivers it again. So a process that loses its connection repeatedly, while events that it does not have are
//! unanswered, reads those events from the stream.
//!
//! The unanswered events may be in flight in other processes, which can read them. So can this process: only an event
//! that is verified to be unreadable is dead-lettered, and no other is touched.

mod losses;

use crate::{
    consumer::{
        Order,
        delivery::{process::DEAD_LETTER_BUDGET, reply::terminate},
        shared::Shared,
    },
    dead_letter::{DeadLetterReason, DeadLetterRecord, Headers},
    nats::{
        api::{ApiSubject, ack},
        api_context::ApiContext,
        connection_log::connects,
        connection_watch::ConnectionWatch,
        permission_violation::PermissionViolation,
        readable::fault,
        stored::Stored,
        subject_filter::{filters, matches},
    },
    report::report,
    telemetry::log_limit::limited,
};
use async_nats::{
    connection::State,
    jetstream::consumer::{Info, pull},
};
use losses::Losses;
use std::{collections::BTreeSet, error::Error, pin::pin, sync::Arc, time::Duration};
use tokio::time::{Instant, sleep, timeout};

/// The interval of the checks for a lost connection.
const EVERY: Duration = Duration::from_secs(1);
const ANSWER_WITHIN: Duration = Duration::from_secs(2);
/// The number of messages that are read at a time.
const READS: usize = 256;

/// Searches for unreadable events for as long as the consumer runs.
pub(crate) async fn watch(context: ApiContext, watch: ConnectionWatch, shared: Arc<Shared>) {
    let mut losses = Losses::new(connects(&shared.client), shared.options.ack_wait());
    let mut search = Search { context, watch, shared, dead_lettered: BTreeSet::new() };
    // The sequence at which the search continues; `None` while there is no search.
    let mut from = None;
    loop {
        sleep(EVERY).await;
        if losses.have_repeated(connects(&search.shared.client), Instant::now()) {
            from = Some(0);
        }
        if search.shared.client.connection_state() == State::Connected
            && let Some(sequence) = from
        {
            from = search.go_on(sequence, losses.count()).await;
        }
    }
}

struct Search {
    context: ApiContext,
    watch: ConnectionWatch,
    shared: Arc<Shared>,
    /// The events whose dead letter is stored and that are still to be terminated.
    dead_lettered: BTreeSet<u64>,
}

impl Search {
    /// Reads the unanswered events that are not in flight here, from `sequence` on. Returns the sequence at which to
    /// continue, if there are more.
    async fn go_on(&mut self, sequence: u64, losses: u64) -> Option<u64> {
        let shared = Arc::clone(&self.shared);
        let durable =
            self.context.get_consumer_from_stream::<pull::Config, _, _>(shared.name.as_str(), shared.stream);
        let Ok(Ok(durable)) = timeout(ANSWER_WITHIN, durable).await else { return Some(sequence) };
        let info = durable.cached_info();
        let held = shared.in_progress.certain();
        if info.num_ack_pending <= held.len() {
            return None;
        }
        let (floor, last) = (info.ack_floor.stream_sequence, info.delivered.stream_sequence);
        self.dead_lettered = self.dead_lettered.split_off(&floor);
        let filters = filters(&info.config);
        let filter = if let [one] = filters.as_slice() { one } else { ">" };
        let mut from = sequence.max(floor + 1);
        for _ in 0..READS {
            if from > last {
                return None;
            }
            let connects_before = connects(&shared.client);
            let stored = match self.read(from, filter).await {
                Ok(stored) => stored.filter(|stored| stored.sequence <= last)?,
                // The connection was lost meanwhile, and the request or the answer with it.
                Err(_) if connects(&shared.client) != connects_before => return Some(from),
                Err(error) => {
                    self.is_blind(from, last, &*error);
                    return None;
                }
            };
            from = stored.sequence + 1;
            let is_due = filters.is_empty() || filters.iter().any(|filter| matches(filter, &stored.subject));
            if !is_due || held.contains(&stored.sequence) {
                continue;
            }
            let why = match fault(&stored, shared.options.order == Order::PerUnit) {
                None if self.has_another_subject(&stored).await => Some("subject is not UTF-8"),
                why => why,
            };
            if let Some(why) = why {
                self.dead_letter(&stored, why, info, losses).await;
            }
        }
        Some(from)
    }

    /// Returns whether the subject differs from the one that was read. In JSON, a replacement character stands for
    /// bytes that are not UTF-8, and the server does not find the message by such a subject.
    async fn has_another_subject(&self, stored: &Stored) -> bool {
        let (subject, sequence) = (stored.subject.as_str(), stored.sequence);
        if !subject.contains(char::REPLACEMENT_CHARACTER) {
            return false;
        }
        let is_found = |found: Option<Stored>| found.is_some_and(|found| found.sequence == sequence);
        let by_subject = self.read(sequence, subject).await.map(is_found);
        // It may have been removed since it was read.
        matches!((by_subject, self.read(sequence, ">").await.map(is_found)), (Ok(false), Ok(true)))
    }

    async fn read(&self, from: u64, filter: &str) -> Result<Option<Stored>, Box<dyn Error + Send + Sync>> {
        let request = ApiSubject::message_get(self.shared.stream);
        let inbox = self.shared.client.new_inbox();
        let is_ours = |violation: &PermissionViolation| self.context.is_refused(&request, violation);
        let read =
            pin!(timeout(ANSWER_WITHIN, Stored::next(&self.context, self.shared.stream, from, filter)));
        match self.watch.guard(self.watch.now(), &inbox, is_ours, read).await {
            Ok(read) => read?,
            Err(violation) => Err(violation.to_string().into()),
        }
    }

    fn is_blind(&self, from: u64, to: u64, error: &(dyn Error + Send + Sync)) {
        let Shared { name: consumer, stream, lines, .. } = &*self.shared;
        limited!(
            lines, error,
            "connection is lost repeatedly, perhaps by an event that the client library cannot read, and events cannot \
             be read to find it: let this user publish to the subject, or find the event among these sequences and \
             remove it with `nats stream rmm`",
            %consumer, stream, from, to, subject = self.context.subject(&ApiSubject::message_get(stream)), %error
        );
    }

    /// Stores the dead letter of an event, and then terminates the event. What fails is retried once the event has cut
    /// the connection again.
    async fn dead_letter(&mut self, stored: &Stored, why: &'static str, info: &Info, losses: u64) {
        let shared = Arc::clone(&self.shared);
        let (consumer, stream, sequence) = (&shared.name, shared.stream, stored.sequence);
        if !self.dead_lettered.contains(&sequence) {
            limited!(
                shared.lines, warn,
                "event cuts the connection at each delivery, since the client library cannot read it: it is dead-lettered",
                %consumer, stream, sequence, why
            );
            let record = DeadLetterRecord {
                consumer: consumer.as_str(),
                reason: DeadLetterReason::Invalid,
                error: &format!(
                    "{why}: the client library cannot read it, and each delivery cut the connection"
                ),
                deliveries: losses,
                stream,
                sequence,
                subject: &stored.subject,
                headers: Headers::Unreadable { bytes: stored.header.len() },
                payload: &stored.payload,
                unit: None,
                lines: &shared.lines,
            };
            if let Err(error) = record.store(&shared.publisher, Instant::now() + DEAD_LETTER_BUDGET).await {
                limited!(shared.lines, error, "dead letter could not be stored", %consumer, sequence, error = %report(&error));
                return;
            }
            self.dead_lettered.insert(sequence);
        }
        // This process has not received the ack subject of the delivery. The server identifies the event by the
        // sequence.
        let delivery = info.delivered.consumer_sequence;
        let to = ack(stream, consumer.as_str(), losses, sequence, delivery);
        terminate(&shared, to.into(), DeadLetterReason::Invalid.as_str()).await;
    }
}
