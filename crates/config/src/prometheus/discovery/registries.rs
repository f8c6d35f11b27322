//! Discovery from programs that know where others run: registries, orchestrators, inventories.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use super::files::check_web_url;
use super::require;
use crate::prometheus::field::{Field, keys, read_keys, section};
use crate::prometheus::http::HttpClientConfig;
use crate::yaml::Cursor;
use crate::{Secret, go_url};

section! {
    /// `consul_sd_configs`: services of a Consul catalog.
    pub struct ConsulSdConfig {
        /// `host:port` of the API.
        server: String = "localhost:8500".to_owned(),
        /// What stands in front of the API's paths.
        path_prefix: String = String::new(),
        /// The token.
        token: Option<Secret> = None,
        /// The data center; without it that of the agent.
        datacenter: String = String::new(),
        /// The namespace.
        namespace: String = String::new(),
        /// The partition.
        partition: String = String::new(),
        /// What separates tags in their label.
        tag_separator: String = ",".to_owned(),
        /// `http` or `https`.
        scheme: String = "http".to_owned(),
        /// The user; an older way to say `basic_auth`.
        username: String = String::new(),
        /// The password.
        password: Option<Secret> = None,
        /// Whether any server of the catalog may answer.
        allow_stale: bool = true,
        /// The shortest time between two looks.
        refresh_interval: Duration = Duration::from_secs(30),
        /// The services; all without it.
        services: Vec<String> = Vec::new(),
        /// Tags that a service must have, all of them.
        tags: Vec<String> = Vec::new(),
        /// Metadata that a node must have.
        node_meta: BTreeMap<String, String> = BTreeMap::new(),
        /// A condition on the catalog.
        filter: String = String::new(),
        /// A condition on the health of an instance.
        health_filter: String = String::new(),
        /// How to speak to the API.
        http: HttpClientConfig = HttpClientConfig::default(),
    }
}

keys!(ConsulSdConfig, |config, cursor| {
    require(cursor, !config.server.trim().is_empty(), "consul SD configuration requires a server address");
    let has_user = !config.username.is_empty() || config.password.is_some();
    let message = "at most one of consul SD configuration username and password and basic auth can be configured";
    require(cursor, !(has_user && config.http.basic_auth.is_some()), message);
    let http_auth = config.http.authorization.is_some() || config.http.oauth2.is_some();
    let message = "at most one of consul SD token, authorization, or oauth2 can be configured";
    require(cursor, !(config.token.is_some() && http_auth), message);
});

section! {
    /// A condition on what a Docker daemon lists.
    pub struct DockerFilter {
        /// Its name.
        name: String = String::new(),
        /// Its values, of which one must fit.
        values: Vec<String> = Vec::new(),
    }
}

keys!(DockerFilter);

impl Field for Vec<DockerFilter> {
    fn read(cursor: Cursor<'_>) -> Self {
        cursor.items().into_iter().map(|item| read_keys(item).unwrap_or_default()).collect()
    }
}

section! {
    /// `docker_sd_configs`: containers of a Docker daemon.
    pub struct DockerSdConfig {
        /// How to speak to the daemon.
        http: HttpClientConfig = HttpClientConfig::default(),
        /// The URL of the daemon; not empty.
        host: String = String::new(),
        /// The port of containers that publish none.
        port: i64 = 80,
        /// Which containers; all without it.
        filters: Vec<DockerFilter> = Vec::new(),
        /// The host of containers that share its network.
        host_networking_host: String = "localhost".to_owned(),
        /// How often.
        refresh_interval: Duration = Duration::from_secs(60),
        /// Whether only the first network of a container counts.
        match_first_network: bool = true,
    }
}

keys!(DockerSdConfig, |config, cursor| check_host(cursor, &config.host));

section! {
    /// `dockerswarm_sd_configs`: services, tasks or nodes of a Docker swarm.
    pub struct DockerSwarmSdConfig {
        /// How to speak to the daemon.
        http: HttpClientConfig = HttpClientConfig::default(),
        /// The URL of the daemon; not empty.
        host: String = String::new(),
        /// `services`, `tasks` or `nodes`.
        role: String = String::new(),
        /// The port of what publishes none.
        port: i64 = 80,
        /// Which of them; all without it.
        filters: Vec<DockerFilter> = Vec::new(),
        /// How often.
        refresh_interval: Duration = Duration::from_secs(60),
    }
}

