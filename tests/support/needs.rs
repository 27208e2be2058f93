//! The treatment of a test whose program is missing.

use std::{
    env, fs,
    io::{self, Write},
    panic, process,
    sync::Mutex,
    thread,
};
use stratt_event_bridge::testing::Program;

/// Skips the test if one of these programs is not available; see [`is_missing`](crate::is_missing).
#[macro_export]
macro_rules! needs {
    ($($program:ident),+) => {
        if $($crate::is_missing($crate::Program::$program))||+ {
            return;
        }
    };
}

/// Returns whether a test is to be skipped because its program is not available.
///
/// The first test of a run that needs the program fails, with the ways to get it; the others end at once and print a
/// line that says so. So a missing program is one failure, and no run that skipped a test succeeds. With `CI=true` or
/// `STRATT_TEST=all` no test is skipped: each fails.
pub fn is_missing(program: Program) -> bool {
    let Err(error) = program.find() else { return false };
    let is = |name, value| env::var(name).is_ok_and(|set| set == value);
    if is("CI", "true") || is("STRATT_TEST", "all") || is_first(program) {
        eprintln!("{error}");
        // The line says it all: print neither a panic message nor a backtrace.
        panic::resume_unwind(Box::new("a program is missing"));
    }
    let (thread, stderr) = (thread::current(), &mut io::stderr());
    // Not with `eprintln!`, whose lines the harness hides when a test succeeds.
    let _told = writeln!(stderr, "{}: left out, {program:?} is missing", thread.name().unwrap_or("a test"));
    true
}

/// Returns whether no test of this run has failed for lack of the program yet, or this one has and is retried.
fn is_first(program: Program) -> bool {
    static FAILED: Mutex<Vec<Program>> = Mutex::new(Vec::new());
    // A run of cargo-nextest has a process for each test.
    if let Ok(run) = env::var("NEXTEST_RUN_ID") {
        let folder = super::target().join("missing-programs");
        fs::create_dir_all(&folder).unwrap();
        let (mark, test) = (folder.join(format!("{run}-{program:?}")), env::args().collect::<String>());
        let own = folder.join(process::id().to_string());
        fs::write(&own, &test).unwrap();
        // A link to a complete file: one process makes it, and none reads half of it.
        let is_made = fs::hard_link(&own, &mark).is_ok();
        fs::remove_file(own).unwrap();
        return is_made || fs::read_to_string(mark).unwrap() == test;
    }
    let mut failed = FAILED.lock().unwrap();
    if failed.contains(&program) {
        return false;
    }
    failed.push(program);
    true
}
