//! How much of the CPU that it may have this process takes.

use std::thread::available_parallelism;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// How much of its CPU a process takes, from one look to the next.
#[derive(Debug)]
pub(super) struct CpuShare {
    /// CPUs that it may have, by its affinity and its cgroup.
    cpus: f64,
    used: Duration,
    at: Instant,
}

impl CpuShare {
    /// Begins now.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            cpus: available_parallelism().map_or(1, usize::from) as f64,
            used: used(),
            at: now,
        }
    }

    /// The share since the last look; 1 is all.
    pub(super) fn since_last(&mut self, now: Instant) -> f64 {
        self.look(used(), now)
    }

    fn look(&mut self, used: Duration, now: Instant) -> f64 {
        let wall = now.saturating_duration_since(self.at).as_secs_f64();
        let cpu = used.saturating_sub(self.used).as_secs_f64();
        (self.used, self.at) = (used, now);
        if wall > 0.0 {
            cpu / wall / self.cpus
        } else {
            0.0
        }
    }
}

/// CPU time of all threads since the process began.
fn used() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    let (seconds, nanos) = (time.tv_sec, time.tv_nsec);
    Duration::new(
        u64::try_from(seconds).unwrap_or_default(),
        u32::try_from(nanos).unwrap_or_default(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn share_is_cpu_time_of_the_time_that_passed_on_all_cpus() {
        let start = Instant::now();
        let mut share = CpuShare {
            cpus: 4.0,
            used: Duration::from_secs(10),
            at: start,
        };
        let later = start + Duration::from_secs(2);
        assert_eq!(share.look(Duration::from_secs(12), later), 0.25);
        assert_eq!(share.look(Duration::from_secs(12), later), 0.0);
        let begun = used();
        assert!(begun > Duration::ZERO);
    }
}
