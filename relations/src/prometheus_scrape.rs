//! `prometheus_scrape`: an application offers targets and alert rules, we scrape and evaluate them.
//!
//! As requirer, [`read`] understands one relation by itself, and [`finish`] puts the jobs of all relations side by side, because
//! job names must be unique in the whole configuration. As provider, [`provide`] writes the databags that announce our own metrics.

mod check;
pub mod client_tls;
mod dedupe;
mod event;
mod expand;
mod finish;
mod hosts;
mod jobs;
pub mod permissions;
pub mod provide;
mod rules;
pub mod trace;

use std::fmt;

use relatum_config::prometheus::GlobalConfig;
use serde_json::{Map, Value};

use crate::bag::Relation;
use crate::place;
use crate::problem::Problem;

use check::Judge;
pub use event::event;
pub(crate) use event::event_of;
pub use finish::{Finished, finish};
use permissions::Permissions;
pub use rules::{RULE_FILE_PREFIX, RuleFile};

/// The name of the interface.
pub const INTERFACE: &str = "prometheus_scrape";

/// Key of the list of scrape jobs in the application's databag.
pub const SCRAPE_JOBS: &str = "scrape_jobs";
/// Key of the topology in the application's databag.
pub const SCRAPE_METADATA: &str = "scrape_metadata";
/// Key of the rule groups in the application's databag.
pub const ALERT_RULES: &str = "alert_rules";
/// Key in the requirer's application databag that tells the provider what was wrong.
pub const EVENT: &str = "event";

/// One scrape job: an object of Prometheus' configuration format whose keys keep the order in which they were set.
///
/// The order matters: the suffix that tells two jobs of one name apart is a digest of the object as text.
#[derive(Clone, PartialEq)]
pub struct Job {
    /// The job as configuration.
    pub config: Map<String, Value>,
    /// Where it came from.
    pub origin: Origin,
}

/// Which part of which databag a job came from.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Origin {
    /// Endpoint on our side and id of the relation.
    pub relation: (String, u64),
    /// The position in the list under [`SCRAPE_JOBS`].
    pub index: usize,
    /// The unit it scrapes; `None` for targets that belong to no unit of the relation.
    pub unit: Option<String>,
}

impl Job {
    /// The value of `job_name`; `""` while it has none.
    pub fn name(&self) -> &str {
        self.config.get("job_name").and_then(Value::as_str).unwrap_or_default()
    }
}

/// Shows the name and the origin only: a job may hold passwords.
impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Job").field("name", &self.name()).field("origin", &self.origin).finish_non_exhaustive()
    }
}

/// What one relation asks of us.
#[derive(Debug, Clone, PartialEq)]
pub struct Scraped {
    /// Endpoint on our side and id of the relation.
    pub relation: (String, u64),
    /// The jobs, each valid by itself, with names unique in this relation. Not ready to be rendered before [`finish`].
    pub jobs: Vec<Job>,
    /// The rules that are fit to run.
    pub rules: Option<RuleFile>,
    /// Whether the peer published rules at all, fit or not.
    pub has_rules: bool,
    /// What was left out, in the order in which it stands in the databags.
    pub problems: Vec<Problem>,
}

/// Understands `relation` as requirer. The result depends on this relation, on what jobs take from `global`, on what they may, and
/// on whether whoever connects can use their certificates, alone.
pub fn read(
    relation: &Relation,
    global: &GlobalConfig,
    permissions: &Permissions,
    check_tls: client_tls::Check,
) -> Scraped {
    let (jobs, mut problems) = jobs::read(relation, &Judge { global, permissions, check_tls });
    let (rules, has_rules, rule_problems) = rules::read(relation);
    problems.extend(rule_problems);
    let problems = place::located(problems, relation);
    Scraped { relation: (relation.endpoint.clone(), relation.id), jobs, rules, has_rules, problems }
}

/// Understands the rules of `relation` alone, whether it published any, and what was left out.
pub(crate) fn read_rules(relation: &Relation) -> (Option<RuleFile>, bool, Vec<Problem>) {
    let (rules, has_rules, problems) = rules::read(relation);
    (rules, has_rules, place::located(problems, relation))
}
