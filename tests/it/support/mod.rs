//! What the tests share: a provisioned server or cluster, events, a running consumer, and waiting for a condition.

mod databases;
mod effects;
mod events;
mod faulty;
mod load;
mod log;
#[cfg(feature = "metrics")]
mod metrics;
mod orchestrator;
mod outboxes;
mod peers;
mod running;
mod schemas;
mod seed;
mod spans;
mod stage;
#[cfg(feature = "otel")]
mod traces;

pub use databases::{database, sqlite_pool, sqlite_pool_on};
pub use effects::Effects;
pub use events::{deprecated, number_of, one_of_each, published, source};
pub use faulty::{Call, DiesAfter, Faulty};
pub use load::Load;
pub use log::Log;
#[cfg(feature = "metrics")]
pub use metrics::Metrics;
pub use orchestrator::{Answer, Orchestrator, post};
pub use outboxes::{Outbox, Relaying};
pub use peers::Peer;
pub use running::Running;
pub use schemas::{validator, validator_of};
pub use seed::Seed;
pub use spans::Spans;
pub use stage::{ClusterStage, NEWEST, Stage, quick, short};
#[cfg(feature = "otel")]
pub use traces::{Traces, attribute_of};

use std::{fmt::Debug, future::Future, path::PathBuf, time::Duration};
use tokio::time::{Instant, sleep};

/// How long a condition may take to come true; it usually takes milliseconds.
pub const DEADLINE: Duration = Duration::from_secs(40);

/// The program of an example.
pub fn example(name: &str) -> PathBuf {
    // Beside the folder of this test program, where cargo puts them.
    let program = std::env::current_exe().unwrap().ancestors().nth(2).unwrap().join("examples").join(name);
    assert!(program.is_file(), "{} is missing: cargo build --examples", program.display());
    program
}

/// Waits until `observe` yields what is wanted, and fails with what it last yielded.
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
