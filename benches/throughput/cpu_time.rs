//! The CPU time of this process.

use rustix::time::{ClockId, clock_gettime};
use std::time::Duration;

/// Of all threads, in user and kernel.
pub(crate) fn cpu_time() -> Duration {
    Duration::try_from(clock_gettime(ClockId::ProcessCPUTime)).unwrap_or_default()
}
