//! A real nats-server for one test.

mod builder;

pub use builder::NatsServerBuilder;

use crate::{
    nats::{api::ApiPrefix, api_context::ApiContext},
    testing::process::{Process, Server},
};
use async_nats::{Client, ConnectOptions};
use serde::Deserialize;
use std::{
    error::Error as _,
    fs, io,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

/// The time limit until JetStream answers; it usually takes some 10 ms, in a cluster some seconds.
pub(super) const READY_WITHIN: Duration = Duration::from_secs(30);
/// The time limit for a lame duck to disconnect its last client.
const GONE_WITHIN: Duration = Duration::from_secs(60);
/// A real nats-server with JetStream, on a free port of the loopback interface, with a directory of its own.
///
/// [`Program`](crate::testing::Program) documents where the program is looked for. Dropping it kills the process and
/// removes its directory; so does the end of the test process, also by a kill.
///
/// ```
/// use stratt_event_bridge::testing::NatsServer;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut server = NatsServer::start().await?;
/// let client = server.connect().await?;
/// server.kill();
/// server.restart().await?; // same port, same data
/// client.flush().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct NatsServer {
    program: PathBuf,
    config: PathBuf,
    url: String,
    port: u16,
    /// The port for leaf nodes, if it accepts them, and the prefix of its own JetStream for them.
    leaf_port: Option<u16>,
    domain: ApiPrefix,
    /// The JetStream that it must reach to be ready: its own, and that of its hub.
    reaches: Vec<ApiPrefix>,
    process: Option<Process>,
    folder: TempDir,
}

impl NatsServer {
    /// Starts a server and waits until it is ready.
    ///
    /// # Errors
    ///
    /// As for [`NatsServerBuilder::start`].
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves no server behind.
    pub async fn start() -> Result<Self, ServerError> {
        Self::builder().start().await
    }

    /// Returns a builder of a server with more configuration.
    #[must_use]
    pub fn builder() -> NatsServerBuilder {
        NatsServerBuilder::default()
    }

    /// Returns its URL, such as `nats://127.0.0.1:34567`: the same after a restart.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Returns the id of the process, or `None` while it is killed.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Process::id)
    }

    /// Returns the folder of its data, configuration and log.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Opens a connection, which reconnects quickly and without limit.
    ///
    /// # Errors
    ///
    /// When the server does not answer.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future drops the connection.
    pub async fn connect(&self) -> Result<Client, ServerError> {
        patient().connect(&self.url).await.map_err(ServerError::new)
    }

    /// Kills it (SIGKILL): nothing is flushed, and no client is notified.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Starts it again after [`kill`](Self::kill), on the same port and data, and waits until it is ready.
    ///
    /// # Errors
    ///
    /// When it does not become ready.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves it started, perhaps not yet ready.
    pub async fn restart(&mut self) -> Result<(), ServerError> {
        self.relaunch()?;
        self.wait_until_ready().await
    }

    pub(super) fn relaunch(&mut self) -> Result<(), ServerError> {
        self.kill();
        self.launch(i32::from(self.port))
    }

    /// Retires it (lame duck): it hands over its leaderships, accepts no new clients, disconnects the present ones
    /// one after the other, and exits. Waits for the exit; [`restart`](Self::restart) brings it back.
    ///
    /// # Errors
    ///
    /// When it is not running, or does not end.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future does not stop it from retiring.
    pub async fn lame_duck(&mut self) -> Result<(), ServerError> {
        self.signal("-USR2")?;
        let deadline = Instant::now() + GONE_WITHIN;
        while !self.has_ended() {
            if Instant::now() >= deadline {
                return Err(ServerError::new("nats-server is a lame duck and does not end"));
            }
            sleep(Duration::from_millis(5)).await;
        }
        self.kill();
        Ok(())
    }

    /// Pauses its process (SIGSTOP): connections stay open, and nothing answers.
    ///
    /// # Errors
    ///
    /// When it is not running.
    pub fn pause(&self) -> Result<(), ServerError> {
        self.signal("-STOP")?;
        // The signal takes effect later: a thread that still runs could answer once more.
        let deadline = std::time::Instant::now() + READY_WITHIN;
        while self.pid().is_some_and(|pid| !has_stopped(pid)) && std::time::Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// Continues its process after [`pause`](Self::pause) (SIGCONT).
    ///
    /// # Errors
    ///
    /// When it is not running.
    pub fn resume(&self) -> Result<(), ServerError> {
        self.signal("-CONT")
    }

    fn signal(&self, signal: &str) -> Result<(), ServerError> {
        let pid = self.pid().ok_or_else(|| ServerError::new("nats-server is not running"))?;
        let status =
            Command::new("kill").args([signal, &pid.to_string()]).status().map_err(ServerError::new)?;
        if status.success() { Ok(()) } else { Err(ServerError::new(format!("kill {signal} {pid} failed"))) }
    }

    fn launch(&mut self, port: i32) -> Result<(), ServerError> {
        let log = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.log_file())
            .map_err(ServerError::new)?;
        let mut server = Command::new(&self.program);
        server.arg("--config").arg(&self.config).args(["--port", &port.to_string()]);
        server.arg("--ports_file_dir").arg(self.folder.path());
        self.process = Some(Process::start(&mut server, log, None, self.folder.path())?);
        Ok(())
    }

    fn log_file(&self) -> PathBuf {
        self.folder.path().join("nats-server.log")
    }

    async fn port_from_file(&mut self) -> Result<u16, ServerError> {
        #[derive(Deserialize)]
        struct Ports {
            nats: Vec<String>,
        }
        let name = self.program.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let file = self.folder.path().join(format!("{name}_{}.ports", self.pid().unwrap_or_default()));
        let deadline = Instant::now() + READY_WITHIN;
        loop {
            let ports = fs::read(&file).ok().and_then(|bytes| serde_json::from_slice::<Ports>(&bytes).ok());
            let url = ports.and_then(|ports| ports.nats.into_iter().next());
            if let Some(port) = url.and_then(|url| url.rsplit(':').next()?.parse().ok()) {
                return Ok(port);
            }
            self.must_live(deadline)?;
            sleep(Duration::from_millis(2)).await;
        }
    }
}

