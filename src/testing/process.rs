//! A process that ends when ours does.

use std::{
    io,
    path::Path,
    process::{Child, Command, Stdio},
};

/// A process that is killed when this is dropped, and also when our own process is killed.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) server: Child,
    /// Reads from a pipe that nobody writes to. When our process ends, however it ends, the pipe closes and the
    /// watchdog kills the server.
    watchdog: Child,
}

impl Process {
    /// When our process is killed, nobody else removes `folder`: the watchdog does that as well.
    pub(super) fn guard(mut server: Child, folder: &Path) -> io::Result<Self> {
        let watchdog = Command::new("sh")
            .args(["-c", "read -r _; kill -9 \"$0\"; rm -rf \"$1\"", &server.id().to_string()])
            .arg(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        match watchdog {
            Ok(watchdog) => Ok(Self { server, watchdog }),
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
        end(&mut self.server);
    }
}

fn end(process: &mut Child) {
    // Both fail only for a process that has ended already.
    let _killed = process.kill();
    let _reaped = process.wait();
}
