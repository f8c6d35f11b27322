//! Discovery of the objects of a Kubernetes API.

use std::path::PathBuf;

use super::{require, roles};
use crate::Url;
use crate::prometheus::field::{Field, keys, read_keys, section};
use crate::prometheus::http::HttpClientConfig;
use crate::yaml::Cursor;

roles! {
    /// A kind of object.
    pub enum KubernetesRole("unknown Kubernetes SD role") {
        /// Nodes.
        Node = "node",
        /// Pods.
        Pod = "pod",
        /// Services.
        Service = "service",
        /// Endpoints.
        Endpoints = "endpoints",
        /// Slices of endpoints.
        EndpointSlice = "endpointslice",
        /// Ingresses.
        Ingress = "ingress",
    }
}

impl KubernetesRole {
    /// The kinds of object that are watched for this one, and so can be selected.
    fn selectable(self) -> &'static [KubernetesRole] {
        use KubernetesRole::{EndpointSlice, Endpoints, Ingress, Node, Pod, Service};
        match self {
            Pod => &[Pod, Node],
            Service => &[Service],
            EndpointSlice => &[Pod, Service, EndpointSlice],
            Endpoints => &[Pod, Service, Endpoints],
            Node => &[Node],
            Ingress => &[Ingress],
        }
    }
}

section! {
    /// `kubernetes_sd_configs`: targets from the objects of a Kubernetes API.
    pub struct KubernetesSdConfig {
        /// The API; without it that of the cluster we run in.
        api_server: Option<Url> = None,
        /// The kind of object; `None` was refused.
        role: Option<KubernetesRole> = None,
        /// A file that says how to reach the API.
        kubeconfig_file: Option<PathBuf> = None,
        /// How to speak to the API.
        http: HttpClientConfig = HttpClientConfig::default(),
        /// Which namespaces; all without it.
        namespaces: KubernetesNamespaces = KubernetesNamespaces::default(),
        /// Which objects; all without it.
        selectors: Vec<KubernetesSelector> = Vec::new(),
        /// What is added to the labels of a target.
        attach_metadata: KubernetesMetadata = KubernetesMetadata::default(),
    }
}

keys!(KubernetesSdConfig, |config, cursor| config.check_all(cursor));

section! {
    /// Namespaces to look at.
    pub struct KubernetesNamespaces {
        /// Whether our own is one of them.
        own_namespace: bool = false,
        /// The others.
        names: Vec<String> = Vec::new(),
    }
}

keys!(KubernetesNamespaces);

section! {
    /// Which objects of one kind are looked at.
    pub struct KubernetesSelector {
        /// The kind of object; `None` was refused.
        role: Option<KubernetesRole> = None,
        /// Conditions on labels.
        label: String = String::new(),
        /// Conditions on fields.
        field: String = String::new(),
    }
}

keys!(KubernetesSelector);

section! {
    /// What is added to the labels of a target.
    pub struct KubernetesMetadata {
        /// Labels of its node.
        node: bool = false,
        /// Labels of its namespace.
        namespace: bool = false,
        /// The name of the deployment of its pod.
        deployment: bool = false,
        /// The name of the job of its pod.
        job: bool = false,
        /// The name of the cron job of its pod.
        cronjob: bool = false,
    }
}

keys!(KubernetesMetadata);

impl Field for KubernetesNamespaces {
    fn read(cursor: Cursor<'_>) -> Self {
        read_keys(cursor).unwrap_or_default()
    }
}

impl Field for KubernetesMetadata {
    fn read(cursor: Cursor<'_>) -> Self {
        read_keys(cursor).unwrap_or_default()
    }
}

impl Field for Vec<KubernetesSelector> {
    fn read(cursor: Cursor<'_>) -> Self {
        cursor.items().into_iter().filter_map(read_keys).collect()
    }
}

