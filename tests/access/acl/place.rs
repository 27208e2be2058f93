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
    /// Here, on a server in operator mode.
    Operator,
}

impl Place {
    pub fn permissions(self, role: &Role) -> Permissions {
        match self {
            Self::Here | Self::HereByDomain | Self::Operator => role.permissions.clone(),
            Self::Hub => role.permissions.clone().with_jetstream_domain(hub_domain()),
            Self::Import => role.permissions.clone().with_api_prefix(imported().api_prefix()),
        }
    }

    /// Returns the permissions as the server reads them.
    pub fn rendered(self, role: &Role) -> String {
        match self {
            Self::Operator => self.permissions(role).to_claims().to_string(),
            _ => self.permissions(role).to_string(),
        }
    }

    pub async fn guarded(self, server: NatsServerBuilder, users: &[(&str, String)]) -> Guarded {
        match self {
            Self::Here => Guarded::on(server, users).await,
            Self::Hub => Guarded::on_leaf(server, users).await,
            Self::HereByDomain => Guarded::in_domain(server, users).await,
            Self::Import => Guarded::on_import(server, users).await,
            Self::Operator => Guarded::in_operator_mode(server, users).await,
        }
    }
}
