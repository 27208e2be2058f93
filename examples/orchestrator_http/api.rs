//! The routes.

use crate::{
    content::Content,
    health,
    orchestrator::{Announced, GateDetails, Orchestrator, unknown},
    problem::Problem,
    request::{Body, FreeText, GateOfPath, MAX_BODY, UnitOfPath, required},
    streams::Streams,
};
use axum::{
    Json, Router,
    extract::{DefaultBodyLimit, MatchedPath, Request, State},
    http::StatusCode,
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde::{Deserialize, Serialize};
use std::{sync::Arc, time::Duration};
use stratt_event_bridge::{
    EventBridge, Fingerprint, GateOutcome, ResourceUri, UnitUri,
    console::{self, ConsoleOptions},
};
use tokio::time::timeout;

/// The time limit of a request, beside the reading of its body.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(15);

/// The state that the routes share.
#[derive(Debug)]
pub(crate) struct Service {
    pub(crate) orchestrator: Orchestrator,
    pub(crate) bridge: EventBridge,
    pub(crate) streams: Streams,
    /// The time limit of a body: a caller that sends slowly holds nothing for long.
    pub(crate) read_timeout: Duration,
}

type App = State<Arc<Service>>;

pub(crate) fn router(service: Arc<Service>) -> Router {
    Router::new()
        .route("/units", post(publish))
        .route("/units/{domain}/{type}/{unit}", get(unit))
        .route("/units/{domain}/{type}/{unit}/deprecate", post(deprecate))
        .route("/units/{domain}/{type}/{unit}/verify", post(verify))
        .route("/units/{domain}/{type}/{unit}/imports", post(resolve_import))
        .route("/units/{domain}/{type}/{unit}/gates/{gate}/runs/{run}/fire", post(fire_gate))
        .route("/units/{domain}/{type}/{unit}/gates/{gate}/runs/{run}/resolve", post(resolve_gate))
        .route("/healthz", get(|| async { "live\n" }))
        .route("/readyz", get(health::ready))
        .route("/metrics", get(health::metrics))
        .nest_service("/console", console::router(service.bridge.clone(), ConsoleOptions::default()))
        .fallback(|| async { Problem::new(StatusCode::NOT_FOUND, "there is no such path") })
        .method_not_allowed_fallback(|| async {
            Problem::new(StatusCode::METHOD_NOT_ALLOWED, "path has no such method")
        })
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(from_fn_with_state(Arc::clone(&service), in_time))
        .layer(from_fn_with_state(Arc::clone(&service), counted))
        .with_state(service)
}

async fn in_time(State(service): App, request: Request, next: Next) -> Response {
    timeout(service.read_timeout + REQUEST_TIMEOUT, next.run(request)).await.unwrap_or_else(|_elapsed| {
        let detail = "request took too long; whether it was carried out is unknown, and repeating it is safe";
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail).into_response()
    })
}

async fn counted(State(service): App, request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().cloned();
    let response = next.run(request).await;
    let route = route.as_ref().map_or("none", MatchedPath::as_str);
    service.orchestrator.metrics.requested(route, response.status().as_u16());
    response
}

/// The answer to a command: its subject, and the event, or null where there was nothing new to announce.
#[derive(Serialize)]
struct Answer<T> {
    #[serde(flatten)]
    about: T,
    announced: Option<Announced>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Publish {
    uri: Option<UnitUri>,
    content: Option<Content>,
    actor: Option<FreeText>,
}

async fn publish(State(service): App, Body(body): Body<Publish>) -> Result<Response, Problem> {
    let (uri, content) = (required("uri", body.uri)?, required("content", body.content)?);
    let actor = body.actor.map(Into::into);
    let (unit, is_new, announced) = service.orchestrator.publish(uri, &content, actor).await?;
    let status = if is_new { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, Json(Answer { about: unit.shown(false), announced })).into_response())
}

async fn unit(State(service): App, UnitOfPath(uri): UnitOfPath) -> Result<Response, Problem> {
    let unit = service.orchestrator.database.unit(&uri).await?.ok_or_else(|| unknown(&uri))?;
    Ok(Json(unit.shown(true)).into_response())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Deprecate {
    reason: Option<FreeText>,
    successor: Option<UnitUri>,
    actor: Option<FreeText>,
}

async fn deprecate(
    State(service): App,
    UnitOfPath(uri): UnitOfPath,
    Body(body): Body<Deprecate>,
) -> Result<Response, Problem> {
    let (reason, actor) = (body.reason.map(Into::into), body.actor.map(Into::into));
    let (unit, announced) = service.orchestrator.deprecate(uri, reason, body.successor, actor).await?;
    Ok(Json(Answer { about: unit.shown(false), announced }).into_response())
}

/// A body that says no more than who asks.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    actor: Option<FreeText>,
}

async fn verify(
    State(service): App,
    UnitOfPath(uri): UnitOfPath,
    Body(body): Body<Asked>,
) -> Result<Response, Problem> {
    let (unit, announced) = service.orchestrator.verify(uri, body.actor.map(Into::into)).await?;
    Ok(Json(Answer { about: unit.shown(false), announced }).into_response())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ResolveImport {
    imported: Option<ResourceUri>,
    fingerprint: Option<Fingerprint>,
    resolver: Option<FreeText>,
    actor: Option<FreeText>,
}

async fn resolve_import(
    State(service): App,
    UnitOfPath(importer): UnitOfPath,
    Body(body): Body<ResolveImport>,
) -> Result<Response, Problem> {
    let imported = required("imported", body.imported)?;
    let fingerprint = required("fingerprint", body.fingerprint)?;
    let (resolver, actor) = (body.resolver.map(Into::into), body.actor.map(Into::into));
    let (event, announced) =
        service.orchestrator.resolve_import(importer, imported, fingerprint, resolver, actor).await?;
    Ok(Json(Answer { about: event, announced }).into_response())
}

async fn fire_gate(
    State(service): App,
    UnitOfPath(chain): UnitOfPath,
    GateOfPath(gate, run): GateOfPath,
    Body(body): Body<Asked>,
) -> Result<Response, Problem> {
    let actor = body.actor.map(Into::into);
    let (event, announced) = service.orchestrator.fire_gate(chain, gate, run, actor).await?;
    Ok(Json(Answer { about: event, announced }).into_response())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct ResolveGate {
    outcome: Option<GateOutcome>,
    reason: Option<FreeText>,
    resolved_by: Option<FreeText>,
    actor: Option<FreeText>,
}

async fn resolve_gate(
    State(service): App,
    UnitOfPath(chain): UnitOfPath,
    GateOfPath(gate, run): GateOfPath,
    Body(body): Body<ResolveGate>,
) -> Result<Response, Problem> {
    let outcome = required("outcome", body.outcome)?;
    let details = GateDetails {
        reason: body.reason.map(Into::into),
        resolved_by: body.resolved_by.map(Into::into),
        actor: body.actor.map(Into::into),
    };
    let (event, announced) = service.orchestrator.resolve_gate(chain, gate, run, outcome, details).await?;
    Ok(Json(Answer { about: event, announced }).into_response())
}
