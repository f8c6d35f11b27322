//! Discovery of the machines of a cloud.

use std::path::PathBuf;
use std::time::Duration;

use relatum_model::text::quote;

use super::{require, roles};
use crate::prometheus::field::{keys, section};
use crate::prometheus::http::HttpClientConfig;
use crate::prometheus::tls::TlsConfig;
use crate::{Secret, go_url};

const MINUTE: Duration = Duration::from_secs(60);

section! {
    /// `azure_sd_configs`: Microsoft's virtual machines.
    pub struct AzureSdConfig {
        /// Which of Microsoft's clouds.
        environment: String = "AzurePublicCloud".to_owned(),
        /// The port of the targets.
        port: i64 = 80,
        /// The subscription; not empty.
        subscription_id: String = String::new(),
        /// The tenant; needed for OAuth.
        tenant_id: String = String::new(),
        /// The client; needed for OAuth.
        client_id: String = String::new(),
        /// Its secret; needed for OAuth.
        client_secret: Option<Secret> = None,
        /// How often.
        refresh_interval: Duration = Duration::from_secs(300),
        /// `OAuth`, `ManagedIdentity`, `SDK` or `WorkloadIdentity`.
        authentication_method: String = "OAuth".to_owned(),
        /// The resource group; all without it.
        resource_group: String = String::new(),
        /// How to speak to the API.
        http: HttpClientConfig = HttpClientConfig::default(),
    }
}

keys!(AzureSdConfig, |config, cursor| {
    let mut needed = vec![("subscription_id", config.subscription_id.is_empty())];
    match config.authentication_method.as_str() {
        "OAuth" => needed.extend([
            ("tenant_id", config.tenant_id.is_empty()),
            ("client_id", config.client_id.is_empty()),
            ("client_secret", config.client_secret.is_none()),
        ]),
        "ManagedIdentity" | "SDK" | "WorkloadIdentity" => {}
        other => cursor.invalid(format!(
            "unknown authentication_type {}. Supported types are \"OAuth\", \"ManagedIdentity\", \"SDK\" or \"WorkloadIdentity\"",
            quote(other)
        )),
    }
    for (key, _) in needed.into_iter().filter(|(_, is_missing)| *is_missing) {
        cursor.invalid(format!("azure SD configuration requires a {key}"));
    }
});

roles! {
    /// What DigitalOcean is asked for.
    pub enum DigitalOceanRole("unknown DigitalOcean SD role") {
        /// Virtual machines.
        Droplets = "droplets",
        /// Managed databases.
        Databases = "databases",
    }
}

section! {
    /// `digitalocean_sd_configs`: DigitalOcean's droplets and databases.
    pub struct DigitalOceanSdConfig {
        /// How to speak to the API.
        http: HttpClientConfig = HttpClientConfig::default(),
        /// How often.
        refresh_interval: Duration = MINUTE,
        /// The port of the targets.
        port: i64 = 80,
        /// What is asked for; `None` was refused.
        role: Option<DigitalOceanRole> = Some(DigitalOceanRole::Droplets),
    }
}

keys!(DigitalOceanSdConfig, |config, cursor| {
    require(cursor, config.role.is_some(), "role missing (one of: droplets, databases)");
});

section! {
    /// `gce_sd_configs`: Google's virtual machines.
    pub struct GceSdConfig {
        /// The project; not empty.
        project: String = String::new(),
        /// The zone; not empty.
        zone: String = String::new(),
        /// A condition on the machines.
        filter: String = String::new(),
        /// How often.
        refresh_interval: Duration = MINUTE,
        /// The port of the targets.
        port: i64 = 80,
        /// What separates tags in their label.
        tag_separator: String = ",".to_owned(),
    }
}

keys!(GceSdConfig, |config, cursor| {
    require(cursor, !config.project.is_empty(), "GCE SD configuration requires a project");
    require(cursor, !config.zone.is_empty(), "GCE SD configuration requires a zone");
});

roles! {
    /// Which of Hetzner's interfaces is asked.
    pub enum HetznerRole("unknown role") {
        /// Servers of their own.
        Robot = "robot",
        /// Servers of the cloud.
        Hcloud = "hcloud",
    }
}

section! {
    /// `hetzner_sd_configs`: Hetzner's servers.
    pub struct HetznerSdConfig {
        /// How to speak to the API.
        http: HttpClientConfig = HttpClientConfig::default(),
        /// How often.
        refresh_interval: Duration = MINUTE,
        /// The port of the targets.
        port: i64 = 80,
        /// The interface; `None` was refused.
        role: Option<HetznerRole> = None,
        /// A condition on the labels of servers of the cloud.
        label_selector: String = String::new(),
    }
}

