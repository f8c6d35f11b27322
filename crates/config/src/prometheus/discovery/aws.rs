//! Discovery of Amazon's services.

use std::time::Duration;

use super::{require, roles};
use crate::Secret;
use crate::prometheus::field::{Field, keys, read_keys, section};
use crate::prometheus::http::HttpClientConfig;
use crate::yaml::Cursor;

roles! {
    /// Which of Amazon's services `aws_sd_configs` looks at.
    pub enum AwsRole("unknown AWS SD role") {
        /// Virtual machines.
        Ec2 = "ec2",
        /// Containers.
        Ecs = "ecs",
        /// Caches.
        Elasticache = "elasticache",
        /// Simple virtual machines.
        Lightsail = "lightsail",
        /// Kafka clusters.
        Msk = "msk",
        /// Databases.
        Rds = "rds",
    }
}

section! {
    /// A property that machines must have.
    pub struct AwsFilter {
        /// Its name.
        name: String = String::new(),
        /// Its values, of which one must fit.
        values: Vec<String> = Vec::new(),
    }
}

keys!(AwsFilter);

impl Field for Vec<AwsFilter> {
    fn read(cursor: Cursor<'_>) -> Self {
        cursor.items().into_iter().map(|item| read_keys(item).unwrap_or_default()).collect()
    }
}

section! {
    /// `aws_sd_configs`: any of the services, by its role.
    /// A port of 0 is the default of the role.
    pub struct AwsSdConfig {
        /// The region; without it that of the environment.
        region: String = String::new(),
        /// Another endpoint than the region's.
        endpoint: String = String::new(),
        /// The access key; without it the environment decides.
        access_key: String = String::new(),
        /// Its secret.
        secret_key: Option<Secret> = None,
        /// A named profile.
        profile: String = String::new(),
        /// A role to take on.
        role_arn: String = String::new(),
        /// The identifier that the role asks for.
        external_id: String = String::new(),
        /// How often; zero is the default of the role.
        refresh_interval: Duration = Duration::ZERO,
        /// The port of the targets.
        port: i64 = 0,
        /// The service; `None` was refused.
        role: Option<AwsRole> = None,
        /// Which machines or databases; all without it.
        filters: Vec<AwsFilter> = Vec::new(),
        /// The clusters; all without it.
        clusters: Vec<String> = Vec::new(),
        /// How to speak to the service.
        http: HttpClientConfig = HttpClientConfig::default(),
    }
}

keys!(AwsSdConfig, |config, cursor| {
    require(cursor, config.role.is_some(), "unknown AWS SD role \"\"");
});

section! {
    /// `ec2_sd_configs`: virtual machines.
    pub struct Ec2SdConfig {
        /// The region; without it that of the environment.
        region: String = String::new(),
        /// Another endpoint than the region's.
        endpoint: String = String::new(),
        /// The access key; without it the environment decides.
        access_key: String = String::new(),
        /// Its secret.
        secret_key: Option<Secret> = None,
        /// A named profile.
        profile: String = String::new(),
        /// A role to take on.
        role_arn: String = String::new(),
        /// The identifier that the role asks for.
        external_id: String = String::new(),
        /// How often.
        refresh_interval: Duration = Duration::from_secs(60),
        /// The port of the targets.
        port: i64 = 80,
        /// Which machines or databases; all without it.
        filters: Vec<AwsFilter> = Vec::new(),
        /// How to speak to the service.
        http: HttpClientConfig = HttpClientConfig::default(),
    }
}

keys!(Ec2SdConfig, |config, cursor| {
    let filled = config.filters.iter().all(|filter| !filter.values.is_empty());
    require(cursor, filled, "EC2 SD configuration filter values cannot be empty");
});

section! {
    /// `ecs_sd_configs`: containers.
    pub struct EcsSdConfig {
        /// The region; without it that of the environment.
        region: String = String::new(),
        /// Another endpoint than the region's.
        endpoint: String = String::new(),
        /// The access key; without it the environment decides.
        access_key: String = String::new(),
        /// Its secret.
        secret_key: Option<Secret> = None,
        /// A named profile.
        profile: String = String::new(),
        /// A role to take on.
        role_arn: String = String::new(),
        /// The identifier that the role asks for.
        external_id: String = String::new(),
        /// How often.
        refresh_interval: Duration = Duration::from_secs(60),
        /// The port of the targets.
        port: i64 = 80,
        /// The clusters; all without it.
        clusters: Vec<String> = Vec::new(),
        /// The most requests at a time.
        request_concurrency: i64 = 20,
        /// How to speak to the service.
        http: HttpClientConfig = HttpClientConfig::default(),
    }
}

