//! Real nats-servers that form one cluster.

use crate::{
    nats::api::ApiSubject,
    testing::{
        NatsServer, ServerError,
        process::Server,
        server::{READY_WITHIN, patient},
    },
};
use async_nats::Client;
use serde::Deserialize;
use std::{net::TcpListener, time::Duration};
use tokio::time::{Instant, sleep, timeout};

/// The number of starts that are tried, because another process may take one of the ports.
const STARTS: usize = 5;
/// The time limit of one request for the state of a stream or consumer: without a leader there is no answer.
const LOOK_WITHIN: Duration = Duration::from_secs(2);

/// Real nats-servers on the loopback interface that form one JetStream cluster.
///
/// Every node is a [`NatsServer`] of its own: to be killed, restarted, paused, or retired. What needs a majority of the
/// nodes, such as the start of a single one, waits in vain while most are down.
///
/// ```
/// use stratt_event_bridge::testing::NatsCluster;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut cluster = NatsCluster::start(3).await?;
/// let client = cluster.connect().await?;
/// if let Some(node) = cluster.nodes_mut().first_mut() {
///     node.kill();
/// }
/// cluster.restart_killed().await?;
/// client.flush().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct NatsCluster {
    nodes: Vec<NatsServer>,
}

impl NatsCluster {
    /// Starts a cluster of `size` nodes and waits until JetStream has a leader and answers through each of them, which
    /// takes some seconds.
    ///
    /// # Errors
    ///
    /// When `size` is below 2, or as for [`NatsServer::start`].
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves no server behind.
    pub async fn start(size: usize) -> Result<Self, ServerError> {
        Self::start_with(size, "").await
    }

    /// Starts a cluster of which each node has `config` in its configuration, such as accounts: then with a
    /// `no_auth_user`, since the cluster connects without a user to see whether it is ready.
    ///
    /// # Errors
    ///
    /// As for [`start`](Self::start).
    ///
    /// # Cancel safety
    ///
    /// As for [`start`](Self::start).
    pub async fn start_with(size: usize, config: &str) -> Result<Self, ServerError> {
        if size < 2 {
            return Err(ServerError::new("a cluster has two nodes or more"));
        }
        let mut starts = 1;
        loop {
            let ports = free_ports(size).map_err(ServerError::new)?;
            match Self::try_start(&ports, config).await {
                Err(error) if error.is_port_taken() && starts < STARTS => starts += 1,
                done => return done,
            }
        }
    }

    async fn try_start(ports: &[u16], config: &str) -> Result<Self, ServerError> {
        let routes: Vec<_> = ports.iter().map(|port| format!("nats://127.0.0.1:{port}")).collect();
        let routes = routes.join(", ");
        // The name keeps out a node of another cluster that finds one of these ports.
        let name = ports.iter().map(ToString::to_string).collect::<Vec<_>>().join("-");
        let mut nodes = Vec::with_capacity(ports.len());
        for (index, port) in ports.iter().enumerate() {
            let block = format!(
                "server_name: {}\ncluster {{ name: \"ports-{name}\", \
                 listen: \"127.0.0.1:{port}\", routes: [{routes}] }}\n{config}",
                node_name(index)
            );
            nodes.push(NatsServer::builder().config(block).begin().await?);
        }
        let mut cluster = Self { nodes };
        cluster.wait_until_ready().await?;
        Ok(cluster)
    }

    async fn wait_until_ready(&mut self) -> Result<(), ServerError> {
        for node in &mut self.nodes {
            node.wait_until_ready().await?;
        }
        Ok(())
    }

    /// Returns the nodes.
    #[must_use]
    pub fn nodes(&self) -> &[NatsServer] {
        &self.nodes
    }

    /// Returns the nodes, to be killed and restarted.
    #[must_use]
    pub fn nodes_mut(&mut self) -> &mut [NatsServer] {
        &mut self.nodes
    }

    /// Returns the URLs of the nodes, in their order.
    #[must_use]
    pub fn urls(&self) -> Vec<String> {
        self.nodes.iter().map(|node| node.url().to_owned()).collect()
    }

    /// Returns the index of the node with this server name, as JetStream reports it.
    #[must_use]
    pub fn index_of(&self, server_name: &str) -> Option<usize> {
        (0..self.nodes.len()).find(|index| node_name(*index) == server_name)
    }

    /// Opens a connection that knows all nodes, and reconnects quickly and without limit.
    ///
    /// # Errors
    ///
    /// When no node answers.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future drops the connection.
    pub async fn connect(&self) -> Result<Client, ServerError> {
        patient().connect(self.urls()).await.map_err(ServerError::new)
    }

