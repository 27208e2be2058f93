//! Creating the audit stream.

use crate::{
    EventBridge,
    console::{AUDIT_STREAM, AUDIT_SUBJECT, AuditError},
};
use async_nats::jetstream::stream::{Config, StorageType};

/// Creates the audit stream unless it is there, with this number of replicas (1 to 5).
///
/// It keeps entries for as long as there is room; they cannot be deleted or purged, unless the stream is
/// deleted as a whole. A stream that is there stays as it is, so that its limits are yours to set.
///
/// # Errors
///
/// An [`AuditError`] when the broker does not answer or refuses: the user needs permission for
/// `$JS.API.STREAM.INFO.STRATT_AUDIT` and `$JS.API.STREAM.CREATE.STRATT_AUDIT`.
///
/// # Cancel safety
///
/// Dropping the future leaves open whether it was created; calling it again is harmless.
pub async fn provision_audit(bridge: &EventBridge, replicas: usize) -> Result<(), AuditError> {
    let config = Config {
        name: AUDIT_STREAM.to_owned(),
        description: Some("what operators did in the console of the STRATT event bridge".to_owned()),
        subjects: vec![AUDIT_SUBJECT.to_owned()],
        storage: StorageType::File,
        num_replicas: replicas,
        allow_direct: true,
        deny_delete: true,
        deny_purge: true,
        ..Config::default()
    };
    let created = bridge.jetstream().get_or_create_stream(config).await;
    created.map(drop).map_err(AuditError::not_provisioned)
}