keys!(HetznerSdConfig, |config, cursor| {
    require(cursor, config.role.is_some(), "role missing (one of: robot, hcloud)");
});

section! {
    /// `ionos_sd_configs`: servers of an IONOS data center.
    pub struct IonosSdConfig {
        /// The data center; not empty.
        datacenter_id: String = String::new(),
        /// How to speak to the API.
        http: HttpClientConfig = HttpClientConfig::default(),
        /// How often.
        refresh_interval: Duration = MINUTE,
        /// The port of the targets.
        port: i64 = 80,
    }
}

keys!(IonosSdConfig, |config, cursor| {
    require(cursor, !config.datacenter_id.is_empty(), "datacenter id can't be empty");
});

section! {
    /// `linode_sd_configs`: Linode's instances.
    pub struct LinodeSdConfig {
        /// How to speak to the API.
        http: HttpClientConfig = HttpClientConfig::default(),
        /// How often.
        refresh_interval: Duration = MINUTE,
        /// The port of the targets.
        port: i64 = 80,
        /// What separates tags in their label.
        tag_separator: String = ",".to_owned(),
        /// The region; all without it.
        region: String = String::new(),
    }
}

keys!(LinodeSdConfig);

section! {
    /// `oci_sd_configs`: Oracle's virtual machines.
    pub struct OciSdConfig {
        /// `api_key` or `instance_principal`.
        auth: String = "api_key".to_owned(),
        /// The tenancy; needed for a key.
        tenancy: String = String::new(),
        /// The user; needed for a key.
        user: String = String::new(),
        /// The fingerprint of the key; needed for a key.
        fingerprint: String = String::new(),
        /// A file with the key; needed for a key.
        key_file: Option<PathBuf> = None,
        /// What the key is locked with.
        key_passphrase: Option<Secret> = None,
        /// A file with what the key is locked with.
        key_passphrase_file: Option<PathBuf> = None,
        /// The region; not empty.
        region: String = String::new(),
        /// The compartments; all that can be reached without it.
        compartments: Vec<String> = Vec::new(),
        /// How to speak to the API.
        http: HttpClientConfig = HttpClientConfig::default(),
        /// The port of the targets.
        port: i64 = 80,
        /// How often; not zero.
        refresh_interval: Duration = MINUTE,
    }
}

keys!(OciSdConfig, |config, cursor| {
    require(cursor, !config.region.is_empty(), "oci_sd: region is required");
    let of_key = [
        ("tenancy", !config.tenancy.is_empty()),
        ("user", !config.user.is_empty()),
        ("fingerprint", !config.fingerprint.is_empty()),
        ("key_file", config.key_file.is_some()),
    ];
    let (phrase, phrase_file) = (config.key_passphrase.is_some(), config.key_passphrase_file.is_some());
    match config.auth.as_str() {
        "api_key" => {
            for (key, _) in of_key.into_iter().filter(|(_, is_set)| !is_set) {
                cursor.invalid(format!("oci_sd: api_key auth requires {key}"));
            }
            let message = "oci_sd: at most one of key_passphrase and key_passphrase_file must be configured";
            require(cursor, !(phrase && phrase_file), message);
        }
        "instance_principal" => {
            let any = phrase || phrase_file || of_key.iter().any(|(_, is_set)| *is_set);
            let message = "oci_sd: instance_principal auth must not have tenancy, user, fingerprint, key_file, \
                           key_passphrase, or key_passphrase_file set";
            require(cursor, !any, message);
        }
        other => cursor.invalid(format!(
            "oci_sd: unknown auth method {}, expected \"api_key\" or \"instance_principal\"",
            quote(other)
        )),
    }
    if let Some(at) = config.compartments.iter().position(String::is_empty) {
        cursor.invalid(format!("oci_sd: compartments[{at}] must not be empty"));
    }
    let positive = !config.refresh_interval.is_zero();
    require(cursor, positive, "oci_sd: refresh_interval must be positive, got 0s");
});

roles! {
    /// What OpenStack is asked for.
    pub enum OpenStackRole("unknown OpenStack SD role") {
        /// Hypervisors.
        Hypervisor = "hypervisor",
        /// Virtual machines.
        Instance = "instance",
        /// Load balancers.
        LoadBalancer = "loadbalancer",
    }
}

