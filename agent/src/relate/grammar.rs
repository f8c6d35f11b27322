//! Which of its three forms a `relate` has.

use relatum_config::spelling;
use relatum_relations::endpoints::{self, Endpoint};

use crate::control::{Document, Failure, Relate};

/// The endpoints that take addresses. Others exchange more than an address can say.
const ADDRESSABLE: [&str; 2] = ["metrics-endpoint", "alertmanager"];

/// A `relate`, understood.
#[derive(Debug)]
pub(super) enum Form<'a> {
    /// `relate ENDPOINT ADDRESS…`
    Addresses { endpoint: &'static Endpoint, texts: &'a [String] },
    /// `relate ENDPOINT --databag FILE`
    Databag { endpoint: &'static Endpoint, document: &'a Document },
    /// `relate ENDPOINT URL` of an offer
    Offer { endpoint: &'static Endpoint, url: &'a str },
    /// `relate APP[:ENDPOINT] APP[:ENDPOINT]`
    Applications(&'a str, &'a str),
}

pub(super) fn form(request: &Relate) -> Result<Form<'_>, Failure> {
    let Some((first, rest)) = request.arguments.split_first() else {
        return Err(Failure::usage("relate needs an endpoint and addresses, or two applications"));
    };
    if let Some(document) = &request.databag {
        return databag(request, first, rest, document);
    }
    // `prometheus:metrics-endpoint 10.0.0.5:9100` can only mean the address form too.
    let qualified = first.strip_prefix("prometheus:").filter(|_| rest.iter().any(|text| looks_like_address(text)));
    if let Some(endpoint) = endpoints::named(qualified.unwrap_or(first)) {
        return match rest {
            [url] if url.contains("://") && url.contains("/offers/") => Ok(Form::Offer { endpoint, url }),
            _ => addresses(endpoint, rest),
        };
    }
    if rest.iter().any(|text| looks_like_address(text)) {
        return Err(unknown_endpoint(first));
    }
    let unused = options_given(request);
    match rest {
        [second] if unused.is_empty() => Ok(Form::Applications(first, second)),
        [_] => Err(Failure::usage(format!("{} cannot be used with two applications", unused.join(", ")))),
        [] => Err(unknown_endpoint(first)),
        _ => Err(Failure::usage(format!("relate takes two applications, not {}", request.arguments.len()))
            .hint("to relate addresses, name one of our endpoints first, for instance metrics-endpoint")),
    }
}

fn addresses<'a>(endpoint: &'static Endpoint, texts: &'a [String]) -> Result<Form<'a>, Failure> {
    if !ADDRESSABLE.contains(&endpoint.name) {
        return Err(Failure::usage(format!("{} cannot be related by address", endpoint.name))
            .hint(format!("use `relatum relate {0} --databag FILE`, or the URL of an offer", endpoint.name)));
    }
    if texts.is_empty() {
        return Err(Failure::usage(format!("{} needs at least one address, or --databag FILE", endpoint.name)));
    }
    Ok(Form::Addresses { endpoint, texts })
}

fn databag<'a>(request: &Relate, first: &str, rest: &[String], document: &'a Document) -> Result<Form<'a>, Failure> {
    if !rest.is_empty() {
        return Err(Failure::usage(
            "--databag stands alone: it cannot be combined with addresses or a second application",
        ));
    }
    let unused: Vec<&str> =
        options_given(request).into_iter().filter(|option| !matches!(*option, "--name" | "--databag")).collect();
    if !unused.is_empty() {
        return Err(Failure::usage(format!("{} cannot be used with --databag", unused.join(", ")))
            .hint("what they say belongs into the databags"));
    }
    let name = first.strip_prefix("prometheus:").unwrap_or(first);
    let endpoint = endpoints::named(name).ok_or_else(|| unknown_endpoint(first))?;
    Ok(Form::Databag { endpoint, document })
}

/// The options that make no sense everywhere, as the user wrote them.
pub(super) fn options_given(request: &Relate) -> Vec<&'static str> {
    let given = [
        ("--name", request.name.is_some()),
        ("--label", !request.labels.is_empty()),
        ("--rules", !request.rules.is_empty()),
        ("--scheme", request.scheme.is_some()),
        ("--ca-file", request.ca.is_some()),
        ("--basic-auth-file", request.basic_auth.is_some()),
        ("--bearer-file", request.bearer.is_some()),
        ("--interval", request.interval.is_some()),
        ("--databag", request.databag.is_some()),
    ];
    given.into_iter().filter(|(_, given)| *given).map(|(option, _)| option).collect()
}

/// Whether a word can only be meant as an address: `host:1234`, `[v6]:port` or a URL. `app:endpoint` is none.
fn looks_like_address(text: &str) -> bool {
    let port = text.rsplit_once(':').map(|(_, port)| port.split('/').next().unwrap_or_default());
    text.contains("://") || port.is_some_and(|port| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()))
}

fn unknown_endpoint(name: &str) -> Failure {
    let names: Vec<&str> = endpoints::ENDPOINTS
        .iter()
        .filter(|endpoint| endpoint.role != endpoints::Role::Peer)
        .map(|endpoint| endpoint.name)
        .collect();
    let failure = Failure::usage(format!("application \"prometheus\" has no endpoint {name:?}"));
    let bare = name.strip_prefix("prometheus:").unwrap_or(name);
    match spelling::similar(bare, names.iter().copied()) {
        Some(near) => failure.hint(format!("did you mean {near}?")),
        None => failure.hint(format!("it has {}", names.join(", "))),
    }
}
