//! Where targets come from: `static_configs` and the `*_sd_configs` of a section.
//!
//! All of Prometheus' discoveries are read, typed and checked, because a file is right or wrong whoever reads it. Which of
//! them a program can do is another question: each one is a [`Feature`].

mod aws;
mod clouds;
mod files;
mod kubernetes;
mod registries;

use std::path::PathBuf;

use relatum_model::text::quote;
use relatum_model::{Labels, LabelsBuilder};

pub use aws::{
    AwsFilter, AwsRole, AwsSdConfig, Ec2SdConfig, EcsSdConfig, ElasticacheSdConfig, LightsailSdConfig, MskSdConfig,
    RdsSdConfig,
};
pub use clouds::{
    AzureSdConfig, DigitalOceanRole, DigitalOceanSdConfig, GceSdConfig, HetznerRole, HetznerSdConfig, IonosSdConfig,
    LinodeSdConfig, OciSdConfig, OpenStackRole, OpenStackSdConfig, OutscaleSdConfig, OvhCloudSdConfig, ScalewayRole,
    ScalewaySdConfig, StackitSdConfig, TritonSdConfig, VultrSdConfig,
};
pub use files::{DnsSdConfig, FileSdConfig, HttpSdConfig};
pub use kubernetes::{
    KubernetesMetadata, KubernetesNamespaces, KubernetesRole, KubernetesSdConfig, KubernetesSelector,
};
pub use registries::{
    ConsulSdConfig, DockerFilter, DockerSdConfig, DockerSwarmSdConfig, EurekaSdConfig, KumaSdConfig, MarathonSdConfig,
    NerveSdConfig, NomadSdConfig, PuppetDbSdConfig, ServersetSdConfig, UyuniSdConfig,
};

use super::feature::Feature;
use super::field::{Keys, read_keys};
use super::scrape::StaticConfig;
use crate::yaml::{Cursor, Section};

