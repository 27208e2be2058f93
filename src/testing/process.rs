//! A process that ends when ours does, and the common part of the servers that run in one.

use crate::testing::ServerError;
use std::{
    fs::File,
    io,
    net::{Ipv4Addr, TcpListener},
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};
use tokio::time::{Instant, sleep, timeout};

/// A process that is killed when this is dropped, and also when our own process is killed.
#[derive(Debug)]
pub(super) struct Process {
    child: Child,
    /// The signal that asks it to end, if it has something to clean up.
    stop_signal: Option<&'static str>,
    /// Reads from a pipe that stays empty. When our process ends, however it ends, the pipe closes and the
    /// watchdog kills the server.
    watchdog: Child,
}

impl Process {
    /// Starts a program whose errors go to `log`. When our process is killed, the watchdog also removes `folder`.
    ///
    /// A server with processes and shared memory of its own needs a `stop_signal`, which makes it clean them up at
    /// once.
    pub(super) fn start(
        command: &mut Command,
        log: File,
        stop_signal: Option<&'static str>,
        folder: &Path,
    ) -> Result<Self, ServerError> {
        let program = command.get_program().to_string_lossy().into_owned();
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn();
        let child = child.map_err(|error| ServerError::new(format!("{program} cannot be run: {error}")))?;
        Self::watched(child, stop_signal, folder).map_err(ServerError::new)
    }

    fn watched(mut child: Child, stop_signal: Option<&'static str>, folder: &Path) -> io::Result<Self> {
        // The server has a second to follow the signal.
        let script = "read -r _; n=0
            if [ -n \"$2\" ]; then kill \"$2\" \"$0\"
            while kill -0 \"$0\" && [ $n -lt 20 ]; do sleep 0.05; n=$((n+1)); done; fi
            kill -9 \"$0\"; rm -rf \"$1\"";
        let watchdog = Command::new("sh")
            .args(["-c", script, &child.id().to_string()])
            .arg(folder)
            .arg(stop_signal.unwrap_or_default())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        match watchdog {
            Ok(watchdog) => Ok(Self { child, stop_signal, watchdog }),
            Err(error) => {
                end(&mut child);
                Err(error)
            }
        }
    }

    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // The watchdog first: it must not outlive the server and kill a process that gets the same id.
        end(&mut self.watchdog);
        if let Some(signal) = self.stop_signal {
            stop(&mut self.child, signal);
        }
        end(&mut self.child);
    }
}

fn end(child: &mut Child) {
    // Both fail only for a process that has ended already.
    let _killed = child.kill();
    let _reaped = child.wait();
}

/// Waits until the process has followed the signal, for a few seconds at most.
fn stop(child: &mut Child, signal: &str) {
    let _sent = Command::new("kill").args([signal, &child.id().to_string()]).status();
    for _ in 0..1000 {
        if !matches!(child.try_wait(), Ok(None)) {
            return;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A server that runs as a process of its own.
pub(super) trait Server {
    const NAME: &'static str;
    /// The time limit for it to become ready.
    const READY_WITHIN: Duration;

    /// `None` while it is killed.
    fn process(&mut self) -> Option<&mut Process>;

    fn log(&self) -> String;

    /// Checks that this very process answers and is ready.
    async fn answers(&self) -> bool;

    fn has_ended(&mut self) -> bool {
        self.process().is_none_or(Process::has_ended)
    }

    async fn wait_until_ready(&mut self) -> Result<(), ServerError> {
        let deadline = Instant::now() + Self::READY_WITHIN;
        loop {
            if timeout(Duration::from_secs(2), self.answers()).await.is_ok_and(|answers| answers) {
                return Ok(());
            }
            self.must_live(deadline)?;
            sleep(Duration::from_millis(5)).await;
        }
    }

    /// Fails with the end of the log when the process has ended or the deadline has passed.
    fn must_live(&mut self, deadline: Instant) -> Result<(), ServerError> {
        if !self.has_ended() && Instant::now() < deadline {
            return Ok(());
        }
        let (name, tail) = (Self::NAME, log_tail(&self.log()));
        Err(ServerError::new(format!("{name} did not become ready; the end of its log:\n{tail}")))
    }
}

fn log_tail(log: &str) -> String {
    let lines: Vec<_> = log.lines().collect();
    let (_, tail) = lines.split_at(lines.len().saturating_sub(10));
    tail.join("\n")
}

/// The number of ports that are tried, because another process may take the one that was free.
pub(super) const PORTS_TRIED: usize = 5;

/// Returns a port of the loopback interface that is free now. Another process may take it before the server does.
pub(super) fn free_port() -> Result<u16, ServerError> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(ServerError::new)?;
    Ok(listener.local_addr().map_err(ServerError::new)?.port())
}
