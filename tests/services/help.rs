//! `--help` of each program prints its usage and has no other effect.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Output,
};
use support::{example, orchestrator_http, strattctl, without_settings};

fn programs() -> Vec<PathBuf> {
    let examples = ["choco_adapter", "soak"];
    examples.into_iter().map(example).chain([orchestrator_http(), strattctl().to_owned()]).collect()
}

/// Runs it in a folder that must stay empty.
async fn run(program: &Path, argument: &str) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let mut command = without_settings(program);
    let output = command.arg(argument).env("TMPDIR", folder.path()).current_dir(folder.path()).output().await;
    let left: Vec<_> = fs::read_dir(folder.path()).unwrap().collect();
    assert!(left.is_empty(), "{} {argument}: {left:?}", program.display());
    output.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn help_is_printed_and_nothing_is_done() {
    for program in programs() {
        let output = run(&program, "--help").await;
        let said = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success() && said.contains("Usage: "), "{}: {said}", program.display());
        let connects = ["choco_adapter", "strattctl", "orchestrator-http"];
        if connects.iter().any(|name| program.ends_with(name)) {
            assert!(said.contains("NATS_INBOX_PREFIX"), "{}: {said}", program.display());
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_argument_that_is_not_known_is_refused() {
    for program in programs().into_iter().chain([example("quickstart")]) {
        let output = run(&program, "--unknown").await;
        assert_eq!(output.status.code(), Some(2), "{}: {output:?}", program.display());
    }
}
