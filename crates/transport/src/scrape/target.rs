//! From a scrape job to its targets: labels, URL and rhythm of each.

use std::collections::HashSet;
use std::hash::BuildHasher;
use std::sync::Arc;
use std::time::Duration;

use foldhash::fast::FixedState;
use relatum_config::prometheus::{ScrapeConfig, StaticConfig};
use relatum_model::labels::{INSTANCE, JOB};
use relatum_model::text::quote;
use relatum_model::time::{format_duration, parse_duration};
use relatum_model::{Labels, LabelsBuilder, relabel};

const ADDRESS: &str = "__address__";
const SCHEME: &str = "__scheme__";
const METRICS_PATH: &str = "__metrics_path__";
const SCRAPE_INTERVAL: &str = "__scrape_interval__";
const SCRAPE_TIMEOUT: &str = "__scrape_timeout__";
const PARAM_PREFIX: &str = "__param_";
const META_PREFIX: &str = "__meta_";
const RESERVED_PREFIX: &str = "__";

/// One HTTP endpoint to scrape.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    /// In which list of the job it is, and at which place of the list.
    pub(crate) at: (u32, u32),
    /// The labels that every sample gets.
    pub(crate) labels: Labels,
    /// Where it is. May be no URL at all if relabelling made it so; then each scrape fails and says why.
    pub(crate) url: Box<str>,
    /// How often it is scraped.
    pub(crate) interval: Duration,
    /// How long a scrape may take.
    pub(crate) timeout: Duration,
    /// A number that is equal for equal targets, also across restarts.
    pub(crate) hash: u64,
}

/// What became of the targets of one job.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct JobTargets {
    /// The targets to scrape, each once.
    pub(crate) active: Vec<Arc<Target>>,
    /// The discovered labels of targets that relabelling dropped, as many as the job keeps.
    pub(crate) dropped: Vec<Labels>,
    /// How many it dropped.
    pub(crate) n_dropped: usize,
    /// Why the others are no targets.
    pub(crate) refused: Vec<RefusedTarget>,
}

/// A target that cannot be scraped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RefusedTarget {
    /// Its labels before relabelling.
    pub(crate) discovered: Labels,
    /// What is wrong, in Prometheus' words.
    pub(crate) reason: String,
}

/// The targets of `job`, in the order in which it lists them.
pub(crate) fn job_targets(job: &ScrapeConfig) -> JobTargets {
    let mut targets = JobTargets::default();
    let mut seen = HashSet::with_hasher(FixedState::default());
    for (list, group) in (0..).zip(&job.static_configs) {
        for (place, address) in (0..).zip(&group.targets) {
            let discovered = discovered_labels(job, group, address);
            match relabelled(job, &discovered, (list, place)) {
                // The same labels at the same place twice are one target.
                Ok(Some(target)) if !seen.insert(target.hash) => {}
                Ok(Some(target)) => targets.active.push(Arc::new(target)),
                Ok(None) => {
                    targets.n_dropped += 1;
                    let kept_max = job.limits.dropped_targets_kept;
                    if kept_max == 0 || (targets.dropped.len() as u64) < kept_max {
                        targets.dropped.push(discovered);
                    }
                }
                Err(reason) => targets.refused.push(RefusedTarget { discovered, reason }),
            }
        }
    }
    targets
}

impl Target {
    /// Its labels before relabelling, which few ask for: made anew from `job`, whose target it is.
    pub(crate) fn discovered(&self, job: &ScrapeConfig) -> Labels {
        let (list, place) = self.at;
        let group = job.static_configs.get(list as usize);
        let labels = |group: &StaticConfig| Some(discovered_labels(job, group, group.targets.get(place as usize)?));
        group.and_then(labels).unwrap_or_default()
    }
}