keys!(DockerSwarmSdConfig, |config, cursor| {
    check_host(cursor, &config.host);
    match config.role.as_str() {
        "services" | "nodes" | "tasks" => {}
        "" => cursor.invalid("role missing (one of: tasks, services, nodes)"),
        other => cursor.invalid(format!("invalid role {other}, expected tasks, services, or nodes")),
    }
});

fn check_host(cursor: Cursor<'_>, host: &str) {
    require(cursor, !host.is_empty(), "host missing");
    if let Err(message) = go_url::parse(host) {
        cursor.invalid(message);
    }
}

section! {
    /// `eureka_sd_configs`: instances of an Eureka.
    pub struct EurekaSdConfig {
        /// The URL of the server; not empty.
        server: String = String::new(),
        /// How to speak to it.
        http: HttpClientConfig = HttpClientConfig::default(),
        /// How often.
        refresh_interval: Duration = Duration::from_secs(30),
    }
}

keys!(EurekaSdConfig, |config, cursor| {
    if config.server.is_empty() {
        cursor.invalid("eureka_sd: empty or null eureka server");
        return;
    }
    match go_url::parse(&config.server) {
        Err(message) => cursor.invalid(message),
        Ok(parts) => {
            let whole = !parts.scheme.is_empty() && !parts.host.is_empty();
            require(cursor, whole, "eureka_sd: invalid eureka server URL");
        }
    }
});

section! {
    /// `kuma_sd_configs`: dataplanes of a Kuma.
    pub struct KumaSdConfig {
        /// How to speak to the control plane.
        http: HttpClientConfig = HttpClientConfig::default(),
        /// How often.
        refresh_interval: Duration = Duration::from_secs(15),
        /// How long one look may take.
        fetch_timeout: Duration = Duration::from_secs(120),
        /// The URL of the control plane; not empty.
        server: String = String::new(),
        /// Who we say we are.
        client_id: String = String::new(),
    }
}

keys!(KumaSdConfig, |config, cursor| {
    if config.server.is_empty() {
        cursor.invalid("kuma SD server must not be empty: ");
        return;
    }
    match go_url::parse(&config.server) {
        Err(message) => cursor.invalid(message),
        Ok(parts) if parts.scheme.is_empty() || parts.host.is_empty() => {
            cursor.invalid(format!("kuma SD server must not be empty and have a scheme: {}", config.server));
        }
        Ok(_) => {}
    }
});

section! {
    /// `marathon_sd_configs`: apps of a Marathon.
    pub struct MarathonSdConfig {
        /// URLs of the servers; not empty.
        servers: Vec<String> = Vec::new(),
        /// How often.
        refresh_interval: Duration = Duration::from_secs(30),
        /// The token.
        auth_token: Option<Secret> = None,
        /// A file with the token.
        auth_token_file: Option<PathBuf> = None,
        /// How to speak to a server.
        http: HttpClientConfig = HttpClientConfig::default(),
    }
}

keys!(MarathonSdConfig, |config, cursor| {
    require(cursor, !config.servers.is_empty(), "marathon_sd: must contain at least one Marathon server");
    let (token, file) = (config.auth_token.is_some(), config.auth_token_file.is_some());
    require(cursor, !(token && file), "marathon_sd: at most one of auth_token & auth_token_file must be configured");
    if token || file {
        let message = "marathon_sd: at most one of basic_auth, auth_token & auth_token_file must be configured";
        require(cursor, config.http.basic_auth.is_none(), message);
        let message = "marathon_sd: at most one of auth_token, auth_token_file & authorization must be configured";
        // A bearer token is an authorization too.
        require(cursor, config.http.authorization.is_none(), message);
    }
});

