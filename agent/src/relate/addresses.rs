//! `relate ENDPOINT ADDRESS…`: makes or extends a hand-made application, one unit for each address, one relation for all.
//!
//! Labels made by hand end up in every series for good, so nothing is guessed: all that is said must agree with what was said of
//! the application before.

use std::collections::{BTreeMap, BTreeSet};

use relatum_model::time::parse_duration;
use relatum_relations::endpoints::{APPLICATION, Endpoint};
use relatum_relations::name;
use relatum_server::outgoing::Authorities;

use super::address::Address;
use super::hand_made::{CHARM, Settings};
use super::{Outcome, RelateError, grammar, join, our_role, rule_file};
use crate::control::{Document, Failure, Relate};
use crate::store::{self, Application, Change, Origin, StoreError, World};

/// A line of a password or token file is no longer.
const SECRET_BYTES_MAX: usize = 64 << 10;

pub(super) fn relate(
    request: &Relate,
    endpoint: &'static Endpoint,
    texts: &[String],
    world: &World,
    change: &Change<'_>,
) -> Result<Outcome, RelateError> {
    let wanted = Wanted::read(request, endpoint, texts)?;
    let name = wanted.application.as_str();
    let known = known(name, world)?;
    let role = our_role(endpoint).expect("endpoints that take addresses are no peers").other();
    let mut present = BTreeSet::new();
    if let Some((_, settings)) = &known {
        let bags = world.relations.iter().filter(|relation| relation.end(role).application == name);
        let bags = bags
            .flat_map(|relation| relation.bags.iter())
            .filter(|((bag_role, owner), _)| *bag_role == role && owner.contains('/'));
        present.extend(bags.filter_map(|(_, bag)| settings.authority(&bag.content.read()).map(str::to_owned)));
        // Saying again that an address is there changes nothing, whatever else the application was told.
        let repeats = wanted.authorities.iter().all(|authority| present.contains(authority));
        if !(repeats && wanted.is_plain && settings.endpoint == endpoint.name) {
            agree(name, settings, &wanted.settings)?;
        }
    }
    let settings = known.as_ref().map_or(&wanted.settings, |(_, settings)| settings);
    if known.is_none() {
        let json = serde_json::to_string(settings).expect("settings are JSON");
        change.put_application(name, Origin::Static, CHARM, &json)?;
    }
    let remote = store::Endpoint { application: name.to_owned(), name: remote_endpoint(endpoint).to_owned() };
    let relation = join(endpoint, &remote, world, change)?;
    let mut added = Vec::new();
    // A number that comes back would continue another target's series.
    let first = known.as_ref().map_or(0, |(application, _)| application.next_unit);
    let new = wanted.authorities.iter().filter(|authority| !present.contains(*authority));
    for (number, authority) in (first..).zip(new) {
        let unit = format!("{name}/{number}");
        change.put_unit(name, number)?;
        change.put_bag(relation, role, &unit, &settings.unit_bag(&unit, authority))?;
        added.push(unit);
    }
    if known.is_none() {
        let bag = settings.application_bag(&world.model, name).map_err(Failure::failed)?;
        change.put_bag(relation, role, name, &bag)?;
    }
    Ok(Outcome { relation, application: name.to_owned(), added, is_elsewhere: false })
}

