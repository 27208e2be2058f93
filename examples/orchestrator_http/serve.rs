//! Serving connections. `axum::serve` has no limit for the head of a request, so this is written with hyper.

use axum::{Router, extract::Request, serve::Listener};
use hyper::{body::Incoming, server::conn::http1, service::Service};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use std::{
    pin::pin,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::timeout,
};

/// The time limit for a connection without a running request to send the rest of an answer, when the service
/// stops.
const LINGER: Duration = Duration::from_millis(500);

/// Serves until `stop`, then answers what is under way. Dropped, it cuts that off.
pub(crate) async fn serve(
    mut listener: TcpListener,
    router: Router,
    read_timeout: Duration,
    stop: impl Future<Output = ()> + Clone + Send + 'static,
) {
    let mut connections = JoinSet::new();
    let mut stopped = pin!(stop.clone());
    loop {
        tokio::select! {
            (stream, _) = Listener::accept(&mut listener) => {
                connections.spawn(connection(stream, router.clone(), read_timeout, stop.clone()));
            }
            Some(_ended) = connections.join_next() => {}
            () = &mut stopped => break,
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

async fn connection(
    stream: TcpStream,
    router: Router,
    read_timeout: Duration,
    stop: impl Future<Output = ()>,
) {
    let (router, is_under_way) = (TowerToHyperService::new(router), AtomicBool::new(false));
    let service = hyper::service::service_fn(|request: Request<Incoming>| {
        let answer = router.call(request);
        async {
            is_under_way.store(true, Ordering::Relaxed);
            let answer = answer.await;
            is_under_way.store(false, Ordering::Relaxed);
            answer
        }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(read_timeout);
    let mut serving = pin!(http.serve_connection(TokioIo::new(stream), service));
    tokio::select! {
        ended = serving.as_mut() => return log(ended),
        () = stop => serving.as_mut().graceful_shutdown(),
    }
    // Half a request is not waited for.
    while timeout(LINGER, serving.as_mut()).await.map(log).is_err() && is_under_way.load(Ordering::Relaxed) {}
}

/// A caller that broke off or sent something else than HTTP is no error of the service.
fn log(ended: Result<(), hyper::Error>) {
    if let Err(error) = ended {
        tracing::debug!(%error, "connection has ended");
    }
}
