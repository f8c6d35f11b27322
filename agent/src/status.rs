//! What `status` and `show-relation` show: put together from the last pass and the facts of this process. Pure.

use std::collections::{BTreeMap, HashMap};

use relatum_relations::endpoints::APPLICATION;
use relatum_relations::name::UnitName;
use relatum_relations::prometheus_scrape::ALERT_RULES;
use relatum_relations::unit_status::INVALID_RULES;
use serde::Deserialize;

use crate::control::{
    ApplicationStatus, ModelStatus, Problem, RelationDetail, RelationStatus, Status, StatusInfo, UnitDetail, UnitStatus,
};
use crate::offers::Live;
use crate::packed::PackedBag;
use crate::pipeline::Report;
use crate::pipeline::desire::Yield;
use crate::store::{Endpoint, Role, StoredRelation, World};

/// Facts of the running process.
#[derive(Debug, Clone)]
pub struct Facts {
    /// `host:port` as bound.
    pub listen: std::net::SocketAddr,
    /// See [`Status::api_url`].
    pub api_url: String,
    /// See [`Status::public_url`].
    pub public_url: String,
    /// The directory of the rendered files.
    pub rendered: String,
    /// The time of asking.
    pub at_ms: i64,
    /// Why the last pass did not happen, if it did not.
    pub failure: Option<String>,
    /// Keys of `relatum.yaml` that count only after a restart.
    pub restart_needed: Vec<&'static str>,
    /// How other agents are doing.
    pub live: Live,
}

/// Everything.
pub fn status(report: &Report, facts: &Facts) -> Status {
    let world = &report.world;
    let mut problems = report.problems.clone();
    problems.extend(facts.live.problems.iter().cloned());
    problems.extend(facts.failure.as_ref().map(|failure| Problem {
        hint: Some("what was in effect stays so, and it is tried again every few seconds".to_owned()),
        ..Problem::new(failure)
    }));
    let mut relations: Vec<RelationStatus> =
        world.relations.iter().map(|relation| relation_status(relation, report, &problems)).collect();
    for relation in relations.iter_mut().filter(|relation| relation.status.current == "joined") {
        if let Some(note) = facts.live.notes.get(&relation.id) {
            let known = std::mem::take(&mut relation.status.message);
            relation.status = note.clone();
            if !known.is_empty() {
                relation.status.message = format!("{known}; {}", note.message);
            }
        }
    }
    relations.sort_by(|a, b| (&a.provider, &a.requirer, a.id).cmp(&(&b.provider, &b.requirer, b.id)));
    Status {
        model: ModelStatus {
            name: world.model.name.clone(),
            uuid: world.model.uuid.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        },
        applications: applications(world, &relations, &problems),
        units: units(report, &problems, facts),
        relations,
        problems,
        warnings: warnings(report, facts).into_iter().chain(report.left_out.iter().cloned()).collect(),
        listen: facts.listen.to_string(),
        api_url: api_url(report, facts),
        api_authority: report.authority.clone().unwrap_or_default(),
        public_url: report.urls.most_external().to_owned(),
        reloaded_at_ms: report.last_reload.map(|reload| reload.at_ms),
        reload_seconds: report.last_reload.map(|reload| reload.took.as_secs_f64()),
        pending: !report.applied || facts.failure.is_some(),
        revision: world.revision,
        rendered: facts.rendered.clone(),
        at_ms: facts.at_ms,
        process_id: std::process::id(),
    }
}

/// Where clients on this host reach the API: over HTTPS by the name that the certificate is for.
pub fn api_url(report: &Report, facts: &Facts) -> String {
    if report.authority.is_some() { report.urls.internal.clone() } else { facts.api_url.clone() }
}