/// Makes the application exactly what `request` says: its settings, and a unit for each address. Units keep their numbers as long
/// as their address stays.
pub(super) fn declare(
    request: &Relate,
    endpoint: &'static Endpoint,
    texts: &[String],
    world: &World,
    change: &Change<'_>,
) -> Result<Outcome, RelateError> {
    let wanted = Wanted::read(request, endpoint, texts)?;
    let (name, settings) = (wanted.application.as_str(), &wanted.settings);
    let known = known(name, world)?;
    let role = our_role(endpoint).expect("endpoints that take addresses are no peers").other();
    let json = serde_json::to_string(settings).expect("settings are JSON");
    change.put_application(name, Origin::Static, CHARM, &json)?;
    let remote = store::Endpoint { application: name.to_owned(), name: remote_endpoint(endpoint).to_owned() };
    let relation = join(endpoint, &remote, world, change)?;
    let stored = world.relation(relation);
    let mut present: BTreeMap<String, String> = BTreeMap::new();
    if let (Some(stored), Some((_, before))) = (stored, &known) {
        let units = stored.bags.iter().filter(|((bag_role, owner), _)| *bag_role == role && owner.contains('/'));
        for ((_, unit), bag) in units {
            match before
                .authority(&bag.content.read())
                .filter(|authority| wanted.authorities.iter().any(|one| one == authority))
            {
                Some(authority) => drop(present.insert(authority.to_owned(), unit.clone())),
                None => {
                    change.remove_bag(relation, role, unit)?;
                    if let Some(number) = unit.rsplit_once('/').and_then(|(_, number)| number.parse().ok()) {
                        change.remove_unit(name, number)?;
                    }
                }
            }
        }
    }
    let mut next = known.map_or(0, |(application, _)| application.next_unit);
    let mut added = Vec::new();
    for authority in &wanted.authorities {
        let unit = present.get(authority).cloned().unwrap_or_else(|| {
            let unit = format!("{name}/{next}");
            next += 1;
            added.push(unit.clone());
            unit
        });
        if let Some(number) = unit.rsplit_once('/').and_then(|(_, number)| number.parse().ok()) {
            change.put_unit(name, number)?;
        }
        change.put_bag(relation, role, &unit, &settings.unit_bag(&unit, authority))?;
    }
    let bag = settings.application_bag(&world.model, name).map_err(Failure::failed)?;
    change.put_bag(relation, role, name, &bag)?;
    Ok(Outcome { relation, application: name.to_owned(), added, is_elsewhere: false })
}

/// What the command says, checked by itself.
struct Wanted {
    application: String,
    settings: Settings,
    /// Without repetitions, in the order given.
    authorities: Vec<String>,
    /// Whether nothing but addresses was given.
    is_plain: bool,
}

impl Wanted {
    fn read(request: &Relate, endpoint: &Endpoint, texts: &[String]) -> Result<Wanted, Failure> {
        let default = if endpoint.name == "alertmanager" { "alertmanager" } else { "targets" };
        let application = request.name.as_deref().unwrap_or(default);
        if !name::is_application(application) {
            return Err(Failure::usage(format!("{application:?} is not a name for an application"))
                .hint("lower-case letters, digits and hyphens, beginning with a letter, no part of digits alone"));
        }
        if application == APPLICATION {
            return Err(
                Failure::usage("the application \"prometheus\" is this agent itself").hint("choose another --name")
            );
        }
        if endpoint.name == "alertmanager" {
            let unused: Vec<&str> = grammar::options_given(request)
                .into_iter()
                .filter(|option| !["--name", "--scheme"].contains(option))
                .collect();
            if !unused.is_empty() {
                return Err(Failure::usage(format!("{} cannot be used with alertmanager", unused.join(", "))));
            }
        }
        let addresses = texts.iter().map(|text| Address::parse(text)).collect::<Result<Vec<_>, _>>()?;
        let mut settings = settings(request, endpoint)?;
        // Certificates to trust make no sense but with TLS.
        let default = if request.ca.is_some() { "https" } else { "http" };
        let mut said = BTreeSet::new();
        for address in &addresses {
            let scheme = address.scheme.as_deref().or(request.scheme.as_deref()).unwrap_or(default);
            if request.ca.is_some() && scheme == "http" {
                return Err(Failure::usage(format!(
                    "--ca-file makes no sense with http, and {} says http",
                    match address.scheme {
                        Some(_) => format!("http://{}", address.authority),
                        None => "--scheme".to_owned(),
                    }
                ))
                .hint("leave out --ca-file, or say https"));
            }
            if request.scheme.as_deref().is_some_and(|asked| asked != scheme) {
                return Err(Failure::usage(format!("--scheme says otherwise than {scheme}://{}", address.authority)));
            }
            said.insert((scheme, address.path.as_str()));
        }
        if said.len() > 1 {
            return Err(Failure::usage(
                "the addresses differ in scheme or path, which belong to the application as a whole",
            )
            .hint("relate them in several commands, each with a --name of its own"));
        }
        if let Some((scheme, path)) = said.first() {
            settings.scheme = (*scheme).to_owned();
            settings.path = (*path).to_owned();
        }
        let mut authorities: Vec<String> = Vec::new();
        for address in addresses {
            if !authorities.contains(&address.authority) {
                authorities.push(address.authority);
            }
        }
        let is_plain = settings.scheme == "http"
            && settings.path.is_empty()
            && grammar::options_given(request).iter().all(|option| *option == "--name");
        Ok(Wanted { application: application.to_owned(), settings, authorities, is_plain })
    }
}

