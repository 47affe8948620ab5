//! What it runs on, and what a process has used.

use std::fs::{read_dir, read_to_string};
use std::time::Duration;

use anyhow::Context as _;

/// One line about the hardware.
pub(crate) fn describe() -> String {
    let cpus = std::thread::available_parallelism().map_or(0, usize::from);
    let cpuinfo = read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = field(&cpuinfo, "model name").unwrap_or("unknown processor");
    let meminfo = read_to_string("/proc/meminfo").unwrap_or_default();
    let memory = field(&meminfo, "MemTotal").and_then(kibibytes).unwrap_or(0);
    let kernel = read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!(
        "{cpus} x {model}, {} GiB, Linux {}",
        memory >> 30,
        kernel.trim()
    )
}

/// What a process has used since it began.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Usage {
    /// User and system time.
    pub(crate) cpu: Duration,
    /// Resident bytes now.
    pub(crate) resident: u64,
    /// The most resident bytes so far.
    pub(crate) peak: u64,
    /// Threads now.
    pub(crate) threads: usize,
    /// Open files now, sockets among them.
    pub(crate) files: usize,
}

/// Reads a process' figures from `/proc`.
pub(crate) fn usage(pid: u32) -> anyhow::Result<Usage> {
    let stat = read_to_string(format!("/proc/{pid}/stat")).context("spanmill has ended")?;
    let status = read_to_string(format!("/proc/{pid}/status")).context("spanmill has ended")?;
    let bytes = |name| field(&status, name).and_then(kibibytes).unwrap_or(0);
    Ok(Usage {
        cpu: cpu_time(&stat).context("cannot read /proc/PID/stat")?,
        resident: bytes("VmRSS"),
        peak: bytes("VmHWM"),
        threads: entries(&format!("/proc/{pid}/task"))?,
        files: entries(&format!("/proc/{pid}/fd"))?,
    })
}

fn entries(directory: &str) -> anyhow::Result<usize> {
    Ok(read_dir(directory)?.count())
}

/// `utime` and `stime`, fields 14 and 15. Source: proc(5).
fn cpu_time(stat: &str) -> Option<Duration> {
    /// `USER_HZ`, the same on every Linux that we know.
    const TICKS_PER_SECOND: u64 = 100;
    // The second field, a name in parentheses, may hold anything.
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(Duration::from_millis(
        (user + system) * 1_000 / TICKS_PER_SECOND,
    ))
}

fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == name).then_some(value.trim())
    })
}

fn kibibytes(text: &str) -> Option<u64> {
    let number: u64 = text.strip_suffix(" kB")?.trim().parse().ok()?;
    Some(number * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_is_found_behind_any_name() {
        let stat = "42 (span) mill) (x) S 1 42 42 0 -1 4194304 1 0 0 0 250 50 7 7 20 0 4 0";
        assert_eq!(cpu_time(stat), Some(Duration::from_secs(3)));
        assert_eq!(cpu_time("42 (x) S 1"), None);
    }

    #[test]
    fn own_usage_is_read() {
        let usage = usage(std::process::id()).unwrap();
        assert!(usage.resident > 100_000 && usage.peak >= usage.resident / 2);
    }
}