macro_rules! discoveries {
    ($($(#[$doc:meta])* $kind:ident($config:ty) = $key:literal,)*) => {
        /// A kind of discovery that needs more than the file.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum DiscoveryKind {
            $($(#[$doc])* $kind,)*
        }

        impl DiscoveryKind {
            /// All of them, in the order of their keys.
            pub const ALL: &[DiscoveryKind] = &[$(DiscoveryKind::$kind,)*];

            /// Its key in a scrape job.
            pub fn key(self) -> &'static str {
                match self {
                    $(DiscoveryKind::$kind => $key,)*
                }
            }

            fn read(self, cursor: Cursor<'_>) -> Option<Discovery> {
                match self {
                    $(DiscoveryKind::$kind => read_keys(cursor).map(|config| Discovery::$kind(Box::new(config))),)*
                }
            }
        }

        /// One item of a list of discoveries.
        #[derive(Debug, Clone, PartialEq)]
        pub enum Discovery {
            $($(#[$doc])* $kind(Box<$config>),)*
        }

        impl Discovery {
            /// Which kind it is.
            pub fn kind(&self) -> DiscoveryKind {
                match self {
                    $(Discovery::$kind(_) => DiscoveryKind::$kind,)*
                }
            }

            /// Every path in it, for [`super::Config::join_directory`].
            pub(super) fn paths(&mut self) -> Vec<&mut PathBuf> {
                let mut paths = Vec::new();
                match self {
                    $(Discovery::$kind(config) => config.all_paths(&mut paths),)*
                }
                paths
            }
        }
    };
}

discoveries! {
    /// Any of Amazon's services, by a role.
    Aws(AwsSdConfig) = "aws_sd_configs",
    /// Microsoft's virtual machines.
    Azure(AzureSdConfig) = "azure_sd_configs",
    /// The catalog of a Consul.
    Consul(ConsulSdConfig) = "consul_sd_configs",
    /// DigitalOcean's droplets and databases.
    DigitalOcean(DigitalOceanSdConfig) = "digitalocean_sd_configs",
    /// Records of the domain name system.
    Dns(DnsSdConfig) = "dns_sd_configs",
    /// Containers of a Docker daemon.
    Docker(DockerSdConfig) = "docker_sd_configs",
    /// Services, tasks or nodes of a Docker swarm.
    DockerSwarm(DockerSwarmSdConfig) = "dockerswarm_sd_configs",
    /// Amazon's virtual machines.
    Ec2(Ec2SdConfig) = "ec2_sd_configs",
    /// Amazon's containers.
    Ecs(EcsSdConfig) = "ecs_sd_configs",
    /// Amazon's caches.
    Elasticache(ElasticacheSdConfig) = "elasticache_sd_configs",
    /// Instances of an Eureka.
    Eureka(EurekaSdConfig) = "eureka_sd_configs",
    /// Files with lists of targets.
    File(FileSdConfig) = "file_sd_configs",
    /// Google's virtual machines.
    Gce(GceSdConfig) = "gce_sd_configs",
    /// Hetzner's servers.
    Hetzner(HetznerSdConfig) = "hetzner_sd_configs",
    /// Lists of targets behind a URL.
    Http(HttpSdConfig) = "http_sd_configs",
    /// Servers of an IONOS data center.
    Ionos(IonosSdConfig) = "ionos_sd_configs",
    /// Objects of a Kubernetes API.
    Kubernetes(KubernetesSdConfig) = "kubernetes_sd_configs",
    /// Dataplanes of a Kuma.
    Kuma(KumaSdConfig) = "kuma_sd_configs",
    /// Amazon's simple virtual machines.
    Lightsail(LightsailSdConfig) = "lightsail_sd_configs",
    /// Linode's instances.
    Linode(LinodeSdConfig) = "linode_sd_configs",
    /// Apps of a Marathon.
    Marathon(MarathonSdConfig) = "marathon_sd_configs",
    /// Amazon's Kafka clusters.
    Msk(MskSdConfig) = "msk_sd_configs",
    /// Members that a Nerve wrote to Zookeeper.
    Nerve(NerveSdConfig) = "nerve_sd_configs",
    /// Services of a Nomad.
    Nomad(NomadSdConfig) = "nomad_sd_configs",
    /// Oracle's virtual machines.
    Oci(OciSdConfig) = "oci_sd_configs",
    /// Instances, hypervisors or load balancers of an OpenStack.
    OpenStack(OpenStackSdConfig) = "openstack_sd_configs",
    /// Outscale's virtual machines.
    Outscale(OutscaleSdConfig) = "outscale_sd_configs",
    /// OVHcloud's servers.
    OvhCloud(OvhCloudSdConfig) = "ovhcloud_sd_configs",
    /// Resources of a PuppetDB.
    PuppetDb(PuppetDbSdConfig) = "puppetdb_sd_configs",
    /// Amazon's databases.
    Rds(RdsSdConfig) = "rds_sd_configs",
    /// Scaleway's servers.
    Scaleway(ScalewaySdConfig) = "scaleway_sd_configs",
    /// Members that a serverset wrote to Zookeeper.
    Serverset(ServersetSdConfig) = "serverset_sd_configs",
    /// STACKIT's servers.
    Stackit(StackitSdConfig) = "stackit_sd_configs",
    /// Containers of a Triton.
    Triton(TritonSdConfig) = "triton_sd_configs",
    /// Systems of a Uyuni server.
    Uyuni(UyuniSdConfig) = "uyuni_sd_configs",
    /// Vultr's instances.
    Vultr(VultrSdConfig) = "vultr_sd_configs",
}

/// Takes all discoveries out of a section: the lists in the file, and the others in the order of their keys.
///
/// `relabelled` says that addresses may still be rewritten; without that, one that can never be reached is refused.
pub(super) fn read(section: &mut Section<'_>, relabelled: bool) -> (Vec<StaticConfig>, Vec<Discovery>) {
    let mut discoveries = Vec::new();
    for kind in DiscoveryKind::ALL {
        let Some((key, list)) = section.take_pair(kind.key()) else { continue };
        let items = list.items();
        if !items.is_empty() {
            key.asks_for(Feature::Discovery(*kind));
        }
        for item in items {
            if item.is_null() {
                item.invalid(format!("empty or null section in {}", kind.key()));
            }
            discoveries.extend(kind.read(item));
        }
    }
    let mut groups = Vec::new();
    for item in section.take("static_configs").map(Cursor::items).unwrap_or_default() {
        if item.is_null() {
            item.invalid("empty or null section in static_configs");
        }
        let check = |target: Cursor<'_>, address: &str| {
            if address.contains('/') && !relabelled {
                target.invalid(format!("{} is not a valid hostname", quote(address)));
            }
        };
        groups.extend(read_group(item, check));
    }
    (groups, discoveries)
}

/// One list of targets with their labels; `check` sees every address.
pub(crate) fn read_group(item: Cursor<'_>, check: impl Fn(Cursor<'_>, &str)) -> Option<StaticConfig> {
    let mut group = item.section()?;
    let targets = group.take("targets").map(Cursor::items).unwrap_or_default();
    let labels = group.take("labels").map(read_labels).unwrap_or_default();
    group.finish();
    let mut addresses = Vec::with_capacity(targets.len());
    for target in targets {
        let Some(address) = target.string() else { continue };
        check(target, &address);
        addresses.push(address);
    }
    Some(StaticConfig { targets: addresses, labels })
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

/// Notes `message` unless `holds`.
fn require(cursor: Cursor<'_>, holds: bool, message: &str) {
    if !holds {
        cursor.invalid(message);
    }
}

/// Declares the names of a role, of which one must be given; `error` begins the message about another name.
macro_rules! roles {
    ($(#[$doc:meta])* pub enum $name:ident($error:literal) { $($(#[$role_doc:meta])* $role:ident = $word:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $name {
            $($(#[$role_doc])* $role,)*
        }

        impl $name {
            /// The word in the file.
            pub fn as_str(self) -> &'static str {
                match self {
                    $($name::$role => $word,)*
                }
            }
        }

        impl $crate::prometheus::field::Field for Option<$name> {
            fn read(cursor: $crate::yaml::Cursor<'_>) -> Self {
                match cursor.string()?.as_str() {
                    $($word => Some($name::$role),)*
                    // Go does not look at a null.
                    _ if cursor.is_null() => None,
                    other => {
                        cursor.invalid(format!("{} {}", $error, relatum_model::text::quote(other)));
                        None
                    }
                }
            }
        }
    };
}

use roles;
