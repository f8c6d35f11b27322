//! Makes job names unique, the way the charm library does, so that series keep their `job` label across the two.

use std::collections::{HashMap, HashSet};

use serde_json::Value;

use super::Job;
use super::expand::set;
use crate::json::dumps_object;
use crate::text::sha256_hex;

/// Names that are still not unique after this many rounds were made to collide; the later jobs then go.
const ROUNDS_MAX: usize = 4;

/// Gives every job whose name is taken twice a suffix, the digest of the whole job, and lets jobs that are equal become one.
///
/// Jobs of one name come to stand together, where the first of them stood. `reserved` names count as taken.
pub(super) fn dedupe(jobs: Vec<Job>, reserved: &[&str]) -> Vec<Job> {
    let reserved: HashSet<&str> = reserved.iter().copied().collect();
    let mut jobs = round(jobs, &reserved);
    for _ in 1..ROUNDS_MAX {
        if names_are_unique(&jobs, &reserved) {
            return jobs;
        }
        jobs = round(jobs, &reserved);
    }
    let mut taken: HashSet<String> = reserved.iter().map(|&name| name.to_owned()).collect();
    jobs.retain(|job| taken.insert(job.name().to_owned()));
    jobs
}

fn round(jobs: Vec<Job>, reserved: &HashSet<&str>) -> Vec<Job> {
    let mut groups: Vec<Vec<Job>> = Vec::new();
    let mut group_of: HashMap<String, usize> = HashMap::new();
    for job in jobs {
        match group_of.get(job.name()) {
            Some(&at) => groups[at].push(job),
            None => {
                group_of.insert(job.name().to_owned(), groups.len());
                groups.push(vec![job]);
            }
        }
    }
    let mut unique = Vec::new();
    let mut seen = HashSet::new();
    for group in groups {
        let is_taken = group.len() > 1 || reserved.contains(group[0].name());
        if !is_taken {
            unique.extend(group);
            continue;
        }
        for mut job in group {
            let digest = sha256_hex(&dumps_object(&job.config));
            let name = format!("{}_{digest}", job.name());
            if seen.insert(name.clone()) {
                set(&mut job.config, "job_name", Value::String(name));
                unique.push(job);
            }
        }
    }
    unique
}

fn names_are_unique(jobs: &[Job], reserved: &HashSet<&str>) -> bool {
    let mut taken = reserved.clone();
    jobs.iter().all(|job| taken.insert(job.name()))
}
