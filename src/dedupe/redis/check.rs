//! Check that the settings of a server suit a store.

use crate::dedupe::{
    StoreError, StoreErrorKind,
    redis::{RedisStoreOptions, script::failure},
};
use redis::{ErrorKind, ServerErrorKind, aio::ConnectionManager};

/// Checks that the server does not lose slots and accepts writes.
///
/// A server that does not report its settings is accepted with a warning: hosted servers may deny `INFO`.
pub(super) async fn check(
    connection: &mut ConnectionManager,
    options: &RedisStoreOptions,
) -> Result<(), StoreError> {
    let info = match redis::cmd("INFO").query_async::<String>(connection).await {
        Ok(info) => info,
        Err(error) if is_denied(error.kind()) => String::new(),
        Err(error) => return Err(failure(error)),
    };
    let fields = [
        ("maxmemory_policy", "noeviction", "evicts keys when its memory is full"),
        ("cluster_enabled", "0", "is a node of a cluster, whose redirections are not followed"),
        ("role", "master", "is a replica, which takes no writes"),
        ("aof_enabled", "1", "loses settled slots when it restarts, without an append-only file"),
    ];
    for (field, wanted, problem) in fields {
        match value(&info, field) {
            _ if field == "aof_enabled" && options.allows_loss => {}
            Some(found) if found == wanted => {}
            Some(found) => {
                let message = format!("redis {problem}: {field} is {found}, wanted {wanted}");
                return Err(StoreError::new(StoreErrorKind::Mismatch).with_message(message));
            }
            None => tracing::warn!(field, wanted, "redis does not report this setting; it cannot be checked"),
        }
    }
    Ok(())
}

fn is_denied(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::Server(ServerErrorKind::NoPerm | ServerErrorKind::ResponseError))
}

fn value<'a>(info: &'a str, field: &str) -> Option<&'a str> {
    info.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_found_by_its_whole_name() {
        let info = "# Memory\r\nmaxmemory:0\r\nmaxmemory_policy:noeviction\r\n";
        assert_eq!(value(info, "maxmemory"), Some("0"));
        assert_eq!(value(info, "maxmemory_policy"), Some("noeviction"));
        assert_eq!(value(info, "memory"), None);
    }
}
