//! The processor time of this process: what work costs, whoever else uses the machine.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// The processor time of all threads of the process up to now.
pub fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(u64::try_from(time.tv_sec).unwrap(), u32::try_from(time.tv_nsec).unwrap())
}

/// The processor time that something takes, in seconds.
pub fn cpu_seconds(work: impl FnOnce()) -> f64 {
    let started = cpu_time();
    work();
    (cpu_time() - started).as_secs_f64()
}
