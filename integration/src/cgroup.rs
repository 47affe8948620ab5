//! Cgroups, to run a process with less than the machine has.

use std::fs::{self, read_to_string, write};
use std::path::PathBuf;

use anyhow::{Context as _, bail};

/// The time over which a share of the processors holds, in microseconds: a process with a
/// tenth of one does not stand still for 90 ms at a time then, and loses little of its
/// share when it has to wait for a processor.
const CPU_PERIOD: u64 = 50_000;

/// A cgroup with limits of its own, removed when dropped; by then it must be empty.
///
/// It takes the right to make one, which a user as a rule does not have.
#[derive(Debug)]
pub struct Cgroup {
    /// One in each hierarchy: memory first, and with version 1 another for processors.
    groups: Vec<Group>,
}

#[derive(Debug)]
struct Group {
    directory: PathBuf,
    /// Where this process was before.
    before: PathBuf,
    is_version_2: bool,
}

/// How a limit is called in both versions of cgroups.
struct Limit {
    controller: &'static str,
    version_1: (&'static str, String),
    version_2: (&'static str, String),
}

impl Cgroup {
    /// Makes one with so many bytes of memory and, if it is said, so many processors,
    /// such as 0.5.
    ///
    /// # Errors
    ///
    /// Why there cannot be one here.
    pub fn new(memory: u64, processors: Option<f64>) -> anyhow::Result<Self> {
        let mut cgroup = Self { groups: Vec::new() };
        cgroup.limit(&Limit {
            controller: "memory",
            version_1: ("memory.limit_in_bytes", memory.to_string()),
            version_2: ("memory.max", memory.to_string()),
        })?;
        if let Some(processors) = processors {
            let quota = (processors * CPU_PERIOD as f64) as u64;
            cgroup.limit(&Limit {
                controller: "cpu",
                version_1: ("cpu.cfs_quota_us", quota.to_string()),
                version_2: ("cpu.max", format!("{quota} {CPU_PERIOD}")),
            })?;
            // It has its share whatever else the machine does.
            cgroup.limit(&Limit {
                controller: "cpu",
                version_1: ("cpu.shares", "262144".to_owned()),
                version_2: ("cpu.weight", "10000".to_owned()),
            })?;
        }
        Ok(cgroup)
    }

    fn limit(&mut self, limit: &Limit) -> anyhow::Result<()> {
        let own = read_to_string("/proc/self/cgroup")?;
        let path = |wanted: &str| {
            own.lines().find_map(|line| {
                let (_, rest) = line.split_once(':')?;
                let (controllers, path) = rest.split_once(':')?;
                let has = controllers.split(',').any(|name| name == wanted);
                has.then(|| path.trim_start_matches('/').to_owned())
            })
        };
        let mounted = PathBuf::from("/sys/fs/cgroup");
        let (root, own, is_version_2) = match (path(limit.controller), path("")) {
            (Some(own), _) => (mounted.join(limit.controller), own, false),
            (None, Some(own)) => (mounted, own, true),
            (None, None) => bail!("this process has no cgroup"),
        };
        let in_it = |group: &&Group| group.is_version_2 || group.directory.starts_with(&root);
        let made = self.groups.iter().find(in_it);
        let directory = match made {
            Some(group) => group.directory.clone(),
            None => {
                let made = tempfile::Builder::new()
                    .prefix("spanmill-test-")
                    .tempdir_in(&root);
                let directory = made.context("cannot make a cgroup")?.keep();
                self.groups.push(Group {
                    directory: directory.clone(),
                    before: root.join(own),
                    is_version_2,
                });
                directory
            }
        };
        let (file, value) = match is_version_2 {
            true => &limit.version_2,
            false => &limit.version_1,
        };
        write(directory.join(file), value).context("cannot limit the cgroup")
    }

    /// Does something as a member, so that the processes that it starts are members for
    /// good.
    ///
    /// # Errors
    ///
    /// When the process cannot be moved there or back, and those of the work.
    pub async fn within<T>(
        &self,
        work: impl Future<Output = anyhow::Result<T>>,
    ) -> anyhow::Result<T> {
        let own = std::process::id().to_string();
        for group in &self.groups {
            write(group.directory.join("cgroup.procs"), &own).context("cannot enter a cgroup")?;
        }
        let done = work.await;
        for group in &self.groups {
            write(group.before.join("cgroup.procs"), &own).context("cannot leave a cgroup")?;
        }
        done
    }

    /// Processes in it that were killed because it was full.
    ///
    /// # Errors
    ///
    /// When the kernel does not say.
    pub fn killed(&self) -> anyhow::Result<u64> {
        let group = self.groups.first().context("no cgroup")?;
        let file = match group.is_version_2 {
            true => "memory.events",
            false => "memory.oom_control",
        };
        let text = read_to_string(group.directory.join(file))?;
        let line = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
        Ok(line.context("no count of kills")?.trim().parse()?)
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        for group in &self.groups {
            // The processes of a failed test may not have ended yet.
            let _ = fs::remove_dir(&group.directory);
        }
    }
}