/// The labels that relabelling sees first: those of the target, and of the job where the target has none.
fn discovered_labels(job: &ScrapeConfig, group: &StaticConfig, address: &str) -> Labels {
    let mut labels = group.labels.to_builder();
    labels.set(ADDRESS, address);
    let defaults = [
        (JOB, job.job_name.clone()),
        (SCRAPE_INTERVAL, format_duration(job.scrape_interval)),
        (SCRAPE_TIMEOUT, format_duration(job.scrape_timeout)),
        (METRICS_PATH, job.metrics_path.clone()),
        (SCHEME, job.scheme.as_str().to_owned()),
        ("__convert_classic_histograms_to_nhcb__", job.convert_classic_histograms_to_nhcb.to_string()),
        ("__always_scrape_classic_histograms__", job.always_scrape_classic_histograms.to_string()),
        ("__scrape_native_histograms__", job.scrape_native_histograms.to_string()),
    ];
    for (name, value) in defaults {
        if labels.get(name).is_empty() {
            labels.set(name, value);
        }
    }
    for (name, values) in &job.params {
        let label = format!("{PARAM_PREFIX}{name}");
        if let Some(value) = values.first()
            && labels.get(&label).is_empty()
        {
            labels.set(label, value);
        }
    }
    labels.build()
}

/// Relabels and checks one target; `None` if relabelling drops it. The texts of errors are Prometheus'.
fn relabelled(job: &ScrapeConfig, discovered: &Labels, at: (u32, u32)) -> Result<Option<Target>, String> {
    let mut labels = discovered.to_builder();
    if !relabel::apply(&job.relabel_configs, &mut labels) {
        return Ok(None);
    }
    let address = labels.get(ADDRESS).to_owned();
    if address.is_empty() {
        return Err("no address".to_owned());
    }
    if address.contains('/') {
        return Err(format!("{} is not a valid hostname", quote(&address)));
    }
    let interval = duration(&labels, SCRAPE_INTERVAL, "scrape interval")?;
    let timeout = duration(&labels, SCRAPE_TIMEOUT, "scrape timeout")?;
    if timeout > interval {
        let [timeout, interval] = [SCRAPE_TIMEOUT, SCRAPE_INTERVAL].map(|name| quote(labels.get(name)));
        return Err(format!("scrape timeout cannot be greater than scrape interval ({timeout} > {interval})"));
    }
    if labels.get(INSTANCE).is_empty() {
        labels.set(INSTANCE, &address);
    }
    let url = url(job, &labels);
    // All but what discovery tells: two targets that differ in a parameter or in their rhythm are two.
    let identity = labels.retain(|name, _| !name.starts_with(META_PREFIX)).build();
    let hash = FixedState::default().hash_one((identity.encoded(), &url));
    let public = identity.filtered(|name| !name.starts_with(RESERVED_PREFIX));
    Ok(Some(Target { at, labels: public, url: url.into(), interval, timeout, hash }))
}

fn duration(labels: &LabelsBuilder, label: &str, what: &str) -> Result<Duration, String> {
    match parse_duration(labels.get(label)) {
        Ok(duration) if duration.is_zero() => Err(format!("{what} cannot be 0")),
        Ok(duration) => Ok(duration),
        Err(error) => Err(format!("error parsing {what}: {error}")),
    }
}

/// The URL as Go prints it: parameters sorted, the first value of each from its label.
fn url(job: &ScrapeConfig, labels: &LabelsBuilder) -> String {
    let mut params = job.params.clone();
    for (name, value) in labels.iter() {
        let Some(param) = name.strip_prefix(PARAM_PREFIX) else { continue };
        match params.get_mut(param).and_then(|values| values.first_mut()) {
            Some(first) => value.clone_into(first),
            None => {
                params.insert(param.to_owned(), vec![value.to_owned()]);
            }
        }
    }
    let mut url = format!("{}://{}", labels.get(SCHEME), labels.get(ADDRESS));
    let path = labels.get(METRICS_PATH);
    if !path.is_empty() && !path.starts_with('/') {
        url.push('/');
    }
    escape(&mut url, path, b"-_.~$&+,/:;=@", "%20");
    let mut separator = '?';
    for (name, values) in &params {
        for value in values {
            url.push(separator);
            separator = '&';
            escape(&mut url, name, b"-_.~", "+");
            url.push('=');
            escape(&mut url, value, b"-_.~", "+");
        }
    }
    url
}

