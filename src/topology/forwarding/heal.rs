//! First aid for forwarding that is stalled.

use super::{look::Access, memory::Memory};
use crate::{
    nats::{api::ApiSubject, permission_violation::PermissionViolation},
    topology::{CHOCO_STREAM, TopologyError, TopologyErrorKind},
};
use async_nats::jetstream::{ErrorCode, response::Response};
use serde::de::IgnoredAny;
use std::pin::pin;

/// Lets another server lead `CHOCO_STRATT`, which starts its source again; see
/// [`EventBridge::heal_forwarding`](crate::EventBridge::heal_forwarding).
pub(crate) async fn heal(memory: &Memory, choco: &Access) -> Result<(), TopologyError> {
    if let Some(wait) = memory.next_heal().await {
        let message =
            format!("forwarding was healed less than 5 minutes ago: wait for {} s", wait.as_secs() + 1);
        return Err(TopologyError::new(TopologyErrorKind::TooSoon, message));
    }
    let message = || format!("leader of {CHOCO_STREAM} could not step down");
    match step_down(choco).await? {
        Ok(Response::Ok(_)) => {
            memory.heals().await;
            Ok(())
        }
        Ok(Response::Err { error }) if error.error_code() == ErrorCode::CLUSTER_REQUIRED => {
            let message =
                format!("{CHOCO_STREAM} has one server and no other to lead it: restart nats-server");
            Err(TopologyError::new(TopologyErrorKind::Refused, message).caused_by(error))
        }
        Ok(Response::Err { error }) => {
            Err(TopologyError::new(TopologyErrorKind::Refused, message()).caused_by(error))
        }
        Err(error) => {
            // It may have been carried out.
            memory.heals().await;
            Err(TopologyError::new(TopologyErrorKind::Unavailable, message()).caused_by(error))
        }
    }
}

type Answer = Result<Response<IgnoredAny>, async_nats::jetstream::context::RequestError>;

/// Sends the request; fails if it is not permitted.
async fn step_down(choco: &Access) -> Result<Answer, TopologyError> {
    let request = ApiSubject::leader_stepdown(CHOCO_STREAM);
    let inbox = choco.context.client().new_inbox();
    let is_ours = |violation: &PermissionViolation| choco.context.is_refused(&request, violation);
    let answer = pin!(choco.context.request(request.clone().request(), &()));
    choco.watch.guard(choco.watch.now(), &inbox, is_ours, answer).await.map_err(|violation| {
        TopologyError::new(TopologyErrorKind::Refused, format!("no permission to {violation}: allow it"))
    })
}
