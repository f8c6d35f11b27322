//! How the agent itself does, for `/metrics`.

use std::time::Duration;

use relatum_model::exposition::MetricFamily;

use crate::events::Event;
use crate::offers::Live;
use crate::pipeline::Report;

/// Says how the agent does, now.
pub type Metrics = Box<dyn Fn() -> Vec<MetricFamily> + Send + Sync>;

/// What is counted of passes.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Passes {
    pub(crate) total: u64,
    /// How many found nothing they could work with.
    pub(crate) failed: u64,
    pub(crate) last_duration: Duration,
}

/// How full something is, and how full it may be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fill {
    pub(crate) length: usize,
    pub(crate) max: usize,
}

/// How full everything of ours is that has a bound, and what was turned away.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fills {
    /// Events that wait for a pass.
    pub(crate) events: Fill,
    /// Log lines in memory.
    pub(crate) log_lines: Fill,
    /// Questions of other agents that wait for news.
    pub(crate) questions: Fill,
    /// How many had no right to ask.
    pub(crate) wrong_secrets: u64,
}

/// The families; nothing about relations before the first pass.
pub(crate) fn families(passes: Passes, report: Option<(&Report, &Live)>, fills: Fills) -> Vec<MetricFamily> {
    let Fills { events: queue, log_lines: log, questions, wrong_secrets } = fills;
    let mut families = vec![
        MetricFamily::counter(
            "relatum_agent_passes_total",
            "Passes from the relations to the running server.",
            passes.total as f64,
        ),
        MetricFamily::counter(
            "relatum_agent_pass_failures_total",
            "Passes that could not read or write the agent's state.",
            passes.failed as f64,
        ),
        MetricFamily::gauge(
            "relatum_agent_last_pass_duration_seconds",
            "How long the last pass took.",
            passes.last_duration.as_secs_f64(),
        ),
        MetricFamily::gauge("relatum_agent_events", "Events that wait for a pass.", queue.length as f64),
        MetricFamily::gauge("relatum_agent_events_max", "How many events can wait for a pass.", queue.max as f64),
        MetricFamily::gauge("relatum_agent_log_lines", "Log lines kept in memory.", log.length as f64),
        MetricFamily::counter(
            "relatum_agent_offer_wrong_secrets_total",
            "How often offers were asked for without their secret.",
            wrong_secrets as f64,
        ),
        MetricFamily::gauge(
            "relatum_agent_offer_questions",
            "Questions of other agents that wait for news.",
            questions.length as f64,
        ),
        MetricFamily::gauge(
            "relatum_agent_offer_questions_max",
            "How many questions of other agents can wait.",
            questions.max as f64,
        ),
        MetricFamily::gauge("relatum_agent_log_lines_max", "Log lines that can be kept in memory.", log.max as f64),
    ];
    if let Some((report, live)) = report {
        let problems = report.problems.len() + live.problems.len();
        families.extend([
            MetricFamily::gauge("relatum_agent_relations", "Relations.", report.world.relations.len() as f64),
            MetricFamily::gauge("relatum_agent_problems", "Problems that status shows.", problems as f64),
            MetricFamily::gauge(
                "relatum_agent_tiers_connected",
                "Other agents that are connected, above and below.",
                live.n_connected as f64,
            ),
            MetricFamily::gauge(
                "relatum_agent_tiers",
                "Other agents that are related by offers, above and below.",
                live.n_tiers as f64,
            ),
            MetricFamily::gauge(
                "relatum_agent_applied",
                "Whether the server runs what is rendered.",
                f64::from(u8::from(report.applied)),
            ),
        ]);
    }
    families
}

/// How full the queue of events is.
pub(crate) fn queue_fill(length: usize) -> Fill {
    Fill { length, max: Event::ALL.len() }
}
