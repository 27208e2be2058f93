//! What the environment says.

use crate::Failure;

/// Where the service listens, and what it works with.
#[derive(Debug)]
pub(crate) struct Settings {
    /// `HTTP_ADDR`, by default `127.0.0.1:8080`.
    pub(crate) http_addr: String,
    /// `DATABASE_URL`: `postgres://...` or `sqlite:path`, by default a file in the folder for temporary files.
    pub(crate) database_url: String,
    /// `NATS_URL`; without it, the service starts a broker of its own, which ends with it.
    pub(crate) nats_url: Option<String>,
    /// `NATS_REPLICAS`: how many servers keep a copy of each stream, by default 1.
    pub(crate) nats_replicas: usize,
}

impl Settings {
    pub(crate) fn from_env() -> Result<Self, Failure> {
        let file = std::env::temp_dir().join("orchestrator_http.db");
        let replicas = variable("NATS_REPLICAS")?.unwrap_or_else(|| "1".into());
        Ok(Self {
            http_addr: variable("HTTP_ADDR")?.unwrap_or_else(|| "127.0.0.1:8080".into()),
            database_url: variable("DATABASE_URL")?.unwrap_or_else(|| format!("sqlite:{}", file.display())),
            nats_url: variable("NATS_URL")?,
            nats_replicas: replicas
                .parse()
                .map_err(|_| format!("NATS_REPLICAS is {replicas:?}: must be a number such as 3"))?,
        })
    }
}

/// A variable that is set to nothing is not set.
fn variable(name: &str) -> Result<Option<String>, Failure> {
    match std::env::var(name) {
        Ok(value) => Ok(Some(value).filter(|value| !value.is_empty())),
        Err(std::env::VarError::NotPresent) => Ok(None),
        Err(error) => Err(format!("{name} cannot be read: {error}").into()),
    }
}

/// A URL as it may be logged: without user, password and parameters.
pub(crate) fn shown(url: &str) -> String {
    let url = url.split(['?', '#']).next().unwrap_or_default();
    match url.split_once("://") {
        Some((scheme, rest)) => format!("{scheme}://{}", rest.rsplit('@').next().unwrap_or_default()),
        None => url.to_owned(),
    }
}
