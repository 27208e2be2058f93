//! A network between a client and a server that fails on demand.

use crate::testing::ServerError;
use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::mpsc,
    task::JoinSet,
    time::{Instant, sleep, sleep_until},
};
use tokio_util::sync::CancellationToken;

/// The maximum of bytes that are read at once.
const CHUNK: usize = 16 * 1024;
/// The maximum of chunks that wait while they are delayed.
const ON_THE_WAY: usize = 256;
/// The pause after a connection that could not be accepted.
const PAUSE: Duration = Duration::from_millis(10);

/// A direction of bytes. Complete: a connection has two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// From the client to the server: publishes, requests for messages, acks.
    ToServer,
    /// From the server to the client: acknowledgements of publishes, messages, answers.
    ToClient,
}

/// A TCP proxy in front of a server, whose faults can be switched while it runs.
///
/// Dropping it closes its port and cuts its connections. In a cluster a client learns the addresses of all
/// servers and would bypass the proxy: connect with [`ignore_discovered_servers`], and with one proxy for each server.
///
/// [`ignore_discovered_servers`]: async_nats::ConnectOptions::ignore_discovered_servers
///
/// ```
/// use stratt_event_bridge::{async_nats, testing::{Direction, FaultProxy, NatsServer}};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let server = NatsServer::start().await?;
/// let proxy = FaultProxy::start(server.url()).await?;
/// let client = async_nats::connect(proxy.url()).await?;
/// proxy.swallow(Direction::ToClient); // a publish arrives, its acknowledgement does not
/// client.publish("subject", "payload".into()).await?;
/// proxy.heal();
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct FaultProxy {
    url: String,
    network: Arc<Network>,
    /// Accepts and carries the connections; dropping it cuts them.
    _accepting: JoinSet<()>,
}

impl FaultProxy {
    /// Starts a proxy in front of the server at `url`, such as `nats://127.0.0.1:4222`, on a free port of the loopback
    /// interface. The server need not be up.
    ///
    /// # Errors
    ///
    /// When `url` is not the address of a server, or no port is free.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves nothing behind.
    pub async fn start(url: &str) -> Result<Self, ServerError> {
        let address = url.strip_prefix("nats://").unwrap_or(url);
        let server = tokio::net::lookup_host(address).await.map_err(ServerError::new)?.next();
        let server = server.ok_or_else(|| ServerError::new(format!("{url} has no address")))?;
        let listener = TcpListener::bind("127.0.0.1:0").await.map_err(ServerError::new)?;
        let url = format!("nats://{}", listener.local_addr().map_err(ServerError::new)?);
        let network = Arc::default();
        let mut accepting = JoinSet::new();
        accepting.spawn(accept(listener, server, Arc::clone(&network)));
        Ok(Self { url, network, _accepting: accepting })
    }

    /// Returns its URL, such as `nats://127.0.0.1:34567`.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Delays everything by this time, in both directions, without limiting the throughput.
    pub fn delay(&self, by: Duration) {
        self.network.state().delay = by;
    }

    /// Swallows all bytes in this direction; the connections stay up.
    pub fn swallow(&self, direction: Direction) {
        self.network.state().swallows.push(direction);
    }

    /// Swallows everything, both ways; connections stay up, and new ones are accepted and silent.
    pub fn blackhole(&self) {
        self.network.state().swallows = vec![Direction::ToServer, Direction::ToClient];
    }

    /// Leaves the present connections half open: they stay up, and everything on them is swallowed, as by a
    /// gateway that forgot them. New ones work.
    pub fn orphan(&self) {
        self.network.state().connections.values_mut().for_each(|connection| connection.is_orphan = true);
    }

    /// Cuts all connections now. New ones work.
    pub fn cut(&self) {
        self.network.state().cut();
    }

    /// Cuts all connections after this many more bytes in this direction, perhaps in the middle of a message. New ones
    /// work.
    pub fn cut_after(&self, direction: Direction, bytes: usize) {
        self.network.state().cut_after = Some((direction, bytes));
    }

    /// Ends all faults. Connections that lost bytes are cut, since no real network would continue after a gap.
    pub fn heal(&self) {
        let mut state = self.network.state();
        state.delay = Duration::ZERO;
        state.swallows.clear();
        state.cut_after = None;
        let holed =
            state.connections.values().filter(|connection| connection.is_orphan || connection.lost_bytes);
        holed.for_each(|connection| connection.cut.cancel());
    }

    /// Returns the number of bytes that were swallowed in this direction since the start.
    #[must_use]
    pub fn swallowed(&self, direction: Direction) -> usize {
        self.network.state().swallowed.get(&direction).copied().unwrap_or_default()
    }

