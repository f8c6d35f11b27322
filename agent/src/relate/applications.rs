//! `relate APP[:ENDPOINT] APP[:ENDPOINT]`: matches endpoints by juju's rules, in juju's words.
//!
//! Candidates are pairs of one interface and opposite roles. Our endpoints are known; those of others are the ones they are or were
//! related with.

use relatum_relations::endpoints::{self, APPLICATION, ENDPOINTS};
use relatum_relations::name;

use super::{Outcome, RelateError, join};
use crate::control::Failure;
use crate::store::{self, Change, Role, World};

/// One endpoint of some application.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Candidate {
    pub(super) end: store::Endpoint,
    pub(super) role: Role,
    pub(super) interface: String,
}

pub(super) fn relate(a: &str, b: &str, world: &World, change: &Change<'_>) -> Result<Outcome, RelateError> {
    let (requirer, provider) = infer(a, b, world)?;
    let key = format!("{} {}", requirer.end, provider.end);
    if world.relations.iter().any(|relation| (&relation.requirer, &relation.provider) == (&requirer.end, &provider.end))
    {
        return Err(Failure::failed(format!("cannot add relation {key:?}: relation {key} already exists")).into());
    }
    let (ours, theirs) =
        if requirer.end.application == APPLICATION { (requirer, provider) } else { (provider, requirer) };
    if ours.end.application != APPLICATION {
        return Err(Failure::failed(format!("cannot add relation {key:?}: neither side is prometheus")).into());
    }
    let endpoint = endpoints::named(&ours.end.name).expect("candidates of prometheus come from its endpoints");
    let relation = join(endpoint, &theirs.end, world, change)?;
    Ok(Outcome { relation, application: theirs.end.application, added: Vec::new(), is_elsewhere: false })
}

/// The pair of endpoints two texts mean: requirer, then provider.
pub(super) fn infer(a: &str, b: &str, world: &World) -> Result<(Candidate, Candidate), Failure> {
    let (left, right) = (candidates(a, world)?, candidates(b, world)?);
    let mut pairs = Vec::new();
    for one in &left {
        for other in &right {
            let pair = match (one.role, other.role) {
                _ if one.interface != other.interface => continue,
                (Role::Requirer, Role::Provider) => (one.clone(), other.clone()),
                (Role::Provider, Role::Requirer) => (other.clone(), one.clone()),
                _ => continue,
            };
            if !pairs.contains(&pair) {
                pairs.push(pair);
            }
        }
    }
    match pairs.as_slice() {
        [] => Err(Failure::failed("no relations found").hint(format!("no endpoint of {a:?} fits one of {b:?}"))),
        [pair] => Ok(pair.clone()),
        _ => {
            let mut keys: Vec<String> =
                pairs.iter().map(|(requirer, provider)| format!("\"{} {}\"", requirer.end, provider.end)).collect();
            keys.sort();
            Err(Failure::failed(format!("ambiguous relation: \"{a} {b}\" could refer to {}", keys.join("; ")))
                .hint("name the endpoints: APP:ENDPOINT APP:ENDPOINT"))
        }
    }
}

/// The endpoints `text`, `APP` or `APP:ENDPOINT`, can mean.
fn candidates(text: &str, world: &World) -> Result<Vec<Candidate>, Failure> {
    let (application, endpoint) = match text.split_once(':') {
        Some((application, endpoint)) => (application, Some(endpoint)),
        None => (text, None),
    };
    if !name::is_application(application) {
        return Err(Failure::usage(format!("{text:?} is neither an address nor APP[:ENDPOINT]"))
            .hint("write host:port, [v6]:port or scheme://host[:port][/path], or the name of an application"));
    }
    if !world.applications.contains_key(application) && application != APPLICATION {
        return Err(Failure::failed(format!("application {application:?} not found"))
            .hint("`relatum relate ENDPOINT ADDRESS --name APP` or `--databag FILE` brings an application in"));
    }
    let mut all = endpoints_of(application, world);
    if let Some(endpoint) = endpoint {
        let names: Vec<String> = all.iter().map(|candidate| candidate.end.name.clone()).collect();
        all.retain(|candidate| candidate.end.name == endpoint);
        if all.is_empty() {
            return Err(Failure::failed(format!("application {application:?} has no {endpoint:?} relation"))
                .hint(format!("it has {}", names.join(", "))));
        }
    }
    Ok(all)
}

fn endpoints_of(application: &str, world: &World) -> Vec<Candidate> {
    let mut all: Vec<Candidate> = Vec::new();
    if application == APPLICATION {
        for endpoint in ENDPOINTS {
            let Some(role) = super::our_role(endpoint) else { continue };
            let end = store::Endpoint { application: APPLICATION.to_owned(), name: endpoint.name.to_owned() };
            all.push(Candidate { end, role, interface: endpoint.interface.to_owned() });
        }
        return all;
    }
    for relation in world.relations.iter() {
        for role in [Role::Provider, Role::Requirer] {
            let end = relation.end(role);
            if end.application == application {
                all.push(Candidate { end: end.clone(), role, interface: relation.interface.clone() });
            }
        }
    }
    all.sort();
    all.dedup();
    all
}
