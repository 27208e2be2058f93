//! The role of the user that a console connects as.

use crate::{
    acl::{Inbox, OperatorRole, Permissions},
    console::{AUDIT_STREAM, AUDIT_SUBJECT},
    nats::api::ApiSubject,
};

/// The user of a console that may act: an [operator](OperatorRole) who also writes and reads the audit stream.
///
/// To follow live events, which makes temporary consumers with random names, it would need more: see
/// [`docs::console`](crate::docs::console#who-may-do-what).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ConsoleRole;

impl ConsoleRole {
    /// Returns the permissions of the role.
    #[must_use]
    pub fn permissions(self, inbox: &Inbox) -> Permissions {
        let audit = [ApiSubject::stream_info, ApiSubject::message_get, ApiSubject::direct_get_many];
        let requests = audit.map(|request| request(AUDIT_STREAM).local());
        let publish = requests.into_iter().chain([AUDIT_SUBJECT.to_owned()]);
        OperatorRole.permissions(inbox).and(Permissions::new(publish, inbox))
    }
}
