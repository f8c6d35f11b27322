//! Gives memory back that was needed for a while: for loading a large configuration, for a first round of scrapes, for a query over
//! much.
//!
//! The allocator keeps what was freed between things that stay, and the system what was read of the program. They give that back when
//! they are asked to, and are asked only after the start and when the process has grown since, so that one which just works is left
//! alone. Growth is of memory of its own: what comes back of the program and of blocks after it was given back is read from files, and
//! is no reason to do it again.

use std::path::{Path, PathBuf};
use std::time::Duration;

use relatum_tsdb::system::{give_code_back, give_memory_back};

/// When a start is over, for which most of what was read of the program was needed.
const START_TAKES: Duration = Duration::from_secs(5);

/// How often is looked from then on.
const LOOK_EVERY: Duration = Duration::from_secs(15);

/// The process has grown when it has more than this many bytes of its own more, and a share more, than it was left with.
const GROWN_BYTES: u64 = 4 << 20;
const GROWN_SHARE: u64 = 20;

/// Where control groups are: those of the second version, and those of the first that limit memory. A system may have both.
const CONTROL_GROUPS: &str = "/sys/fs/cgroup";
const MEMORY_GROUPS: &str = "/sys/fs/cgroup/memory";

/// Gives back what the start leaves, and then looks again and again; ends only where the system does not tell what a process has.
pub async fn keep_small() {
    tokio::time::sleep(START_TAKES).await;
    let mut left = give_back().await;
    while let Some(left_bytes) = left {
        tokio::time::sleep(LOOK_EVERY).await;
        if own_bytes().is_some_and(|bytes| has_grown(left_bytes, bytes)) {
            left = give_back().await;
        }
    }
}

/// Gives back what can be, and tells what is left of this process's own.
async fn give_back() -> Option<u64> {
    // Walking over all that is free takes its time.
    let give_back = || {
        give_memory_back();
        give_code_back();
    };
    let _ = tokio::task::spawn_blocking(give_back).await;
    own_bytes()
}

fn has_grown(left_bytes: u64, bytes: u64) -> bool {
    bytes > left_bytes + GROWN_BYTES + left_bytes / GROWN_SHARE
}

/// The memory of this process that is in the machine's, in bytes; `None` where the system does not tell.
pub(crate) fn resident_bytes() -> Option<u64> {
    resident_and_shared(&std::fs::read_to_string("/proc/self/statm").ok()?).map(|(resident, _)| resident)
}

/// What of it no file holds: that of the allocator, of stacks and of what the program changed in memory.
fn own_bytes() -> Option<u64> {
    let (resident, shared) = resident_and_shared(&std::fs::read_to_string("/proc/self/statm").ok()?)?;
    // They are counted one after the other while threads run.
    Some(resident.saturating_sub(shared))
}

/// The bytes of a process in memory by its `/proc/self/statm`: all, and those of files and of memory that others share.
fn resident_and_shared(statm: &str) -> Option<(u64, u64)> {
    // Sizes are in pages; Linux has 4 KiB ones on all machines we build for but some ARM kernels.
    let mut bytes = statm.split_ascii_whitespace().skip(1).map(|pages| pages.parse::<u64>().ok()?.checked_mul(4096));
    Some((bytes.next()??, bytes.next()??))
}

/// How much memory this process may have: that of the machine, or less if its control group says so; `None` where the system does
/// not tell.
pub(crate) fn available_bytes() -> Option<usize> {
    let of_machine = std::fs::read_to_string("/proc/meminfo").ok().and_then(|text| total_bytes(&text));
    let groups = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let of_groups =
        limits(&groups).into_iter().filter_map(|path| std::fs::read_to_string(path).ok()?.trim().parse().ok());
    of_machine.into_iter().chain(of_groups).min()
}

/// The total of `/proc/meminfo`.
fn total_bytes(text: &str) -> Option<usize> {
    let total = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: usize = total.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

/// Where the limits of the control groups of `/proc/self/cgroup` may be, and of all groups around them. A container may see its
/// own group as the outermost one whatever the name says, so that is always among them.
fn limits(groups: &str) -> Vec<PathBuf> {
    let lines = || groups.lines().filter_map(|line| line.split_once(':')?.1.split_once(":/"));
    let second = lines().find_map(|(controllers, own)| controllers.is_empty().then_some(own));
    let first =
        lines().find_map(|(controllers, own)| controllers.split(',').any(|name| name == "memory").then_some(own));
    let around = |root: &str, own: &str, file: &str| -> Vec<PathBuf> {
        let own = Path::new(root).join(own);
        own.ancestors().take_while(|path| path.starts_with(root)).map(|path| path.join(file)).collect()
    };
    let mut limits = around(CONTROL_GROUPS, second.unwrap_or_default(), "memory.max");
    if let Some(own) = first {
        limits.extend(around(MEMORY_GROUPS, own, "memory.limit_in_bytes"));
    }
    limits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_of_machine_and_groups() {
        assert_eq!(total_bytes("MemFree: 1 kB\nMemTotal:       24612345 kB\n"), Some(24_612_345 * 1024));
        assert_eq!(total_bytes("MemTotal: many\n"), None);
        for (groups, expected) in [
            ("0::/\n", &["/sys/fs/cgroup/memory.max"][..]),
            (
                "12:cpu:/x\n0::/a/b\n",
                &["/sys/fs/cgroup/a/b/memory.max", "/sys/fs/cgroup/a/memory.max", "/sys/fs/cgroup/memory.max"],
            ),
            (
                "10:cpu,cpuacct:/c\n9:memory:/a/b\n1:name=systemd:/x\n0::/d\n",
                &[
                    "/sys/fs/cgroup/d/memory.max",
                    "/sys/fs/cgroup/memory.max",
                    "/sys/fs/cgroup/memory/a/b/memory.limit_in_bytes",
                    "/sys/fs/cgroup/memory/a/memory.limit_in_bytes",
                    "/sys/fs/cgroup/memory/memory.limit_in_bytes",
                ],
            ),
            ("", &["/sys/fs/cgroup/memory.max"]),
        ] {
            let found: Vec<String> = limits(groups).iter().map(|path| path.display().to_string()).collect();
            assert_eq!(found, expected, "{groups:?}");
        }
        assert!(available_bytes().is_none_or(|bytes| bytes > 1 << 20));
    }

    #[test]
    fn memory_of_the_process() {
        for (statm, expected) in [
            ("121473 15200 9100 2451 0 40312 0\n", Some((15200 * 4096, 9100 * 4096))),
            ("121473 15200", None),
            ("121473 many 9100", None),
            ("1 18446744073709551615 1", None),
            ("", None),
        ] {
            assert_eq!(resident_and_shared(statm), expected, "{statm:?}");
        }
        // The program's own code is among what files hold.
        if let (Some(own), Some(all)) = (own_bytes(), resident_bytes()) {
            assert!(0 < own && own < all, "{own} of {all}");
        }
    }

    #[test]
    fn only_who_has_grown_gives_back() {
        const MIB: u64 = 1 << 20;
        for (left, now, expected) in [
            (0, 30 * MIB, true),
            (30 * MIB, 30 * MIB, false),
            (30 * MIB, 35 * MIB, false),
            (30 * MIB, 36 * MIB, true),
            (30 * MIB, 20 * MIB, false),
            (1000 * MIB, 1050 * MIB, false),
            (1000 * MIB, 1060 * MIB, true),
        ] {
            assert_eq!(has_grown(left, now), expected, "{left} {now}");
        }
    }
}
