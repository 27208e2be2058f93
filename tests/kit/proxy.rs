//! The failing network itself: what other tests rely on.

use std::time::Duration;
use stratt_event_bridge::testing::{Direction, FaultProxy};
use support::eventually;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::{Instant, timeout},
};

/// Long enough for loopback, and short enough to wait for nothing.
const QUIET: Duration = Duration::from_millis(150);

/// A server without a protocol, and a proxy in front of it.
struct Wire {
    listener: TcpListener,
    proxy: FaultProxy,
}

impl Wire {
    async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy = FaultProxy::start(&format!("nats://{}", listener.local_addr().unwrap())).await.unwrap();
        Self { listener, proxy }
    }

    /// Both ends of a new connection through the proxy.
    async fn connect(&self) -> (TcpStream, TcpStream) {
        let (mut client, mut server) = self.connect_unheard().await;
        passes(&mut client, &mut server).await;
        (client, server)
    }

    async fn connect_unheard(&self) -> (TcpStream, TcpStream) {
        let client = TcpStream::connect(self.proxy.url().strip_prefix("nats://").unwrap());
        let (client, server) = tokio::join!(client, self.listener.accept());
        (client.unwrap(), server.unwrap().0)
    }

    async fn swallowed(&self, direction: Direction, bytes: usize) {
        eventually("swallowed", || async { self.proxy.swallowed(direction) }, |seen| *seen == bytes).await;
    }
}

async fn passes(from: &mut TcpStream, to: &mut TcpStream) {
    from.write_all(b"hello").await.unwrap();
    let mut received = [0; 5];
    timeout(Duration::from_secs(10), to.read_exact(&mut received)).await.unwrap().unwrap();
    assert_eq!(&received, b"hello");
}

async fn is_silent(end: &mut TcpStream) {
    assert!(timeout(QUIET, end.read_u8()).await.is_err());
}

async fn is_cut(end: &mut TcpStream) {
    let mut left = Vec::new();
    let _end_or_reset = timeout(Duration::from_secs(10), end.read_to_end(&mut left)).await.unwrap();
}

#[tokio::test]
async fn healing_cuts_connections_that_lost_bytes() {
    let wire = Wire::new().await;
    let (mut client, mut server) = wire.connect().await;
    for (direction, lost) in [(Direction::ToClient, 7), (Direction::ToServer, 9)] {
        let (from, to) = match direction {
            Direction::ToClient => (&mut server, &mut client),
            Direction::ToServer => (&mut client, &mut server),
        };
        wire.proxy.swallow(direction);
        from.write_all(&vec![0; lost]).await.unwrap();
        wire.swallowed(direction, lost).await;
        is_silent(to).await;
        passes(to, from).await;
        wire.proxy.heal();
        is_cut(&mut client).await;
        is_cut(&mut server).await;
        (client, server) = wire.connect().await;
    }
}

#[tokio::test]
async fn a_blackhole_accepts_and_hides_the_end_of_a_connection() {
    let wire = Wire::new().await;
    let (mut client, server) = wire.connect().await;
    wire.proxy.blackhole();
    drop(server);
    is_silent(&mut client).await;
    let (mut client, mut server) = wire.connect_unheard().await;
    client.write_all(b"lost").await.unwrap();
    server.write_all(b"lost").await.unwrap();
    wire.swallowed(Direction::ToServer, 4).await;
    wire.swallowed(Direction::ToClient, 4).await;
    is_silent(&mut client).await;
    is_silent(&mut server).await;
    wire.proxy.heal();
    is_cut(&mut client).await;
    wire.connect().await;
}

#[tokio::test]
async fn an_orphan_stays_silent_while_new_connections_work() {
    let wire = Wire::new().await;
    let (mut orphan, mut orphaned) = wire.connect().await;
    wire.proxy.orphan();
    let (mut client, mut server) = wire.connect().await;
    orphan.write_all(b"lost").await.unwrap();
    orphaned.write_all(b"lost").await.unwrap();
    is_silent(&mut orphan).await;
    is_silent(&mut orphaned).await;
    wire.proxy.heal();
    is_cut(&mut orphan).await;
    passes(&mut client, &mut server).await;
}

#[tokio::test]
async fn connections_are_cut_now_or_after_so_many_bytes() {
    let wire = Wire::new().await;
    let (mut client, mut server) = wire.connect().await;
    wire.proxy.cut();
    is_cut(&mut client).await;
    is_cut(&mut server).await;
    let (mut client, mut server) = wire.connect().await;
    let (mut other, _server) = wire.connect().await;
    wire.proxy.cut_after(Direction::ToClient, 8);
    passes(&mut client, &mut server).await;
    passes(&mut server, &mut client).await;
    server.write_all(b"hello").await.unwrap();
    let mut left = Vec::new();
    let _end_or_reset = client.read_to_end(&mut left).await;
    assert_eq!(left, b"hel");
    is_cut(&mut other).await;
    let (mut client, mut server) = wire.connect().await;
    passes(&mut server, &mut client).await;
}

#[tokio::test]
async fn a_delay_is_added_to_each_byte_and_slows_nothing_down() {
    let wire = Wire::new().await;
    let (mut client, mut server) = wire.connect().await;
    let delay = Duration::from_millis(200);
    wire.proxy.delay(delay);
    let begun = Instant::now();
    // Had each to wait for the one before, it would be 10 s.
    for _ in 0..50 {
        client.write_all(b"hello").await.unwrap();
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let mut received = [0; 250];
    server.read_exact(&mut received[..1]).await.unwrap();
    assert!(begun.elapsed() >= delay, "{:?}", begun.elapsed());
    server.read_exact(&mut received[1..]).await.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn dropped_means_gone() {
    let wire = Wire::new().await;
    let (mut client, mut server) = wire.connect().await;
    assert_eq!(wire.proxy.connections(), 1);
    let address = wire.proxy.url().strip_prefix("nats://").unwrap().to_owned();
    drop(wire.proxy);
    is_cut(&mut client).await;
    is_cut(&mut server).await;
    let refused = || async { TcpStream::connect(&address).await.is_err() };
    eventually("refused", refused, |refused| *refused).await;
}

#[tokio::test]
async fn without_a_server_a_client_is_turned_away() {
    let Wire { listener, proxy } = Wire::new().await;
    drop(listener);
    let mut client = TcpStream::connect(proxy.url().strip_prefix("nats://").unwrap()).await.unwrap();
    is_cut(&mut client).await;
    assert!(FaultProxy::start("nats://nowhere").await.is_err());
}