section! {
    /// `openstack_sd_configs`: instances, hypervisors or load balancers of an OpenStack.
    pub struct OpenStackSdConfig {
        /// The URL of the identity service; without it the environment decides.
        identity_endpoint: String = String::new(),
        /// The user's name.
        username: String = String::new(),
        /// The user's id.
        userid: String = String::new(),
        /// The password.
        password: Option<Secret> = None,
        /// The project's name.
        project_name: String = String::new(),
        /// The project's id.
        project_id: String = String::new(),
        /// The domain's name.
        domain_name: String = String::new(),
        /// The domain's id.
        domain_id: String = String::new(),
        /// The name of an application credential.
        application_credential_name: String = String::new(),
        /// Its id.
        application_credential_id: String = String::new(),
        /// Its secret.
        application_credential_secret: Option<Secret> = None,
        /// What is asked for; `None` was refused.
        role: Option<OpenStackRole> = None,
        /// The region; not empty.
        region: String = String::new(),
        /// How often.
        refresh_interval: Duration = MINUTE,
        /// The port of the targets.
        port: i64 = 80,
        /// Whether the machines of all projects count.
        all_tenants: bool = false,
        /// How TLS is done.
        tls_config: TlsConfig = TlsConfig::default(),
        /// `public`, `admin` or `internal`.
        availability: String = "public".to_owned(),
    }
}

keys!(OpenStackSdConfig, |config, cursor| {
    if !["public", "internal", "admin"].contains(&config.availability.as_str()) {
        let given = &config.availability;
        cursor.invalid(format!("unknown availability {given}, must be one of admin, internal or public"));
    }
    require(cursor, config.role.is_some(), "role missing (one of: instance, hypervisor, loadbalancer)");
    require(cursor, !config.region.is_empty(), "openstack SD configuration requires a region");
});

section! {
    /// `outscale_sd_configs`: Outscale's virtual machines.
    pub struct OutscaleSdConfig {
        /// The URL of the API; without it that of the region.
        endpoint: String = String::new(),
        /// The region; not empty.
        region: String = "eu-west-2".to_owned(),
        /// The access key; not empty.
        access_key: String = String::new(),
        /// Its secret; this or the file is needed.
        secret_key: Option<Secret> = None,
        /// A file with the secret.
        secret_key_file: Option<PathBuf> = None,
        /// How often.
        refresh_interval: Duration = MINUTE,
        /// The port of the targets.
        port: i64 = 80,
        /// How to speak to the API.
        http: HttpClientConfig = HttpClientConfig::default(),
    }
}

keys!(OutscaleSdConfig, |config, cursor| {
    require(cursor, !config.region.is_empty(), "outscale SD configuration requires a region");
    require(cursor, !config.access_key.is_empty(), "outscale SD configuration requires access_key");
    check_secret_key(cursor, config.secret_key.is_some(), config.secret_key_file.is_some());
});

fn check_secret_key(cursor: crate::yaml::Cursor<'_>, text: bool, file: bool) {
    require(cursor, text || file, "one of secret_key & secret_key_file must be configured");
    require(cursor, !(text && file), "at most one of secret_key & secret_key_file must be configured");
}

section! {
    /// `ovhcloud_sd_configs`: OVHcloud's servers.
    pub struct OvhCloudSdConfig {
        /// Which of OVHcloud's regions.
        endpoint: String = "ovh-eu".to_owned(),
        /// The application's key; not empty.
        application_key: String = String::new(),
        /// Its secret; needed.
        application_secret: Option<Secret> = None,
        /// The consumer's key; needed.
        consumer_key: Option<Secret> = None,
        /// How often.
        refresh_interval: Duration = MINUTE,
        /// `dedicated_server` or `vps`.
        service: String = String::new(),
    }
}

keys!(OvhCloudSdConfig, |config, cursor| {
    require(cursor, !config.endpoint.is_empty(), "endpoint can not be empty");
    require(cursor, !config.application_key.is_empty(), "application key can not be empty");
    require(cursor, config.application_secret.is_some(), "application secret can not be empty");
    require(cursor, config.consumer_key.is_some(), "consumer key can not be empty");
    if !["dedicated_server", "vps"].contains(&config.service.as_str()) {
        cursor.invalid(format!("unknown service: {}", config.service));
    }
});

roles! {
    /// What Scaleway is asked for.
    pub enum ScalewayRole("unknown role") {
        /// Virtual machines.
        Instance = "instance",
        /// Whole servers.
        Baremetal = "baremetal",
    }
}