/// One relation as a row. `problems` are those of `report` and what else is known.
pub fn relation_status(relation: &StoredRelation, report: &Report, problems: &[Problem]) -> RelationStatus {
    let ours = our_end(relation);
    let key = format!("{}:{}", ours.name, relation.id);
    let own = of_relation(relation, problems);
    // A relation with ourselves has two of our endpoints.
    let ends = [&relation.provider, &relation.requirer].into_iter().filter(|end| end.application == APPLICATION);
    let yields: Vec<&Yield> = ends.filter_map(|end| report.yields.get(&(end.name.clone(), relation.id))).collect();
    let (targets, rules) = (yields.iter().map(|of| of.targets).sum(), yields.iter().map(|of| of.rules).sum());
    let status = match own.as_slice() {
        [] => info("joined", &summary(targets, rules, yields.iter().map(|of| of.note.as_str()))),
        [problem] => info("error", &problem.message),
        [problem, ..] => info("error", &format!("{} (and {} more)", problem.message, own.len() - 1)),
    };
    RelationStatus {
        id: relation.id,
        key,
        provider: relation.provider.to_string(),
        requirer: relation.requirer.to_string(),
        interface: relation.interface.clone(),
        kind: "regular".to_owned(),
        status,
        targets,
        rules,
    }
}

/// What came of a relation, in a few words; empty if nothing did.
fn summary<'a>(targets: usize, rules: usize, notes: impl Iterator<Item = &'a str>) -> String {
    let counted = |count: usize, what: &str| match count {
        0 => None,
        1 => Some(format!("1 {what}")),
        count => Some(format!("{count} {what}s")),
    };
    let notes = notes.filter(|note| !note.is_empty()).map(str::to_owned);
    let parts = [counted(targets, "target"), counted(rules, "rule")].into_iter().flatten().chain(notes);
    parts.collect::<Vec<_>>().join(", ")
}

/// One relation with its bags.
pub fn relation_detail(relation: &StoredRelation, report: &Report, problems: &[Problem]) -> RelationDetail {
    let role = our_role(relation);
    let (ours, theirs) = (relation.end(role), relation.end(role.other()));
    let bag = |role: Role, owner: &str| {
        relation.bags.get(&(role, owner.to_owned())).map(|bag| bag.content.read()).unwrap_or_default()
    };
    let units: BTreeMap<UnitName, UnitDetail> = relation
        .bags
        .iter()
        .filter(|((bag_role, _), _)| *bag_role == role.other())
        .filter_map(|((_, owner), bag)| {
            let name = owner.parse::<UnitName>().ok()?;
            Some((name, UnitDetail { name: owner.clone(), data: bag.content.read() }))
        })
        .collect();
    RelationDetail {
        relation: relation_status(relation, report, problems),
        endpoint: ours.name.clone(),
        related_endpoint: theirs.name.clone(),
        related_application: theirs.application.clone(),
        application_data: bag(role.other(), &theirs.application),
        related_units: units.into_values().collect(),
        local_application_data: bag(role, APPLICATION),
        local_unit: UnitDetail { name: report.unit.to_string(), data: bag(role, &report.unit.to_string()) },
        problems: of_relation(relation, problems).into_iter().cloned().collect(),
        decoded: BTreeMap::new(),
    }
}

/// The problems of one relation. A relation with ourselves has two of our endpoints.
pub fn of_relation<'a>(relation: &StoredRelation, problems: &'a [Problem]) -> Vec<&'a Problem> {
    let keys = [Role::Provider, Role::Requirer]
        .map(|role| relation.end(role))
        .into_iter()
        .filter(|end| end.application == APPLICATION)
        .map(|end| format!("{}:{}", end.name, relation.id))
        .collect::<Vec<_>>();
    problems.iter().filter(|problem| problem.relation.as_ref().is_some_and(|key| keys.contains(key))).collect()
}

fn our_role(relation: &StoredRelation) -> Role {
    if relation.requirer.application == APPLICATION { Role::Requirer } else { Role::Provider }
}

fn our_end(relation: &StoredRelation) -> &Endpoint {
    relation.end(our_role(relation))
}

fn info(current: &str, message: &str) -> StatusInfo {
    StatusInfo { current: current.to_owned(), message: message.to_owned() }
}

