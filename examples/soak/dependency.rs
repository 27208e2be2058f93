//! The dependency of the handlers: a file stands for a database or a service, which is away while the file exists.

use crate::report::Injected;
use std::{
    fs, io,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};
use tokio::time::sleep;

/// The dependency of the handlers of all consumer processes.
#[derive(Debug, Clone)]
pub struct Dependency {
    flag: PathBuf,
}

impl Dependency {
    /// Returns the dependency of the consumers that write this journal.
    pub fn beside(journal: &Path) -> Self {
        Self { flag: journal.with_file_name("dependency-is-away") }
    }

    pub fn is_away(&self) -> bool {
        self.flag.exists()
    }

    /// Lets it go away again and again for 5 to 15 s, until `end`.
    pub async fn fail(&self, random: &mut fastrand::Rng, end: Instant) -> io::Result<Vec<Injected>> {
        let mut injected = Vec::new();
        loop {
            sleep(Duration::from_millis(random.u64(10_000..25_000))).await;
            if Instant::now() >= end {
                return Ok(injected);
            }
            fs::write(&self.flag, "")?;
            sleep(Duration::from_millis(random.u64(5000..15_000))).await;
            fs::remove_file(&self.flag)?;
            injected.push(Injected::new("dependency went away"));
        }
    }
}
