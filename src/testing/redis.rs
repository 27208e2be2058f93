//! A real Redis for one test.

use crate::testing::{
    Program, ServerError,
    process::{PORTS_TRIED, Process, Server, free_port},
};
use std::{
    fs,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::spawn_blocking,
};

/// A real Redis server, or one of its fork Valkey, on a free port of the loopback interface, with a directory of its
/// own.
///
/// [`Program`] documents where the program is looked for. It keeps an append-only file, which
/// [`start_with`](Self::start_with) may turn off. Dropping it kills the process and removes its directory; so does the
/// end of the test process, also by a kill.
///
/// ```
/// use stratt_event_bridge::testing::Redis;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut server = Redis::start().await?;
/// assert!(server.url().starts_with("redis://127.0.0.1:"));
/// server.kill();
/// server.restart().await?; // same port, same data
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Redis {
    program: PathBuf,
    config: PathBuf,
    port: u16,
    process: Option<Process>,
    folder: TempDir,
}

impl Redis {
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
        Self::start_with("").await
    }

    /// Starts a server with more lines of configuration, such as `maxmemory 4mb`.
    ///
    /// # Errors
    ///
    /// As for [`start`](Self::start).
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves no server behind.
    pub async fn start_with(lines: &str) -> Result<Self, ServerError> {
        // Fetching the program may take a while.
        let program = spawn_blocking(|| Program::Redis.find()).await.map_err(ServerError::new)??;
        let folder = tempfile::tempdir().map_err(ServerError::new)?;
        let config = folder.path().join("redis.conf");
        let dir = folder.path().display();
        let text = format!(
            "bind 127.0.0.1\ndir \"{dir}\"\nlogfile \"{dir}/redis.log\"\nappendonly yes\nsave \"\"\n{lines}\n"
        );
        fs::write(&config, text).map_err(ServerError::new)?;
        let mut server = Self { program, config, port: 0, process: None, folder };
        let mut tried = 1;
        loop {
            server.port = free_port()?;
            server.launch()?;
            match server.wait_until_ready().await {
                Err(_taken) if tried < PORTS_TRIED && server.lost_its_port() => tried += 1,
                ended => return ended.map(|()| server),
            }
        }
    }

    /// Returns its URL, such as `redis://127.0.0.1:34567`: the same after a restart.
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Returns the id of the process, or `None` while it is killed.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Process::id)
    }

    /// Returns the folder of its data, configuration and log.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Kills it (SIGKILL): what is not in its append-only file yet is lost, and no client is notified.
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

    fn launch(&mut self) -> Result<(), ServerError> {
        // A rejected configuration is reported here, and not in the log of the server.
        let log = fs::File::create(self.folder.path().join("stderr")).map_err(ServerError::new)?;
        let mut server = Command::new(&self.program);
        server.arg(&self.config).args(["--port", &self.port.to_string()]);
        self.process = Some(Process::start(&mut server, log, None, self.folder.path())?);
        Ok(())
    }

    fn lost_its_port(&self) -> bool {
        self.log().contains("Address already in use")
    }
}

impl Server for Redis {
    const NAME: &'static str = "redis-server";
    /// It is usually some 10 ms.
    const READY_WITHIN: Duration = Duration::from_secs(15);

    fn process(&mut self) -> Option<&mut Process> {
        self.process.as_mut()
    }

    fn log(&self) -> String {
        let read = |name| fs::read_to_string(self.folder.path().join(name)).unwrap_or_default();
        read("redis.log") + &read("stderr")
    }

    async fn answers(&self) -> bool {
        let asked = async {
            let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).await?;
            stream.write_all(b"PING\r\nINFO server\r\nQUIT\r\n").await?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await?;
            Ok::<_, std::io::Error>(answer)
        };
        let own = format!("process_id:{}\r\n", self.pid().unwrap_or_default());
        asked.await.is_ok_and(|answer| answer.starts_with("+PONG\r\n") && answer.contains(&own))
    }
}
