//! The permissions of one user for servers in operator mode, which read them from the user's JWT.

use crate::acl::Permissions;
use serde_json::{Value, json};

impl Permissions {
    /// Returns the claims of the user's JWT that hold the permissions: `pub` and `sub`, which stand in `nats` beside
    /// `type` and `version`.
    ///
    /// ```
    /// use stratt_event_bridge::acl::{Inbox, PublisherRole};
    ///
    /// let permissions = PublisherRole::of(["dev".parse()?]).permissions(&Inbox::of_user("orchestrator")?);
    /// assert_eq!(permissions.to_claims()["sub"]["allow"][0], "_INBOX_orchestrator.>");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn to_claims(&self) -> Value {
        // To the server, an empty list of what is allowed allows everything.
        let claim = |subjects: &mut dyn Iterator<Item = &str>| match subjects.collect::<Vec<_>>() {
            none if none.is_empty() => json!({ "deny": [">"] }),
            allowed => json!({ "allow": allowed }),
        };
        json!({ "pub": claim(&mut self.publish()), "sub": claim(&mut self.subscribe()) })
    }

    /// Returns the options of `nsc add user` and `nsc edit user` that set the permissions, quoted for a shell.
    #[must_use]
    pub fn to_nsc(&self) -> String {
        // No subject has a quote or a comma: all parts are tokens by their types.
        let option = |verb: &str, subjects: &mut dyn Iterator<Item = &str>| match subjects.collect::<Vec<_>>()
        {
            none if none.is_empty() => format!("--deny-{verb} '>'"),
            allowed => format!("--allow-{verb} '{}'", allowed.join(",")),
        };
        format!("{} {}", option("pub", &mut self.publish()), option("sub", &mut self.subscribe()))
    }
}
