//! Connecting as the command `nats` does: by the same variables of the environment.
//!
//! One that is empty counts as not set. What a variable holds is never part of an error: it may be a secret
//! in the wrong place, such as the seed of an nkey where its file should be named.

mod servers;

use servers::{NoServers, Servers};
use std::{env, error::Error, fmt, fs, time::Duration};
use stratt_event_bridge::{
    BridgeOptions, JetStreamDomain, ParseError,
    async_nats::{Client, ConnectError, ConnectErrorKind, ConnectOptions},
};

/// The variables, for the help of a program.
pub(crate) const VARIABLES: &str = "\
Connects as the command `nats` does:
  NATS_URL            nats://[user:password@]host:port, several separated by commas
  NATS_USER           user, or a token if there is no password; what stands in NATS_URL goes before it
  NATS_PASSWORD       password
  NATS_CREDS          file with a JWT and its nkey
  NATS_NKEY           file with the seed of an nkey
  NATS_CA             file with the authorities to trust; asks for TLS
  NATS_CERT NATS_KEY  files with the certificate and key of the client; ask for TLS
  NATS_INBOX_PREFIX   where answers are received, by default _INBOX
and finds JetStream as it does with `--js-domain` or `--js-api-prefix`:
  NATS_JS_DOMAIN      domain, by default that of the server
  NATS_JS_API_PREFIX  prefix of its requests, by default $JS.API; goes before the domain";

/// The time limit of the answer of one server.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// Returns the servers of `NATS_URL`, or those of `default`.
pub(crate) fn servers_or(default: &str) -> Result<Servers, NotConnected> {
    let url = variable("NATS_URL")?;
    let servers = url.as_deref().unwrap_or(default).parse();
    servers.map_err(|error: NoServers| wrong("NATS_URL", error.to_string()))
}

/// Connects with the credentials that the environment names, on top of `options`.
pub(crate) async fn connect(servers: &Servers, options: ConnectOptions) -> Result<Client, NotConnected> {
    let mut options = with_tls(with_user(servers, options)?)?.connection_timeout(ANSWER_WITHIN);
    if let Some(prefix) = variable("NATS_INBOX_PREFIX")? {
        if !is_subject(&prefix) {
            return Err(wrong(
                "NATS_INBOX_PREFIX",
                "must be tokens with dots between them, without wildcards",
            ));
        }
        options = options.custom_inbox_prefix(prefix);
    }
    let connecting = options.connect(servers.addresses()).await;
    connecting.map_err(|error| NotConnected::Connecting { servers: servers.to_string(), error })
}

/// Returns options of a bridge that finds JetStream where the environment says.
pub(crate) fn bridge_options() -> Result<BridgeOptions, NotConnected> {
    let mut options = BridgeOptions::default();
    if let Some(domain) = variable("NATS_JS_DOMAIN")? {
        let domain: Result<JetStreamDomain, ParseError> = domain.parse();
        options = options
            .with_jetstream_domain(domain.map_err(|error| wrong("NATS_JS_DOMAIN", error.to_string()))?);
    }
    if let Some(prefix) = variable("NATS_JS_API_PREFIX")? {
        let prefix = prefix.parse();
        options = options.with_api_prefix(
            prefix.map_err(|error: ParseError| wrong("NATS_JS_API_PREFIX", error.to_string()))?,
        );
    }
    Ok(options)
}

fn with_user(servers: &Servers, options: ConnectOptions) -> Result<ConnectOptions, NotConnected> {
    let login = match (servers.login(), variable("NATS_USER")?) {
        (Some(login), _) => Some(login),
        (None, Some(user)) => Some((user, variable("NATS_PASSWORD")?)),
        (None, None) => None,
    };
    let mut options = match login {
        Some((user, Some(password))) => options.user_and_password(user, password),
        Some((token, None)) => options.token(token),
        None => options,
    };
    if let Some(credentials) = file("NATS_CREDS")? {
        let read = options.credentials(&credentials);
        options = read.map_err(|_| wrong("NATS_CREDS", "names a file without a JWT and its nkey"))?;
    }
    if let Some(text) = file("NATS_NKEY")? {
        let seed = text.lines().map(str::trim).find(|line| line.starts_with("SU"));
        let seed = seed.ok_or_else(|| wrong("NATS_NKEY", "names a file without the seed of a user"))?;
        options = options.nkey(seed.to_owned());
    }
    Ok(options)
}

/// async-nats looks at these files only when it has come to TLS: what is missing would be missed on
/// `nats://`.
fn with_tls(mut options: ConnectOptions) -> Result<ConnectOptions, NotConnected> {
    if let (Some(path), Some(text)) = (variable("NATS_CA")?, file("NATS_CA")?) {
        if !text.contains("-----BEGIN CERTIFICATE-----") {
            return Err(wrong("NATS_CA", "names a file without a certificate"));
        }
        options = options.add_root_certificates(path.into()).require_tls(true);
    }
    let (certificate, key) = (file("NATS_CERT")?, file("NATS_KEY")?);
    match (certificate.and(variable("NATS_CERT")?), key.and(variable("NATS_KEY")?)) {
        (Some(certificate), Some(key)) => {
            options = options.add_client_certificate(certificate.into(), key.into()).require_tls(true);
        }
        (None, None) => {}
        (Some(_), None) => return Err(wrong("NATS_KEY", "is not set, but NATS_CERT is")),
        (None, Some(_)) => return Err(wrong("NATS_CERT", "is not set, but NATS_KEY is")),
    }
    Ok(options)
}

fn is_subject(text: &str) -> bool {
    text.split('.')
        .all(|token| !token.is_empty() && token.bytes().all(|b| b.is_ascii_graphic() && !b"*>".contains(&b)))
}

/// Returns a variable of the environment, unless it is empty.
pub(crate) fn variable(name: &'static str) -> Result<Option<String>, NotConnected> {
    let Some(value) = env::var_os(name) else { return Ok(None) };
    let value = value.into_string().map_err(|_| wrong(name, "is not UTF-8"))?;
    Ok(Some(value).filter(|value| !value.is_empty()))
}

/// Reads the file that a variable names.
fn file(variable_name: &'static str) -> Result<Option<String>, NotConnected> {
    let Some(path) = variable(variable_name)? else { return Ok(None) };
    let read = fs::read_to_string(path);
    read.map(Some).map_err(|error| wrong(variable_name, format!("names a file that cannot be read: {error}")))
}

fn wrong(variable: &'static str, problem: impl Into<String>) -> NotConnected {
    NotConnected::Setting { variable, problem: problem.into() }
}

/// The reason why there is no connection.
#[derive(Debug)]
pub(crate) enum NotConnected {
    /// A variable of the environment is not what it must be.
    Setting { variable: &'static str, problem: String },
    /// Nothing answered, or it refused the connection.
    Connecting { servers: String, error: ConnectError },
}

impl fmt::Display for NotConnected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Setting { variable, problem } => write!(f, "{variable}: {problem}"),
            Self::Connecting { servers, error } if is_refused(error) => write!(
                f,
                "broker at {servers} refuses this user: check NATS_URL, NATS_USER and NATS_PASSWORD, or NATS_CREDS"
            ),
            Self::Connecting { servers, error } => write!(f, "no broker at {servers}: {error}"),
        }
    }
}

impl Error for NotConnected {}

fn is_refused(error: &ConnectError) -> bool {
    matches!(error.kind(), ConnectErrorKind::Authentication | ConnectErrorKind::AuthorizationViolation)
}
