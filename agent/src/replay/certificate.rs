//! The certificate that an authority made for the saved unit.
//!
//! Its private key is no part of a databag, so that what an agent finds by its own request is found here by the request that the
//! unit published, or else by the one that the authority answered.

use std::path::Path;
use std::sync::Arc;

use relatum_relations::bag::{Relation, Side};
use relatum_relations::json;
use relatum_relations::tls_certificates::{self, Signed};
use serde_json::Value;

use super::case::{Case, Saved};
use super::events::Visible;
use super::result::PlacedFiles;
use crate::pipeline::desire::{Authority, Desired};
use crate::store::Role;

/// The endpoint.
const ENDPOINT: &str = "certificates";

/// Where the charm has the authority's certificate.
const AUTHORITY_PATH: &str = "/usr/local/share/ca-certificates/ca.crt";

/// What stands for a key that nobody saved.
const SECRET: &str = "<secret>";

/// The certificate, if there is one.
pub(super) fn of(case: &Case, visible: &Visible<'_>) -> Option<Signed> {
    requested(case, visible).and_then(|(_, _, signed)| signed)
}

/// Who signed it.
pub(super) fn authority(case: &Case, visible: &Visible<'_>) -> Option<Authority> {
    of(case, visible).map(|signed| Authority { pem: signed.ca, file: AUTHORITY_PATH.to_owned() })
}

/// Publishes the request and serves the certificate. Gives the files beside the others.
pub(super) fn present(case: &Case, visible: &Visible<'_>, desired: &mut Desired, root: &Path) -> PlacedFiles {
    let Some((id, request, signed)) = requested(case, visible) else { return PlacedFiles::new() };
    let bag = tls_certificates::requirer_unit_bag([request.as_str()]);
    desired.bags.insert((id, Role::Requirer, case.local.unit.clone()), Arc::new(bag));
    let Some(signed) = signed else { return PlacedFiles::new() };
    let path = |name: &str| root.join(name).display().to_string();
    let (certificate, key) = (path("server.cert"), path("server.key"));
    let web = format!("tls_server_config:\n  cert_file: {certificate}\n  key_file: {key}\n");
    PlacedFiles::from([
        (path("prometheus-web-config.yml"), web.into()),
        (certificate, signed.certificate.into()),
        (key, SECRET.into()),
        (AUTHORITY_PATH.to_owned(), signed.ca.into()),
    ])
}

/// The relation's id, the request, and its answer.
fn requested(case: &Case, visible: &Visible<'_>) -> Option<(u64, String, Option<Signed>)> {
    let saved = case.relations.iter().find(|saved| saved.endpoint == ENDPOINT && visible.units(saved.id).is_some())?;
    let app_data = visible.app_data(saved);
    let ours = saved.local_unit_data.get("certificate_signing_requests");
    let request = [ours, app_data.get("certificates")].into_iter().flatten().find_map(|text| first_request(text))?;
    let mut remote = Side::new(&saved.remote_app);
    remote.app_bag = app_data.clone();
    let Saved { id, endpoint, interface, .. } = saved.clone();
    let relation = Relation { id, endpoint, interface, local: Side::new(&case.local.app), remote };
    let signed = tls_certificates::signed(&relation, &request).0;
    Some((saved.id, request, signed))
}

fn first_request(list: &str) -> Option<String> {
    let list = json::parse(list).ok()?;
    let request = |entry: &Value| Some(entry.get("certificate_signing_request")?.as_str()?.to_owned());
    list.as_array()?.iter().find_map(request)
}