fn settings(request: &Relate, endpoint: &Endpoint) -> Result<Settings, Failure> {
    if let Some(scheme) = request.scheme.as_deref().filter(|scheme| !["http", "https"].contains(scheme)) {
        return Err(Failure::usage(format!("--scheme {scheme} is neither http nor https")));
    }
    if let Some(interval) = &request.interval
        && !parse_duration(interval).is_ok_and(|duration| !duration.is_zero())
    {
        return Err(Failure::usage(format!("--interval {interval:?} is not a duration such as 15s or 1m")));
    }
    for label in request.labels.keys() {
        let legal = label.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        if !legal || label.starts_with("__") {
            return Err(Failure::usage(format!("--label {label:?} is not a label name")));
        }
        if label.starts_with("juju_") || label == "job" || label == "instance" {
            return Err(Failure::usage(format!("--label {label} is set by the agent")).hint("choose another name"));
        }
    }
    if request.basic_auth.is_some() && request.bearer.is_some() {
        return Err(Failure::usage("--basic-auth-file and --bearer-file exclude each other"));
    }
    let basic_auth = request.basic_auth.as_ref().map(|document| {
        let (user, password) = secret_line(document)?
            .split_once(':')
            .ok_or_else(|| Failure::failed(format!("cannot use {}: it is not user:password", document.name)))?;
        Ok::<_, Failure>((user.to_owned(), password.to_owned()))
    });
    Ok(Settings {
        endpoint: endpoint.name.to_owned(),
        interval: request.interval.clone(),
        labels: request.labels.clone(),
        ca: request.ca.as_ref().map(certificate).transpose()?,
        basic_auth: basic_auth.transpose()?,
        bearer: request.bearer.as_ref().map(secret_line).transpose()?.map(str::to_owned),
        rules: request.rules.iter().map(rule_file::checked).collect::<Result<_, _>>()?,
        ..Settings::default()
    })
}

pub(super) fn secret_line(document: &Document) -> Result<&str, Failure> {
    let line = document.text.trim_end_matches(['\n', '\r']);
    if line.is_empty() || line.contains(['\n', '\r']) || line.len() > SECRET_BYTES_MAX {
        return Err(Failure::failed(format!("cannot use {}: it must hold exactly one line", document.name)));
    }
    Ok(line)
}

/// The certificates as they are, if all can be trusted: whoever asks hears it, and not the relation that was made meanwhile.
pub(super) fn certificate(document: &Document) -> Result<String, Failure> {
    match Authorities::read(document.text.as_bytes()) {
        Ok(_) => Ok(document.text.clone()),
        Err(reason) => Err(Failure::failed(format!("cannot trust {}: {reason}", document.name))
            .hint("it is a certificate in PEM, or several, each from -----BEGIN CERTIFICATE----- to -----END CERTIFICATE-----")),
    }
}

/// A rule file must at least be YAML here; what is in it is judged where databags are judged.
fn known<'a>(name: &str, world: &'a World) -> Result<Option<(&'a Application, Settings)>, RelateError> {
    let Some(application) = world.applications.get(name) else { return Ok(None) };
    if application.origin != Origin::Static {
        return Err(Failure::failed(format!(
            "cannot add addresses to application {name:?}: it has databags of its own"
        ))
        .hint("give the addresses another application with --name")
        .into());
    }
    let settings = serde_json::from_str(&application.settings).map_err(|error| StoreError::Damaged {
        what: format!("settings of application {name}"),
        reason: error.to_string(),
    })?;
    Ok(Some((application, settings)))
}

fn agree(name: &str, known: &Settings, wanted: &Settings) -> Result<(), Failure> {
    let differences = known.differences(wanted);
    if differences.is_empty() {
        return Ok(());
    }
    Err(Failure::failed(format!(
        "application {name:?} was related with another {}: that counts for all of its addresses",
        differences.join(", ")
    ))
    .hint("say the same as before, or give these addresses an application of their own with --name"))
}

/// What the endpoint at the other side is called: the name charms use.
fn remote_endpoint(endpoint: &Endpoint) -> &'static str {
    if endpoint.name == "alertmanager" { "alerting" } else { "metrics-endpoint" }
}
