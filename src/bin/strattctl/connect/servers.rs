//! The servers of a URL such as `nats://user:password@one:4222,nats://user:password@two:4222`, and their
//! credentials.

use std::{fmt, str::FromStr};
use stratt_event_bridge::async_nats::ServerAddr;

/// Servers without the credentials that stood in their URLs, which async-nats ignores and writes to its log.
///
/// `Display` prints the hosts and ports only.
pub(crate) struct Servers {
    addresses: Vec<ServerAddr>,
    login: Option<Login>,
}

/// User and password, or a token.
pub(crate) type Login = (String, Option<String>);

/// The reason why a list of servers is invalid. It quotes nothing: any part of an invalid URL may be the password.
#[derive(Debug, Clone, Copy)]
pub(crate) enum NoServers {
    /// A server, by its place in the list, is no address.
    Malformed(usize),
    /// Not all servers have the same credentials, and a connection has only one pair.
    Differing,
    /// There is none.
    Empty,
}

impl Servers {
    pub(crate) fn addresses(&self) -> Vec<ServerAddr> {
        self.addresses.clone()
    }

    /// Returns the credentials that stood before the `@`.
    pub(crate) fn login(&self) -> Option<Login> {
        self.login.clone()
    }
}

impl FromStr for Servers {
    type Err = NoServers;

    fn from_str(list: &str) -> Result<Self, NoServers> {
        let named = list.split(',').map(str::trim).enumerate().filter(|(_, server)| !server.is_empty());
        let servers: Vec<_> = named
            .map(|(at, server)| parse(server).ok_or(NoServers::Malformed(at + 1)))
            .collect::<Result<_, _>>()?;
        let (addresses, mut logins): (Vec<_>, Vec<_>) = servers.into_iter().unzip();
        logins.dedup();
        match logins.len() {
            0 => Err(NoServers::Empty),
            1 => Ok(Self { addresses, login: logins.pop().flatten() }),
            _ => Err(NoServers::Differing),
        }
    }
}

fn parse(server: &str) -> Option<(ServerAddr, Option<Login>)> {
    let mut url = server.parse::<ServerAddr>().ok()?.into_inner();
    // What follows the port may be the rest of a password with a slash in it.
    let is_address = matches!(url.scheme(), "nats" | "tls")
        && url.host_str().is_some_and(|host| !host.is_empty())
        && matches!(url.path(), "" | "/")
        && url.query().is_none()
        && url.fragment().is_none();
    if !is_address {
        return None;
    }
    let login = match (url.username(), url.password()) {
        ("", None) => None,
        (user, None) => Some((decoded(user)?, None)),
        (user, Some(password)) => Some((decoded(user)?, Some(decoded(password)?))),
    };
    url.set_username("").ok()?;
    url.set_password(None).ok()?;
    url.set_path("");
    Some((ServerAddr::from_url(url).ok()?, login))
}

/// Decodes `%40` and its like.
fn decoded(text: &str) -> Option<String> {
    let hex = |digit: u8| char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok());
    let (mut bytes, mut rest) = (Vec::new(), text.as_bytes());
    while let [first, after @ ..] = rest {
        let escaped = match after {
            [high, low, ..] if *first == b'%' => hex(*high).zip(hex(*low)),
            _ => None,
        };
        bytes.push(escaped.map_or(*first, |(high, low)| high * 16 + low));
        rest = if escaped.is_some() { after.get(2..).unwrap_or_default() } else { after };
    }
    String::from_utf8(bytes).ok()
}

impl fmt::Display for Servers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown: Vec<_> = self.addresses.iter().map(ServerAddr::as_url_str).collect();
        f.write_str(&shown.join(","))
    }
}

impl fmt::Display for NoServers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(at) => write!(
                f,
                "server {at} is not like nats://user:password@host:4222; \
                 in a password, each of / ? # @ , % is written as %2F %3F %23 %40 %2C %25"
            ),
            Self::Differing => f.write_str(
                "all servers must have the same user and password; or set NATS_USER and NATS_PASSWORD",
            ),
            Self::Empty => f.write_str("no server"),
        }
    }
}