    /// Returns the number of open connections.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.network.state().connections.len()
    }
}

/// The state that all connections share.
#[derive(Debug, Default)]
struct Network(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    delay: Duration,
    swallows: Vec<Direction>,
    cut_after: Option<(Direction, usize)>,
    swallowed: HashMap<Direction, usize>,
    accepted: u64,
    connections: HashMap<u64, Connection>,
}

#[derive(Debug, Default)]
struct Connection {
    cut: CancellationToken,
    is_orphan: bool,
    lost_bytes: bool,
}

impl Network {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enter(&self) -> (u64, CancellationToken) {
        let mut state = self.state();
        state.accepted += 1;
        let (id, connection) = (state.accepted, Connection::default());
        let cut = connection.cut.clone();
        state.connections.insert(id, connection);
        (id, cut)
    }

    fn leave(&self, id: u64) {
        self.state().connections.remove(&id);
    }
}

impl State {
    /// Returns the part of the bytes that passes; `None` when they are swallowed.
    fn admit(&mut self, id: u64, direction: Direction, bytes: &[u8]) -> Option<Chunk> {
        if self.swallows(id, direction) {
            *self.swallowed.entry(direction).or_default() += bytes.len();
            return None;
        }
        let due = Instant::now() + self.delay;
        match self.cut_after {
            Some((way, left)) if way == direction => {
                let (passing, cut_off) = bytes.split_at_checked(left).unwrap_or((bytes, &[]));
                let is_last = passing.len() == left || !cut_off.is_empty();
                self.cut_after = (!is_last).then(|| (way, left - passing.len()));
                Some(Chunk { due, bytes: passing.to_vec(), is_last })
            }
            _ => Some(Chunk { due, bytes: bytes.to_vec(), is_last: false }),
        }
    }

    fn swallows(&mut self, id: u64, direction: Direction) -> bool {
        let Some(connection) = self.connections.get_mut(&id) else { return false };
        let swallows = connection.is_orphan || self.swallows.contains(&direction);
        connection.lost_bytes |= swallows;
        swallows
    }

    fn cut(&self) {
        self.connections.values().for_each(|connection| connection.cut.cancel());
    }
}

/// Bytes that wait for their time to arrive.
struct Chunk {
    due: Instant,
    bytes: Vec<u8>,
    /// True if all connections are cut after it.
    is_last: bool,
}

async fn accept(listener: TcpListener, server: SocketAddr, network: Arc<Network>) {
    let mut carried = JoinSet::new();
    loop {
        tokio::select! {
            Ok((client, _)) = listener.accept() => {
                carried.spawn(carry(client, server, Arc::clone(&network)));
            }
            Some(_ended) = carried.join_next() => {}
            // Out of file descriptors, perhaps.
            else => sleep(PAUSE).await,
        }
    }
}

/// Carries one connection until one of its ends closes it, or it is cut.
async fn carry(client: TcpStream, server: SocketAddr, network: Arc<Network>) {
    // Without a server the client is disconnected, as it would be without the proxy.
    let Ok(server) = TcpStream::connect(server).await else { return };
    // Small messages are sent at once; where the system cannot do that, they are only slower.
    let _best_effort = (client.set_nodelay(true), server.set_nodelay(true));
    let (id, cut) = network.enter();
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    tokio::select! {
        () = pump(&network, id, Direction::ToServer, from_client, to_server) => {}
        () = pump(&network, id, Direction::ToClient, from_server, to_client) => {}
        () = cut.cancelled() => {}
    }
    network.leave(id);
}

/// Carries one direction of a connection until it is closed.
async fn pump(
    network: &Network,
    id: u64,
    direction: Direction,
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
) {
    let (sender, mut on_the_way) = mpsc::channel::<Chunk>(ON_THE_WAY);
    let read = async move {
        let mut buffer = vec![0; CHUNK];
        while let Ok(length @ 1..) = from.read(&mut buffer).await {
            let bytes = buffer.get(..length).unwrap_or_default();
            let admitted = network.state().admit(id, direction, bytes);
            if let Some(chunk) = admitted
                && sender.send(chunk).await.is_err()
            {
                return;
            }
        }
        // The end of a connection is swallowed like everything else.
        if network.state().swallows(id, direction) {
            std::future::pending::<()>().await;
        }
    };
    let write = async {
        while let Some(chunk) = on_the_way.recv().await {
            sleep_until(chunk.due).await;
            if to.write_all(&chunk.bytes).await.is_err() {
                return;
            }
            if chunk.is_last {
                return network.state().cut();
            }
        }
    };
    tokio::join!(read, write);
}
