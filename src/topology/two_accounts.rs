//! Choco in an account of its own.

use crate::{
    contract::value::{ParseError, is_token},
    nats::api::{ApiSubject, flow_control},
    topology::EVENT_STREAM,
};
use async_nats::jetstream::stream::External;

/// Two accounts of a server, one with the events and one with `CHOCO_STRATT`: what the first exports and the second
/// imports.
///
/// Users of Choco's account then have no access to the streams, dead letters and subjects of the other, whatever their
/// permissions. Each of the two connections provisions its part, that of the events first:
///
/// ```no_run
/// # use stratt_event_bridge::{EventBridge, topology::{Topology, TopologyError, TwoAccounts}};
/// # async fn example(stratt: EventBridge, choco: EventBridge) -> Result<(), Box<dyn std::error::Error>> {
/// let accounts = TwoAccounts::new("STRATT", "CHOCO")?;
/// println!("exports of STRATT: {}", accounts.exports());
/// println!("imports of CHOCO: {}", accounts.imports());
/// stratt.provision(&Topology::default().without_choco()).await?;
/// choco.provision(&Topology::default().only_choco(&accounts)).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TwoAccounts {
    stratt: String,
    choco: String,
}

/// Where the events arrive in Choco's account before they are stored.
const DELIVERY: &str = "deliver.choco_stratt";

impl TwoAccounts {
    /// Returns the pair of the account of the events and that of Choco, by their names or public keys.
    ///
    /// # Errors
    ///
    /// When a name is not 1 to 64 of `A-Z a-z 0-9 _ -`, or both are the same.
    pub fn new(stratt: &str, choco: &str) -> Result<Self, ParseError> {
        const RULE: &str = "must be 1 to 64 of A-Z a-z 0-9 _ - and not the other account";
        let is_name =
            |name: &str| is_token(name, 64, |b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
        for (name, other) in [(stratt, choco), (choco, stratt)] {
            if !is_name(name) || name == other {
                return Err(ParseError::new("account name", RULE, name));
            }
        }
        Ok(Self { stratt: stratt.to_owned(), choco: choco.to_owned() })
    }

    /// Returns the list that stands after `exports:` in the account of the events.
    #[must_use]
    pub fn exports(&self) -> String {
        let choco = &self.choco;
        let mut lines: Vec<_> = [source().local()]
            .into_iter()
            .chain(flow_control(EVENT_STREAM))
            .map(|service| format!("  {{ service: \"{service}\", accounts: [\"{choco}\"] }}"))
            .collect();
        lines.push(format!("  {{ stream: \"{DELIVERY}.>\", accounts: [\"{choco}\"] }}"));
        format!("[\n{}\n]", lines.join("\n"))
    }

    /// Returns the list that stands after `imports:` in the account of Choco.
    #[must_use]
    pub fn imports(&self) -> String {
        let stratt = &self.stratt;
        let of_stratt = |subject: &str| format!("{{ account: \"{stratt}\", subject: \"{subject}\" }}");
        let [flow, domain_flow] = flow_control(EVENT_STREAM);
        let to = format!("{}.{}", self.api_prefix(), source().request());
        let lines = [
            format!("  {{ service: {}, to: \"{to}\" }}", of_stratt(&source().local())),
            format!("  {{ service: {} }}", of_stratt(&flow)),
            format!("  {{ service: {} }}", of_stratt(&domain_flow)),
            format!("  {{ stream: {} }}", of_stratt(&format!("{DELIVERY}.>"))),
        ];
        format!("[\n{}\n]", lines.join("\n"))
    }

    /// Returns the address of the source stream for the stream in Choco's account.
    pub(in crate::topology) fn external(&self) -> External {
        External { api_prefix: self.api_prefix(), delivery_prefix: Some(DELIVERY.to_owned()) }
    }

    fn api_prefix(&self) -> String {
        format!("{}.JS.API", self.stratt)
    }
}

/// Returns the request that creates the consumer of the source. With two filters the subject does not name them. The
/// source needs flow control as well: without it, it stalls for good after some 2 MB.
fn source() -> ApiSubject {
    ApiSubject::source_create(EVENT_STREAM)
}