section! {
    /// `scaleway_sd_configs`: Scaleway's servers.
    pub struct ScalewaySdConfig {
        /// The project; not empty.
        project_id: String = String::new(),
        /// The URL of the API.
        api_url: String = "https://api.scaleway.com".to_owned(),
        /// The zone.
        zone: String = "fr-par-1".to_owned(),
        /// The access key; not empty.
        access_key: String = String::new(),
        /// Its secret; this or the file is needed.
        secret_key: Option<Secret> = None,
        /// A file with the secret.
        secret_key_file: Option<PathBuf> = None,
        /// A name that servers must have.
        name_filter: String = String::new(),
        /// Tags that servers must have.
        tags_filter: Vec<String> = Vec::new(),
        /// How to speak to the API.
        http: HttpClientConfig = HttpClientConfig::default(),
        /// How often.
        refresh_interval: Duration = MINUTE,
        /// The port of the targets.
        port: i64 = 80,
        /// What is asked for; `None` was refused.
        role: Option<ScalewayRole> = None,
    }
}

keys!(ScalewaySdConfig, |config, cursor| {
    require(cursor, config.role.is_some(), "role missing (one of: instance, baremetal)");
    require(cursor, !config.project_id.is_empty(), "project_id is mandatory");
    check_secret_key(cursor, config.secret_key.is_some(), config.secret_key_file.is_some());
    require(cursor, !config.access_key.is_empty(), "access_key is mandatory");
});

section! {
    /// `stackit_sd_configs`: STACKIT's servers.
    pub struct StackitSdConfig {
        /// How to speak to the API.
        http: HttpClientConfig = HttpClientConfig::default(),
        /// The project.
        project: String = String::new(),
        /// How often.
        refresh_interval: Duration = MINUTE,
        /// The port of the targets.
        port: i64 = 80,
        /// The region; this or the endpoint is needed.
        region: String = "eu01".to_owned(),
        /// The URL of the API.
        endpoint: String = String::new(),
        /// The key of the service account, as JSON.
        service_account_key: Option<Secret> = None,
        /// The private key of the service account.
        private_key: Option<Secret> = None,
        /// A file with the key of the service account; as it is written.
        service_account_key_path: String = String::new(),
        /// A file with the private key; as it is written.
        private_key_path: String = String::new(),
        /// A file with both; as it is written.
        credentials_file_path: String = String::new(),
    }
}

keys!(StackitSdConfig, |config, cursor| {
    let somewhere = !config.endpoint.is_empty() || !config.region.is_empty();
    require(cursor, somewhere, "stackit_sd: endpoint and region missing");
    if let Err(message) = go_url::parse(&config.endpoint) {
        cursor.invalid(format!("stackit_sd: invalid endpoint {}: {message}", quote(&config.endpoint)));
    }
});

section! {
    /// `triton_sd_configs`: containers of a Triton.
    pub struct TritonSdConfig {
        /// The account; not empty.
        account: String = String::new(),
        /// `container` or `cn`.
        role: String = "container".to_owned(),
        /// What is put behind the names of targets; not empty.
        dns_suffix: String = String::new(),
        /// The host of the API; not empty.
        endpoint: String = String::new(),
        /// The groups of containers; all without it.
        groups: Vec<String> = Vec::new(),
        /// The port of the API.
        port: i64 = 9163,
        /// How often; not zero.
        refresh_interval: Duration = MINUTE,
        /// How TLS is done.
        tls_config: TlsConfig = TlsConfig::default(),
        /// The version of the API.
        version: i64 = 1,
    }
}

keys!(TritonSdConfig, |config, cursor| {
    let known = ["container", "cn"].contains(&config.role.as_str());
    require(cursor, known, "triton SD configuration requires role to be 'container' or 'cn'");
    require(cursor, !config.account.is_empty(), "triton SD configuration requires an account");
    require(cursor, !config.dns_suffix.is_empty(), "triton SD configuration requires a dns_suffix");
    require(cursor, !config.endpoint.is_empty(), "triton SD configuration requires an endpoint");
    let message = "triton SD configuration requires RefreshInterval to be a positive integer";
    require(cursor, !config.refresh_interval.is_zero(), message);
});

section! {
    /// `vultr_sd_configs`: Vultr's instances.
    pub struct VultrSdConfig {
        /// How to speak to the API.
        http: HttpClientConfig = HttpClientConfig::default(),
        /// How often.
        refresh_interval: Duration = MINUTE,
        /// The port of the targets.
        port: i64 = 80,
    }
}

keys!(VultrSdConfig);
