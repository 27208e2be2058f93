//! A program that cannot be had is one failure, and no run that left a test out succeeds.

use std::process::Command;

/// Runs the children below, which need a program that cannot be had; whether they succeeded, and what they printed.
fn children(filter: &str, settings: &[(&str, &str)]) -> (bool, String, String) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([filter, "--ignored", "--test-threads=1"]).env("POSTGRES_BIN", "/nowhere/postgres");
    for foreign in ["CI", "STRATT_TEST", "NEXTEST_RUN_ID"] {
        command.env_remove(foreign);
    }
    let output = command.envs(settings.iter().copied()).output().unwrap();
    let [stdout, stderr] = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
    (output.status.success(), stdout, stderr)
}

#[test]
fn the_first_test_fails_and_the_others_are_left_out() {
    let (succeeded, stdout, stderr) = children("missing::child_", &[]);
    assert!(!succeeded && stdout.contains("1 passed; 1 failed"), "{stdout}");
    assert_eq!(stdout.matches("POSTGRES_BIN names /nowhere/postgres").count(), 1, "{stdout}");
    assert!(!stdout.contains("panicked") && !stdout.contains("backtrace"), "{stdout}");
    assert_eq!(stderr.matches("left out, Postgres is missing").count(), 1, "{stderr}");
}

#[test]
fn where_all_tests_are_asked_for_none_is_left_out() {
    for all in [("STRATT_TEST", "all"), ("CI", "true")] {
        let (succeeded, stdout, _) = children("missing::child_", &[all]);
        assert!(!succeeded && stdout.contains("0 passed; 2 failed"), "{stdout}");
    }
}

#[test]
fn a_run_of_many_processes_fails_once_and_when_tried_again() {
    let run = uuid::Uuid::new_v4().to_string();
    let settings = [("NEXTEST_RUN_ID", run.as_str())];
    let runs = ["one", "two", "one"].map(|name| children(&format!("missing::child_{name}"), &settings));
    let succeeded = runs.each_ref().map(|(succeeded, ..)| *succeeded);
    assert_eq!(succeeded, [false, true, false], "{runs:?}");
}

#[test]
#[ignore = "run by the tests above in a process of its own"]
fn child_one() {
    support::needs!(Postgres);
    panic!("it was not left out");
}

#[test]
#[ignore = "run by the tests above in a process of its own"]
fn child_two() {
    support::needs!(Redis, Postgres);
    panic!("it was not left out");
}
