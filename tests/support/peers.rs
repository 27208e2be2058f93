use super::{DEADLINE, Program};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::Stdio,
};
use tempfile::TempDir;
use tokio::{process::Command, time::timeout};

/// The programs of `tests/interop` in one language, with their packages at the pinned versions.
pub struct Peer {
    name: &'static str,
    program: PathBuf,
    extension: &'static str,
    scripts: PathBuf,
    packages: PathBuf,
    /// The folder of the scripts, if it is not that of the sources.
    _folder: Option<TempDir>,
}

impl Peer {
    pub fn python() -> Self {
        let scripts = sources("python");
        let pins = scripts.join("requirements.txt");
        let packages = installed("python", &pins, |folder| {
            let mut pip = std::process::Command::new("python3");
            pip.args(["-m", "pip", "install", "--quiet", "--no-deps", "--target"]).arg(folder);
            pip.arg("-r").arg(&pins);
            pip
        });
        let program = "python3".into();
        Self { name: "python", program, extension: "py", scripts, packages, _folder: None }
    }

    pub fn node() -> Self {
        let packages = Self::node_packages();
        // Node looks for packages beside the script and above: the sources have none.
        let folder = tempfile::tempdir().unwrap();
        for file in fs::read_dir(sources("node")).unwrap() {
            let file = file.unwrap();
            fs::copy(file.path(), folder.path().join(file.file_name())).unwrap();
        }
        std::os::unix::fs::symlink(&packages, folder.path().join("node_modules")).unwrap();
        let scripts = folder.path().to_owned();
        Self {
            name: "javascript",
            program: node(),
            extension: "js",
            scripts,
            packages,
            _folder: Some(folder),
        }
    }

    /// Returns the folder `node_modules`.
    pub fn node_packages() -> PathBuf {
        let sources = sources("node");
        let home = installed("node", &sources.join("package-lock.json"), |folder| {
            fs::create_dir_all(folder).unwrap();
            for file in ["package.json", "package-lock.json"] {
                fs::copy(sources.join(file), folder.join(file)).unwrap();
            }
            let mut npm = npm(&node());
            npm.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"]).current_dir(folder);
            npm
        });
        home.join("node_modules")
    }

    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Runs the program that publishes and consumes to its end. Returns its output.
    pub async fn run(&self, url: &str, arguments: &[&str]) -> Vec<Value> {
        self.output(Command::new(&self.program).arg(self.script("peer")).args(arguments).env("NATS_URL", url))
            .await
    }

    /// Returns which of the values in a file are valid to a schema, by a validator in that language.
    pub async fn validate(&self, schema: &Path, values: &Path) -> Vec<Value> {
        self.output(Command::new(&self.program).arg(self.script("validate")).args([schema, values])).await
    }

    /// Returns the CloudEvents that the official package for this language reads from the messages in a file.
    pub async fn cloud_events(&self, messages: &Path) -> Vec<Value> {
        self.output(Command::new(&self.program).arg(self.script("cloud_events")).arg(messages)).await
    }

    fn script(&self, name: &str) -> PathBuf {
        self.scripts.join(name).with_extension(self.extension)
    }

    async fn output(&self, command: &mut Command) -> Vec<Value> {
        let run = command
            .env("PYTHONPATH", &self.packages)
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output();
        let output = timeout(DEADLINE, run).await.expect("the program ends");
        let output = output.unwrap_or_else(|error| panic!("{}: {error}", self.program.display()));
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{command:?}: {}\n{said}", output.status);
        let lines = String::from_utf8(output.stdout).unwrap();
        let line = |line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}"));
        lines.lines().map(line).collect()
    }
}

fn sources(language: &str) -> PathBuf {
    super::root().join("tests/interop").join(language)
}

fn node() -> PathBuf {
    Program::Node.find().unwrap()
}

/// Returns the npm of this node: a script that is run by the node, or finds it on the `PATH`.
fn npm(node: &Path) -> std::process::Command {
    let beside = node.parent().unwrap();
    let script = beside.join("../lib/node_modules/npm/bin/npm-cli.js");
    if script.is_file() {
        let mut npm = std::process::Command::new(node);
        npm.arg(script);
        return npm;
    }
    let mut npm = std::process::Command::new(beside.join("npm"));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::iter::once(beside.to_owned()).chain(std::env::split_paths(&path));
    npm.env("PATH", std::env::join_paths(folders).unwrap());
    npm
}

/// Returns the folder with the packages of these pins, which the first process that needs them installs; others wait
/// for it.
fn installed(language: &str, pins: &Path, install: impl FnOnce(&Path) -> std::process::Command) -> PathBuf {
    let cache = super::target().join("interop");
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
    let output = command.output().unwrap_or_else(|error| panic!("{program} cannot be run: {error}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}\n{said}", output.status);
    fs::rename(&unfinished, &home).unwrap();
    home
}
