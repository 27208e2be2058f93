//! The commands: each is one transaction that changes the state and enqueues the event.
//!
//! A command that finds the state it asks for changes nothing and announces nothing, so every request may be repeated.

use crate::{
    content::Content,
    database::{Database, Transaction},
    metrics::Metrics,
    problem::Problem,
    unit::{Status, Unit},
};
use axum::http::StatusCode;
use serde::Serialize;
use std::sync::Arc;
use stratt_event_bridge::{
    ChainGateFired, ChainGateResolved, Envelope, Event, Fingerprint, GateName, GateOutcome, IdempotencyKey,
    ResourceUri, RunId, Source, UnitDeprecated, UnitFingerprintVerified, UnitImportResolved, UnitPublished,
    UnitTampered, UnitUri,
};
use uuid::Uuid;

#[derive(Debug)]
pub(crate) struct Orchestrator {
    pub(crate) database: Database,
    pub(crate) metrics: Arc<Metrics>,
    /// In whose name events are announced.
    pub(crate) source: Source,
}

/// An event that was enqueued.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Announced {
    event_type: &'static str,
    event_id: Uuid,
    idempotency_key: IdempotencyKey,
}

impl Orchestrator {
    /// Publishes new content, or content that was deprecated, and restores content that was changed elsewhere.
    /// The flag says whether the unit is new.
    pub(crate) async fn publish(
        &self,
        uri: UnitUri,
        content: &Content,
        actor: Option<String>,
    ) -> Result<(Unit, bool, Option<Announced>), Problem> {
        let fingerprint =
            content.fingerprint().map_err(|error| Problem::field("content", error.to_string()))?;
        let mut tx = self.database.begin(&uri).await?;
        let known = tx.unit(&uri).await?;
        if known.as_ref().is_some_and(|known| known.fingerprint != fingerprint) {
            let detail = "this version has other content: publish what has changed as a new version";
            return Err(Problem::conflict("content", detail));
        }
        let before = known.as_ref().map(|known| known.status);
        let unit = Unit {
            content: content.as_str().to_owned(),
            status: Status::Published,
            reason: None,
            successor: None,
            // What was found is about content that is replaced.
            found: known.filter(|known| known.content == content.as_str()).and_then(|known| known.found),
            uri: uri.clone(),
            fingerprint: fingerprint.clone(),
        };
        tx.save(&unit).await?;
        let mut announced = None;
        if before != Some(Status::Published) {
            let mut event = UnitPublished::new(uri, fingerprint);
            event.previous_status = before.map(|status| status.as_str().to_owned());
            event.actor = actor;
            event.occurrence = tx.next_occurrence(&event).await?;
            announced = Some(self.enqueue(&mut tx, event).await?);
        }
        self.commit(tx, announced.as_ref()).await?;
        Ok((unit, before.is_none(), announced))
    }

    pub(crate) async fn deprecate(
        &self,
        uri: UnitUri,
        reason: Option<String>,
        successor: Option<UnitUri>,
        actor: Option<String>,
    ) -> Result<(Unit, Option<Announced>), Problem> {
        if successor.as_ref() == Some(&uri) {
            return Err(Problem::field("successor", "a unit cannot succeed itself"));
        }
        let mut tx = self.database.begin(&uri).await?;
        let mut unit = known(&mut tx, &uri).await?;
        if unit.status == Status::Deprecated {
            let is_the_same = unit.reason == reason && unit.successor == successor;
            let field = if unit.reason == reason { "successor" } else { "reason" };
            let detail = format!("unit was deprecated with another {field}");
            return if is_the_same { Ok((unit, None)) } else { Err(Problem::conflict(field, detail)) };
        }
        unit.status = Status::Deprecated;
        unit.reason.clone_from(&reason);
        unit.successor.clone_from(&successor);
        tx.save(&unit).await?;
        let mut event = UnitDeprecated::new(uri, unit.fingerprint.clone());
        (event.reason, event.successor, event.actor) = (reason, successor, actor);
        event.occurrence = tx.next_occurrence(&event).await?;
        let announced = self.enqueue(&mut tx, event).await?;
        self.commit(tx, Some(&announced)).await?;
        Ok((unit, Some(announced)))
    }

    /// Compares what is stored with what was published, and announces what is new about it.
    pub(crate) async fn verify(
        &self,
        uri: UnitUri,
        actor: Option<String>,
    ) -> Result<(Unit, Option<Announced>), Problem> {
        let mut tx = self.database.begin(&uri).await?;
        let mut unit = known(&mut tx, &uri).await?;
        let actual = unit.recompute().map_err(|error| Problem::field("content", error.to_string()))?;
        if unit.found.as_ref() == Some(&actual) {
            return Ok((unit, None));
        }
        unit.found = Some(actual.clone());
        tx.save(&unit).await?;
        let announced = if actual == unit.fingerprint {
            let mut event = UnitFingerprintVerified::new(uri, actual);
            event.actor = actor;
            event.occurrence = tx.next_occurrence(&event).await?;
            self.enqueue(&mut tx, event).await?
        } else {
            let mut event = UnitTampered::new(uri, unit.fingerprint.clone(), actual);
            event.actor = actor;
            event.occurrence = tx.next_occurrence(&event).await?;
            self.enqueue(&mut tx, event).await?
        };
        self.commit(tx, Some(&announced)).await?;
        Ok((unit, Some(announced)))
    }