    /// Starts all nodes again that are killed, on the same ports and data, and waits until JetStream answers through
    /// every node.
    ///
    /// # Errors
    ///
    /// When a node does not become ready.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves them started, perhaps not yet ready.
    pub async fn restart_killed(&mut self) -> Result<(), ServerError> {
        for node in self.nodes.iter_mut().filter(|node| node.pid().is_none()) {
            node.relaunch()?;
        }
        self.wait_until_ready().await
    }

    /// Returns the index of the node that leads the stream; waits while none does.
    ///
    /// # Errors
    ///
    /// When it has no leader in time, or does not exist.
    ///
    /// # Cancel safety
    ///
    /// Only reads: dropping the future has no effect.
    pub async fn stream_leader(&self, stream: &str) -> Result<usize, ServerError> {
        self.leader(format!("STREAM.INFO.{stream}")).await
    }

    /// Returns the index of the node that leads the consumer; waits while none does.
    ///
    /// # Errors
    ///
    /// When it has no leader in time, or does not exist.
    ///
    /// # Cancel safety
    ///
    /// Only reads: dropping the future has no effect.
    pub async fn consumer_leader(&self, stream: &str, consumer: &str) -> Result<usize, ServerError> {
        self.leader(format!("CONSUMER.INFO.{stream}.{consumer}")).await
    }

    async fn leader(&self, subject: String) -> Result<usize, ServerError> {
        let found = self.look_until(&subject, |group| group.leader.is_some()).await?;
        let index = found.leader.as_deref().and_then(|name| self.index_of(name));
        index.ok_or_else(|| ServerError::new(format!("{subject}: led by no node of this cluster: {found:?}")))
    }

    /// Waits until the stream has a leader and all its replicas are online and current.
    ///
    /// # Errors
    ///
    /// When it is not so in time, or the stream does not exist.
    ///
    /// # Cancel safety
    ///
    /// Only reads: dropping the future has no effect.
    pub async fn wait_until_healthy(&self, stream: &str) -> Result<(), ServerError> {
        self.look_until(&format!("STREAM.INFO.{stream}"), Group::is_healthy).await.map(drop)
    }

    async fn look_until(&self, subject: &str, wanted: impl Fn(&Group) -> bool) -> Result<Group, ServerError> {
        let deadline = Instant::now() + READY_WITHIN;
        loop {
            let seen = match timeout(LOOK_WITHIN, self.look(subject)).await {
                Ok(Ok(Info::Found { cluster })) if wanted(&cluster) => return Ok(cluster),
                Ok(Ok(Info::Failed { error })) if error.code == NOT_FOUND => {
                    return Err(ServerError::new(format!("{subject}: {}", error.description)));
                }
                seen => seen,
            };
            if Instant::now() >= deadline {
                return Err(ServerError::new(format!("{subject}: still {seen:?} after {READY_WITHIN:?}")));
            }
            sleep(Duration::from_millis(20)).await;
        }
    }

    async fn look(&self, subject: &str) -> Result<Info, ServerError> {
        let client = self.connect().await?;
        let answer =
            client.request(ApiSubject::other(subject).local(), "".into()).await.map_err(ServerError::new)?;
        serde_json::from_slice(&answer.payload).map_err(ServerError::new)
    }
}

const NOT_FOUND: u16 = 404;

/// The common part of the answers to STREAM.INFO and CONSUMER.INFO.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Info {
    Failed { error: ApiError },
    Found { cluster: Group },
}

#[derive(Debug, Deserialize)]
struct ApiError {
    code: u16,
    #[serde(default)]
    description: String,
}

#[derive(Debug, Deserialize)]
struct Group {
    leader: Option<String>,
    #[serde(default)]
    replicas: Vec<Replica>,
}

#[derive(Debug, Deserialize)]
struct Replica {
    current: bool,
    #[serde(default)]
    offline: bool,
}

impl Group {
    fn is_healthy(&self) -> bool {
        self.leader.is_some() && self.replicas.iter().all(|replica| replica.current && !replica.offline)
    }
}

fn node_name(index: usize) -> String {
    format!("node-{index}")
}

/// Returns ports that are free now. All are held until all are found, so that none is found twice.
pub(super) fn free_ports(count: usize) -> std::io::Result<Vec<u16>> {
    let held: Vec<_> = (0..count).map(|_| TcpListener::bind("127.0.0.1:0")).collect::<Result<_, _>>()?;
    held.iter().map(|listener| Ok(listener.local_addr()?.port())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_port_that_is_taken_is_told_from_other_failures() {
        let mut ports = free_ports(2).unwrap();
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        ports.push(taken.local_addr().unwrap().port());
        let error = NatsCluster::try_start(&ports, "").await.unwrap_err();
        assert!(error.is_port_taken(), "{error}");
    }
}