keys!(EcsSdConfig);

section! {
    /// `elasticache_sd_configs`: caches.
    pub struct ElasticacheSdConfig {
        /// The region; without it that of the environment.
        region: String = String::new(),
        /// Another endpoint than the region's.
        endpoint: String = String::new(),
        /// The access key; without it the environment decides.
        access_key: String = String::new(),
        /// Its secret.
        secret_key: Option<Secret> = None,
        /// A named profile.
        profile: String = String::new(),
        /// A role to take on.
        role_arn: String = String::new(),
        /// The identifier that the role asks for.
        external_id: String = String::new(),
        /// How often.
        refresh_interval: Duration = Duration::from_secs(60),
        /// The port of the targets.
        port: i64 = 80,
        /// The clusters; all without it.
        clusters: Vec<String> = Vec::new(),
        /// The most requests at a time.
        request_concurrency: i64 = 10,
        /// How to speak to the service.
        http: HttpClientConfig = HttpClientConfig::default(),
    }
}

keys!(ElasticacheSdConfig);

section! {
    /// `lightsail_sd_configs`: simple virtual machines.
    pub struct LightsailSdConfig {
        /// The region; without it that of the environment.
        region: String = String::new(),
        /// Another endpoint than the region's.
        endpoint: String = String::new(),
        /// The access key; without it the environment decides.
        access_key: String = String::new(),
        /// Its secret.
        secret_key: Option<Secret> = None,
        /// A named profile.
        profile: String = String::new(),
        /// A role to take on.
        role_arn: String = String::new(),
        /// The identifier that the role asks for.
        external_id: String = String::new(),
        /// How often.
        refresh_interval: Duration = Duration::from_secs(60),
        /// The port of the targets.
        port: i64 = 80,
        /// How to speak to the service.
        http: HttpClientConfig = HttpClientConfig::default(),
    }
}

keys!(LightsailSdConfig);

section! {
    /// `msk_sd_configs`: Kafka clusters.
    pub struct MskSdConfig {
        /// The region; without it that of the environment.
        region: String = String::new(),
        /// Another endpoint than the region's.
        endpoint: String = String::new(),
        /// The access key; without it the environment decides.
        access_key: String = String::new(),
        /// Its secret.
        secret_key: Option<Secret> = None,
        /// A named profile.
        profile: String = String::new(),
        /// A role to take on.
        role_arn: String = String::new(),
        /// The identifier that the role asks for.
        external_id: String = String::new(),
        /// How often.
        refresh_interval: Duration = Duration::from_secs(60),
        /// The port of the targets.
        port: i64 = 80,
        /// The clusters; all without it.
        clusters: Vec<String> = Vec::new(),
        /// The most requests at a time.
        request_concurrency: i64 = 10,
        /// How to speak to the service.
        http: HttpClientConfig = HttpClientConfig::default(),
    }
}

keys!(MskSdConfig);

section! {
    /// `rds_sd_configs`: databases.
    pub struct RdsSdConfig {
        /// The region; without it that of the environment.
        region: String = String::new(),
        /// Another endpoint than the region's.
        endpoint: String = String::new(),
        /// The access key; without it the environment decides.
        access_key: String = String::new(),
        /// Its secret.
        secret_key: Option<Secret> = None,
        /// A named profile.
        profile: String = String::new(),
        /// A role to take on.
        role_arn: String = String::new(),
        /// The identifier that the role asks for.
        external_id: String = String::new(),
        /// How often.
        refresh_interval: Duration = Duration::from_secs(60),
        /// The port of the targets.
        port: i64 = 80,
        /// The clusters; all without it.
        clusters: Vec<String> = Vec::new(),
        /// Which machines or databases; all without it.
        filters: Vec<AwsFilter> = Vec::new(),
        /// The most requests at a time.
        request_concurrency: i64 = 10,
        /// How to speak to the service.
        http: HttpClientConfig = HttpClientConfig::default(),
    }
}

keys!(RdsSdConfig);
