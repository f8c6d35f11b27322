//! How this host does, for `/metrics`: names, units and labels are those of the node exporter, so that its dashboards and rules work.
//!
//! Only what people look at first. Whoever wants all of it runs a node exporter and relates it.

use std::collections::{BTreeMap, BTreeSet};

use procfs::process::Process;
use procfs::{Current, CurrentSI};
use relatum_model::Labels;
use relatum_model::exposition::{MetricFamily, MetricKind};

/// A sector in the kernel's statistics, whatever the disk's own are.
const SECTOR_BYTES: f64 = 512.0;

/// File systems without a disk under them, and those that another host has: asking one may take for ever.
const LEFT_OUT: [&str; 29] = [
    "autofs",
    "binfmt_misc",
    "bpf",
    "cgroup",
    "cgroup2",
    "cifs",
    "configfs",
    "debugfs",
    "devpts",
    "devtmpfs",
    "efivarfs",
    "fusectl",
    "hugetlbfs",
    "mqueue",
    "nfs",
    "nfs4",
    "nsfs",
    "overlay",
    "proc",
    "pstore",
    "ramfs",
    "rpc_pipefs",
    "securityfs",
    "selinuxfs",
    "smb3",
    "squashfs",
    "sysfs",
    "tmpfs",
    "tracefs",
];

/// What the kernel tells; whatever it does not, is left out.
pub(crate) fn families() -> Vec<MetricFamily> {
    let mut families = Vec::new();
    families.extend(procfs::KernelStats::current().map(|stats| cpu(&stats)).unwrap_or_default());
    families.extend(procfs::LoadAverage::current().map(|load| self::load(&load)).unwrap_or_default());
    families.extend(procfs::Meminfo::current().map(|memory| self::memory(&memory)).unwrap_or_default());
    families.extend(procfs::diskstats().map(|disks| self::disks(&disks)).unwrap_or_default());
    families.extend(procfs::net::dev_status().map(|devices| network(devices.into_values())).unwrap_or_default());
    families.extend(file_systems());
    families
}

fn cpu(stats: &procfs::KernelStats) -> Vec<MetricFamily> {
    let mut seconds =
        MetricFamily::new(MetricKind::Counter, "node_cpu_seconds_total", "Seconds the CPUs spent in each mode.");
    let per_second = procfs::ticks_per_second() as f64;
    for (number, time) in stats.cpu_time.iter().enumerate() {
        let modes = [
            ("user", Some(time.user)),
            ("nice", Some(time.nice)),
            ("system", Some(time.system)),
            ("idle", Some(time.idle)),
            ("iowait", time.iowait),
            ("irq", time.irq),
            ("softirq", time.softirq),
            ("steal", time.steal),
        ];
        for (mode, ticks) in modes {
            let labels = Labels::from_pairs([("cpu", number.to_string()), ("mode", mode.to_owned())]);
            seconds.push(labels, ticks.unwrap_or(0) as f64 / per_second);
        }
    }
    vec![
        seconds,
        MetricFamily::counter("node_context_switches_total", "Total number of context switches.", stats.ctxt as f64),
        MetricFamily::gauge("node_boot_time_seconds", "Node boot time, in unixtime.", stats.btime as f64),
        MetricFamily::gauge(
            "node_procs_running",
            "Number of processes in runnable state.",
            f64::from(stats.procs_running.unwrap_or(0)),
        ),
        MetricFamily::gauge(
            "node_procs_blocked",
            "Number of processes blocked waiting for I/O to complete.",
            f64::from(stats.procs_blocked.unwrap_or(0)),
        ),
    ]
}

fn load(load: &procfs::LoadAverage) -> Vec<MetricFamily> {
    let gauge = |name: &str, minutes: &str, value: f32| {
        // As the kernel writes it: two digits.
        MetricFamily::gauge(name, format!("{minutes} load average."), (f64::from(value) * 100.0).round() / 100.0)
    };
    vec![
        gauge("node_load1", "1m", load.one),
        gauge("node_load5", "5m", load.five),
        gauge("node_load15", "15m", load.fifteen),
    ]
}

fn memory(memory: &procfs::Meminfo) -> Vec<MetricFamily> {
    let fields = [
        ("MemTotal", Some(memory.mem_total)),
        ("MemFree", Some(memory.mem_free)),
        ("MemAvailable", memory.mem_available),
        ("Buffers", Some(memory.buffers)),
        ("Cached", Some(memory.cached)),
        ("SwapTotal", Some(memory.swap_total)),
        ("SwapFree", Some(memory.swap_free)),
        ("Dirty", Some(memory.dirty)),
        ("Slab", Some(memory.slab)),
        ("SReclaimable", memory.s_reclaimable),
    ];
    let family = |(field, bytes): (&str, Option<u64>)| {
        let help = format!("Memory information field {field}_bytes.");
        Some(MetricFamily::gauge(format!("node_memory_{field}_bytes"), help, bytes? as f64))
    };
    fields.into_iter().filter_map(family).collect()
}

