//! The CPU time of this process.

use rustix::time::{ClockId, clock_gettime};
use std::time::Duration;

/// The CPU time of all threads, in user and kernel mode.
pub(crate) fn cpu_time() -> Duration {
    Duration::try_from(clock_gettime(ClockId::ProcessCPUTime)).unwrap_or_default()
}
