//! Building a nats-server.

use crate::{
    nats::api::{ApiPrefix, JetStreamDomain},
    testing::{NatsServer, Program, ServerError, cluster::free_ports, process::Server},
};
use std::{fs, path::PathBuf};
use tokio::task::spawn_blocking;

/// The settings of a lame duck: by default it waits 10 s before it disconnects the first client, too long for a test.
const LAME_DUCK: &str = "lame_duck_grace_period: \"500ms\"\nlame_duck_duration: \"30s\"";

/// A builder of a [`NatsServer`] with more configuration.
#[derive(Debug, Clone, Default)]
pub struct NatsServerBuilder {
    config: String,
    program: Option<PathBuf>,
    version: Option<String>,
    without_jetstream: bool,
    domain: Option<JetStreamDomain>,
    accepts_leaf_nodes: bool,
    hub: Option<Hub>,
}

/// The hub of a leaf node.
#[derive(Debug, Clone)]
struct Hub {
    /// The port for leaf nodes; `None` if it accepts none.
    port: Option<u16>,
    domain: ApiPrefix,
}

impl NatsServerBuilder {
    /// Adds lines to the server's configuration, such as accounts and permissions.
    #[must_use]
    pub fn config(mut self, lines: impl AsRef<str>) -> Self {
        self.config.push_str(lines.as_ref());
        self.config.push('\n');
        self
    }

    /// Sets the program; otherwise it is looked up.
    #[must_use]
    pub fn program(mut self, program: impl Into<PathBuf>) -> Self {
        self.program = Some(program.into());
        self
    }

    /// Sets the version, such as `2.10.26`, which is fetched like the usual one, unless a program is set. It must be
    /// one of those whose hashes are [known](Program).
    #[must_use]
    pub fn version(mut self, version: impl Into<String>) -> Self {
        self.version = Some(version.into());
        self
    }

    /// Sets the domain of its JetStream; none unless set.
    #[must_use]
    pub fn jetstream_domain(mut self, domain: JetStreamDomain) -> Self {
        self.domain = Some(domain);
        self
    }

    /// Leaves out JetStream, for a [leaf node](Self::leaf_of) that uses the one of its hub.
    #[must_use]
    pub fn without_jetstream(mut self) -> Self {
        self.without_jetstream = true;
        self
    }

    /// Accepts leaf nodes, without credentials, for its global account.
    #[must_use]
    pub fn accepting_leaf_nodes(mut self) -> Self {
        self.accepts_leaf_nodes = true;
        self
    }

    /// Makes it a leaf node of `hub`, which must [accept](Self::accepting_leaf_nodes) them. It is ready once it reaches
    /// the JetStream of the hub, which needs a [domain](Self::jetstream_domain).
    #[must_use]
    pub fn leaf_of(mut self, hub: &NatsServer) -> Self {
        self.hub = Some(Hub { port: hub.leaf_port, domain: hub.domain });
        self
    }

    /// Starts the server and waits until it is ready.
    ///
    /// # Errors
    ///
    /// When there is no program, with the ways to get one, or when it does not become ready, with the end of its log.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves no server behind.
    pub async fn start(self) -> Result<NatsServer, ServerError> {
        let mut server = self.begin().await?;
        server.wait_until_ready().await?;
        Ok(server)
    }

    /// Starts the server and waits until its port is known; it may not be ready.
    pub(in crate::testing) async fn begin(self) -> Result<NatsServer, ServerError> {
        let program = match (self.program.clone(), self.version.clone()) {
            (Some(program), _) => program,
            // Fetching the program may take a while.
            (None, Some(version)) => spawn_blocking(move || Program::NatsServer.fetched(&version))
                .await
                .map_err(ServerError::new)??,
            (None, None) => {
                spawn_blocking(|| Program::NatsServer.find()).await.map_err(ServerError::new)??
            }
        };
        let folder = tempfile::tempdir().map_err(ServerError::new)?;
        let config = folder.path().join("nats-server.conf");
        let leaf_port = if self.accepts_leaf_nodes {
            free_ports(1).map_err(ServerError::new)?.into_iter().next()
        } else {
            None
        };
        let store = folder.path().join("data");
        let jetstream = self.jetstream(&store.display().to_string());
        let leaf_nodes = self.leaf_nodes(leaf_port)?;
        let text = format!("listen: \"127.0.0.1:0\"\n{jetstream}{leaf_nodes}{LAME_DUCK}\n{}", self.config);
        fs::write(&config, text).map_err(ServerError::new)?;
        let own = (!self.without_jetstream).then(ApiPrefix::default);
        let mut server = NatsServer {
            program,
            config,
            url: String::new(),
            port: 0,
            leaf_port,
            domain: self.domain.map_or_else(ApiPrefix::default, ApiPrefix::from),
            reaches: own.into_iter().chain(self.hub.map(|hub| hub.domain)).collect(),
            process: None,
            folder,
        };
        server.launch(-1)?;
        server.port = server.port_from_file().await?;
        server.url = format!("nats://127.0.0.1:{}", server.port);
        Ok(server)
    }

    /// Returns the block of JetStream, which has its files in the folder `store`.
    fn jetstream(&self, store: &str) -> String {
        if self.without_jetstream {
            return String::new();
        }
        let domain =
            self.domain.as_ref().map_or_else(String::new, |domain| format!(", domain: \"{domain}\""));
        format!("jetstream {{ store_dir: \"{store}\"{domain} }}\n")
    }

    /// Returns the block of leaf nodes, if it accepts them or is one itself.
    fn leaf_nodes(&self, accepting: Option<u16>) -> Result<String, ServerError> {
        let listen = accepting.map(|port| format!("listen: \"127.0.0.1:{port}\""));
        let remote = match &self.hub {
            Some(Hub { port: Some(port), .. }) => {
                Some(format!("remotes: [{{ url: \"nats-leaf://127.0.0.1:{port}\" }}], reconnect: 1"))
            }
            Some(Hub { port: None, .. }) => {
                return Err(ServerError::new(
                    "hub accepts no leaf nodes: build it with `accepting_leaf_nodes`",
                ));
            }
            None => None,
        };
        let parts: Vec<_> = listen.into_iter().chain(remote).collect();
        Ok(if parts.is_empty() { String::new() } else { format!("leafnodes {{ {} }}\n", parts.join(", ")) })
    }
}
