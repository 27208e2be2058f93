//! A server whose users may do what is allowed by name, and its refusals.

use super::jwt::Operator;
use crate::domains::imported::{accounts, imported};
use std::sync::{Arc, Mutex};
use stratt_event_bridge::{
    BridgeOptions, ConnectionWatch, EventBridge,
    acl::Inbox,
    async_nats::{ConnectOptions, Event},
    testing::{NatsServer, NatsServerBuilder},
};
use support::{HubAndLeaf, NEWEST, eventually, hub_domain, source};
use tokio::sync::Notify;

/// A server with an administrator and the users of a test.
pub struct Guarded {
    pub server: NatsServer,
    pub admin: EventBridge,
    options: BridgeOptions,
    /// The operator that signed the users, on a server in operator mode.
    operator: Option<Operator>,
    _hub: Option<NatsServer>,
}

/// A user of the server, with everything that the server has refused it.
pub struct User {
    pub bridge: EventBridge,
    pub refusals: Refusals,
}

/// The refusals of the server on one connection, in order.
#[derive(Clone, Default)]
pub struct Refusals {
    heard: Arc<Mutex<Vec<String>>>,
    changed: Arc<Notify>,
}

impl Refusals {
    pub fn all(&self) -> Vec<String> {
        self.heard.lock().unwrap().clone()
    }

    /// Waits for a refusal with this text. Returns those before it, and forgets all.
    pub async fn until(&self, text: &str) -> Vec<String> {
        loop {
            let changed = self.changed.notified();
            {
                let mut heard = self.heard.lock().unwrap();
                if let Some(at) = heard.iter().position(|refusal| refusal.contains(text)) {
                    return heard.drain(..).take(at).collect();
                }
            }
            changed.await;
        }
    }

    fn hear(&self, event: &Event) {
        let text = event.to_string();
        if text.to_lowercase().contains("permissions violation") {
            self.heard.lock().unwrap().push(text);
            self.changed.notify_one();
        }
    }
}

/// Acks with the domain and the account before the stream, as in servers from 2.16 on.
pub const NEW_ACKS: &str = "feature_flags { js_ack_fc_v2: true }";

/// Returns a builder of a server with `more` in its configuration, which older servers may not know.
pub fn server(more: &str) -> NatsServerBuilder {
    let server = NatsServer::builder().config(more);
    if more.is_empty() { server } else { server.version(NEWEST) }
}

/// Returns a builder of the server of the other tests, or of the newest if that is older than 2.11, which has no strict
/// order.
pub async fn with_strict_order() -> NatsServerBuilder {
    let usual = NatsServer::start().await.unwrap();
    let is_new = usual.connect().await.unwrap().is_server_compatible(2, 11, 0);
    if is_new { NatsServer::builder() } else { NatsServer::builder().version(NEWEST) }
}

impl Guarded {
    /// Starts a server with these users, by name and permissions as in the configuration.
    pub async fn new(users: &[(&str, String)], more: &str) -> Self {
        Self::on(server(more), users).await
    }

    pub async fn on(server: NatsServerBuilder, users: &[(&str, String)]) -> Self {
        let server = server.config(authorization(users)).start().await.unwrap();
        Self::over(server, BridgeOptions::default(), None).await
    }

    /// Starts a leaf node with these users, whose bridges use the JetStream of its hub.
    pub async fn on_leaf(server: NatsServerBuilder, users: &[(&str, String)]) -> Self {
        let leaf = server.clone().jetstream_domain("leaf".parse().unwrap()).config(authorization(users));
        let HubAndLeaf { hub, leaf } = HubAndLeaf::of(server, leaf).await;
        let options = BridgeOptions::default().with_jetstream_domain(hub_domain());
        let guarded = Self::over(leaf, options, Some(hub)).await;
        let context = guarded.admin.jetstream();
        eventually("leaf node", || context.query_account(), Result::is_ok).await.unwrap();
        guarded
    }

    /// Starts a server in a domain, by which bridges look for JetStream.
    pub async fn in_domain(server: NatsServerBuilder, users: &[(&str, String)]) -> Self {
        let server =
            server.jetstream_domain(hub_domain()).config(authorization(users)).start().await.unwrap();
        Self::over(server, BridgeOptions::default().with_jetstream_domain(hub_domain()), None).await
    }

    /// Starts a server with these users in an account that imports the JetStream of another one.
    pub async fn on_import(server: NatsServerBuilder, users: &[(&str, String)]) -> Self {
        let server = server.config(accounts(&list(users))).start().await.unwrap();
        Self::over(server, imported(), None).await
    }

    /// Starts a server in operator mode with these users, by name and the claims of their permissions.
    pub async fn in_operator_mode(server: NatsServerBuilder, users: &[(&str, String)]) -> Self {
        let operator = Operator::with(users);
        let server = server.config(operator.config()).start().await.unwrap();
        let options = BridgeOptions::default();
        let admin = connect_by(operator.credentials("admin"), server.url(), "admin", options).await.bridge;
        Self { server, admin, options, operator: Some(operator), _hub: None }
    }

    async fn over(server: NatsServer, options: BridgeOptions, hub: Option<NatsServer>) -> Self {
        let admin = connect_with(server.url(), "admin", options).await.bridge;
        Self { server, admin, options, operator: None, _hub: hub }
    }

    pub async fn user(&self, name: &str) -> User {
        let credentials = match &self.operator {
            Some(operator) => operator.credentials(name),
            None => by_password(name),
        };
        connect_by(credentials, self.server.url(), name, self.options).await
    }
}

fn authorization(users: &[(&str, String)]) -> String {
    format!("authorization {{ users: [\n{}\n] }}", list(users))
}

fn list(users: &[(&str, String)]) -> String {
    let users = users.iter().map(|(user, permissions)| {
        format!("{{ user: \"{user}\", password: pw, permissions: {permissions} }}")
    });
    let users = users.collect::<Vec<_>>().join("\n");
    format!("{{ user: admin, password: pw }}\n{users}")
}

/// Connects as a service would, with an inbox of its own.
pub async fn connect(url: &str, user: &str) -> User {
    connect_with(url, user, BridgeOptions::default()).await
}

/// Does so with these options of the bridge.
pub async fn connect_with(url: &str, user: &str, options: BridgeOptions) -> User {
    connect_by(by_password(user), url, user, options).await
}

fn by_password(user: &str) -> ConnectOptions {
    ConnectOptions::with_user_and_password(user.into(), "pw".into())
}

async fn connect_by(credentials: ConnectOptions, url: &str, user: &str, options: BridgeOptions) -> User {
    let (watch, refusals) = (ConnectionWatch::new(), Refusals::default());
    let (observed, heard) = (watch.clone(), refusals.clone());
    let client = credentials
        .custom_inbox_prefix(Inbox::of_user(user).unwrap().prefix())
        .event_callback(move |event| {
            observed.observe(&event);
            heard.hear(&event);
            async {}
        })
        .connect(url)
        .await
        .unwrap();
    let bridge = EventBridge::with_options(client, source(), options);
    User { bridge: bridge.with_connection_watch(watch), refusals }
}