fn escape(out: &mut String, text: &str, plain: &[u8], space: &str) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || plain.contains(&byte) {
            out.push(char::from(byte));
        } else if byte == b' ' {
            out.push_str(space);
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use relatum_config::prometheus::Config;

    use super::*;

    fn targets(job: &str) -> JobTargets {
        let config = Config::parse(&format!("scrape_configs:\n- job_name: j\n{job}")).expect("a valid job");
        job_targets(&config.scrape_configs[0])
    }

    #[track_caller]
    fn check(job: &str, expected: &[(&str, &str)]) {
        let found = targets(job);
        let shown: Vec<(String, &str)> = found.active.iter().map(|t| (t.labels.to_string(), &*t.url)).collect();
        let shown: Vec<(&str, &str)> = shown.iter().map(|(labels, url)| (labels.as_str(), *url)).collect();
        assert_eq!(shown, expected, "refused: {:?}", found.refused);
    }

    #[test]
    fn labels_and_urls() {
        check(
            "  static_configs: [{targets: ['a:1', 'b', '[::1]:9100'], labels: {x: y, __meta_z: '1'}}]",
            &[
                (r#"{instance="a:1", job="j", x="y"}"#, "http://a:1/metrics"),
                // No port is added: the URL's scheme says it.
                (r#"{instance="b", job="j", x="y"}"#, "http://b/metrics"),
                (r#"{instance="[::1]:9100", job="j", x="y"}"#, "http://[::1]:9100/metrics"),
            ],
        );
        check(
            "  scheme: https\n  metrics_path: p q/r?s\n  params: {m: [b c, d], a: ['&']}\n  static_configs: [{targets: ['a:1']}]",
            &[(r#"{instance="a:1", job="j"}"#, "https://a:1/p%20q/r%3Fs?a=%26&m=b+c&m=d")],
        );
        check(
            "  static_configs: [{targets: ['a:1'], labels: {job: k, instance: i, __param_t: x, __scheme__: https, __metrics_path__: /p}}]",
            &[(r#"{instance="i", job="k"}"#, "https://a:1/p?t=x")],
        );
        // The same target twice is one.
        check(
            "  static_configs: [{targets: ['a:1', 'a:1']}, {targets: ['a:1']}]",
            &[(r#"{instance="a:1", job="j"}"#, "http://a:1/metrics")],
        );
        check(
            "  static_configs: [{targets: ['a:1', 'b:1']}]\n  relabel_configs:\n  - {source_labels: [__address__], regex: '(.*):1', target_label: __param_target}\n  - {source_labels: [__address__], regex: 'b.*', action: drop}\n  - {target_label: __address__, replacement: 'probe:9115'}",
            &[(r#"{instance="probe:9115", job="j"}"#, "http://probe:9115/metrics?target=a")],
        );
    }

    #[test]
    fn dropped_and_refused() {
        let found = targets(
            "  keep_dropped_targets: 1\n  static_configs: [{targets: ['a:1', 'b:1']}]\n  relabel_configs: [{action: drop, source_labels: [job], regex: j}]",
        );
        assert_eq!((found.active.len(), found.dropped.len(), found.n_dropped), (0, 1, 2));
        assert_eq!(found.dropped[0].get("__scrape_interval__"), Some("1m"));
        for (label, value, reason) in [
            ("__address__", "a/b", r#""a/b" is not a valid hostname"#),
            ("__address__", "", "no address"),
            ("__scrape_interval__", "0s", "scrape interval cannot be 0"),
            ("__scrape_interval__", "x", r#"error parsing scrape interval: not a valid duration string: "x""#),
            ("__scrape_timeout__", "2m", r#"scrape timeout cannot be greater than scrape interval ("2m" > "1m")"#),
        ] {
            let found = targets(&format!(
                "  static_configs: [{{targets: ['a:1']}}]\n  relabel_configs: [{{target_label: {label}, replacement: '{value}'}}]"
            ));
            assert_eq!(found.refused.len(), 1, "{label}={value}: {found:?}");
            assert_eq!(found.refused[0].reason, reason);
        }
    }

    #[test]
    fn what_makes_a_target_another_one() {
        let hash = |job: &str| targets(job).active[0].hash;
        let plain = hash("  static_configs: [{targets: ['a:1']}]");
        assert_eq!(plain, hash("  static_configs: [{targets: ['a:1'], labels: {__meta_x: y}}]"));
        assert_ne!(plain, hash("  static_configs: [{targets: ['a:1'], labels: {x: y}}]"));
        assert_ne!(plain, hash("  scrape_interval: 30s\n  static_configs: [{targets: ['a:1']}]"));
        assert_ne!(plain, hash("  metrics_path: /p\n  static_configs: [{targets: ['a:1']}]"));
    }
}
