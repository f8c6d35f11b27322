//! Where targets come from: the `*_sd_configs` of a section.

use relatum_model::text::quote;
use relatum_model::{Labels, LabelsBuilder};

use super::scrape::StaticConfig;
use crate::yaml::{Cursor, Section};

/// The kinds of discovery that Prometheus knows and that need more than the file.
const KINDS: [&str; 36] = [
    "aws_sd_configs",
    "azure_sd_configs",
    "consul_sd_configs",
    "digitalocean_sd_configs",
    "dns_sd_configs",
    "docker_sd_configs",
    "dockerswarm_sd_configs",
    "ec2_sd_configs",
    "ecs_sd_configs",
    "elasticache_sd_configs",
    "eureka_sd_configs",
    "file_sd_configs",
    "gce_sd_configs",
    "hetzner_sd_configs",
    "http_sd_configs",
    "ionos_sd_configs",
    "kubernetes_sd_configs",
    "kuma_sd_configs",
    "lightsail_sd_configs",
    "linode_sd_configs",
    "marathon_sd_configs",
    "msk_sd_configs",
    "nerve_sd_configs",
    "nomad_sd_configs",
    "oci_sd_configs",
    "openstack_sd_configs",
    "outscale_sd_configs",
    "ovhcloud_sd_configs",
    "puppetdb_sd_configs",
    "rds_sd_configs",
    "scaleway_sd_configs",
    "serverset_sd_configs",
    "stackit_sd_configs",
    "triton_sd_configs",
    "uyuni_sd_configs",
    "vultr_sd_configs",
];

/// Takes the lists of targets out of a section, and refuses every other discovery by its name.
///
/// `relabelled` says that addresses may still be rewritten; without that, one that can never be reached is refused.
pub(super) fn read(section: &mut Section<'_>, relabelled: bool) -> Vec<StaticConfig> {
    for kind in KINDS {
        section.refuse(kind);
    }
    let mut groups = Vec::new();
    for item in section.take("static_configs").map(Cursor::items).unwrap_or_default() {
        if item.is_null() {
            item.invalid("empty or null section in static_configs");
        }
        let Some(mut group) = item.section() else { continue };
        let targets = group.take("targets").map(Cursor::items).unwrap_or_default();
        let labels = group.take("labels").map(read_labels).unwrap_or_default();
        group.finish();
        let mut addresses = Vec::with_capacity(targets.len());
        for target in targets {
            let Some(address) = target.string() else { continue };
            if address.contains('/') && !relabelled {
                target.invalid(format!("{} is not a valid hostname", quote(&address)));
            }
            addresses.push(address);
        }
        groups.push(StaticConfig { targets: addresses, labels });
    }
    groups
}

/// A set of labels; any text but the empty one is a name.
pub(super) fn read_labels(cursor: Cursor<'_>) -> Labels {
    let mut labels = LabelsBuilder::new();
    for (name, key, value) in cursor.entries() {
        if name.is_empty() {
            key.invalid("\"\" is not a valid label name");
        }
        if let Some(value) = value.string() {
            labels.set(name, value);
        }
    }
    labels.build()
}
