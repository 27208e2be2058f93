//! Where the streams are, as their user sees it.

use super::{guarded::Guarded, roles::Role};
use crate::domains::imported::imported;
use stratt_event_bridge::{acl::Permissions, testing::NatsServerBuilder};
use support::hub_domain;

#[derive(Debug, Clone, Copy)]
pub enum Place {
    Here,
    /// In the hub of a leaf node, which has a JetStream of its own.
    Hub,
    /// Where a bridge looks for them by the domain of the server.
    HereByDomain,
    /// In another account, which exports its JetStream.
    Import,
}

impl Place {
    pub fn permissions(self, role: &Role) -> Permissions {
        match self {
            Self::Here | Self::HereByDomain => role.permissions.clone(),
            Self::Hub => role.permissions.clone().with_jetstream_domain(hub_domain()),
            Self::Import => role.permissions.clone().with_api_prefix(imported().api_prefix()),
        }
    }

    pub async fn guarded(self, server: NatsServerBuilder, users: &[(&str, String)]) -> Guarded {
        match self {
            Self::Here => Guarded::on(server, users).await,
            Self::Hub => Guarded::on_leaf(server, users).await,
            Self::HereByDomain => Guarded::in_domain(server, users).await,
            Self::Import => Guarded::on_import(server, users).await,
        }
    }
}
