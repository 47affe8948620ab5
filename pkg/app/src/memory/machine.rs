//! What memory there is, and what the process has of it.

use std::path::Path;

/// Bytes that the process may have: the lowest limit of its memory cgroup and of those
/// above it, or else what the machine has. `None` where neither can be read.
///
/// `proc` and `cgroup` are where these file systems are mounted. Source: Linux,
/// `cgroup-v2.rst`, `memory.max`; `cgroup-v1/memory.rst`, `memory.limit_in_bytes`.
pub(super) fn memory(proc: &Path, cgroup: &Path) -> Option<u64> {
    let groups = std::fs::read_to_string(proc.join("self/cgroup")).unwrap_or_default();
    let limits = groups.lines().flat_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        let (controllers, path) = (fields.next(), fields.next());
        match (controllers.unwrap_or_default(), path.unwrap_or("/")) {
            ("", path) => lowest(cgroup, path, "memory.max"),
            (controllers, path) if controllers.split(',').any(|name| name == "memory") => {
                lowest(&cgroup.join("memory"), path, "memory.limit_in_bytes")
            }
            _ => None,
        }
    });
    limits.chain(physical(proc)).min()
}

/// The lowest limit of a cgroup and of all above it. In a container its path may not be
/// there, but the one at the top is the container's then.
fn lowest(root: &Path, path: &str, file: &str) -> Option<u64> {
    let path = Path::new(path.trim_start_matches('/'));
    let limits = path.ancestors().filter_map(|group| {
        let text = std::fs::read_to_string(root.join(group).join(file)).ok()?;
        // "max" is none.
        text.trim().parse().ok()
    });
    limits.min()
}

fn physical(proc: &Path) -> Option<u64> {
    kibibytes(&proc.join("meminfo"), "MemTotal:")
}

/// Resident bytes of this process; 0 where they cannot be read.
pub(super) fn resident(proc: &Path) -> u64 {
    kibibytes(&proc.join("self/status"), "VmRSS:").unwrap_or(0)
}

/// The bytes of a line such as `MemTotal: 16 kB`.
fn kibibytes(file: &Path, name: &str) -> Option<u64> {
    let text = std::fs::read_to_string(file).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1 << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEMINFO: &str = "MemTotal:       24683608 kB\nMemFree:        1000 kB\n";

    fn memory_of(cgroups: &str, files: &[(&str, &str)]) -> Option<u64> {
        let directory = tempfile::TempDir::new().unwrap();
        let put = |path: &str, text: &str| {
            let path = directory.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        put("proc/meminfo", MEMINFO);
        put("proc/self/cgroup", cgroups);
        for (path, text) in files {
            put(&format!("cgroup/{path}"), text);
        }
        let (proc, cgroup) = (
            directory.path().join("proc"),
            directory.path().join("cgroup"),
        );
        memory(&proc, &cgroup)
    }

    #[test]
    fn lowest_limit_above_the_process_holds() {
        let machine = 24_683_608 << 10;
        let v1 = "4:memory:/a/b\n1:cpu:/x\n0::/\n";
        for (name, cgroups, files, want) in [
            ("no cgroup", "", &[][..], machine),
            (
                "version 2",
                "0::/a/b\n",
                &[("a/b/memory.max", "536870912\n"), ("a/memory.max", "max\n")][..],
                536_870_912,
            ),
            (
                "its parent",
                "0::/a/b\n",
                &[("a/b/memory.max", "max\n"), ("a/memory.max", "1000000\n")][..],
                1_000_000,
            ),
            (
                "a container whose own path is not there",
                "0::/kubepods/pod/x\n",
                &[("memory.max", "2000000\n")][..],
                2_000_000,
            ),
            (
                "version 1",
                v1,
                &[("memory/a/b/memory.limit_in_bytes", "3000000\n")][..],
                3_000_000,
            ),
            (
                "version 1 without a limit",
                v1,
                &[("memory/a/b/memory.limit_in_bytes", "9223372036854771712\n")][..],
                machine,
            ),
        ] {
            assert_eq!(memory_of(cgroups, files), Some(want), "{name}");
        }
        assert_eq!(memory(Path::new("/nowhere"), Path::new("/nowhere")), None);
    }

    #[test]
    fn process_has_some_memory() {
        assert!(resident(Path::new("/proc")) > 1 << 20);
        assert_eq!(resident(Path::new("/nowhere")), 0);
    }
}
