//! The consumer processes, and the supervisor that starts them again.

use crate::{
    Failure,
    consumer::{COULD_NOT_START, JOURNAL, ORDERED, URLS},
    stage::Stage,
};
use ledger::Journal;
use std::{
    fs::{File, OpenOptions},
    io,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

const CHILDREN: usize = 3;
/// The time limit for a child to drain.
const DRAINED_WITHIN: Duration = Duration::from_secs(30);

pub struct Children {
    processes: Vec<Child>,
    urls: String,
    is_ordered: bool,
    journal_path: PathBuf,
    journal: Journal,
    /// Reports of those that ended without being asked to.
    ended_by_themselves: Vec<String>,
}

impl Children {
    pub fn start(stage: &Stage) -> Result<Self, Failure> {
        let urls = stage.networks().consumers.urls().join(",");
        let (journal_path, journal) = (stage.folder().join("journal"), stage.ledger().journal()?);
        let is_ordered = stage.is_ordered();
        let mut children = Self {
            processes: Vec::new(),
            urls,
            is_ordered,
            journal_path,
            journal,
            ended_by_themselves: Vec::new(),
        };
        for _ in 0..CHILDREN {
            let child = children.spawn()?;
            children.processes.push(child);
        }
        Ok(children)
    }

    fn spawn(&self) -> Result<Child, Failure> {
        let log = self.log()?;
        let child = Command::new(std::env::current_exe()?)
            .env(URLS, &self.urls)
            .env(JOURNAL, &self.journal_path)
            .env(ORDERED, self.is_ordered.to_string())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        Ok(child)
    }

    fn log(&self) -> Result<File, Failure> {
        let path = self.journal_path.with_file_name("consumers.log");
        Ok(OpenOptions::new().create(true).append(true).open(path)?)
    }

    /// Replaces those that have ended.
    pub fn restart_ended(&mut self) {
        for index in 0..self.processes.len() {
            let Some(child) = self.processes.get_mut(index) else { continue };
            let Ok(Some(status)) = child.try_wait() else { continue };
            if status.success() || !is_expected(&self.journal_path, child.id(), status) {
                self.ended_by_themselves.push(format!("consumer {} ended with {status}", child.id()));
            }
            self.replace(index);
        }
    }

    fn replace(&mut self, index: usize) {
        if let (Ok(new), Some(child)) = (self.spawn(), self.processes.get_mut(index)) {
            *child = new;
        }
    }

    pub fn any(&self, random: &mut fastrand::Rng) -> usize {
        random.usize(..self.processes.len())
    }

    /// Kills it (SIGKILL) and starts another in its place.
    pub fn kill(&mut self, index: usize) -> Result<(), Failure> {
        let Some(child) = self.processes.get_mut(index) else { return Ok(()) };
        self.journal.crashed(child.id())?;
        child.kill()?;
        child.wait()?;
        self.replace(index);
        Ok(())
    }

    /// Stops it (SIGTERM), waits until it has drained, and starts another in its place.
    pub async fn stop_one(&mut self, index: usize) -> Result<(), Failure> {
        self.signal(index, "-TERM")?;
        self.wait_for(index).await?;
        self.replace(index);
        Ok(())
    }

    /// Sends a signal to it, such as SIGSTOP or SIGCONT.
    pub fn signal(&self, index: usize, signal: &str) -> Result<(), Failure> {
        if let Some(child) = self.processes.get(index) {
            Command::new("kill").args([signal, &child.id().to_string()]).status()?;
        }
        Ok(())
    }

    async fn wait_for(&mut self, index: usize) -> Result<(), Failure> {
        let deadline = Instant::now() + DRAINED_WITHIN;
        let Some(child) = self.processes.get_mut(index) else { return Ok(()) };
        loop {
            match child.try_wait()? {
                Some(status) if is_expected(&self.journal_path, child.id(), status) => return Ok(()),
                Some(status) => {
                    self.ended_by_themselves.push(format!("consumer {} drained with {status}", child.id()));
                    return Ok(());
                }
                None if Instant::now() > deadline => {
                    self.ended_by_themselves.push(format!("consumer {} did not drain", child.id()));
                    self.journal.crashed(child.id())?;
                    child.kill()?;
                    child.wait()?;
                    return Ok(());
                }
                None => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    }

    /// Stops all, and returns reports of those that ended unexpectedly.
    pub async fn stop(mut self) -> Result<Vec<String>, Failure> {
        for index in 0..self.processes.len() {
            self.signal(index, "-TERM")?;
        }
        for index in 0..self.processes.len() {
            self.wait_for(index).await?;
        }
        Ok(std::mem::take(&mut self.ended_by_themselves))
    }
}

/// Returns whether a consumer may end like this: it was asked to, could not start, or was killed by an event.
fn is_expected(journal: &Path, process: u32, status: ExitStatus) -> bool {
    status.success() || status.code() == Some(COULD_NOT_START.into()) || death_note(journal, process).exists()
}

/// Leaves word that an event kills this process, for any other abort would be a fault.
pub fn leave_death_note(journal: &Path) -> io::Result<()> {
    File::create(death_note(journal, std::process::id())).map(drop)
}

fn death_note(journal: &Path, process: u32) -> PathBuf {
    journal.with_file_name(format!("killed-by-event-{process}"))
}

impl Drop for Children {
    fn drop(&mut self) {
        for child in &mut self.processes {
            let _ended = child.kill();
            let _reaped = child.wait();
        }
    }
}
