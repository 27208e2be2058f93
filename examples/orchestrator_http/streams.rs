//! The streams, set up by this service or elsewhere.

use crate::Failure;
use stratt_event_bridge::{
    EventBridge,
    topology::{EVENT_STREAM, Topology, TopologyErrorKind},
};

#[derive(Debug)]
pub(crate) enum Streams {
    /// All three are created unless they are there, and have to be as they should be.
    Provisioned(Box<Topology>),
    /// The one that events are published to has to be there: what its publisher may ask for.
    Checked,
}

impl Streams {
    /// Creates what is missing, if that is left to this service. Streams with other settings are
    /// not touched.
    pub(crate) async fn set_up(&self, bridge: &EventBridge) -> Result<(), Failure> {
        match self {
            Self::Provisioned(topology) => {
                let verified = bridge.verify(topology).await;
                if verified.as_ref().is_err_and(|error| error.kind() == TopologyErrorKind::NotFound) {
                    return Ok(bridge.provision(topology).await?);
                }
                Ok(verified?)
            }
            Self::Checked => Ok(self.check(bridge).await?),
        }
    }

    /// Says what is wrong with them.
    pub(crate) async fn check(&self, bridge: &EventBridge) -> Result<(), String> {
        match self {
            Self::Provisioned(topology) => bridge.verify(topology).await.map_err(|error| error.to_string()),
            Self::Checked => {
                let found = bridge.jetstream().get_stream(EVENT_STREAM).await;
                found.map(drop).map_err(|error| format!("stream {EVENT_STREAM}: {error}"))
            }
        }
    }
}
