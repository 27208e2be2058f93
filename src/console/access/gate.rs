//! The gate before every page and every action.

use crate::console::{
    Access,
    access::{Visit, headers::secured, same_origin::is_same_origin},
    refusal::Refusal,
    state::Console,
};
use axum::{
    extract::{Request, State},
    http::{Method, StatusCode, request::Parts},
    middleware::Next,
    response::Response,
};
use std::sync::Arc;

/// Lets a request through if its sender may make it, and secures the answer.
pub(in crate::console) async fn gate(
    State(console): State<Arc<Console>>,
    request: Request,
    next: Next,
) -> Response {
    let (mut parts, body) = request.into_parts();
    let visit = Visit::new(&parts, console.options.visitor(&parts));
    let mut answer = match checked(&parts, &visit) {
        Ok(()) => {
            parts.extensions.insert(visit.clone());
            next.run(Request::from_parts(parts, body)).await
        }
        Err(refusal) => refusal.page(&visit),
    };
    // Only here is it known how to show it.
    if let Some(refusal) = answer.extensions_mut().remove::<Refusal>() {
        answer = refusal.page(&visit);
    }
    secured(answer)
}

/// Refuses by the method, so that no route can forget it.
fn checked(parts: &Parts, visit: &Visit) -> Result<(), Refusal> {
    let is_read = [Method::GET, Method::HEAD].contains(&parts.method);
    let forbidden = |why: &'static str| Err(Refusal::new(StatusCode::FORBIDDEN, why));
    match visit.visitor().access() {
        Access::Denied => forbidden("you may not see this console: ask who runs the service"),
        Access::Read if !is_read => forbidden("you may read only: ask who runs the service"),
        Access::Operate if !is_read && !is_same_origin(parts) => forbidden(
            "request does not come from a page of this console: send Origin with the address of the host",
        ),
        Access::Read | Access::Operate => Ok(()),
    }
}