    pub(crate) async fn resolve_import(
        &self,
        importer: UnitUri,
        imported: ResourceUri,
        fingerprint: Fingerprint,
        resolver: Option<String>,
        actor: Option<String>,
    ) -> Result<(UnitImportResolved, Option<Announced>), Problem> {
        let mut tx = self.database.begin(&importer).await?;
        known(&mut tx, &importer).await?;
        let mut event = UnitImportResolved::new(importer, imported, fingerprint);
        (event.resolver, event.actor) = (resolver, actor);
        // An import that was resolved to the same before is the same fact.
        if tx.next_occurrence(&event).await?.is_some() {
            return Ok((event, None));
        }
        let announced = self.enqueue(&mut tx, event.clone()).await?;
        self.commit(tx, Some(&announced)).await?;
        Ok((event, Some(announced)))
    }

    pub(crate) async fn fire_gate(
        &self,
        chain: UnitUri,
        gate: GateName,
        run: RunId,
        actor: Option<String>,
    ) -> Result<(ChainGateFired, Option<Announced>), Problem> {
        let mut tx = self.database.begin(&chain).await?;
        let fingerprint = known_chain(&mut tx, &chain).await?.fingerprint;
        let has_fired = tx.gate(&chain, &gate, &run).await?.is_some();
        let mut event = ChainGateFired::new(chain, gate, run, fingerprint);
        event.actor = actor;
        if has_fired {
            return Ok((event, None));
        }
        tx.save_gate(&event.chain_uri, &event.gate, &event.run_id, None).await?;
        tx.next_occurrence(&event).await?;
        let announced = self.enqueue(&mut tx, event.clone()).await?;
        self.commit(tx, Some(&announced)).await?;
        Ok((event, Some(announced)))
    }

    /// A gate is resolved once in a run; the same outcome again is a repeat, another one is refused.
    pub(crate) async fn resolve_gate(
        &self,
        chain: UnitUri,
        gate: GateName,
        run: RunId,
        outcome: GateOutcome,
        details: GateDetails,
    ) -> Result<(ChainGateResolved, Option<Announced>), Problem> {
        let wanted = match outcome {
            GateOutcome::Pass => "pass",
            GateOutcome::Fail => "fail",
        };
        let mut tx = self.database.begin(&chain).await?;
        let fingerprint = known_chain(&mut tx, &chain).await?.fingerprint;
        let before = tx.gate(&chain, &gate, &run).await?;
        let before = before.ok_or_else(|| Problem::conflict("runId", "gate has not fired in this run"))?;
        let mut event = ChainGateResolved::new(chain, gate, run, fingerprint, outcome);
        (event.reason, event.resolved_by, event.actor) = (details.reason, details.resolved_by, details.actor);
        match before.as_deref() {
            Some(before) if before == wanted => return Ok((event, None)),
            Some(before) => {
                return Err(Problem::conflict("outcome", format!("gate was resolved before: {before}")));
            }
            None => {}
        }
        tx.save_gate(&event.chain_uri, &event.gate, &event.run_id, Some(wanted)).await?;
        tx.next_occurrence(&event).await?;
        let announced = self.enqueue(&mut tx, event.clone()).await?;
        self.commit(tx, Some(&announced)).await?;
        Ok((event, Some(announced)))
    }

    async fn enqueue<E: Event>(&self, tx: &mut Transaction, event: E) -> Result<Announced, Problem> {
        let envelope = Envelope::builder(event, self.source.clone()).build()?;
        tx.enqueue(&envelope).await?;
        Ok(Announced {
            event_type: envelope.event_type().as_str(),
            event_id: envelope.event_id(),
            idempotency_key: envelope.idempotency_key(),
        })
    }

    async fn commit(&self, tx: Transaction, announced: Option<&Announced>) -> Result<(), Problem> {
        tx.commit().await?;
        if let Some(announced) = announced {
            self.metrics.enqueued(announced.event_type);
            tracing::info!(event = announced.event_type, key = %announced.idempotency_key, "enqueued");
        }
        Ok(())
    }
}

/// The optional details of the resolution of a gate.
#[derive(Debug, Default)]
pub(crate) struct GateDetails {
    pub(crate) reason: Option<String>,
    pub(crate) resolved_by: Option<String>,
    pub(crate) actor: Option<String>,
}

async fn known(tx: &mut Transaction, uri: &UnitUri) -> Result<Unit, Problem> {
    tx.unit(uri).await?.ok_or_else(|| unknown(uri))
}

async fn known_chain(tx: &mut Transaction, uri: &UnitUri) -> Result<Unit, Problem> {
    if uri.unit_type() != "chain" {
        return Err(Problem::field("uri", "only a chain has gates"));
    }
    known(tx, uri).await
}

pub(crate) fn unknown(uri: &UnitUri) -> Problem {
    Problem::new(StatusCode::NOT_FOUND, format!("{uri} was never published")).of("uri")
}
