//! `certificates`: we ask for a certificate, and answer over TLS as soon as an authority has signed it.
//!
//! ```text
//! no request --relation--> asked --signed--> served --two thirds of its time, or other names--> served, and asked anew
//!     ^                                        ^                                                        |
//!     '------------ relation gone              '------------------------- signed -----------------------'
//! ```
//!
//! What is served is in the databag as long as its request is in ours, so the old request stays until the new one is answered.

use std::time::Duration;

use relatum_relations::tls_certificates::{self, Signed};
use relatum_server::web::check_pair;
use relatum_server::web::x509::Certificate;
use serde_json::json;

use super::view::View;
use super::{Authority, Desired, MATERIALS, Us, on, outside, scrape};
use crate::identity::{Identity, Request, Wish};
use crate::pipeline::observe::Observed;

/// The certificate and those between it and the authority, below `rendered/`.
const CERTIFICATE_PATH: &str = "tls/server.crt";

/// The key of it.
const KEY_PATH: &str = "tls/server.key";

/// What the paths of both begin with.
pub(super) const SERVER: &str = "tls/server.";

/// Nobody is asked to look again later than this; a clock may have been set meanwhile.
const LOOK_AGAIN_MAX: Duration = Duration::from_secs(3600);

/// What is served.
struct Served<'a> {
    request: &'a Request,
    signed: Signed,
    certificate: Certificate,
}

impl Served<'_> {
    /// When the next one is to be asked for: early enough that an authority that is away for a while is back in time.
    fn renew_at_ms(&self) -> i64 {
        let Certificate { not_before_ms, not_after_ms, .. } = self.certificate;
        not_before_ms + (not_after_ms - not_before_ms) / 3 * 2
    }
}

impl Desired {
    /// Asks for a certificate, and has the server use the one that came.
    pub(super) fn take_certificate(&mut self, us: &Us, views: &[View<'_>], observed: &Observed) {
        if let Some(authority) = &us.authority {
            self.own_jobs = scrape::own_jobs(us, &self.place, Some(&json!({"ca_file": authority.file})));
            self.authority = Some(authority.clone());
            return;
        }
        let views: Vec<&View<'_>> = on(views, "certificates").collect();
        let identity = match &observed.identity {
            Ok(identity) => identity.as_ref(),
            Err(reason) => {
                self.problems.push(crate::control::Problem {
                    hint: Some("without it no certificate is asked for or served; remove it to begin anew".to_owned()),
                    ..crate::control::Problem::new(reason)
                });
                return;
            }
        };
        if views.is_empty() {
            self.identity = if identity.is_some() { Wish::Forget } else { Wish::Keep };
            return;
        }
        if self.place.agent_target.is_some() {
            views
                .iter()
                .for_each(|view| self.note(&view.key(), "the server beside this agent has a certificate of its own"));
            return;
        }
        let (_, host, _) = outside::parts(&self.place.url);
        let names = vec![host.trim_matches(['[', ']']).to_owned()];
        let served = identity.and_then(|identity| self.find_served(&views, identity));
        self.identity = wish(&views, identity, served.as_ref(), &names, observed.now_ms);
        let requests = identity.map_or(&[][..], |identity| &identity.requests);
        for view in views.iter().filter(|_| !requests.is_empty()) {
            let bag = tls_certificates::requirer_unit_bag(requests.iter().map(|request| request.csr.as_str()));
            self.publish_unit(view, us, bag);
        }
        let refusals: Vec<_> = requests
            .last()
            .into_iter()
            .flat_map(|newest| views.iter().flat_map(|view| tls_certificates::refusals(view.relation(), &newest.csr)))
            .collect();
        self.report(refusals);
        let note = match &served {
            Some(served) => note(served, requests, observed.now_ms),
            None => "waiting for the authority to sign our request".to_owned(),
        };
        views.iter().for_each(|view| self.note(&view.key(), note.clone()));
        if let (Some(served), Some(identity)) = (served, identity) {
            self.look_again_at_ms = Some(served.renew_at_ms().min(observed.now_ms + LOOK_AGAIN_MAX.as_millis() as i64));
            self.serve(us, &served, identity);
        }
    }

    /// The answer to the newest request that has a good one.
    fn find_served<'a>(&mut self, views: &[&View<'_>], identity: &'a Identity) -> Option<Served<'a>> {
        for request in identity.requests.iter().rev() {
            for view in views {
                let (signed, problems) = tls_certificates::signed(view.relation(), &request.csr);
                self.report(problems);
                let Some(signed) = signed else { continue };
                let usable = Certificate::read_pem(&signed.certificate).map_err(|error| error.to_string()).and_then(
                    |certificate| {
                        check_pair(&signed.presented(), identity.key.expose())?;
                        Ok(certificate)
                    },
                );
                match usable {
                    Ok(certificate) => return Some(Served { request, signed, certificate }),
                    Err(reason) => {
                        let problem =
                            relatum_relations::Problem::new(format!("the certificate cannot be served: {reason}"));
                        self.report([problem.key("certificates").relation(view.relation())]);
                    }
                }
            }
        }
        None
    }

