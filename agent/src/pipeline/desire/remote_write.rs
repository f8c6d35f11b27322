//! `receive-remote-write` and `send-remote-write`: the tiers below and above.
//!
//! From below come rules, and our write URL goes there. Samples go above, and with them every alerting rule that is here; so that comes
//! last, when all rules are known.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use foldhash::{HashMap, HashMapExt};
use relatum_config::prometheus::Config;
use relatum_relations::bag::Databag;
use relatum_relations::endpoints::APPLICATION;
use relatum_relations::ingress_per_unit::Urls;
use relatum_relations::prometheus_remote_write::tiers::{Manifest, Origin, Outbound};
use relatum_relations::prometheus_remote_write::{self as remote_write, Received, health};
use relatum_relations::prometheus_scrape::{EVENT, provide};
use serde_json::{Value, json};

use super::rules::Rules;
use super::view::View;
use super::{Desired, MATERIALS, Memory, RelationKey, Us, on, own_metrics};
use crate::offers;
use crate::store::{Upstream, World};

/// Where tiers below write to.
const ENDPOINT: &str = "receive-remote-write";

/// One sender, understood.
pub(super) struct Sender {
    received: Received,
    manifest: Option<Manifest>,
    /// Whether nothing is taken from it.
    is_refused: bool,
}

