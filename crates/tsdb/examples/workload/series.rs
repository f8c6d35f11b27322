//! The series of one machine and its pods as exporters show them: 1000 of them, eleven labels each, half of them standing still.
//!
//! The kinds of values and their shares are those of the load in which the peers were measured.

use relatum_model::Labels;

pub(crate) const SERIES_PER_TARGET: usize = 1000;

/// Numbers from a seed, so that every run has the same values.
#[derive(Debug, Clone)]
struct Seeded(u64);

impl Seeded {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    /// From 0 up to 1.
    fn share(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// About normal, around 0.
    fn normal(&mut self) -> f64 {
        (self.share() + self.share() + self.share() - 1.5) * 2.0
    }
}

/// How a series moves.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Still(f64),
    /// Whole events.
    Count {
        rate: f64,
        noise: f64,
    },
    /// Seconds with so many parts.
    Seconds {
        rate: f64,
        noise: f64,
        parts: f64,
    },
    /// Seconds with all digits of a float.
    Float {
        rate: f64,
    },
    /// A walk in steps of a quantum, at some of the samples.
    Walk {
        step: f64,
        quantum: f64,
        moves: f64,
    },
    /// Around a mean, with so many parts.
    Gauge {
        mean: f64,
        spread: f64,
        parts: f64,
    },
    Ratio,
    /// A share of the events that all buckets of a histogram count.
    Bucket {
        rate: f64,
        share: f64,
    },
}

/// One series and where it is.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    pub(crate) labels: Labels,
    kind: Kind,
    at: f64,
    random: Seeded,
}

impl Source {
    fn new(labels: Labels, kind: Kind, seed: u64) -> Self {
        let mut random = Seeded(seed);
        let at = match kind {
            Kind::Still(value) => value,
            Kind::Count { rate, .. } | Kind::Bucket { rate, .. } => (rate * 500_000.0 * random.share()).floor(),
            Kind::Seconds { rate, .. } | Kind::Float { rate } => rate * 500_000.0 * random.share(),
            Kind::Walk { step, quantum, .. } => (step * 4000.0 * (0.2 + random.share()) / quantum).floor() * quantum,
            Kind::Gauge { mean, .. } => mean,
            Kind::Ratio => random.share(),
        };
        Source { labels, kind, at, random }
    }

    /// The value after `seconds` more.
    pub(crate) fn step(&mut self, seconds: f64) -> f64 {
        let random = &mut self.random;
        match self.kind {
            Kind::Still(value) => value,
            Kind::Count { rate, noise } => {
                let events = rate * seconds;
                self.at += if events < 4.0 {
                    events.floor() + f64::from(random.share() < events.fract())
                } else {
                    (events * (1.0 + noise * random.normal())).round().max(0.0)
                };
                self.at
            }
            Kind::Seconds { rate, noise, parts } => {
                self.at += (rate * seconds * (1.0 + noise * random.normal())).max(0.0);
                (self.at * parts).floor() / parts
            }
            Kind::Float { rate } => {
                self.at += (rate * seconds * (1.0 + 0.4 * random.normal())).max(0.0);
                self.at
            }
            Kind::Walk { step, quantum, moves } => {
                if random.share() < moves {
                    self.at = (self.at + step * random.normal()).max(0.0);
                }
                (self.at / quantum).floor() * quantum
            }
            Kind::Gauge { mean, spread, parts } => {
                self.at += 0.1 * (mean - self.at) + spread * 0.45 * random.normal();
                (self.at * parts).round() / parts
            }
            Kind::Ratio => {
                self.at = (self.at + 0.02 * random.normal()).clamp(0.0, 1.0);
                self.at
            }
            Kind::Bucket { rate, share } => {
                self.at += (rate * seconds * (1.0 + 0.3 * random.normal())).round().max(0.0);
                (self.at * share).floor()
            }
        }
    }
}