    /// Has the server use what was signed, and all that is published say so.
    fn serve(&mut self, us: &Us, served: &Served<'_>, identity: &Identity) {
        let rendered = &self.place.rendered;
        self.web = Some(json!({
            "cert_file": rendered.join(CERTIFICATE_PATH).display().to_string(),
            "key_file": rendered.join(KEY_PATH).display().to_string(),
        }));
        self.materials.insert(CERTIFICATE_PATH.into(), served.signed.presented().into());
        self.materials.insert(KEY_PATH.into(), identity.key.expose().into());
        let authority = format!("{MATERIALS}/ca.crt");
        let authority_file = rendered.join(&authority).display().to_string();
        self.materials.insert(authority.into(), format!("{}\n", served.signed.ca).into());
        self.authority = Some(Authority { pem: served.signed.ca.clone(), file: authority_file.clone() });
        self.urls.internal = self.place.url.replacen("http://", "https://", 1);
        let (_, host, _) = outside::parts(&self.place.url);
        // The target is an address of this host, for which the certificate need not be.
        let tls = json!({"ca_file": authority_file, "server_name": host.trim_matches(['[', ']'])});
        self.own_jobs = scrape::own_jobs(us, &self.place, Some(&tls));
    }
}

/// What is to become of our requests.
fn wish(
    views: &[&View<'_>],
    identity: Option<&Identity>,
    served: Option<&Served<'_>>,
    names: &[String],
    now_ms: i64,
) -> Wish {
    let ask = |keep: Option<&Served<'_>>| Wish::Request {
        names: names.to_owned(),
        keep: keep.map(|served| served.request.csr.clone()),
    };
    let Some(newest) = identity.and_then(|identity| identity.requests.last()) else { return ask(None) };
    let is_revoked = views.iter().any(|view| tls_certificates::is_revoked(view.relation(), &newest.csr));
    if newest.names != names || is_revoked {
        return ask(served.filter(|served| served.request.csr != newest.csr || !is_revoked));
    }
    match served {
        Some(served) if served.request.csr == newest.csr => {
            if now_ms >= served.renew_at_ms() {
                ask(Some(served))
            } else if identity.is_some_and(|identity| identity.requests.len() > 1) {
                Wish::Only(newest.csr.clone())
            } else {
                Wish::Keep
            }
        }
        _ => Wish::Keep,
    }
}

/// For people: until when, and what comes next.
fn note(served: &Served<'_>, requests: &[Request], now_ms: i64) -> String {
    let until = crate::day(served.certificate.not_after_ms);
    let state = match served.certificate {
        Certificate { not_after_ms, .. } if not_after_ms <= now_ms => format!("the certificate expired on {until}"),
        Certificate { not_before_ms, .. } if not_before_ms > now_ms => {
            format!("the certificate counts from {} on", crate::day(not_before_ms))
        }
        _ => format!("served over HTTPS until {until}"),
    };
    let is_renewed = requests.last().is_some_and(|newest| newest.csr != served.request.csr);
    if is_renewed { format!("{state}; the next certificate is asked for") } else { state }
}
