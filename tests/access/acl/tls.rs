//! TLS with a certificate for each user, which is also how the server knows who it is.

use rcgen::{BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair};
use std::{
    path::{Path, PathBuf},
    sync::Arc,
};
use stratt_event_bridge::{
    Delivery, EventBridge, Feed, UnitPublished,
    acl::{ConsumerRole, Inbox, PublisherRole},
    async_nats::{self, ConnectError, ConnectErrorKind, ConnectOptions, jetstream},
    dedupe::MemoryStore,
    testing::NatsServer,
    topology::Topology,
};
use support::{Running, eventually, published, quick, source};
use tempfile::TempDir;

/// An authority, and the files that it issues.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    folder: TempDir,
}

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = params(name, &[]);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("ca.pem"), params.self_signed(&key).unwrap().pem()).unwrap();
        Self { issuer: Issuer::new(params, key), folder }
    }

    fn certificate(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// Issues a certificate and its key.
    fn issue(&self, name: &str, hosts: &[&str]) -> (PathBuf, PathBuf) {
        let key = KeyPair::generate().unwrap();
        let certificate = params(name, hosts).signed_by(&key, &self.issuer).unwrap();
        let file = |kind: &str| self.folder.path().join(format!("{name}.{kind}.pem"));
        std::fs::write(file("crt"), certificate.pem()).unwrap();
        std::fs::write(file("key"), key.serialize_pem()).unwrap();
        (file("crt"), file("key"))
    }
}

fn params(name: &str, hosts: &[&str]) -> CertificateParams {
    let hosts: Vec<_> = hosts.iter().map(ToString::to_string).collect();
    let mut params = CertificateParams::new(hosts).unwrap();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

async fn server(authority: &Authority) -> NatsServer {
    let publisher =
        PublisherRole::of(["dev".parse().unwrap()]).permissions(&Inbox::of_user("publisher").unwrap());
    let consumer = ConsumerRole::new(Feed::Choco, "adapter".parse().unwrap())
        .creating_durable()
        .permissions(&Inbox::of_user("consumer").unwrap());
    let (certificate, key) = authority.issue("server", &["127.0.0.1"]);
    let quoted = |path: &Path| format!("\"{}\"", path.display());
    let config = format!(
        "tls {{ cert_file: {}, key_file: {}, ca_file: {}, verify_and_map: true }}
         authorization {{ users: [
            {{ user: \"CN=admin\" }}
            {{ user: \"CN=publisher\", permissions: {publisher} }}
            {{ user: \"CN=consumer\", permissions: {consumer} }} ] }}",
        quoted(&certificate),
        quoted(&key),
        quoted(&authority.certificate())
    );
    NatsServer::builder().config(config).start().await.unwrap()
}

/// Connects as a user with a certificate, or without one.
async fn connect(
    server: &NatsServer,
    trusted: &Authority,
    user: &str,
    certificate: Option<(PathBuf, PathBuf)>,
) -> Result<async_nats::Client, ConnectError> {
    let mut options = ConnectOptions::new()
        .require_tls(true)
        .add_root_certificates(trusted.certificate())
        .custom_inbox_prefix(Inbox::of_user(user).unwrap().prefix());
    if let Some((certificate, key)) = certificate {
        options = options.add_client_certificate(certificate, key);
    }
    options.connect(server.url()).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_users_with_our_certificates_are_admitted() {
    let authority = Authority::new("ours");
    let server = server(&authority).await;
    let bridge = async |user: &str| {
        let client = connect(&server, &authority, user, Some(authority.issue(user, &[]))).await.unwrap();
        EventBridge::new(client, source())
    };
    let admin = bridge("admin").await;
    admin.provision(&Topology::default()).await.unwrap();
    let builder = bridge("consumer").await.consumer("adapter", Arc::new(MemoryStore::new()));
    let builder = builder.feed(Feed::Choco).options(quick());
    let consumer = builder.on(|_: Delivery<UnitPublished>| async { Ok(()) }).build().await.unwrap();
    let running = Running::start(consumer);
    let publisher = bridge("publisher").await;
    publisher.publish(published("a", 1)).await.unwrap();
    let stream = jetstream::new(admin.client().clone()).get_stream(Feed::Choco.stream()).await.unwrap();
    let floor = || async { stream.consumer_info("adapter").await.unwrap().ack_floor.stream_sequence };
    eventually("acknowledged", floor, |floor| *floor == 1).await;
    assert_eq!(running.stop().await.handled, 1);

    let other = Authority::new("theirs");
    let refused = |result: Result<_, ConnectError>, why: &str| {
        let error = result.unwrap_err();
        assert!(matches!(error.kind(), ConnectErrorKind::Io | ConnectErrorKind::Tls), "{error:?}");
        assert!(format!("{error:?}").contains(why), "{error:?}");
    };
    refused(connect(&server, &authority, "publisher", None).await, "CertificateRequired");
    let foreign = other.issue("publisher", &[]);
    refused(connect(&server, &authority, "publisher", Some(foreign)).await, "AlertReceived");
    // And a client does not talk to a server of another authority.
    let ours = authority.issue("publisher", &[]);
    refused(connect(&server, &other, "publisher", Some(ours)).await, "UnknownIssuer");
    // A certificate of ours that names no user is refused as well.
    let stranger = authority.issue("stranger", &[]);
    let error = connect(&server, &authority, "stranger", Some(stranger)).await.unwrap_err();
    assert_eq!(error.kind(), ConnectErrorKind::AuthorizationViolation, "{error:?}");
}