section! {
    /// `nerve_sd_configs`: members that a Nerve wrote to Zookeeper.
    pub struct NerveSdConfig {
        /// `host:port` of the Zookeeper servers; not empty.
        servers: Vec<String> = Vec::new(),
        /// Where to look; each begins with `/`.
        paths: Vec<String> = Vec::new(),
        /// How long a session lasts without a sign of life.
        timeout: Duration = Duration::from_secs(10),
    }
}

keys!(NerveSdConfig, |config, cursor| check_zookeeper(cursor, "nerve", &config.servers, &config.paths));

section! {
    /// `serverset_sd_configs`: members that a serverset wrote to Zookeeper.
    pub struct ServersetSdConfig {
        /// `host:port` of the Zookeeper servers; not empty.
        servers: Vec<String> = Vec::new(),
        /// Where to look; each begins with `/`.
        paths: Vec<String> = Vec::new(),
        /// How long a session lasts without a sign of life.
        timeout: Duration = Duration::from_secs(10),
    }
}

keys!(ServersetSdConfig, |config, cursor| check_zookeeper(cursor, "serverset", &config.servers, &config.paths));

fn check_zookeeper(cursor: Cursor<'_>, kind: &str, servers: &[String], paths: &[String]) {
    if servers.is_empty() {
        cursor.invalid(format!("{kind} SD config must contain at least one Zookeeper server"));
    }
    if paths.is_empty() {
        cursor.invalid(format!("{kind} SD config must contain at least one path"));
    }
    for path in paths.iter().filter(|path| !path.starts_with('/')) {
        cursor.invalid(format!("{kind} SD config paths must begin with '/': {path}"));
    }
}

section! {
    /// `nomad_sd_configs`: services of a Nomad.
    pub struct NomadSdConfig {
        /// Whether any server may answer.
        allow_stale: bool = true,
        /// How to speak to the API.
        http: HttpClientConfig = HttpClientConfig::default(),
        /// The namespace.
        namespace: String = "default".to_owned(),
        /// How often.
        refresh_interval: Duration = Duration::from_secs(60),
        /// The region.
        region: String = "global".to_owned(),
        /// The URL of the API.
        server: String = "http://localhost:4646".to_owned(),
        /// What separates tags in their label.
        tag_separator: String = ",".to_owned(),
    }
}

keys!(NomadSdConfig, |config, cursor| {
    require(cursor, !config.server.trim().is_empty(), "nomad SD configuration requires a server address");
});

section! {
    /// `puppetdb_sd_configs`: resources of a PuppetDB.
    pub struct PuppetDbSdConfig {
        /// How to speak to the API.
        http: HttpClientConfig = HttpClientConfig::default(),
        /// How often.
        refresh_interval: Duration = Duration::from_secs(60),
        /// The URL of the API; not empty.
        url: String = String::new(),
        /// What to ask for; not empty.
        query: String = String::new(),
        /// Whether parameters of resources become labels.
        include_parameters: bool = false,
        /// The port of the targets.
        port: i64 = 80,
    }
}

keys!(PuppetDbSdConfig, |config, cursor| {
    check_web_url(cursor, &config.url);
    require(cursor, !config.query.is_empty(), "query missing");
});

section! {
    /// `uyuni_sd_configs`: systems of a Uyuni server.
    pub struct UyuniSdConfig {
        /// The URL of the server; not empty.
        server: String = String::new(),
        /// The user; not empty.
        username: String = String::new(),
        /// The password; needed.
        password: Option<Secret> = None,
        /// How to speak to it.
        http: HttpClientConfig = HttpClientConfig::default(),
        /// The entitlement that a system must have.
        entitlement: String = "monitoring_entitled".to_owned(),
        /// What separates groups in their label.
        separator: String = ",".to_owned(),
        /// How often.
        refresh_interval: Duration = Duration::from_secs(60),
    }
}

keys!(UyuniSdConfig, |config, cursor| {
    require(cursor, !config.server.is_empty(), "Uyuni SD configuration requires server host");
    if let Err(message) = go_url::parse(&config.server) {
        cursor.invalid(format!("Uyuni Server URL is not valid: {message}"));
    }
    require(cursor, !config.username.is_empty(), "Uyuni SD configuration requires a username");
    require(cursor, config.password.is_some(), "Uyuni SD configuration requires a password");
});
