//! The labels of a series: attributes of its point, what its resource and scope lend it, and its name.

use relatum_config::prometheus::OtlpConfig;
use relatum_model::otlp::{Attributes, ResourceMetrics, ScopeMetrics};
use relatum_model::{Labels, LabelsBuilder};

use super::names::Names;

const SERVICE_NAME: &str = "service.name";
const SERVICE_NAMESPACE: &str = "service.namespace";
const SERVICE_INSTANCE: &str = "service.instance.id";
const IDENTIFYING: [&str; 3] = [SERVICE_NAMESPACE, SERVICE_NAME, SERVICE_INSTANCE];
const NAME: &str = "__name__";

/// What all series of a resource have.
#[derive(Debug, Default)]
pub(super) struct ResourceLabels {
    job: String,
    instance: String,
    promoted: Vec<(String, String)>,
}

impl ResourceLabels {
    pub(super) fn of(resource: &ResourceMetrics, config: &OtlpConfig, names: Names) -> Result<Self, String> {
        let text = |name: &str| resource.attributes.get(name).map(|value| value.to_text());
        let mut job = text(SERVICE_NAME).unwrap_or_default();
        if let Some(namespace) = text(SERVICE_NAMESPACE).filter(|_| resource.attributes.get(SERVICE_NAME).is_some()) {
            job = format!("{namespace}/{job}");
        }
        let mut promoted = Vec::new();
        for (name, value) in &resource.attributes.0 {
            let is_promoted = if config.promote_all_resource_attributes {
                !config.ignore_resource_attributes.contains(name)
            } else {
                config.promote_resource_attributes.contains(name)
            };
            if is_promoted {
                promoted.push((names.label(name)?, value.to_text()));
            }
        }
        Ok(ResourceLabels { job, instance: text(SERVICE_INSTANCE).unwrap_or_default(), promoted })
    }

    fn identify(&self, builder: &mut LabelsBuilder) {
        for (name, value) in [("job", &self.job), ("instance", &self.instance)] {
            if !value.is_empty() {
                builder.set(name, value);
            }
        }
    }
}

/// What all series of a scope have, if that is wanted.
pub(super) fn scope_labels(
    scope: &ScopeMetrics,
    config: &OtlpConfig,
    names: Names,
) -> Result<Vec<(String, String)>, String> {
    if !config.promote_scope_metadata || scope.name.is_empty() {
        return Ok(Vec::new());
    }
    let mut labels = Vec::new();
    for (name, value) in &scope.attributes.0 {
        labels.push((names.label(&format!("otel_scope_{name}"))?, value.to_text()));
    }
    labels.push(("otel_scope_name".to_owned(), scope.name.clone()));
    labels.push(("otel_scope_version".to_owned(), scope.version.clone()));
    labels.push(("otel_scope_schema_url".to_owned(), scope.schema_url.clone()));
    Ok(labels)
}

/// Attributes as labels, without those that are left out and without a name of a metric.
pub(super) fn of_attributes(attributes: &Attributes, names: Names, left_out: &[&str]) -> Result<LabelsBuilder, String> {
    let mut sorted: Vec<(&str, String)> = attributes
        .0
        .iter()
        .filter(|(name, _)| name != NAME && !left_out.contains(&name.as_str()))
        .map(|(name, value)| (name.as_str(), value.to_text()))
        .collect();
    // What collides is joined in the order of the names, so that the label does not depend on the order in which they came.
    sorted.sort_by_key(|(name, _)| *name);
    let mut builder = LabelsBuilder::new();
    for (name, value) in sorted {
        let label = names.label(name)?;
        match builder.get(&label).to_owned() {
            before if names.may_collide() && !before.is_empty() => builder.set(label, format!("{before};{value}")),
            _ => builder.set(label, value),
        };
    }
    Ok(builder)
}

/// The labels of a point's series but for its name.
pub(super) fn of_point(
    attributes: &Attributes,
    resource: &ResourceLabels,
    scope: &[(String, String)],
    names: Names,
) -> Result<LabelsBuilder, String> {
    let mut builder = of_attributes(attributes, names, &[])?;
    for (name, value) in &resource.promoted {
        if builder.get(name).is_empty() {
            builder.set(name, value);
        }
    }
    resource.identify(&mut builder);
    for (name, value) in scope {
        builder.set(name, value);
    }
    Ok(builder)
}

/// The labels of `target_info`, which tells all that is known of a resource; `None` if that is no more than its identity, or if
/// nothing identifies it.
pub(super) fn of_target(
    resource: &ResourceMetrics,
    labels: &ResourceLabels,
    config: &OtlpConfig,
    names: Names,
) -> Result<Option<Labels>, String> {
    let is_identity = |name: &str| IDENTIFYING.contains(&name);
    if resource.attributes.0.iter().all(|(name, _)| is_identity(name)) {
        return Ok(None);
    }
    if labels.job.is_empty() && labels.instance.is_empty() {
        return Ok(None);
    }
    let left_out: &[&str] = if config.keep_identifying_resource_attributes { &[] } else { &IDENTIFYING };
    let mut builder = of_attributes(&resource.attributes, names, left_out)?;
    labels.identify(&mut builder);
    builder.set(NAME, "target_info");
    Ok(Some(builder.build()))
}