fn disks(disks: &[procfs::DiskStat]) -> Vec<MetricFamily> {
    let family = |name: &str, help: &str, value: fn(&procfs::DiskStat) -> f64| {
        let mut family = MetricFamily::new(MetricKind::Counter, name, help);
        let is_real = |disk: &&procfs::DiskStat| !disk.name.starts_with("loop") && !disk.name.starts_with("ram");
        for disk in disks.iter().filter(is_real) {
            family.push(Labels::from_pairs([("device", disk.name.as_str())]), value(disk));
        }
        family
    };
    vec![
        family("node_disk_reads_completed_total", "The total number of reads completed successfully.", |disk| {
            disk.reads as f64
        }),
        family("node_disk_writes_completed_total", "The total number of writes completed successfully.", |disk| {
            disk.writes as f64
        }),
        family("node_disk_read_bytes_total", "The total number of bytes read successfully.", |disk| {
            disk.sectors_read as f64 * SECTOR_BYTES
        }),
        family("node_disk_written_bytes_total", "The total number of bytes written successfully.", |disk| {
            disk.sectors_written as f64 * SECTOR_BYTES
        }),
        family("node_disk_io_time_seconds_total", "Total seconds spent doing I/Os.", |disk| {
            disk.time_in_progress as f64 / 1000.0
        }),
    ]
}

fn network(devices: impl Iterator<Item = procfs::net::DeviceStatus>) -> Vec<MetricFamily> {
    let devices: BTreeMap<String, procfs::net::DeviceStatus> =
        devices.map(|device| (device.name.clone(), device)).collect();
    let family = |what: &str, value: fn(&procfs::net::DeviceStatus) -> u64| {
        let help = format!("Network device statistic {what}.");
        let mut family = MetricFamily::new(MetricKind::Counter, format!("node_network_{what}_total"), help);
        for (name, device) in &devices {
            family.push(Labels::from_pairs([("device", name.as_str())]), value(device) as f64);
        }
        family
    };
    vec![
        family("receive_bytes", |device| device.recv_bytes),
        family("receive_packets", |device| device.recv_packets),
        family("receive_errs", |device| device.recv_errs),
        family("receive_drop", |device| device.recv_drop),
        family("transmit_bytes", |device| device.sent_bytes),
        family("transmit_packets", |device| device.sent_packets),
        family("transmit_errs", |device| device.sent_errs),
        family("transmit_drop", |device| device.sent_drop),
    ]
}

fn file_systems() -> Vec<MetricFamily> {
    let gauge = |name: &str, help: &str| MetricFamily::new(MetricKind::Gauge, name, help);
    let mut size = gauge("node_filesystem_size_bytes", "Filesystem size in bytes.");
    let mut free = gauge("node_filesystem_free_bytes", "Filesystem free space in bytes.");
    let mut available = gauge("node_filesystem_avail_bytes", "Filesystem space available to non-root users in bytes.");
    let mut files = gauge("node_filesystem_files", "Filesystem total file nodes.");
    let mut files_free = gauge("node_filesystem_files_free", "Filesystem total free file nodes.");
    let mounts = Process::myself().and_then(|process| process.mountinfo()).map(|mounts| mounts.0).unwrap_or_default();
    // The same file system may be there many times, as in a container.
    let mut seen = BTreeSet::new();
    for mount in mounts.iter().filter(|mount| !LEFT_OUT.contains(&mount.fs_type.as_str())) {
        let source = mount.mount_source.clone().unwrap_or_default();
        if mount.fs_type.starts_with("fuse") || !seen.insert((source.clone(), mount.majmin.clone())) {
            continue;
        }
        let Ok(stat) = nix::sys::statvfs::statvfs(&mount.mount_point) else { continue };
        let labels = Labels::from_pairs([
            ("device", source),
            ("fstype", mount.fs_type.clone()),
            ("mountpoint", mount.mount_point.display().to_string()),
        ]);
        let unit = stat.fragment_size() as f64;
        size.push(labels.clone(), stat.blocks() as f64 * unit);
        free.push(labels.clone(), stat.blocks_free() as f64 * unit);
        available.push(labels.clone(), stat.blocks_available() as f64 * unit);
        files.push(labels.clone(), stat.files() as f64);
        files_free.push(labels, stat.files_free() as f64);
    }
    vec![size, free, available, files, files_free]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rules_about_hosts_find_their_metrics() {
        let names: BTreeSet<String> = families().into_iter().map(|family| family.name).collect();
        let rules = include_str!("../../alert_rules/host_health.yaml");
        let asked: BTreeSet<&str> = rules
            .split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
            .filter(|word| word.starts_with("node_") && *word != "node_cpu_utilisation")
            .collect();
        assert!(!asked.is_empty());
        for name in asked {
            assert!(names.contains(name), "{name} is not among {names:?}");
        }
    }
}