/// Blocked by what concerns us as a whole; what concerns one relation is shown there. Rules that are left out block as they do in
/// the charm, because nobody would miss an alert that never comes.
fn own_status(problems: &[Problem]) -> StatusInfo {
    let is_of_rules = |problem: &Problem| problem.key.as_deref() == Some(ALERT_RULES);
    match problems.iter().find(|problem| problem.relation.is_none()) {
        Some(problem) => info("blocked", &problem.message),
        None if problems.iter().any(is_of_rules) => info("blocked", INVALID_RULES),
        None => info("active", ""),
    }
}

fn applications(world: &World, relations: &[RelationStatus], problems: &[Problem]) -> Vec<ApplicationStatus> {
    // The first relation of each application that is in trouble.
    let mut in_trouble: HashMap<&str, &RelationStatus> = HashMap::new();
    for relation in relations.iter().filter(|relation| relation.status.current == "error") {
        for end in [&relation.provider, &relation.requirer] {
            let application = end.split(':').next().unwrap_or(end);
            in_trouble.entry(application).or_insert(relation);
        }
    }
    let describe = |(name, application): (&String, &crate::store::Application)| ApplicationStatus {
        name: name.clone(),
        version: if name == APPLICATION { env!("CARGO_PKG_VERSION").to_owned() } else { String::new() },
        status: match in_trouble.get(name.as_str()) {
            _ if name == APPLICATION => own_status(problems),
            Some(relation) => info("blocked", &relation.status.message),
            None => info("active", ""),
        },
        scale: application.units.len(),
        charm: application.charm.clone(),
    };
    world.applications.iter().map(describe).collect()
}

fn units(report: &Report, problems: &[Problem], facts: &Facts) -> Vec<UnitStatus> {
    let world = &report.world;
    let mut units = Vec::new();
    let mut bags: HashMap<&str, Vec<&PackedBag>> = HashMap::new();
    for ((_, owner), bag) in world.relations.iter().flat_map(|relation| &relation.bags) {
        bags.entry(owner).or_default().push(&bag.content);
    }
    for (name, application) in &*world.applications {
        for number in &application.units {
            let unit = format!("{name}/{number}");
            let ours = name == APPLICATION;
            units.push(UnitStatus {
                application: name.clone(),
                leader: ours && !report.follows,
                workload: if ours { own_status(problems) } else { info("unknown", "") },
                address: if ours { facts.listen.ip().to_string() } else { address(bags.get(unit.as_str())) },
                ports: if ours { vec![format!("{}/tcp", facts.listen.port())] } else { Vec::new() },
                name: unit,
            });
        }
    }
    units
}

/// The keys in which units say where they are, from the most to the least telling.
#[derive(Debug, Default, Deserialize)]
struct Addresses {
    prometheus_scrape_unit_address: Option<String>,
    public_address: Option<String>,
    prometheus_scrape_host: Option<String>,
    #[serde(rename = "ingress-address")]
    ingress_address: Option<String>,
    #[serde(rename = "private-address")]
    private_address: Option<String>,
}

/// What the unit says of its address in any relation.
fn address(bags: Option<&Vec<&PackedBag>>) -> String {
    let said: Vec<Addresses> = bags.into_iter().flatten().map(|bag| bag.pick()).collect();
    let keys: [fn(&Addresses) -> &Option<String>; 5] = [
        |said| &said.prometheus_scrape_unit_address,
        |said| &said.public_address,
        |said| &said.prometheus_scrape_host,
        |said| &said.ingress_address,
        |said| &said.private_address,
    ];
    keys.iter().find_map(|key| said.iter().find_map(|said| key(said).clone())).unwrap_or_default()
}

fn warnings(report: &Report, facts: &Facts) -> Vec<String> {
    let mut warnings = facts.live.warnings.clone();
    if !facts.listen.ip().is_loopback() {
        warnings.push(format!(
            "the HTTP API is open to the network without authentication: it listens on {}; --listen 127.0.0.1:{} closes it",
            facts.listen,
            facts.listen.port()
        ));
    }
    if report.settings.exemplars_max > 0 {
        warnings
            .push("max_global_exemplars_per_user is set, but the embedded server keeps no exemplars yet".to_owned());
    }
    for key in &facts.restart_needed {
        warnings.push(format!("{key} was changed in relatum.yaml: it takes effect when the agent is started again"));
    }
    warnings
}