impl Desired {
    /// Says where others may write to, and takes their rules. Gives what is to be handed on of it.
    pub(super) fn receive_writes(
        &mut self,
        us: &Us,
        views: &[View<'_>],
        world: &World,
        memory: &mut Memory,
    ) -> Outbound {
        let mut remembered = HashMap::new();
        let mut senders = Vec::new();
        for view in on(views, ENDPOINT) {
            let sender = match memory.senders.remove(&view.stored.id) {
                Some((known, sender)) if view.is_as(&known) => sender,
                _ => Arc::new(Sender::read(view, us)),
            };
            remembered.insert(view.stored.id, (Arc::clone(view.stored), Arc::clone(&sender)));
            let mut bag = view.our_bag().unwrap_or_default();
            match remote_write::event(&sender.received) {
                Some(event) => bag.insert(EVENT.to_owned(), event),
                None => bag.remove(EVENT),
            };
            self.publish(view, APPLICATION, bag);
            let unit_bag = if sender.is_refused { Databag::new() } else { self.write_bag(view, world) };
            self.publish_unit(view, us, unit_bag);
            self.report(sender.received.problems.iter().cloned());
            senders.push(sender);
        }
        memory.senders = remembered;
        self.take_rules(views, &senders, us)
    }

    /// Our unit's bag: the write URL, below that of the offer if the other side came by one, because its secret opens only that.
    fn write_bag(&self, view: &View<'_>, world: &World) -> Databag {
        match world.offers.connection(view.relation().id) {
            None => remote_write::provider_unit_bag(&self.urls),
            Some(connection) => {
                let internal = offers::url(self.urls.most_external(), &connection.offer);
                remote_write::provider_unit_bag(&Urls { internal, external: None })
            }
        }
    }

    /// Takes the rules of all senders, each group once whichever way it came.
    fn take_rules(&mut self, views: &[View<'_>], senders: &[Arc<Sender>], us: &Us) -> Outbound {
        let mut outbound = Outbound::new(us.topology.model_uuid(), us.topology.model());
        let mut loaded: BTreeSet<Origin> = BTreeSet::new();
        let mut received = Vec::new();
        for sender in senders {
            let manifest = sender.manifest.as_ref();
            manifest.into_iter().filter(|_| !sender.is_refused).for_each(|manifest| outbound.add_tiers(manifest));
            let Some(file) = &sender.received.rules else { continue };
            let mut file = file.clone();
            file.groups.retain(|group| {
                let name = group["name"].as_str().unwrap_or_default();
                let told = manifest.and_then(|manifest| manifest.groups.get(name)).cloned();
                let origin = told.unwrap_or_else(|| own_origin(us, &file.relation, group));
                outbound.add_group(origin.clone(), group);
                loaded.insert(origin)
            });
            if !file.groups.is_empty() {
                received.push(Received { rules: Some(file), ..sender.received.clone() });
            }
        }
        if received.is_empty() {
            return outbound;
        }
        let taken: Vec<String> = self.rules.keys().cloned().collect();
        let senders: HashMap<u64, &View<'_>> = on(views, ENDPOINT).map(|view| (view.stored.id, view)).collect();
        for file in remote_write::rule_files(&received, taken.iter().map(String::as_str)) {
            self.add_rules(Arc::new(Rules::new(senders[&file.relation.1].ends(), file)));
        }
        outbound
    }

    /// Sends samples to whoever wants them, and hands on the rules that are evaluated above, too: those of all relations, those about
    /// ourselves, and that we are heard of at all.
    pub(super) fn send_writes(&mut self, us: &Us, views: &[View<'_>], world: &World, mut outbound: Outbound) {
        if on(views, "send-remote-write").next().is_none() {
            return;
        }
        for rules in self.rules.values().filter(|rules| rules.ends.relation.0 != ENDPOINT) {
            for group in rules.groups() {
                outbound.add_group(own_origin(us, &rules.ends.relation, &group), &group);
            }
        }
        let own = own_metrics::own_rules(us);
        let own = own["groups"].as_array().cloned().unwrap_or_default();
        let key = ("self-metrics-endpoint".to_owned(), 0);
        for group in own.iter().chain([&health::group(&us.topology, std::slice::from_ref(&us.unit), false)]) {
            outbound.add_group(own_origin(us, &key, group), group);
        }
        let bag = outbound.into_bag();
        for view in on(views, "send-remote-write") {
            self.publish(view, APPLICATION, bag.clone());
            self.report(provide::complaints(view.relation()));
        }
        self.send_samples(views, world);
    }

    fn send_samples(&mut self, views: &[View<'_>], world: &World) {
        // By name, which is what the server knows a receiver by: one that keeps it goes on where it was.
        let mut remotes: BTreeMap<String, (RelationKey, Value)> = BTreeMap::new();
        let is_offer = |view: &&View<'_>| world.offers.upstream(view.relation().id).is_some();
        for view in on(views, "send-remote-write").filter(is_offer) {
            let (urls, problems) = remote_write::endpoints([view.relation()]);
            self.report(problems);
            let Some(upstream) = world.offers.upstream(view.relation().id).filter(|_| !urls.is_empty()) else {
                continue;
            };
            let name = offers::remote_name("send-remote-write", view.relation().id);
            remotes.insert(name.clone(), (view.key(), self.offered(&name, upstream)));
        }
        let plain = on(views, "send-remote-write").filter(|view| !is_offer(view));
        let (urls, problems) = remote_write::endpoints(plain.map(|view| view.relation()));
        self.report(problems);
        for known in urls {
            let (key, unit) = known.origins[0].clone();
            let name = format!("{}_{}", offers::remote_name(&key.0, key.1), unit.replace('/', "-"));
            remotes.insert(name.clone(), (key, destination(&name, &known.url)));
        }
        for (key, remote) in remotes.into_values() {
            match fault(&remote) {
                None => {
                    let url = remote["url"].as_str().unwrap_or_default();
                    let known = self.yields.entry(key).or_default();
                    known.note = format!("{} {url}", known.note).trim().to_owned();
                    self.remote_writes.push(remote);
                }
                Some(reason) => {
                    let mut problem = relatum_relations::Problem::new(format!("nothing is sent: {reason}"));
                    problem.relation = Some(key);
                    self.report([problem.key("remote_write")]);
                }
            }
        }
    }

    /// Where an offer takes samples. Its URL is what the person said who had the secret, for the secret goes along; that there is one in
    /// the databag only says that it may begin.
    fn offered(&mut self, name: &str, upstream: &Upstream) -> Value {
        let folder = self.place.rendered.join(MATERIALS);
        let mut material = |ending: &str, text: &str| {
            let file = format!("{name}{ending}");
            self.materials.insert(format!("{MATERIALS}/{file}").into(), text.into());
            folder.join(file).display().to_string()
        };
        let mut remote = destination(name, &format!("{}/api/v1/write", upstream.url));
        remote["authorization"] = json!({"credentials_file": material(".token", upstream.secret.expose())});
        if let Some(ca) = &upstream.ca {
            remote["tls_config"] = json!({"ca_file": material("-ca.crt", ca)});
        }
        remote
    }
}

impl Sender {
    fn read(view: &View<'_>, us: &Us) -> Sender {
        let mut received = remote_write::read(view.relation());
        let (manifest, unclear) = Manifest::read(view.relation());
        received.problems.extend(unclear);
        let (tier, model) = (us.topology.model_uuid(), us.topology.model());
        let path = manifest.as_ref().and_then(|manifest| manifest.loop_through(tier, model));
        let is_refused = path.is_some();
        if let Some(path) = path {
            (received.rules, received.has_rules) = (None, true);
            let hint = "one of the relations on this way has to go; remove it at either end";
            received.problems.push(relatum_relations::Problem::new(path).hint(hint).relation(view.relation()));
        } else if let (Some(_), Some(file)) = (&manifest, &mut received.rules) {
            // A tier hands on the rules of many applications, so none of them gives the file its name.
            file.identifier.clone_from(&view.relation().remote.application);
        }
        Sender { received, manifest, is_refused }
    }
}

/// Of a group that was defined here, or came from someone who does not say where it was.
fn own_origin(us: &Us, key: &RelationKey, group: &Value) -> Origin {
    Origin {
        tier: us.topology.model_uuid().to_owned(),
        relation: format!("{}:{}", key.0, key.1),
        group: group["name"].as_str().unwrap_or_default().to_owned(),
    }
}

/// An entry of the list under `remote_write`. Whoever is told to wait gets every sample later, and alerts are evaluated anew above,
/// so their series would only collide there.
fn destination(name: &str, url: &str) -> Value {
    json!({
        "url": url,
        "name": name,
        "queue_config": {"retry_on_http_429": true},
        "write_relabel_configs": [{
            "source_labels": ["__name__"],
            "regex": "ALERTS|ALERTS_FOR_STATE",
            "action": "drop",
        }],
    })
}

/// Why the server would refuse this entry: it stands in the main file, which must not go with it.
fn fault(remote: &Value) -> Option<String> {
    let text = json!({ "remote_write": [remote] }).to_string();
    Config::parse(&text).err().and_then(|problems| problems.first().map(|problem| problem.message.clone()))
}
