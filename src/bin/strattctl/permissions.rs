//! Prints the accounts and users of a typical set-up, as they stand in the configuration of nats-server, or for servers
//! in operator mode.
//!
//! ```sh
//! strattctl permissions > accounts.conf   # then, in nats-server.conf: include accounts.conf
//! strattctl permissions --format nsc | sh  # for servers in operator mode
//! ```
//!
//! Passwords are variables of the configuration or of the server's environment, and never part of what is
//! printed. The comments say by which variables each example and tool connects as its user.

use crate::{failure::Failure, output::Output};
use clap::ValueEnum;
use serde_json::json;
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
/// The user of Choco's account, where that is one of its own.
const READER: &str = "choco-reader";

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

const NSC_COMMENT: &str = "\
# One account has the streams and all users; an administrator of it is added without any --allow. Each user then
# connects by its file of credentials (`nsc generate creds`) as NATS_CREDS, and with the NATS_INBOX_PREFIX above it.";

const ACCOUNT_COMMANDS: &str = "\
nsc add account --name STRATT
nsc edit account --name STRATT --js-mem-storage -1 --js-disk-storage -1 --js-streams -1 --js-consumer -1";

const ACCOUNT: &str = "STRATT";
const ACCOUNT_OF_CHOCO: &str = "CHOCO";

/// A form in which a server is given its users.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Format {
    /// Accounts with their users, to be included in the configuration of nats-server
    Server,
    /// Commands of `nsc`, for servers in operator mode
    Nsc,
    /// The claims of JWTs, one user a line as JSON, for servers in operator mode
    Claims,
}

/// A user with its inbox and its permissions.
struct User {
    name: &'static str,
    inbox: Inbox,
    permissions: Permissions,
}

/// Prints the users of a typical set-up.
pub(crate) fn print(format: Format, output: &mut Output) -> Result<(), Failure> {
    let users = users().map_err(Failure::new)?;
    let (key, text) = match format {
        Format::Server => ("config", config(&users).map_err(Failure::new)?),
        Format::Nsc => ("commands", commands(&users)),
        Format::Claims => {
            for User { name, inbox, permissions } in &users {
                let (inbox, claims) = (inbox.prefix(), permissions.to_claims());
                output.json(&json!({ "user": name, "inbox_prefix": inbox, "permissions": claims }))?;
            }
            return Ok(());
        }
    };
    if output.is_json() {
        return Ok(output.json(&json!({ key: text }))?);
    }
    Ok(output.raw(text.as_bytes())?)
}

fn users() -> Result<[User; 5], Box<dyn Error + Send + Sync>> {
    let domains = [Domain::try_from("dev")?, Domain::try_from("core")?];
    let catalogue = ConsumerRole::new(Feed::Strat, "catalogue".parse()?).with_kv_store(BUCKET.parse()?);
    let provisioner = ProvisionerRole::default().with_kv_store(BUCKET.parse()?);
    // Creates the durable that the consumer itself may not create.
    let deploys = catalogue.clone().creating_durable();
    let live = LiveReaderRole::new(Feed::Strat, "desk".parse()?);
    let reader = ReaderRole::new("rag".parse()?);
    let user = |name, permissions: &dyn Fn(&Inbox) -> Permissions| {
        Inbox::of_user(name).map(|inbox| User { name, permissions: permissions(&inbox), inbox })
    };
    Ok([
        user("orchestrator", &|inbox| {
            PublisherRole::of(domains.clone()).checking_stream().permissions(inbox)
        })?,
        user("catalogue", &|inbox| catalogue.permissions(inbox))?,
        user("desk", &|inbox| OperatorRole.permissions(inbox).and(live.permissions(inbox)))?,
        user("deploy", &|inbox| provisioner.permissions(inbox).and(deploys.permissions(inbox)))?,
        user(READER, &|inbox| reader.permissions(inbox))?,
    ])
}

fn config(users: &[User]) -> Result<String, Box<dyn Error + Send + Sync>> {
    let (of_choco, of_events): (Vec<_>, Vec<_>) = users.iter().partition(|user| user.name == READER);
    let of_events: Vec<_> = of_events.into_iter().map(entry).collect();
    // The user that provisions Choco's stream may do anything in its account; its readers may not.
    let administrator = "{ user: \"choco-admin\", password: $CHOCO_ADMIN_PASSWORD }".to_owned();
    let of_choco: Vec<_> = [administrator].into_iter().chain(of_choco.into_iter().map(entry)).collect();
    let accounts = TwoAccounts::new(ACCOUNT, ACCOUNT_OF_CHOCO)?;
    let mut out = String::new();
    writeln!(out, "{COMMENT}")?;
    for (program, user, settings) in PROGRAMS {
        let prefix = Inbox::of_user(user)?;
        let connects = format!("NATS_USER={user} NATS_INBOX_PREFIX={} {settings}", prefix.prefix());
        writeln!(out, "# {program}: {}", connects.trim_end())?;
    }
    writeln!(out, "accounts {{")?;
    account(&mut out, ACCOUNT, "exports", &accounts.exports(), &of_events)?;
    account(&mut out, ACCOUNT_OF_CHOCO, "imports", &accounts.imports(), &of_choco)?;
    writeln!(out, "}}")?;
    Ok(out)
}

/// Returns the commands that make the users, in one account with the streams.
fn commands(users: &[User]) -> String {
    let made = users.iter().map(|User { name, inbox, permissions }| {
        format!(
            "# NATS_INBOX_PREFIX={}\nnsc add user --account {ACCOUNT} --name {name} {}\n",
            inbox.prefix(),
            permissions.to_nsc()
        )
    });
    format!("{NSC_COMMENT}\n{ACCOUNT_COMMANDS}\n{}", made.collect::<String>())
}

fn entry(User { name, permissions, .. }: &User) -> String {
    let password = name.to_uppercase().replace('-', "_");
    format!("{{ user: \"{name}\", password: ${password}_PASSWORD, permissions: {permissions} }}")
}

fn account(out: &mut impl Write, name: &str, verb: &str, list: &str, users: &[String]) -> fmt::Result {
    writeln!(out, "{name} {{\njetstream: enabled\n{verb}: {list}")?;
    writeln!(out, "users: [\n{}\n]\n}}", users.join("\n"))
}