impl KubernetesSdConfig {
    fn check_all(&self, cursor: Cursor<'_>) {
        let Some(role) = self.role else {
            cursor.invalid("role missing (one of: pod, service, endpoints, endpointslice, node, ingress)");
            return;
        };
        let (has_api, has_file) = (self.api_server.is_some(), self.kubeconfig_file.is_some());
        let (plain, own) = (self.http == HttpClientConfig::default(), self.namespaces.own_namespace);
        for (conflict, message) in [
            (has_api && has_file, "cannot use 'kubeconfig_file' and 'api_server' simultaneously"),
            (has_file && !plain, "cannot use a custom HTTP client configuration together with 'kubeconfig_file'"),
            (
                !has_api && !has_file && !plain,
                "to use custom HTTP client configuration please provide the 'api_server' URL explicitly",
            ),
            (has_api && own, "cannot use 'api_server' and 'namespaces.own_namespace' simultaneously"),
            (has_file && own, "cannot use 'kubeconfig_file' and 'namespaces.own_namespace' simultaneously"),
        ] {
            require(cursor, !conflict, message);
        }
        let mut seen = Vec::new();
        for selector in &self.selectors {
            let name = selector.role.map_or("", KubernetesRole::as_str);
            if seen.contains(&selector.role) {
                cursor.invalid(format!("duplicated selector role: {name}"));
            }
            seen.push(selector.role);
            let selectable = role.selectable();
            if !selector.role.is_some_and(|role| selectable.contains(&role)) {
                let names: Vec<&str> = selectable.iter().map(|role| role.as_str()).collect();
                cursor.invalid(format!("{} role supports only {} selectors", role.as_str(), names.join(", ")));
            }
            if let Err(message) = check_fields(&selector.field).and_then(|()| check_labels(&selector.label)) {
                cursor.invalid(message);
            }
        }
    }
}

/// `path=value`, `==` or `!=`, separated by commas.
fn check_fields(text: &str) -> Result<(), String> {
    let terms = text.split(',').filter(|term| !term.is_empty());
    match terms.into_iter().find(|term| !term.contains('=')) {
        Some(term) => Err(format!("invalid selector: '{text}'; can't understand '{term}'")),
        None => Ok(()),
    }
}

/// `key`, `!key`, `key OP value`, `key in (a, b)`, separated by commas outside of the parentheses.
fn check_labels(text: &str) -> Result<(), String> {
    let unable = |reason: String| format!("unable to parse requirement: {reason}");
    let mut depth = 0;
    let terms = text.split(|c| {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        c == ',' && depth == 0
    });
    for term in terms.map(str::trim) {
        if term.is_empty() {
            if text.trim().is_empty() {
                return Ok(());
            }
            return Err(unable("found '', expected: identifier".to_owned()));
        }
        let key_end = term.find(|c: char| "=!<>() ".contains(c) && !term.starts_with('!')).unwrap_or(term.len());
        let (key, rest) = match term.strip_prefix('!') {
            Some(key) => (key.trim(), ""),
            None => (&term[..key_end], term[key_end..].trim()),
        };
        let is_word = |text: &str| {
            text.starts_with(|c: char| c.is_ascii_alphanumeric())
                && text.ends_with(|c: char| c.is_ascii_alphanumeric())
                && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
        };
        let is_key = key.split('/').count() <= 2 && key.split('/').all(is_word);
        let operators = ["==", "!=", "=", ">", "<"];
        let value = operators.iter().find_map(|operator| rest.strip_prefix(operator)).map(str::trim);
        let is_set = |rest: &str| rest.trim().starts_with('(') && rest.ends_with(')');
        let in_set = rest.strip_prefix("notin").or(rest.strip_prefix("in")).is_some_and(is_set);
        let fits = rest.is_empty() || in_set || value.is_some_and(|value| value.is_empty() || is_word(value));
        if !is_key || !fits {
            return Err(unable(format!("can't understand '{term}'")));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors() {
        for (text, fits) in [
            ("", true),
            ("app=web", true),
            ("app==web,!gone, tier != back", true),
            ("example.com/app in (a, b),x notin (c)", true),
            ("app", true),
            ("a=b,", false),
            ("app=we b", false),
            ("app in a", false),
            ("-x=1", false),
        ] {
            assert_eq!(check_labels(text).is_ok(), fits, "input {text:?}");
        }
        assert!(check_fields("metadata.name=x,spec.node!=y").is_ok());
        assert!(check_fields("metadata.status-Running").is_err());
    }
}
