//! Where the database is.

use sqlx::{postgres::PgConnectOptions, sqlite::SqliteConnectOptions};
use std::{fmt, str::FromStr};

/// `DATABASE_URL`, taken apart. Displayed, it is what was understood as host, port and database, or as a
/// file.
#[derive(Clone)]
pub(crate) enum DatabaseUrl {
    Postgres(Box<PgConnectOptions>),
    Sqlite(Box<SqliteConnectOptions>),
}

/// It quotes nothing: in a URL that is not one, anything may be the password.
const EXPECTED: &str = "must be postgres: or sqlite:, as postgres://user:password@host/database or sqlite:path, \
    with parameters that sqlx knows; in a password, each of / ? # @ % is written as %2F %3F %23 %40 %25";

impl FromStr for DatabaseUrl {
    type Err = &'static str;

    fn from_str(url: &str) -> Result<Self, &'static str> {
        match url.split_once(':') {
            Some(("sqlite", _)) => {
                let options = url.parse::<SqliteConnectOptions>().map_err(|_| EXPECTED)?;
                Ok(Self::Sqlite(Box::new(options)))
            }
            Some(("postgres" | "postgresql", rest)) if is_plain(rest) => {
                let options = url.parse::<PgConnectOptions>().map_err(|_| EXPECTED)?;
                Ok(Self::Postgres(Box::new(options)))
            }
            _ => Err(EXPECTED),
        }
    }
}

/// The parameters that sqlx knows; what it does not, it writes to the log with its value.
const PARAMETERS: &[&str] = &[
    "application_name",
    "dbname",
    "host",
    "hostaddr",
    "options",
    "password",
    "port",
    "ssl-ca",
    "ssl-cert",
    "ssl-key",
    "ssl-mode",
    "ssl-root-cert",
    "sslcert",
    "sslkey",
    "sslmode",
    "sslrootcert",
    "statement-cache-capacity",
    "user",
];

/// Returns whether nothing behind the host can be the rest of a password with a slash or the like in it, and all is
/// known.
fn is_plain(rest: &str) -> bool {
    let Some(rest) = rest.strip_prefix("//") else { return false };
    let behind = rest.find(['/', '?', '#']).and_then(|at| rest.get(at..)).unwrap_or_default();
    let parameters = behind.split_once('?').map_or("", |(_, parameters)| parameters);
    let mut names = parameters.split('&').map(|pair| pair.split('=').next().unwrap_or_default());
    !behind.contains(['@', '#']) && names.all(|name| name.is_empty() || PARAMETERS.contains(&name))
}

impl fmt::Display for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Postgres(options) => {
                let (host, port) = (options.get_host(), options.get_port());
                write!(f, "postgres://{host}:{port}/{}", options.get_database().unwrap_or_default())
            }
            Self::Sqlite(options) => write!(f, "sqlite:{}", options.get_filename().display()),
        }
    }
}
