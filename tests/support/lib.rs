//! Support of the tests: a provisioned server or cluster, events, a running consumer, and waiting for a condition.
#![allow(
    clippy::pedantic,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::as_conversions,
    clippy::clone_on_ref_ptr,
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::new_without_default,
    clippy::should_implement_trait,
    missing_debug_implementations,
    missing_docs,
    reason = "tests fail by panicking, and only tests use this"
)]

mod children;
mod databases;
mod effects;
mod events;
mod faulty;
mod load;
mod log;
mod metrics;
mod needs;
mod orchestrator;
mod outboxes;
mod peers;
mod programs;
mod raw;
mod running;
mod schemas;
mod seed;
mod shifted;
mod spans;
mod stage;
mod traces;

pub use children::{signal, test_process};
pub use databases::{database, sqlite_pool, sqlite_pool_on};
pub use effects::Effects;
pub use events::{deprecated, number_of, one_of_each, published, source};
pub use faulty::{Call, DiesAfter, Faulty};
pub use load::Load;
pub use log::Log;
pub use metrics::Metrics;
pub use needs::is_missing;
pub use orchestrator::{Answer, Orchestrator, post};
pub use outboxes::{Outbox, Relaying};
pub use peers::Peer;
pub use programs::without_settings;
pub use raw::raw_publish;
pub use running::Running;
pub use schemas::{validator, validator_of};
pub use seed::Seed;
pub use shifted::ShiftedTimes;
pub use spans::Spans;
pub use stage::{ClusterStage, HubAndLeaf, LeafStage, NEWEST, Stage, hub_domain, quick, short};
pub use stratt_event_bridge::testing::Program;
pub use traces::{Traces, attribute_of};

use std::{
    env,
    fmt::Debug,
    future::Future,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
    time::Duration,
};
use tokio::time::{Instant, sleep};

/// The time limit of a condition; it usually takes milliseconds.
pub const DEADLINE: Duration = Duration::from_secs(40);

/// Returns the root of the repository.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// Returns cargo's target folder, where what was fetched is kept.
pub fn target() -> PathBuf {
    // Cargo marks it as a cache.
    let program = env::current_exe().unwrap();
    program.ancestors().find(|folder| folder.join("CACHEDIR.TAG").is_file()).unwrap().to_owned()
}

/// Returns the program of an example, built from the present sources.
pub fn example(name: &str) -> PathBuf {
    program(&["--example", name], &format!("examples/{name}"))
}

/// Returns the service `orchestrator-http`, built from the present sources.
pub fn orchestrator_http() -> PathBuf {
    program(&["--bin", "orchestrator-http"], "orchestrator-http")
}

/// Returns the operators' tool, built from the present sources.
pub fn strattctl() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| program(&["--bin", "strattctl"], "strattctl"))
}

fn program(target: &[&str], path: &str) -> PathBuf {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // The variables that cargo sets for the package of the tests would rerun build scripts, and rebuild all that
    // depends on them.
    for (name, _) in env::vars_os() {
        let is_of_package =
            ["CARGO_PKG_", "CARGO_MANIFEST_"].iter().any(|start| name.to_string_lossy().starts_with(start));
        if is_of_package {
            cargo.env_remove(&name);
        }
    }
    // With the features of the whole workspace, like the tests themselves, so that dependencies are not built twice.
    let output =
        cargo.current_dir(root()).args(["build", "--quiet", "--workspace"]).args(target).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    // Beside the folder of this test program, where cargo puts them.
    env::current_exe().unwrap().ancestors().nth(2).unwrap().join(path)
}

/// Waits until `observe` yields what is wanted, or fails with what it last yielded.
pub async fn eventually<T, F, Fut>(what: &str, mut observe: F, wanted: impl Fn(&T) -> bool) -> T
where
    T: Debug,
    F: FnMut() -> Fut,
    Fut: Future<Output = T>,
{
    let deadline = Instant::now() + DEADLINE;
    loop {
        let seen = observe().await;
        if wanted(&seen) {
            return seen;
        }
        assert!(Instant::now() < deadline, "{what}: still {seen:?} after {DEADLINE:?}");
        sleep(Duration::from_millis(10)).await;
    }
}
