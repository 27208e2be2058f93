//! The console in a browser on this machine.

use crate::{
    failure::{Failure, complain},
    output::Output,
};
use axum::{
    Router,
    http::{Uri, header::HOST, request::Parts},
    response::Redirect,
    routing::get,
};
use clap::Args;
use serde_json::json;
use std::net::{IpAddr, SocketAddr};
use stratt_event_bridge::{
    EventBridge,
    console::{self, ConsoleOptions, Visitor, provision_audit},
};
use tokio::net::TcpListener;

#[derive(Debug, Args)]
pub(crate) struct ConsoleCommand {
    /// Address and port to serve on; port 0 takes any that is free
    #[arg(long, default_value = "127.0.0.1:8090")]
    listen: SocketAddr,
    /// Let the pages redrive, discard, pause and resume; creates the audit stream unless it is there
    #[arg(long)]
    allow_writes: bool,
    /// Serve others than this machine, although no one is asked to sign in
    #[arg(long)]
    anyone: bool,
    /// Show no bytes of events
    #[arg(long)]
    hide_payloads: bool,
    /// Number of replicas of the audit stream, if it is created
    #[arg(long, default_value = "1")]
    audit_replicas: usize,
}

/// Serves the console until it is interrupted.
pub(crate) async fn serve(
    bridge: EventBridge,
    command: &ConsoleCommand,
    output: &mut Output,
) -> Result<bool, Failure> {
    let ConsoleCommand { listen, allow_writes, anyone, .. } = *command;
    if !listen.ip().is_loopback() && !anyone {
        let why = format!(
            "{listen} can be reached from other machines, and no one is asked to sign in: listen on 127.0.0.1, or \
             say --anyone"
        );
        return Err(Failure::wrong_usage(why));
    }
    if allow_writes {
        provision_audit(&bridge, command.audit_replicas).await.map_err(Failure::no_broker)?;
    }
    let listener = TcpListener::bind(listen).await?;
    let address = listener.local_addr()?;
    let who = user();
    let options = ConsoleOptions::default().with_payloads(!command.hide_payloads);
    let options = options.with_authoriser(move |parts| match (is_addressed(parts, anyone), allow_writes) {
        (false, _) => Visitor::denied(),
        (true, true) => Visitor::operator(who.clone()),
        (true, false) => Visitor::reader(who.clone()),
    });
    let router = Router::new().nest("/console", console::router(bridge, options));
    let router = router.route("/", get(|| async { Redirect::to("/console") }));
    let url = format!("http://{address}/console");
    output.item(&json!({ "url": url, "writes": allow_writes }), || {
        format!("{url} ({})", if allow_writes { "may change things" } else { "read only" })
    })?;
    tokio::select! {
        served = axum::serve(listener, router) => served?,
        // Live pages would never let it end by themselves.
        stopped = tokio::signal::ctrl_c() => stopped?,
    }
    complain("stopped; redrives that were under way may be begun again");
    Ok(true)
}

/// Returns whether the browser asked for this machine: the name of another site may lead here as well, and its pages
/// would be taken for those of the console.
fn is_addressed(parts: &Parts, anyone: bool) -> bool {
    let host = parts.headers.get(HOST).and_then(|host| host.to_str().ok());
    let host = host.and_then(|host| host.parse::<Uri>().ok());
    let name = host.as_ref().and_then(Uri::host).unwrap_or_default();
    let address = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    anyone || name == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

/// Returns the user of this machine, for the audit stream.
fn user() -> String {
    let user = ["USER", "LOGNAME"].iter().find_map(|name| std::env::var(name).ok());
    format!("{} by strattctl", user.as_deref().unwrap_or("an operator"))
}
