//! `relate ENDPOINT URL --bearer-file F`: the other side is an offer of another agent.
//!
//! Relating to the same URL again replaces the secret and the certificate to trust, which is how they are renewed.

use relatum_config::Secret;
use relatum_relations::endpoints::{APPLICATION, Endpoint};
use relatum_relations::name;
use uuid::Uuid;

use super::address::Address;
use super::{Outcome, RelateError, addresses, grammar, join, our_role};
use crate::control::{Failure, Relate};
use crate::store::{self, Change, Origin, Role, Upstream, World};

/// The name of the other side when nobody gives it one.
const NAME_DEFAULT: &str = "upstream";

pub(super) fn relate(
    request: &Relate,
    endpoint: &'static Endpoint,
    text: &str,
    world: &World,
    change: &Change<'_>,
) -> Result<Outcome, RelateError> {
    let unused: Vec<&str> = grammar::options_given(request)
        .into_iter()
        .filter(|option| !["--name", "--bearer-file", "--ca-file"].contains(option))
        .collect();
    if !unused.is_empty() {
        return Err(Failure::usage(format!("{} cannot be used with an offer", unused.join(", "))).into());
    }
    let name = request.name.as_deref().unwrap_or(NAME_DEFAULT);
    if !name::is_application(name) || name == APPLICATION {
        return Err(Failure::usage(format!("{name:?} is not a name for the other side"))
            .hint("lower-case letters, digits and hyphens, beginning with a letter, and not \"prometheus\"")
            .into());
    }
    if our_role(endpoint) != Some(Role::Requirer) {
        return Err(Failure::usage(format!("{} is provided, and so is what is offered", endpoint.name))
            .hint("name an endpoint of ours that requires something, such as send-remote-write")
            .into());
    }
    let token = request.bearer.as_ref().ok_or_else(|| {
        Failure::usage("an offer needs its secret")
            .hint("write what `relatum offer` printed to a file: --token-file FILE")
    })?;
    let secret = Secret::new(addresses::secret_line(token)?);
    let ca = request.ca.as_ref().map(addresses::certificate).transpose()?;
    let url = url(text)?;
    let known =
        world.offers.upstreams.iter().find(|known| known.url == url && world.relation(known.relation).is_some());
    if let Some(known) = known {
        let relation = world.relation(known.relation);
        let application = relation.map(|relation| relation.provider.application.clone()).unwrap_or_default();
        if request.name.as_ref().is_some_and(|name| *name != application) {
            return Err(Failure::failed(format!("{url} is related already, as {application:?}")).into());
        }
        usable(&url, &secret, ca.as_deref())?;
        change.put_upstream(&Upstream { secret, ca, ..known.clone() })?;
        return Ok(Outcome { relation: known.relation, application, added: Vec::new(), is_elsewhere: true });
    }
    if world.applications.contains_key(name) {
        return Err(Failure::failed(format!("application {name:?} is something else already"))
            .hint("choose another name for the offer's side with --name")
            .into());
    }
    usable(&url, &secret, ca.as_deref())?;
    change.put_application(name, Origin::Databag, crate::offers::CHARM, "{}")?;
    let remote = store::Endpoint { application: name.to_owned(), name: counterpart(endpoint).to_owned() };
    let relation = join(endpoint, &remote, world, change)?;
    let consumer = Uuid::new_v4().to_string();
    change.put_upstream(&Upstream { relation, consumer, url, secret, ca, revision: String::new() })?;
    Ok(Outcome { relation, application: name.to_owned(), added: Vec::new(), is_elsewhere: true })
}

/// Refuses what no client can be made of: rendered, it would keep everything else from being loaded.
fn usable(url: &str, secret: &Secret, ca: Option<&str>) -> Result<(), Failure> {
    crate::offers::check(url, secret, ca).map_err(|reason| Failure::failed(format!("cannot use --ca-file: {reason}")))
}

/// The URL of an offer, without a slash at the end.
fn url(text: &str) -> Result<String, Failure> {
    let address = Address::parse(text.trim_end_matches('/'))?;
    let scheme = address.scheme.as_deref().unwrap_or_default();
    let id = address.path.rsplit_once("/offers/").map(|(_, id)| id).unwrap_or_default();
    if scheme.is_empty() || id.is_empty() || !id.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return Err(Failure::usage(format!("{text:?} is not the URL of an offer"))
            .hint("it is printed by `relatum offer`: https://HOST:PORT/offers/ID"));
    }
    Ok(format!("{scheme}://{}{}", address.authority, address.path))
}

/// What an endpoint that provides what `endpoint` requires is called most likely; the offer's agent knows better.
fn counterpart(endpoint: &Endpoint) -> &'static str {
    match endpoint.name {
        "send-remote-write" => "receive-remote-write",
        _ => endpoint.name,
    }
}
