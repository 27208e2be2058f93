use serde_json::Value;
use sha2::{Digest, Sha256};
use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::Stdio,
};
use tempfile::TempDir;
use tokio::process::Command;

/// A program of `tests/interop` in another language, with its packages at the pinned versions.
pub struct Peer {
    name: &'static str,
    program: &'static str,
    script: PathBuf,
    packages: PathBuf,
    /// Where the script is, if not among the sources.
    _folder: Option<TempDir>,
}

impl Peer {
    pub fn python() -> Self {
        let sources = sources("python");
        let pins = sources.join("requirements.txt");
        let packages = installed("python", &pins, |folder| {
            let mut pip = std::process::Command::new("python3");
            pip.args(["-m", "pip", "install", "--quiet", "--no-deps", "--target"]).arg(folder);
            pip.arg("-r").arg(&pins);
            pip
        });
        Self { name: "python", program: "python3", script: sources.join("peer.py"), packages, _folder: None }
    }

    pub fn node() -> Self {
        let packages = Self::node_packages();
        // Node looks for packages beside the script and above: the sources have none.
        let (sources, folder) = (sources("node"), tempfile::tempdir().unwrap());
        for file in ["package.json", "peer.js", "idempotency.js"] {
            fs::copy(sources.join(file), folder.path().join(file)).unwrap();
        }
        std::os::unix::fs::symlink(&packages, folder.path().join("node_modules")).unwrap();
        let script = folder.path().join("peer.js");
        Self { name: "javascript", program: "node", script, packages, _folder: Some(folder) }
    }

    /// The folder `node_modules`.
    pub fn node_packages() -> PathBuf {
        let sources = sources("node");
        let home = installed("node", &sources.join("package-lock.json"), |folder| {
            fs::create_dir_all(folder).unwrap();
            for file in ["package.json", "package-lock.json"] {
                fs::copy(sources.join(file), folder.join(file)).unwrap();
            }
            let mut npm = std::process::Command::new("npm");
            npm.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"]).current_dir(folder);
            npm
        });
        home.join("node_modules")
    }

    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Runs it to its end; what it printed.
    pub async fn run(&self, url: &str, arguments: &[&str]) -> Vec<Value> {
        let run = Command::new(self.program)
            .arg(&self.script)
            .args(arguments)
            .env("NATS_URL", url)
            .env("PYTHONPATH", &self.packages)
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output();
        let output = tokio::time::timeout(super::DEADLINE, run).await.expect("the peer ends").unwrap_or_else(
            |error| panic!("{} cannot be run: {error}; {}", self.program, how_to_get(self.program)),
        );
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{} {arguments:?}: {}\n{said}", self.name, output.status);
        let lines = String::from_utf8(output.stdout).unwrap();
        lines
            .lines()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}")))
            .collect()
    }
}

fn sources(language: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop").join(language)
}

fn how_to_get(program: &str) -> &'static str {
    match program {
        "python3" => "it is needed, with pip: apt-get install python3 python3-pip",
        _ => "node 18 or newer is needed, with npm: apt-get install nodejs npm",
    }
}

/// The folder with the packages of these pins, installed by the first process that needs them; others wait for it.
fn installed(language: &str, pins: &Path, install: impl FnOnce(&Path) -> std::process::Command) -> PathBuf {
    let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap().join("interop");
    let digest = hex::encode(Sha256::digest(fs::read(pins).unwrap()));
    let home = cache.join(format!("{language}-{}", &digest[..16]));
    fs::create_dir_all(&cache).unwrap();
    let lock = File::create(cache.join(format!("{language}.lock"))).unwrap();
    lock.lock().unwrap();
    if home.is_dir() {
        return home;
    }
    // Renamed into place when it is complete: a process that dies here leaves nothing half-written to be used.
    let unfinished = cache.join(format!("{language}-unfinished"));
    if unfinished.exists() {
        fs::remove_dir_all(&unfinished).unwrap();
    }
    let mut command = install(&unfinished);
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("{program} cannot be run: {error}; {}", how_to_get(&program)));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?} failed: {said}\n{}", how_to_get(&program));
    fs::rename(&unfinished, &home).unwrap();
    home
}
