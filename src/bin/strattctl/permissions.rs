//! Prints the accounts and users of a typical set-up, as they stand in the configuration of nats-server.
//!
//! ```sh
//! strattctl permissions > accounts.conf   # then, in nats-server.conf: include accounts.conf
//! ```
//!
//! Passwords are variables of the configuration or of the server's environment, and never part of what is
//! printed. The comments say by which variables each example and tool connects as its user.

use crate::{failure::Failure, output::Output};
use std::{
    error::Error,
    fmt::{self, Write},
};
use stratt_event_bridge::{
    Domain, Feed,
    acl::{
        ConsumerRole, Inbox, LiveReaderRole, OperatorRole, Permissions, ProvisionerRole, PublisherRole,
        ReaderRole,
    },
    topology::TwoAccounts,
};

const BUCKET: &str = "STRATT_DEDUPE";

/// Which example runs as which user, and how.
const PROGRAMS: [(&str, &str, &str); 4] = [
    ("orchestrator-http", "orchestrator", "STREAMS=check"),
    ("choco_adapter", "deploy", "DURABLE=catalogue STREAM=STRATT_EVENTS"),
    ("choco_adapter", "catalogue", "DURABLE=catalogue STREAM=STRATT_EVENTS"),
    ("strattctl", "desk", ""),
];

const COMMENT: &str = "\
# `deploy` and `choco-admin` provision the streams of their accounts. Then each program connects as its user by
# NATS_URL, NATS_PASSWORD and these variables; `choco_adapter` once as `deploy`, which creates its durable and
# its bucket. `strattctl tail` is given `--name desk`.";

/// Prints the accounts and users of a typical set-up, to be included in the configuration of nats-server.
pub(crate) fn print(output: &mut Output) -> Result<(), Failure> {
    let text = rendered().map_err(Failure::new)?;
    if output.is_json() {
        return Ok(output.json(&serde_json::json!({ "config": text }))?);
    }
    Ok(output.raw(text.as_bytes())?)
}

fn rendered() -> Result<String, Box<dyn Error + Send + Sync>> {
    let inbox = Inbox::of_user;
    let domains = [Domain::try_from("dev")?, Domain::try_from("core")?];
    let catalogue = ConsumerRole::new(Feed::Strat, "catalogue".parse()?).with_kv_store(BUCKET.parse()?);
    let provisioner = ProvisionerRole::default().with_kv_store(BUCKET.parse()?);
    // Creates the durable that the consumer itself may not create.
    let deploys = catalogue.clone().creating_durable();
    let of_events = [
        user(
            "orchestrator",
            &PublisherRole::of(domains).checking_stream().permissions(&inbox("orchestrator")?),
        ),
        user("catalogue", &catalogue.permissions(&inbox("catalogue")?)),
        user(
            "desk",
            &OperatorRole
                .permissions(&inbox("desk")?)
                .and(LiveReaderRole::new(Feed::Strat, "desk".parse()?).permissions(&inbox("desk")?)),
        ),
        user(
            "deploy",
            &provisioner.permissions(&inbox("deploy")?).and(deploys.permissions(&inbox("deploy")?)),
        ),
    ];
    // The user that provisions Choco's stream may do anything in its account; its readers may not.
    let of_choco = [
        "{ user: \"choco-admin\", password: $CHOCO_ADMIN_PASSWORD }".to_owned(),
        user("choco-reader", &ReaderRole::new("rag".parse()?).permissions(&inbox("choco-reader")?)),
    ];
    let accounts = TwoAccounts::new("STRATT", "CHOCO")?;
    let mut out = String::new();
    writeln!(out, "{COMMENT}")?;
    for (program, user, settings) in PROGRAMS {
        let prefix = inbox(user)?;
        let connects = format!("NATS_USER={user} NATS_INBOX_PREFIX={} {settings}", prefix.prefix());
        writeln!(out, "# {program}: {}", connects.trim_end())?;
    }
    writeln!(out, "accounts {{")?;
    account(&mut out, "STRATT", "exports", &accounts.exports(), &of_events)?;
    account(&mut out, "CHOCO", "imports", &accounts.imports(), &of_choco)?;
    writeln!(out, "}}")?;
    Ok(out)
}

fn user(name: &str, permissions: &Permissions) -> String {
    let password = name.to_uppercase().replace('-', "_");
    format!("{{ user: \"{name}\", password: ${password}_PASSWORD, permissions: {permissions} }}")
}

fn account(out: &mut impl Write, name: &str, verb: &str, list: &str, users: &[String]) -> fmt::Result {
    writeln!(out, "{name} {{\njetstream: enabled\n{verb}: {list}")?;
    writeln!(out, "users: [\n{}\n]\n}}", users.join("\n"))
}
