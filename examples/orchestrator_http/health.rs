//! Readiness and metrics, for operators.

use crate::api::Service;
use axum::{
    Json,
    extract::State,
    http::{StatusCode, header::CONTENT_TYPE},
    response::IntoResponse,
};
use serde::Serialize;
use std::{sync::Arc, time::Duration};
use stratt_event_bridge::async_nats::connection;
use tokio::time::timeout;

/// The time limit of the answer of each part.
const ANSWERS_WITHIN: Duration = Duration::from_secs(2);

/// The state of each part: `ok`, or the problem.
#[derive(Serialize)]
struct Readiness {
    database: String,
    broker: String,
    streams: String,
}

pub(crate) async fn ready(State(service): State<Arc<Service>>) -> impl IntoResponse {
    let (database, streams) = tokio::join!(database(&service), streams(&service));
    let is_connected = service.bridge.client().connection_state() == connection::State::Connected;
    let broker = if is_connected { Ok(()) } else { Err("not connected".to_owned()) };
    let is_ready = database.is_ok() && broker.is_ok() && streams.is_ok();
    let status = if is_ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let said = |part: Result<(), String>| part.err().unwrap_or_else(|| "ok".into());
    (status, Json(Readiness { database: said(database), broker: said(broker), streams: said(streams) }))
}

async fn database(service: &Service) -> Result<(), String> {
    match timeout(ANSWERS_WITHIN, service.orchestrator.database.ping()).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => {
            tracing::warn!(%error, "database is not ready");
            Err("not available".into())
        }
        Err(_elapsed) => Err("no answer".into()),
    }
}

async fn streams(service: &Service) -> Result<(), String> {
    // What is asked while disconnected only piles up in the client.
    if service.bridge.client().connection_state() != connection::State::Connected {
        return Err("not known".into());
    }
    // What a frozen broker does not answer either, however long its connection stays.
    let checked = timeout(ANSWERS_WITHIN, service.streams.check(&service.bridge)).await;
    checked.unwrap_or_else(|_elapsed| Err("no answer".into()))
}

pub(crate) async fn metrics(State(service): State<Arc<Service>>) -> impl IntoResponse {
    let status = service.orchestrator.database.outbox_status();
    let outbox = timeout(ANSWERS_WITHIN, status).await.ok().and_then(Result::ok);
    ([(CONTENT_TYPE, "text/plain; version=0.0.4")], service.orchestrator.metrics.text(outbox))
}