impl Server for NatsServer {
    const NAME: &'static str = "nats-server";
    const READY_WITHIN: Duration = READY_WITHIN;

    fn process(&mut self) -> Option<&mut Process> {
        self.process.as_mut()
    }

    fn log(&self) -> String {
        fs::read_to_string(self.log_file()).unwrap_or_default()
    }

    /// Checks that JetStream answers, its own and that of its hub; a server that asks for credentials or certificates
    /// is ready when its port is open.
    async fn answers(&self) -> bool {
        use async_nats::ConnectErrorKind::{Authentication, AuthorizationViolation};
        match async_nats::connect(&self.url).await {
            Ok(client) => {
                for prefix in &self.reaches {
                    let context = ApiContext::new(client.clone(), *prefix);
                    if context.query_account().await.is_err() {
                        return false;
                    }
                }
                true
            }
            Err(error) => {
                matches!(error.kind(), Authentication | AuthorizationViolation) || is_of_tls(&error)
            }
        }
    }
}

/// Returns options of a connection that reconnects quickly and without limit, even when a server that it tries is
/// paused.
pub(super) fn patient() -> ConnectOptions {
    ConnectOptions::new()
        .connection_timeout(Duration::from_secs(2))
        .reconnect_delay_callback(|_attempt| Duration::from_millis(20))
}

/// Returns whether the TLS handshake failed, which shows a server that listens: rustls reports invalid data.
fn is_of_tls(error: &async_nats::ConnectError) -> bool {
    let cause = error.source().and_then(|source| source.downcast_ref::<io::Error>());
    error.kind() == async_nats::ConnectErrorKind::Tls
        || cause.is_some_and(|cause| cause.kind() == io::ErrorKind::InvalidData)
}

/// Returns whether all threads of the process have stopped, as far as the system reports it.
fn has_stopped(pid: u32) -> bool {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else { return true };
    let stat = threads.flatten().filter_map(|thread| fs::read_to_string(thread.path().join("stat")).ok());
    // The state follows the name, which stands in brackets.
    stat.map(|stat| stat.rsplit(')').next().unwrap_or_default().trim_start().to_owned())
        .all(|state| state.starts_with('T'))
}

/// A server that could not be started or reached.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct ServerError(Box<dyn std::error::Error + Send + Sync>);

impl ServerError {
    pub(super) fn new(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self(cause.into())
    }

    /// Returns whether a server found its port taken.
    pub(super) fn is_port_taken(&self) -> bool {
        self.to_string().contains("address already in use")
    }
}