/// The series of target `number`.
pub(crate) fn target(number: usize) -> Vec<Source> {
    let app = ["postgresql", "mysql-router", "grafana", "traefik", "loki", "ceph-osd", "nova-compute", "keystone"]
        [number % 8];
    let model = ["prod-db", "cos-lite", "openstack", "staging"][number / 8 % 4];
    let common = [
        (
            "instance".to_owned(),
            format!("10.{}.{}.{}:9100", 20 + number / 62_500, number / 250 % 250, number % 250 + 1),
        ),
        ("job".to_owned(), format!("{model}_{app}_scrape")),
        ("application".to_owned(), app.to_owned()),
        ("package".to_owned(), app.to_owned()),
        ("model".to_owned(), model.to_owned()),
        ("model_uuid".to_owned(), format!("{:032x}", Seeded(number as u64 % 32).next())),
        ("unit".to_owned(), format!("{app}/{}", number / 8)),
    ];
    let mut sources = Vec::with_capacity(SERIES_PER_TARGET);
    let mut add = |name: String, kind: Kind, shared_seed: Option<u64>, labels: &[(&str, String)]| {
        let own = labels.iter().map(|(name, value)| ((*name).to_owned(), value.clone()));
        let named = [("__name__".to_owned(), name)];
        let all = Labels::from_pairs(common.iter().cloned().chain(named).chain(own));
        let seed = (number as u64) << 20 | shared_seed.unwrap_or(sources.len() as u64);
        sources.push(Source::new(all, kind, seed));
        sources.len()
    };
    let still_or = |rate: f64, kind: Kind| if rate == 0.0 { Kind::Still(0.0) } else { kind };

    for cpu in 0..24 {
        let modes = [
            ("idle", 0.83),
            ("iowait", 0.004),
            ("irq", 0.0),
            ("nice", 0.0002),
            ("softirq", 0.006),
            ("steal", 0.0),
            ("system", 0.05),
            ("user", 0.11),
        ];
        for (mode, rate) in modes {
            let kind = still_or(rate, Kind::Seconds { rate, noise: 0.3, parts: 100.0 });
            add("node_cpu_seconds_total".into(), kind, None, &[("cpu", cpu.to_string()), ("mode", mode.into())]);
        }
    }
    for (device, busy) in [
        ("eth0", 1.0),
        ("eth1", 0.4),
        ("lo", 0.6),
        ("br0", 0.1),
        ("docker0", 0.0),
        ("veth1", 0.02),
        ("veth2", 0.0),
        ("fan-252", 0.0),
    ] {
        for (what, base) in [
            ("receive_bytes", 180_000.0),
            ("receive_packets", 260.0),
            ("receive_errs", 0.0),
            ("receive_drop", 0.002),
            ("transmit_bytes", 150_000.0),
            ("transmit_packets", 240.0),
            ("transmit_errs", 0.0),
            ("transmit_drop", 0.002),
        ] {
            let kind = still_or(base * busy, Kind::Count { rate: base * busy, noise: 0.35 });
            add(
                format!("node_network_{what}_total"),
                kind,
                None,
                &[("device", device.into()), ("operstate", "up".into())],
            );
        }
    }
    for (device, busy) in [("sda", 1.0), ("sdb", 0.2), ("nvme0n1", 2.0), ("dm-0", 0.9), ("dm-1", 0.0), ("loop3", 0.0)] {
        for (what, rate, seconds) in [
            ("reads", 3.0, false),
            ("writes", 22.0, false),
            ("read_bytes", 60e3, false),
            ("written_bytes", 400e3, false),
            ("io_seconds", 0.03, true),
            ("read_seconds", 0.004, true),
            ("write_seconds", 0.05, true),
        ] {
            let rate = rate * busy;
            let moving = if seconds {
                Kind::Seconds { rate, noise: 0.6, parts: 1000.0 }
            } else {
                Kind::Count { rate, noise: 0.6 }
            };
            add(format!("node_disk_{what}_total"), still_or(rate, moving), None, &[("device", device.into())]);
        }
    }
    for (mount, moves) in [
        ("/", 0.5),
        ("/boot", 0.0),
        ("/boot/efi", 0.0),
        ("/var/lib/lxd", 0.3),
        ("/run", 0.2),
        ("/run/lock", 0.0),
        ("/dev/shm", 0.0),
        ("/srv", 0.1),
    ] {
        for what in ["size_bytes", "avail_bytes", "free_bytes", "files", "files_free"] {
            let kind = if moves == 0.0 || what == "size_bytes" || what == "files" {
                Kind::Still(4096.0 * 26_000.0)
            } else {
                Kind::Walk { step: 524_288.0, quantum: 4096.0, moves }
            };
            add(
                format!("node_filesystem_{what}"),
                kind,
                None,
                &[("fstype", "ext4".into()), ("mountpoint", mount.into())],
            );
        }
    }
    for item in 0..48 {
        let kind = [
            Kind::Still(4096.0 * 1e6),
            Kind::Walk { step: 4e6, quantum: 4096.0, moves: 1.0 },
            Kind::Walk { step: 3e5, quantum: 4096.0, moves: 0.6 },
            Kind::Still(0.0),
        ][item % 4];
        add(format!("node_memory_Item{item:02}_bytes"), kind, None, &[]);
    }
    for item in 0..60 {
        let kind = [
            Kind::Count { rate: 450.0, noise: 0.4 },
            Kind::Count { rate: 1.5, noise: 0.6 },
            Kind::Still(500.0),
            Kind::Still(7.0),
            Kind::Count { rate: 0.01, noise: 0.1 },
            Kind::Walk { step: 3.0, quantum: 1.0, moves: 0.7 },
        ][item % 6];
        add(format!("node_netstat_Stat{item:02}"), kind, None, &[("protocol", "ip".into())]);
    }
    for sensor in 0..19 {
        let kind = Kind::Gauge { mean: 48.0, spread: 1.1, parts: if sensor < 16 { 1.0 } else { 100.0 } };
        add(
            "node_hwmon_temp_celsius".into(),
            kind,
            None,
            &[("chip", "coretemp_0".into()), ("sensor", format!("temp{sensor}"))],
        );
    }
    for cpu in 0..24 {
        add(
            "node_cpu_scaling_frequency_hertz".into(),
            Kind::Walk { step: 4e8, quantum: 1000.0, moves: 0.9 },
            None,
            &[("cpu", cpu.to_string())],
        );
    }
    for (service, state) in (0..12).flat_map(|service| {
        ["active", "activating", "deactivating", "failed", "inactive"].map(|state| (service, state))
    }) {
        let kind = Kind::Still(f64::from(state == "active"));
        add(
            "node_systemd_unit_state".into(),
            kind,
            None,
            &[("name", format!("svc-{service}.service")), ("state", state.into()), ("type", "simple".into())],
        );
    }
    let pod = |pod: usize| {
        let id = Seeded((number as u64) << 32 | pod as u64).next();
        (format!("workload-{pod}-{:09x}", id >> 28), format!("{id:016x}"))
    };
    for (name, uid) in (0..12).map(pod) {
        for what in [
            "Failed",
            "Pending",
            "Running",
            "Succeeded",
            "Unknown",
            "info",
            "labels",
            "limits_cpu",
            "limits_memory",
            "restarts",
        ] {
            add(
                format!("kube_pod_{}", what.to_lowercase()),
                Kind::Still(f64::from(what == "Running")),
                None,
                &[("namespace", "cos".into()), ("pod", name.clone()), ("uid", uid.clone())],
            );
        }
    }
    for handler in 0..16 {
        let (pod, _) = pod(handler % 12);
        let code = ["200", "500"][handler % 2];
        let rate = if code == "200" { 1.0 } else { 0.004 };
        let own = [
            ("code", code.to_owned()),
            ("handler", format!("/api/v1/op{}", handler / 2)),
            ("method", "GET".to_owned()),
            ("pod", pod),
        ];
        let seed = Some(500_000 + handler as u64);
        for (le, share) in [
            ("0.005", 0.08),
            ("0.01", 0.21),
            ("0.025", 0.43),
            ("0.05", 0.62),
            ("0.1", 0.78),
            ("0.25", 0.89),
            ("0.5", 0.95),
            ("1", 0.975),
            ("2.5", 0.99),
            ("5", 0.996),
            ("10", 0.999),
            ("+Inf", 1.0),
        ] {
            let labels: Vec<_> = own.iter().cloned().chain([("le", le.to_owned())]).collect();
            add("http_request_duration_seconds_bucket".into(), Kind::Bucket { rate, share }, seed, &labels);
        }
        add("http_request_duration_seconds_count".into(), Kind::Bucket { rate, share: 1.0 }, seed, &own);
        add(
            "http_request_duration_seconds_sum".into(),
            if code == "200" { Kind::Float { rate: 0.06 } } else { Kind::Still(0.0) },
            None,
            &own,
        );
    }
    let mut queue = 0;
    loop {
        let kind = [
            Kind::Walk { step: 2e5, quantum: 8.0, moves: 1.0 },
            Kind::Count { rate: 2500.0, noise: 0.5 },
            Kind::Still(42.0),
            Kind::Gauge { mean: 60.0, spread: 3.0, parts: 10.0 },
            Kind::Gauge { mean: 0.5, spread: 0.05, parts: 1000.0 },
            Kind::Ratio,
            Kind::Still(1_700_000_000.25),
        ][queue % 7];
        if add(
            "app_queue_level".into(),
            kind,
            None,
            &[("queue", format!("q{queue}")), ("shard", (queue % 4).to_string()), ("tier", "gold".into())],
        ) == SERIES_PER_TARGET
        {
            return sources;
        }
        queue += 1;
    }
}
