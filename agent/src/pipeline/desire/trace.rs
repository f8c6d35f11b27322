//! What should be, with the places it came from: for questions, not for passes. Nothing of it is kept.

use std::collections::BTreeMap;

use relatum_relations::Relation;
use relatum_relations::prometheus_scrape::{self as scrape, Job};
use serde_json::Value;

use super::scrape::Basis;
use super::view::View;
use super::{Desired, MATERIALS, Memory, RelationKey, desire, scrape as scrape_jobs};
use crate::pipeline::observe::Observed;
use crate::store::Role;

/// What should be, and what it was made of.
pub(crate) struct Trace {
    /// What should be.
    pub(crate) desired: Desired,
    /// Relations as our endpoints see them, with our role.
    pub(crate) relations: BTreeMap<RelationKey, (Role, Relation)>,
    /// The jobs of each relation with their origins, in the order of [`Desired::scrapes`].
    pub(crate) jobs: BTreeMap<RelationKey, Vec<Job>>,
}

/// Runs the plain steps up to what should be.
pub(crate) fn trace(observed: &Observed) -> Trace {
    let desired = desire(observed, &mut Memory::default());
    let views = || observed.world.relations.iter().flat_map(View::of);
    let relations: BTreeMap<RelationKey, (Role, Relation)> =
        views().map(|view| (view.key(), (view.role, view.relation().clone()))).collect();
    let basis = Basis::of(&desired.settings, &observed.place);
    let on_endpoint = relations.values().filter(|(_, relation)| relation.endpoint == "metrics-endpoint");
    let scraped: Vec<_> = on_endpoint.map(|(_, relation)| basis.read(relation)).collect();
    let folder = observed.place.rendered.join(MATERIALS).display().to_string();
    // Each relation by itself, and those together whose jobs were named anew for the others' sake.
    let mut jobs: BTreeMap<RelationKey, Vec<Job>> = BTreeMap::new();
    let (mut clashing, mut taken) = (Vec::new(), scrape_jobs::reserved(&observed.place));
    for one in &scraped {
        let alone = scrape::finish([one], &folder, &[]).jobs;
        let wanted = desired.scrapes.get(&one.relation).map_or_else(Vec::new, |jobs| jobs.values());
        let is_same = |(job, wanted): (&Job, &Value)| wanted.as_object() == Some(&job.config);
        if alone.len() == wanted.len() && alone.iter().zip(&wanted).all(is_same) {
            taken.extend(one.jobs.iter().map(Job::name));
            jobs.insert(one.relation.clone(), alone);
        } else {
            clashing.push(one);
        }
    }
    for job in scrape::finish(clashing, &folder, &taken).jobs {
        jobs.entry(job.origin.relation.clone()).or_default().push(job);
    }
    Trace { desired, relations, jobs }
}
