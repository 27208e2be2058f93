//! A process that ends when ours does.

use std::{
    io,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

/// A process that is killed when this is dropped, and also when our own process is killed.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) server: Child,
    /// How it is asked to end, if it has something to clear away.
    farewell: Option<&'static str>,
    /// Reads from a pipe that nobody writes to. When our process ends, however it ends, the pipe closes and the
    /// watchdog kills the server.
    watchdog: Child,
}

impl Process {
    /// When our process is killed, nobody else removes `folder`: the watchdog does that as well.
    pub(super) fn guard(server: Child, folder: &Path) -> io::Result<Self> {
        Self::watched(server, None, folder)
    }

    /// For a server with processes and shared memory of its own: `signal` makes it end them, at once and by itself.
    pub(super) fn guard_gently(server: Child, signal: &'static str, folder: &Path) -> io::Result<Self> {
        Self::watched(server, Some(signal), folder)
    }

    fn watched(mut server: Child, farewell: Option<&'static str>, folder: &Path) -> io::Result<Self> {
        // A gentle end may take a moment, and takes a second at most.
        let script = "read -r _; n=0
            if [ -n \"$2\" ]; then kill \"$2\" \"$0\"
            while kill -0 \"$0\" && [ $n -lt 20 ]; do sleep 0.05; n=$((n+1)); done; fi
            kill -9 \"$0\"; rm -rf \"$1\"";
        let watchdog = Command::new("sh")
            .args(["-c", script, &server.id().to_string()])
            .arg(folder)
            .arg(farewell.unwrap_or_default())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        match watchdog {
            Ok(watchdog) => Ok(Self { server, farewell, watchdog }),
            Err(error) => {
                end(&mut server);
                Err(error)
            }
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // The watchdog first: it must not live to kill whoever gets the server's process id next.
        end(&mut self.watchdog);
        if let Some(signal) = self.farewell {
            say_farewell(&mut self.server, signal);
        }
        end(&mut self.server);
    }
}

fn end(process: &mut Child) {
    // Both fail only for a process that has ended already.
    let _killed = process.kill();
    let _reaped = process.wait();
}

/// Waits until the process has followed the signal, for a few seconds at most.
fn say_farewell(process: &mut Child, signal: &str) {
    let _sent = Command::new("kill").args([signal, &process.id().to_string()]).status();
    for _ in 0..1000 {
        if !matches!(process.try_wait(), Ok(None)) {
            return;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}
