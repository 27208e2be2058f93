//! Connecting as the command `nats` does: by the same variables of the environment.
//!
//! `NATS_URL`, `NATS_CREDS`, `NATS_USER` and `NATS_PASSWORD` (a user without a password is a token), `NATS_CA`,
//! `NATS_CERT` and `NATS_KEY`. One that is empty counts as not set.

use std::{env, error::Error, fmt, io, path::PathBuf, time::Duration};
use stratt_event_bridge::async_nats::{Client, ConnectError, ConnectOptions};

/// How long one server may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// Where the broker is: `NATS_URL`, or this machine.
pub(crate) fn url() -> String {
    variable("NATS_URL").unwrap_or_else(|| "nats://127.0.0.1:4222".to_owned())
}

/// Connects to `url` with the credentials that the environment names, on top of `options`.
pub(crate) async fn connect(url: &str, options: ConnectOptions) -> Result<Client, NotConnected> {
    let failed = |why| NotConnected { url: without_credentials(url), why };
    let options = with_credentials(options).await.map_err(|why| failed(Why::Credentials(why)))?;
    let connecting = options.connection_timeout(ANSWER_WITHIN).connect(url);
    connecting.await.map_err(|error| failed(Why::Connecting(error)))
}

async fn with_credentials(mut options: ConnectOptions) -> Result<ConnectOptions, (PathBuf, io::Error)> {
    if let Some(file) = variable("NATS_CREDS") {
        let read = options.credentials_file(&file).await;
        options = read.map_err(|error| (file.into(), error))?;
    }
    options = match (variable("NATS_USER"), variable("NATS_PASSWORD")) {
        (Some(user), Some(password)) => options.user_and_password(user, password),
        (Some(token), None) => options.token(token),
        (None, _) => options,
    };
    if let Some(authority) = variable("NATS_CA") {
        options = options.add_root_certificates(authority.into());
    }
    if let (Some(certificate), Some(key)) = (variable("NATS_CERT"), variable("NATS_KEY")) {
        options = options.add_client_certificate(certificate.into(), key.into());
    }
    Ok(options)
}

fn variable(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}

/// The URL as it may be shown: `nats://user:password@host` has a password, `nats://token@host` is one.
pub(crate) fn without_credentials(url: &str) -> String {
    let servers = url.split(',').map(|server| {
        let (scheme, rest) = server.split_once("://").map_or(("", server), |(scheme, rest)| (scheme, rest));
        let host = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
        if scheme.is_empty() { host.to_owned() } else { format!("{scheme}://{host}") }
    });
    servers.collect::<Vec<_>>().join(",")
}

/// Nothing answered, or it let nobody in.
#[derive(Debug)]
pub(crate) struct NotConnected {
    url: String,
    why: Why,
}

#[derive(Debug)]
enum Why {
    Credentials((PathBuf, io::Error)),
    Connecting(ConnectError),
}

impl fmt::Display for NotConnected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let url = &self.url;
        match &self.why {
            Why::Credentials((file, error)) => {
                write!(f, "no broker at {url}: credentials file {} cannot be read: {error}", file.display())
            }
            Why::Connecting(error) => write!(f, "no broker at {url}: {error}"),
        }
    }
}

impl Error for NotConnected {}
